"""The plain paths: an opportunity becomes an intent, orders, fills, and the sums hold."""

from __future__ import annotations

from decimal import Decimal

from arbkube.market.instruments import Side
from tests.execution.world import MS, World, config, leg

GOOD = {"bids": (("101.00", "2"), ("100.90", "2")), "asks": (("101.10", "5"),)}


def cheap_and_dear(world: World) -> None:
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "2"), ("100.00", "2")))
    world.book("b", **GOOD)


def test_both_legs_fill(tmp_path):
    world = World(tmp_path / "x.db", config()).start()
    cheap_and_dear(world)
    chance = world.take(leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90"))
    world.run(50 * MS)
    assert world.intents() == [("Done", "Filled", "")]
    assert world.rows("SELECT opportunity_id FROM intents") == [(chance.id,)]
    pnl = world.engine.pnl(world.now_ns)
    bought = Decimal("99.90") * 2 + Decimal("100.00")
    sold = Decimal("101.00") * 2 + Decimal("100.90")
    assert pnl.cash == sold - bought - (sold + bought) * Decimal("0.001")
    assert pnl.residual == 0
