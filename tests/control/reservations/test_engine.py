"""An engine under reservations: what is lacking is refused and asked for, and what its journal says is what it uses."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from arbkube.control.protocol import Epoch
from arbkube.control.reservations.blocks import Grant, Reply, Reservations, Verdict
from arbkube.control.reservations.pools import Kind, Pool, RateTerm, Terms
from arbkube.market.instruments import Side
from arbkube.resources.kinds import LegOrder, PartialPolicy
from tests.control.reservations.world import INCARNATION
from tests.execution.world import MS, SECOND, World, config, leg, opportunity

VENUES = {feed: Pool(Kind.VENUE, "USDT", feed) for feed in "ab"}
ASSET = Pool(Kind.ASSET, "USDT", "BTC")
RATES = {(feed, "BTC-USDT"): RateTerm(Pool(Kind.RATE, "Spot", feed), 100, 10 * SECOND) for feed in "ab"}
RATE = RATES["a", "BTC-USDT"].pool
TERMS = Terms(
    profit_asset="USDT",
    venues=VENUES,
    assets={"BTC": ASSET},
    balances={},
    rates=RATES,
    opens=1,
    completes=True,
    max_loss=Decimal("0.005"),
    max_mark_age_ns=SECOND,
    legs=1,
    first_need=Decimal(100),
)
EPOCH = Epoch(incarnation=INCARNATION, number=1, run_id="r")


def granting(amount: str = "1000000") -> Reservations:
    """Reservations that hold `amount` of everything."""
    made = Reservations("test", token=1, terms=TERMS)
    made.trust(EPOCH)
    for _ in range(2):
        request = made.request(dict.fromkeys(TERMS.pools, Decimal(0)), 0)
        assert request is not None
        held = {pool: min(pool.units_up(Decimal(amount)), 2**50) for pool in request.asks}
        grants = {p: Grant(held=h, capacity=h, asked_back=False, undeclared=()) for p, h in held.items()}
        made.answered(request, Reply(verdict=Verdict.DONE, grants=grants), 0)
    return made


def world_under(path: Path, reservations: Reservations | None, **changes) -> World:
    world = World(path / "x.sqlite", config(**changes), reservations=reservations).start()
    for feed in "ab":
        world.book(feed)
    return world


def pair(quantity: str = "1"):
    return leg("a", Side.BUY, quantity, "100.10"), leg("b", Side.SELL, quantity, "99.90")


def crossed(world: World) -> None:
    """Book a sells at 100.10, book b pays 101."""
    world.book("b", bids=(("101", "5"),), asks=(("101.2", "5"),))


def take(world: World) -> None:
    crossed(world)
    world.take(leg("a", Side.BUY, "1", "100.10"), leg("b", Side.SELL, "1", "101"))


def test_what_is_not_reserved_is_refused_and_asked_for(tmp_path: Path) -> None:
    reservations = granting("100")
    world = world_under(tmp_path, reservations)
    take(world)
    assert world.reasons() == ["NotReserved"], "one BTC at 101 is more than 100"
    request = reservations.request(world.engine.in_use(world.now_ns), 1)
    assert request is not None
    assert {str(pool): ask.need for pool, ask in request.asks.items()} == {
        "Venue/USDT/a": 99_900_000,
        "Venue/USDT/b": 101_200_000,
        "Asset/USDT/BTC": 101_200_000,
        "Rate/Spot/a": 7,
        "Rate/Spot/b": 7,
    }


def test_nothing_is_covered_before_the_executor_has_declared(tmp_path: Path) -> None:
    world = world_under(tmp_path, Reservations("test", token=1, terms=TERMS))
    take(world)
    assert world.reasons() == ["NotReserved"]


def test_a_replay_is_unlimited(tmp_path: Path) -> None:
    world = world_under(tmp_path, None)
    take(world)
    assert world.reasons() == []
    assert world.engine.in_use(world.now_ns) == {}


def test_an_order_counts_for_the_venues_window_and_a_position_for_as_long_as_it_is_there(tmp_path: Path) -> None:
    world = world_under(tmp_path, granting())
    take(world)
    assert world.engine.in_use(world.now_ns)[RATE] == 7
    world.run(SECOND)
    used = world.engine.in_use(world.now_ns)
    assert used[RATE] == 1
    assert used[VENUES["a"]] == Decimal("99.90"), "the BTC bought, at what it is worth"
    assert used[ASSET] == 0, "bought on one venue and sold on the other"
    world.run(10 * SECOND)
    assert world.engine.in_use(world.now_ns)[RATE] == 0


@pytest.mark.parametrize("legs", LegOrder)
@pytest.mark.parametrize("policy", PartialPolicy)
def test_a_restart_comes_to_the_same_figures_from_its_journal(tmp_path: Path, legs: LegOrder, policy: PartialPolicy) -> None:
    """Killed at any moment: what the next process declares is what this one used, or what of it was never sent."""
    rng = Random(7)
    for i in range(8):
        folder = tmp_path / str(i)
        folder.mkdir()
        changes: Any = {"legs": legs, "on_partial": policy, "reject_rate": "0.2", "unknown_rate": "0.3"}
        world = world_under(folder, granting(), **changes)
        take(world)
        world.run(rng.randrange(3000) * MS)
        used = world.engine.in_use(world.now_ns)
        world.store.close()
        later = World(
            folder / "x.sqlite", config(**changes), holder="two", now_ns=world.now_ns + 6 * SECOND, reservations=granting()
        ).start()
        for feed in "ab":
            later.book(feed)
        crossed(later)
        found = later.engine.in_use(later.now_ns)
        for pool, need in found.items():
            assert need is not None
            assert need <= (used[pool] or 0), f"{pool}: {need} of {used[pool]}"
        later.store.close()


@pytest.mark.parametrize("legs", LegOrder)
@pytest.mark.parametrize("policy", PartialPolicy)
def test_whatever_becomes_of_an_open_it_never_needs_more_than_it_reserved(
    tmp_path: Path, legs: LegOrder, policy: PartialPolicy
) -> None:
    """Rejected, unknown, filled in part, completed, unwound, settled: at unchanged marks."""
    rng = Random(3)
    for i in range(8):
        folder = tmp_path / str(i)
        folder.mkdir()
        world = world_under(
            folder,
            granting(),
            legs=legs,
            on_partial=policy,
            reject_rate="0.3",
            unknown_rate="0.3",
        )
        crossed(world)
        chance = opportunity(world.now_ns, leg("a", Side.BUY, "1", "100.10"), leg("b", Side.SELL, "1", "101"), name=str(i))
        world.outcomes += world.driver.on_opportunity(chance, world.now_ns)
        assert world.reasons() == []
        reserved = world.engine.in_use(world.now_ns)
        for _ in range(40):
            world.run(rng.randrange(400) * MS)
            thin = str(rng.randrange(1, 10) / 10)
            world.book("a", bids=(("99.90", thin),), asks=(("100.10", thin),))
            world.book("b", bids=(("101", thin),), asks=(("101.2", thin),))
            for pool, need in world.engine.in_use(world.now_ns).items():
                most = reserved[pool]
                assert need is not None
                assert most is not None
                assert need <= most, f"{pool}: {need} of {most}"
        world.store.close()
