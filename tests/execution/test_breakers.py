"""Breakers write the same log: in force at once, journaled, handed out; and an epoch that does not go on is a halt."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from arbkube.control.freshness import KnownEpoch
from arbkube.control.halts import PERSON, Clear, Entry, Halt, HaltReason, Level
from arbkube.control.protocol import Epoch
from arbkube.execution.protocols import Raise
from arbkube.market.instruments import Side
from arbkube.resources.kinds import HaltMode, PartialPolicy
from arbkube.risk.limits import Limits
from tests.execution.world import SECOND, World, config, leg

BUY, SELL = leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90")
DAY = 86_400 * SECOND
LOSS = Limits(max_daily_loss=Decimal(10))


def show(world: World) -> None:
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "9"),), asks=(("101.10", "5"),))


def fresh(path: Path | str = ":memory:", **changes) -> World:
    world = World(path, config(**changes)).start()
    show(world)
    world.driver.on_time(world.now_ns)  # the risk day begins
    return world


def raised(world: World) -> list[Entry]:
    return [outcome.entry for outcome in world.outcomes if isinstance(outcome, Raise)]


def lose(world: World, amount: int = 10) -> None:
    world.engine.accounts.inventory.moved[("a", "USDT")] = Decimal(-amount)


def test_the_daily_loss_halts_once_a_day_and_ends_with_it():
    world = fresh(limits=LOSS)
    lose(world)
    world.take(BUY, SELL)
    assert world.reasons() == ["MaxDailyLoss"]
    [entry] = raised(world)
    assert isinstance(entry, Halt)
    assert (entry.level, entry.subject, entry.mode) == (Level.STRATEGY, "test", HaltMode.STOP_NEW)
    assert (entry.owner, entry.reason) == ("Breaker/DailyLoss/test", HaltReason.DAILY_LOSS)
    assert entry.detail == "lost 10 of 10 USDT since 2026-09-21 began"
    assert world.store.halts() == (entry,)
    show(world)
    world.take(BUY, SELL, name="again")
    assert world.reasons() == ["MaxDailyLoss", "Halted"]
    lose(world, 0)
    show(world)
    world.take(BUY, SELL, name="won back")
    assert world.reasons()[-1] == "Halted"  # a loss that is won back lifts nothing
    world.now_ns = (world.now_ns // DAY + 1) * DAY
    show(world)
    world.outcomes += world.driver.on_time(world.now_ns)
    first, then = raised(world)
    assert isinstance(then, Clear)
    assert (then.halt, then.owner) == (first.id, "Breaker/DailyLoss/test")
    assert world.driver.halts == ()
    assert world.store.halts() == (first, then)
    world.take(BUY, SELL, name="next day")
    assert len(world.engine.live_intents) == 1


def test_it_trips_without_any_opportunity():
    world = fresh(limits=LOSS)
    lose(world, 11)
    for _ in range(12):
        show(world)
        world.run(SECOND)
    assert [entry.owner for entry in raised(world)] == ["Breaker/DailyLoss/test"]


def test_it_trips_when_the_limit_is_tightened_and_a_loosened_one_lifts_nothing():
    world = fresh(limits=Limits(max_daily_loss=Decimal(100)))
    lose(world, 50)
    world.outcomes += world.driver.reconfigure(replace(world.engine.config, limits=LOSS), world.now_ns)
    assert len(raised(world)) == 1
    world.outcomes += world.driver.reconfigure(replace(world.engine.config, limits=Limits()), world.now_ns)
    assert len(world.driver.halts) == 1


def test_a_person_may_clear_it_and_it_does_not_come_back_that_day():
    world = fresh(limits=LOSS)
    lose(world)
    world.take(BUY, SELL)
    [entry] = raised(world)
    assert isinstance(entry, Halt)
    clear = Clear(id="c", halt=entry.id, owner=PERSON, at_ns=world.now_ns)
    world.outcomes += world.driver.on_halts((clear,), world.now_ns)
    show(world)
    world.take(BUY, SELL, name="again")
    assert world.reasons()[-1] == "MaxDailyLoss"  # the gate still knows
    assert world.driver.halts == ()
    assert len(raised(world)) == 1


def test_a_breaker_that_tripped_before_a_restart_holds_and_ends_with_its_day(tmp_path):
    world = fresh(tmp_path / "x.db", limits=LOSS)
    lose(world)
    world.take(BUY, SELL)
    world.driver.flush()
    second = World(tmp_path / "x.db", config(limits=LOSS), holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    show(second)
    second.take(BUY, SELL)
    assert second.reasons() == ["Halted"]
    third = World(tmp_path / "x.db", config(limits=LOSS), holder="three", now_ns=world.now_ns + DAY).start()
    show(third)
    third.outcomes += third.driver.on_time(third.now_ns)
    assert third.driver.halts == ()


def test_a_stuck_intent_halts_until_a_person_clears_it():
    world = fresh(on_partial=PartialPolicy.UNWIND)
    world.take(BUY, SELL)
    world.book("a", bids=(("90.00", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    world.run(62 * SECOND)
    assert world.intents() == [("Stuck", "Stuck", "")]
    [entry] = raised(world)
    assert isinstance(entry, Halt)
    assert (entry.owner, entry.reason) == ("Breaker/StuckIntent/test", HaltReason.STUCK_INTENT)
    assert entry.detail == world.rows("SELECT id FROM intents")[0][0]
    assert world.store.halts() == (entry,)
    world.now_ns += DAY
    show(world)
    world.outcomes += world.driver.on_time(world.now_ns)
    assert world.driver.halts == (entry,)
    world.driver.on_halts((Clear(id="c", halt=entry.id, owner=PERSON, at_ns=1),), world.now_ns)
    assert not world.driver.halts


def epoch(number: int, incarnation: str = "one") -> Epoch:
    return Epoch(incarnation=incarnation, number=number, run_id="run")


@pytest.mark.parametrize(
    ("then", "lost"), [(epoch(5), False), (epoch(6), False), (epoch(4), True), (epoch(9, "another"), True)]
)
def test_an_epoch_that_does_not_go_on_from_the_known_one_halts(tmp_path, then, lost):
    world = fresh(tmp_path / "x.db")
    world.outcomes += world.driver.on_epoch(epoch(5), world.now_ns)
    assert raised(world) == []
    assert world.store.known_epoch() == KnownEpoch(incarnation="one", number=5)
    second = World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    second.outcomes += second.driver.on_epoch(then, second.now_ns)
    second.outcomes += second.driver.on_epoch(then, second.now_ns)
    assert [entry.reason for entry in second.driver.halts] == ([HaltReason.STATE_LOST] if lost else [])
    assert raised(second) == list(second.driver.halts)
    assert second.store.known_epoch() == KnownEpoch(incarnation=then.incarnation, number=then.number)
    for halt in second.driver.halts:
        assert halt.owner == PERSON
        assert second.store.halts() == (halt,)
