"""Whole paths on paper: what the journal, the balances and the figures say in the end."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbkube.execution.model import OrderState
from arbkube.execution.paper import Fate
from arbkube.execution.protocols import OrderReport, Refused, ReportKind
from arbkube.market.instruments import Side
from arbkube.resources.kinds import LegOrder, PartialPolicy
from arbkube.risk.limits import Limits
from tests.execution.world import MS, SECOND, A, World, config, leg, market

BUY, SELL = leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90")


def cheap_and_dear(world: World) -> None:
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "2"), ("100.00", "2")))
    world.book("b", bids=(("101.00", "2"), ("100.90", "2")), asks=(("101.10", "5"),))


def keep_books(world: World, seconds: int) -> None:
    for _ in range(seconds * 4):
        world.run(250 * MS)
        cheap_and_dear(world)


def reconciled(world: World) -> None:
    """The engine's inventory is the broker's account, and nothing is below zero."""
    balances = world.broker.balances()
    for holding, amount in balances.items():
        assert world.engine.accounts.inventory.amount(holding) == amount
        if not holding[1].endswith("-PERP"):
            assert amount >= 0, holding


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "x.db", config()).start()


def test_both_legs_fill(world):
    cheap_and_dear(world)
    chance = world.take(BUY, SELL)
    world.run(50 * MS)
    assert world.intents() == [("Done", "Filled", "")]
    assert world.rows("SELECT opportunity_id FROM intents") == [(chance.id,)]
    pnl = world.engine.pnl(world.now_ns)
    bought = Decimal("99.90") * 2 + Decimal("100.00")
    sold = Decimal("101.00") * 2 + Decimal("100.90")
    assert pnl.cash == sold - bought - (sold + bought) * Decimal("0.001")
    assert pnl.residual == 0
    reconciled(world)


def test_a_book_that_moved_away_is_an_ioc_miss_and_the_other_leg_goes_back(tmp_path):
    world = World(tmp_path / "x.db", config(on_partial=PartialPolicy.UNWIND)).start()
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(5 * MS)
    world.book("b", bids=(("100.50", "5"),), asks=(("101.10", "5"),))
    world.run(100 * MS)
    assert world.intents() == [("Done", "Unwound", "")]
    states = world.rows("SELECT purpose, state, side, filled FROM orders ORDER BY created_ns, leg")
    assert [(*row[:3], Decimal(row[3])) for row in states] == [
        ("Open", "Filled", "Buy", 3),
        ("Open", "Missed", "Sell", 0),
        ("Unwind", "Filled", "Sell", 3),
    ]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 0
    reconciled(world)


def test_what_is_missing_is_completed_within_max_loss(world):
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(5 * MS)
    world.book("b", bids=(("100.80", "5"),), asks=(("101.10", "5"),))
    world.run(100 * MS)
    assert world.intents() == [("Done", "Completed", "")]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 0


def test_a_completion_beyond_max_loss_is_not_tried(world):
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(5 * MS)
    world.book("b", bids=(("100.30", "5"),), asks=(("101.10", "5"),))
    world.run(100 * MS)
    assert world.intents() == [("Done", "Unwound", "")]


def test_an_unwind_that_nobody_takes_gets_stuck_and_stays_booked(tmp_path):
    world = World(tmp_path / "x.db", config(on_partial=PartialPolicy.UNWIND)).start()
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(5 * MS)
    for _ in range(242):
        world.book("a", bids=(("90.00", "5"),), asks=(("99.95", "9"),))
        world.book("b", bids=(("90.00", "5"),), asks=(("101.10", "5"),))
        world.run(250 * MS)
    assert world.intents() == [("Stuck", "Stuck", "")]
    assert world.rows("SELECT count(*) FROM orders WHERE purpose = 'Unwind'") == [(0,)]  # nothing was offered in a minute
    assert world.rows("SELECT kind FROM events WHERE kind = 'Stuck'") == [("Stuck",)]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 3
    pnl = world.engine.pnl(world.now_ns)
    assert pnl.residual == 3 * Decimal("90.00")
    assert world.arb() < 0


def test_sequential_legs_are_resized_to_what_the_one_before_filled(tmp_path):
    world = World(tmp_path / "x.db", config(legs=LegOrder.SEQUENTIAL)).start()
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(5 * MS)
    assert world.rows("SELECT leg FROM orders") == [(0,)]
    world.book("a", bids=(("99.80", "5"),), asks=(("99.95", "1.5"),))
    world.run(100 * MS)
    second = world.rows("SELECT leg, quantity, state FROM orders ORDER BY leg")[1]
    assert (second[0], Decimal(second[1]), second[2]) == (1, Decimal("1.5"), "Filled")
    assert world.intents() == [("Done", "Filled", "")]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 0


def test_dust_below_the_minimum_is_booked_as_residual(tmp_path):
    world = World(tmp_path / "x.db", config(on_partial=PartialPolicy.UNWIND)).start()
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(5 * MS)
    world.book("a", bids=(("99.80", "5"),), asks=(("99.95", "2.996"),))
    world.run(100 * MS)
    assert world.intents() == [("Done", "Residual", "")]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == Decimal("-0.004")


def test_a_fee_taken_from_the_base_is_not_sold_back(tmp_path):
    world = World(tmp_path / "x.db", config(on_partial=PartialPolicy.UNWIND)).start()
    world.book("b", bids=(("99.80", "5"),), asks=(("99.90", "5"),))
    world.book("a", bids=(("101.00", "5"),), asks=(("101.10", "5"),))
    world.take(leg("b", Side.BUY, "3", "100.00"), leg("a", Side.SELL, "3", "100.90"))
    world.run(5 * MS)
    world.book("a", bids=(("100.00", "5"),), asks=(("101.10", "5"),))
    world.run(100 * MS)
    assert world.rows("SELECT purpose, filled FROM orders WHERE purpose = 'Unwind'") == [("Unwind", "2.996")]  # 3 − 0.003, lots
    assert world.intents() == [("Done", "Residual", "")]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == Decimal("0.001")  # under a lot
    reconciled(world)


@pytest.mark.parametrize("fate", [Fate.SILENT, Fate.LOST])
def test_an_order_without_an_answer_is_never_sent_again_but_asked_for(tmp_path, fate):
    world = World(tmp_path / "x.db", config(on_partial=PartialPolicy.UNWIND)).start()
    cheap_and_dear(world)
    orders: list[str] = []
    usual = world.broker._fate

    def drawn(order_id: str) -> Fate:
        orders.append(order_id)
        return fate if len(orders) == 2 else usual(order_id)

    world.broker._fate = drawn  # type: ignore[method-assign]
    world.take(BUY, SELL)
    keep_books(world, 1)
    assert [o.side for o in world.engine._settler.open_orders()] == [Side.SELL]  # its worst case stays booked
    assert world.engine.available()["b"]["BTC"] == 7
    keep_books(world, 4)
    assert len(orders) == len(set(orders))
    if fate is Fate.SILENT:
        assert world.intents() == [("Done", "Filled", "")]
    else:
        assert world.rows("SELECT state FROM orders WHERE leg = 1") == [("NotFound",)]
        assert world.intents() == [("Done", "Unwound", "")]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 0
    reconciled(world)


def test_a_duplicate_report_books_nothing_and_a_late_fill_is_corrected(world):
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(50 * MS)
    before = world.engine.pnl(world.now_ns)
    [order] = [o for live in world.engine._settler.settled.values() for o in live.orders.values() if o.leg == 0]
    fills = tuple(f for live in world.engine._settler.settled.values() for f in live.fills.values() if f.order_id == order.id)
    again = OrderReport(order_id=order.id, feed="a", kind=ReportKind.DONE, at_ns=world.now_ns, fills=fills + fills)
    assert world.engine.on_report(again, world.now_ns) == []
    assert world.engine.pnl(world.now_ns) == before
    late = replace(again, fills=(replace(fills[0], trade_id="late", quantity=Decimal(1)),))
    cheap_and_dear(world)
    world.driver._perform(world.engine.on_report(late, world.now_ns), world.now_ns)
    assert world.rows("SELECT kind, detail FROM events WHERE kind = 'LateFill'") == [("LateFill", "late")]
    assert world.intents() == [("Unwinding", None, "")]  # a process that dies now leaves it to its successor
    world.run(100 * MS)
    assert world.intents() == [("Done", "Unwound", "")]
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 0


def test_an_order_of_somebody_else_is_reported_and_not_touched(world):
    report = OrderReport(order_id="theirs", feed="a", kind=ReportKind.DONE, at_ns=world.now_ns)
    world.driver._perform(world.engine.on_report(report, world.now_ns), world.now_ns)
    assert world.rows("SELECT kind, subject FROM events WHERE kind = 'UnknownOrder'") == [("UnknownOrder", "theirs")]


def test_not_found_is_final_only_past_deadline_and_skew(world):
    cheap_and_dear(world)
    world.take(BUY, SELL)
    order = next(iter(next(iter(world.engine._settler.live.values())).orders.values()))
    report = OrderReport(order_id=order.id, feed="a", kind=ReportKind.NOT_FOUND, at_ns=world.now_ns)
    assert world.engine.on_report(report, order.deadline_ns + SECOND) == []
    world.engine.on_report(report, order.deadline_ns + SECOND + 1)
    assert next(iter(world.engine._settler.live.values())).orders[order.id].state is OrderState.NOT_FOUND


def test_a_rejected_leg_lets_the_other_go_back(tmp_path):
    settings = config(
        on_partial=PartialPolicy.UNWIND,
        balances={("a", "USDT"): "1000", ("b", "BTC"): "10", ("a", "BTC"): "0", ("b", "USDT"): "0"},
    )
    world = World(tmp_path / "x.db", settings).start()
    cheap_and_dear(world)
    world.broker._account.target[("b", "BTC")] = Decimal(1)  # the venue has less than we think
    world.take(BUY, SELL)
    world.run(100 * MS)
    assert world.rows("SELECT state, reason FROM orders WHERE leg = 1") == [("Rejected", "InsufficientBalance")]
    assert world.intents() == [("Done", "Unwound", "")]


def test_an_identity_trades_again_only_on_books_newer_than_its_fills(world):
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(20 * MS)
    world.take(BUY, SELL)
    assert world.reasons() == ["BookBeforeFill"]
    world.run(1 * MS)
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(20 * MS)
    assert [row[1] for row in world.intents()] == ["Filled", "Filled"]


def test_an_opportunity_said_again_under_another_name_leaves_the_live_intent_alone(tmp_path):
    world = World(tmp_path / "x.db", config(limits=Limits(max_open_intents=5))).start()
    cheap_and_dear(world)
    chance = world.take(BUY, SELL)
    assert len(world.engine.live_intents) == 1
    world.outcomes.clear()
    world.outcomes += world.driver.on_opportunity(replace(chance, identity="another"), world.now_ns)
    assert [o.intent.reason for o in world.outcomes if isinstance(o, Refused)] == ["DuplicateIntent"]
    world.run(2 * SECOND)
    assert [row[1] for row in world.intents()] == ["Filled"]
    assert world.rows("SELECT count(*) FROM orders") == [(2,)]
    assert world.rows("SELECT count(*) FROM fills") == world.rows("SELECT count(*) FROM paper_fills")
    assert not world.engine.live_intents


def test_an_opportunity_said_twice_makes_one_intent(world):
    cheap_and_dear(world)
    chance = world.take(BUY, SELL)
    world.run(30 * MS)
    cheap_and_dear(world)
    world.outcomes.clear()
    world.outcomes += world.driver.on_opportunity(chance, world.now_ns)
    assert [o.intent.reason for o in world.outcomes if isinstance(o, Refused)] == ["DuplicateIntent"]
    world.run(2 * SECOND)
    assert world.rows("SELECT count(*) FROM intents") == [(1,)]
    assert world.rows("SELECT count(*) FROM orders") == [(2,)]
    assert world.engine.live_intents == ()


def test_all_legs_shrink_to_what_the_thinnest_still_offers(world):
    cheap_and_dear(world)
    world.book("b", bids=(("101.00", "1.003"),), asks=(("101.10", "5"),))
    world.take(BUY, SELL)
    assert world.rows("SELECT quantity FROM orders") == [("1.002",), ("1.002",)]  # a's lot is 0.001, b's 0.002


def test_a_ring_of_three_markets(tmp_path):
    markets = (A, market("a", "ETH-BTC", lot="0.001", min_notional="0.0001"), market("a", "ETH-USDT", lot="0.001"))
    balances = {("a", asset): amount for asset, amount in (("USDT", "10000"), ("BTC", "1"), ("ETH", "10"))}
    world = World(tmp_path / "x.db", config(markets=markets, balances=balances, plausible="2000bps")).start()
    world.book("a", bids=(("99.90", "50"),), asks=(("100.00", "50"),))
    world.book("a", symbol="ETH-BTC", bids=(("0.09", "50"),), asks=(("0.10", "50"),))
    world.book("a", symbol="ETH-USDT", bids=(("11.00", "50"),), asks=(("11.10", "50"),))
    world.take(
        leg("a", Side.BUY, "0.2", "100.00"),
        leg("a", Side.BUY, "1.998", "0.10", "ETH-BTC"),
        leg("a", Side.SELL, "1.998", "11.00", "ETH-USDT"),
    )
    world.run(50 * MS)
    assert world.intents() == [("Done", "Filled", "")]
    pnl = world.engine.pnl(world.now_ns)
    assert "ETH" not in pnl.flows
    assert world.arb() > Decimal("1.8")
    reconciled(world)


def test_a_basis_position_is_valued_apart_until_it_converges(tmp_path):
    perpetual = market("p", "BTC-USDT-PERP", taker="0")
    spot = market("a", taker="0")
    balances = {("a", "USDT"): "1000", ("p", "USDT"): "1000"}
    world = World(tmp_path / "x.db", config(markets=(spot, perpetual), balances=balances)).start()
    world.book("a", bids=(("99.90", "50"),), asks=(("100.00", "50"),))
    world.book("p", symbol="BTC-USDT-PERP", bids=(("101.00", "50"),), asks=(("101.10", "50"),))
    world.take(leg("a", Side.BUY, "9", "100.00"), leg("p", Side.SELL, "9", "101.00", "BTC-USDT-PERP"))
    world.run(50 * MS)
    assert world.intents() == [("Done", "Filled", "")]
    pnl = world.engine.pnl(world.now_ns)
    assert pnl.flows == {"BTC": 9, "BTC-USDT-PERP": -9, "USDT": 9}
    assert pnl.arb == 9 + 9 * Decimal("99.90") - 9 * Decimal("101.10")
    # 1 000 and 909 of proceeds, less twice 9 at the ask.
    assert world.engine.available()["p"]["USDT"] == 1909 - 18 * Decimal("101.10")
    world.run(MS)
    world.book("a", bids=(("99.90", "50"),), asks=(("100.00", "50"),))
    world.book("p", symbol="BTC-USDT-PERP", bids=(("101.00", "50"),), asks=(("101.10", "50"),))
    world.take(leg("a", Side.BUY, "1", "100.00"), leg("p", Side.SELL, "1", "101.00", "BTC-USDT-PERP"))
    assert world.reasons() == ["InsufficientBalance"]
