"""A configuration changes between two events: nothing under way is lost or decided anew, and nobody mixes two of them."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from arbkube.execution.config import ANSWER_TIMEOUT_NS, ExecutorConfig
from arbkube.execution.model import Purpose
from arbkube.execution.protocols import Refused
from arbkube.market.instruments import Side
from arbkube.resources.kinds import LegOrder, PartialPolicy
from arbkube.resources.scalars import Bps, Duration
from arbkube.risk.limits import Limits
from tests.execution.test_machine import check_sums
from tests.execution.world import MS, SECOND, A, B, World, config, leg, market, opportunity

BUY, SELL = leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90")


def cheap_and_dear(world: World) -> None:
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "9"),), asks=(("101.10", "5"),))


def fresh(path: Any = ":memory:", **changes) -> World:
    world = World(path, config(**changes)).start()
    cheap_and_dear(world)
    return world


def change(world: World, settings: ExecutorConfig) -> None:
    world.outcomes += world.driver.reconfigure(settings, world.now_ns)


def revised(name: str, **changes) -> ExecutorConfig:
    return replace(config(**changes), revision=name)


def decided(world: World, revision: str, name: str) -> None:
    chance = replace(opportunity(world.now_ns, BUY, SELL, name=name), revision=revision)
    world.outcomes += world.driver.on_opportunity(chance, world.now_ns)


def test_a_live_intent_goes_on_under_its_own_rules():
    """Sequential and unwinding when it was decided; simultaneous, completing and slower by now."""
    world = fresh(legs=LegOrder.SEQUENTIAL, on_partial=PartialPolicy.UNWIND)
    world.take(BUY, SELL)
    change(world, revised("r2", on_partial=PartialPolicy.COMPLETE, latency="200ms"))
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    world.run(100 * MS)
    rows = world.rows("SELECT leg, purpose, deadline_ns - created_ns FROM orders ORDER BY rowid")
    assert rows[:2] == [(0, "Open", ANSWER_TIMEOUT_NS + 20 * MS), (1, "Open", ANSWER_TIMEOUT_NS + 20 * MS)]
    world.run(2 * SECOND)
    assert "Complete" not in {row[1] for row in world.rows("SELECT leg, purpose FROM orders")}
    assert world.rows("SELECT DISTINCT revision FROM intents") == [("r1",)]
    assert world.rows("SELECT detail FROM events WHERE kind = 'Configured'") == [("r1 → r2",)]


def test_the_revision_held_and_the_one_just_left_are_taken_and_no_other():
    world = fresh(limits=Limits(max_open_intents=50))
    for number in (2, 3):
        change(world, revised(f"r{number}", limits=Limits(max_open_intents=50)))
    for revision, taken in (("r3", True), ("r2", True), ("r1", False), ("r4", False)):
        before = len(world.engine.live_intents)
        decided(world, revision, revision)
        assert len(world.engine.live_intents) == before + taken, revision
    assert world.reasons() == ["OtherRevision", "OtherRevision"]
    assert {row[0] for row in world.rows("SELECT revision FROM intents")} == {"r2", "r3"}


def test_back_and_forth_leaves_both():
    world = fresh()
    change(world, revised("r2"))
    change(world, revised("r1"))
    decided(world, "r2", "x")
    assert [intent.revision for intent in world.engine.live_intents] == ["r2"]


def test_other_markets_under_the_same_revision_leave_nothing_behind():
    world = fresh()
    change(world, revised("r2"))
    change(world, revised("r2", markets=(A, B, market("c"))))
    decided(world, "r1", "x")
    assert [intent.revision for intent in world.engine.live_intents] == ["r1"]
    assert world.rows("SELECT count(*) FROM events WHERE kind = 'Configured'") == [(1,)]


def test_what_the_left_revision_decides_is_held_to_the_stricter_limits():
    world = fresh(limits=Limits(max_notional=Decimal(290)))
    change(world, revised("r2", limits=Limits()))
    decided(world, "r1", "x")
    assert world.reasons() == ["MaxNotional"]  # it was not allowed then
    world = fresh()
    change(world, revised("r2", limits=Limits(max_notional=Decimal(290))))
    decided(world, "r1", "x")
    assert world.reasons() == ["MaxNotional"]  # it is not allowed now
    world = fresh()
    change(world, revised("r2"))
    decided(world, "r1", "x")
    assert world.reasons() == []


def test_limits_change_alone_at_once_and_in_both_directions():
    world = fresh()
    tight = replace(world.config.limits, max_notional=Decimal(290))
    change(world, replace(world.config, limits=tight))
    world.take(BUY, SELL)
    assert world.reasons() == ["MaxNotional"]
    change(world, world.config)
    world.take(BUY, SELL, name="again")
    assert world.reasons() == ["MaxNotional"]
    assert world.engine.revision == "r1"


def test_a_tighter_max_loss_holds_for_what_unwinds_already():
    world = fresh(on_partial=PartialPolicy.UNWIND, max_loss="100bps")
    world.take(BUY, SELL)
    world.book("a", bids=(("99.00", "0.5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    world.outcomes += world.driver.reconfigure(
        replace(world.engine.config, limits=replace(world.config.limits, max_loss=Bps("10bps"))), world.now_ns
    )
    world.run(100 * MS)
    assert world.rows("SELECT DISTINCT limit_price FROM orders WHERE purpose = 'Unwind'") == []  # 99.00 is too low now
    world.book("a", bids=(("99.85", "9"),), asks=(("99.90", "9"),))
    assert world.rows("SELECT DISTINCT limit_price FROM orders WHERE purpose = 'Unwind'") == [("99.81",)]  # 99.90 less 10 bps


def test_a_tighter_expiry_refuses_what_was_young_enough():
    world = fresh()
    chance = opportunity(world.now_ns - 200 * MS, BUY, SELL)
    world.outcomes += world.driver.reconfigure(
        replace(world.engine.config, limits=replace(world.config.limits, expire_after=Duration("100ms"))), world.now_ns
    )
    world.outcomes += world.driver.on_opportunity(chance, world.now_ns)
    assert world.reasons() == ["Expired"]


def test_a_venues_changed_lot_is_obeyed_by_what_is_under_way():
    world = fresh(on_partial=PartialPolicy.UNWIND)
    world.take(BUY, SELL)
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    coarse = replace(A, instrument=replace(A.instrument, lot=Decimal("0.5"), min_quantity=Decimal("0.5")))
    change(world, replace(world.config, markets=(coarse, B)))
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.run(100 * MS)
    [(quantity,)] = world.rows("SELECT quantity FROM orders WHERE purpose = 'Unwind'")
    assert Decimal(quantity) == 2
    assert world.intents()[0][:2] == ("Done", "Unwound")


def test_a_dropped_market_still_settles_and_values_what_is_there():
    world = fresh(on_partial=PartialPolicy.UNWIND, markets=(A, B, market("a", "ETH-USDT")))
    world.take(BUY, SELL)
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    only = revised("r2", markets=(market("a", "ETH-USDT"), B))
    change(world, only)
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.run(SECOND)
    assert world.intents() == [("Done", "Unwound", "")]
    world.engine.accounts.inventory.moved[("a", "BTC")] += 1
    change(world, revised("r3", markets=(market("a", "ETH-USDT"),)))
    assert world.engine.pnl(world.now_ns).residual == Decimal("99.80")  # nothing else trades BTC any more
    decided(world, "r3", "x")
    assert world.reasons() == ["UnknownMarket"]


def test_another_profit_asset_leaves_no_revision_and_forgives_no_loss():
    usdc = market("a", "USDC-USDT", lot="1", min_notional="1", min_quantity="1")
    world = fresh(markets=(A, B, usdc), limits=Limits(max_daily_loss=Decimal(100)))
    world.book("a", symbol="USDC-USDT", bids=(("0.99", "900"),), asks=(("1.01", "900"),))
    world.engine.accounts.inventory.moved[("a", "USDT")] = Decimal(-50)
    other = replace(revised("r2", markets=(A, B, usdc), limits=Limits(max_daily_loss=Decimal(100))), profit_asset="USDC")
    change(world, other)
    assert world.engine._books.risk_day is not None
    assert world.engine._books.risk_day.profit_asset == "USDC"
    lost = world.engine._books.lost_today(world.now_ns)
    assert lost is not None
    assert lost >= Decimal("49.5")
    decided(world, "r1", "x")
    assert world.reasons() == ["OtherRevision"]
    assert world.rows("SELECT profit_asset FROM risk_days") == [("USDC",)]


@pytest.mark.parametrize(
    "changes", [{"strategy_uid": "other"}, {"strategy": "other"}, {"execution": config(balances={}).execution}]
)
def test_what_takes_a_restart_is_refused_with_nothing_changed(changes):
    world = fresh()
    with pytest.raises(ValueError, match="cannot change in a running executor"):
        world.driver.reconfigure(replace(revised("r2"), **changes), world.now_ns)
    assert world.engine.revision == "r1"
    world.take(BUY, SELL)
    assert world.reasons() == []


def test_an_intent_of_the_journal_is_settled_under_what_is_held_after_a_start(tmp_path):
    world = fresh(tmp_path / "x.db", on_partial=PartialPolicy.COMPLETE)
    world.take(BUY, SELL)
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    held = revised("r2", on_partial=PartialPolicy.UNWIND)
    second = World(tmp_path / "x.db", held, holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    for _ in range(8):
        cheap_and_dear(second)
        second.run(250 * MS)
    assert second.engine.live_intents == ()
    assert "Complete" not in {row[0] for row in second.rows("SELECT purpose FROM orders")}
    assert second.rows("SELECT revision FROM intents") == [("r1",)]


def test_orders_on_their_way_arrive_as_they_were_sent():
    world = fresh()
    world.take(BUY, SELL)
    change(world, revised("r2", latency="500ms"))
    world.run(30 * MS)
    assert world.intents() == [("Done", "Filled", "")]


class Rollouts(RuleBasedStateMachine):
    """Configurations, limits, opportunities of any revision, books, time, in any order."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed):
        self.random = random.Random(seed)
        self.made = [self.make()]
        self.world = World(":memory:", self.made[0], seed=seed).start()
        self.live_before: set[str] = set()
        self.books()

    def make(self) -> ExecutorConfig:
        number = len(self.made) if hasattr(self, "made") else 0
        return revised(
            f"r{number}",
            legs=self.random.choice(list(LegOrder)),
            on_partial=self.random.choice(list(PartialPolicy)),
            latency=f"{10 + number}ms",  # so that each order tells whose rules made it
            unknown_rate=self.random.choice(["0", "0.2"]),
            max_loss=self.random.choice(["20bps", "100bps"]),
            limits=Limits(max_open_intents=self.random.choice([1, 5])),
        )

    @rule()
    def books(self):
        for feed, centre in (("a", Decimal(100)), ("b", Decimal(101))):
            middle = centre + Decimal(self.random.randrange(-45, 46)) / 100
            size = str(Decimal(self.random.randrange(1, 4000)) / 1000)
            self.world.book(feed, bids=((str(middle - Decimal("0.05")), size),), asks=((str(middle + Decimal("0.05")), size),))

    @rule(back=st.integers(0, 3))
    def reconfigure(self, back):
        if back and len(self.made) > back:
            again = self.made[-1 - back]
        else:
            again = self.make()
            self.made.append(again)
        flows = dict(self.world.engine.accounts.inventory.moved)
        live = self.world.engine.live_intents
        change(self.world, again)
        assert self.world.engine.live_intents == live
        assert self.world.engine.accounts.inventory.moved == flows

    @rule(tight=st.booleans())
    def limits(self, tight):
        limits = replace(self.world.engine.config.limits, max_notional=Decimal(50) if tight else None)
        self.world.outcomes += self.world.driver.reconfigure(
            replace(self.world.engine.config, limits=limits), self.world.now_ns
        )

    @rule(number=st.integers(0, 12), quantity=st.integers(50, 4000), name=st.integers(0, 3))
    def chance(self, number, quantity, name):
        situation = self.world.engine._situation
        accepted = {rules.revision for rules in (situation.rules, situation.left) if rules is not None}
        amount = str(Decimal(quantity // 2 * 2) / 1000)
        chance = replace(
            opportunity(
                self.world.now_ns,
                leg("a", Side.BUY, amount, "100.40"),
                leg("b", Side.SELL, amount, "100.60"),
                name=str(name),
            ),
            revision=f"r{number}",
        )
        outcomes = self.world.driver.on_opportunity(chance, self.world.now_ns)
        refused = [outcome.intent.reason for outcome in outcomes if isinstance(outcome, Refused)]
        assert ("OtherRevision" in refused) == (chance.revision not in accepted)

    @rule(milliseconds=st.sampled_from([1, 10, 25, 100, 600, 1500]))
    def pass_time(self, milliseconds):
        self.world.run(milliseconds * MS)

    @invariant()
    def sums_hold(self):
        if hasattr(self, "world"):
            check_sums(self.world)

    def teardown(self):
        if not hasattr(self, "world"):
            return
        for _ in range(300):
            if not self.world.engine.live_intents:
                break
            self.books()
            self.world.run(250 * MS)
        assert not self.world.engine.live_intents
        check_sums(self.world)
        self.check_revisions()
        self.world.store.close()

    def check_revisions(self):
        """Every order of an intent was made by the rules of the revision that the intent names."""
        by_name = {one.revision: one for one in self.made}
        for intent, revision in self.world.rows("SELECT id, revision FROM intents WHERE outcome != 'Refused'"):
            rules = by_name[revision].execution
            orders = self.world.rows(
                "SELECT purpose, leg, created_ns, deadline_ns - created_ns FROM orders WHERE intent_id = ? ORDER BY rowid",
                intent,
            )
            assert {row[3] for row in orders} == {ANSWER_TIMEOUT_NS + rules.paper.latency.ns}
            opens = [row for row in orders if row[0] == Purpose.OPEN]
            at_once = len({row[2] for row in opens}) == 1 and len(opens) == 2
            assert at_once == (rules.legs is LegOrder.SIMULTANEOUS)
            if rules.on_partial is PartialPolicy.UNWIND:
                assert Purpose.COMPLETE not in {row[0] for row in orders}


Rollouts.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestRollouts = Rollouts.TestCase
