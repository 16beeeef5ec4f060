"""Random markets, rejects, silence, late and doubled reports, halts and doubt: what must hold whatever happens."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arbkube.control.freshness import Doubt
from arbkube.control.halts import Level
from arbkube.execution.engine import is_flatten
from arbkube.execution.model import IntentState, Order, OrderState, Purpose
from arbkube.execution.protocols import OrderReport
from arbkube.market.instruments import Side
from arbkube.resources.kinds import HaltMode, LegOrder, PartialPolicy
from arbkube.risk.inventory import Inventory, trade_flows
from arbkube.risk.money import exactly
from tests.execution.test_halts import clear, halt
from tests.execution.world import MS, SECOND, World, config, leg


class Execution(RuleBasedStateMachine):
    @initialize(
        seed=st.integers(0, 2**32),
        legs=st.sampled_from(LegOrder),
        policy=st.sampled_from(PartialPolicy),
        rejects=st.sampled_from(["0", "0.3"]),
        unknowns=st.sampled_from(["0", "0.3"]),
    )
    def begin(self, seed, legs, policy, rejects, unknowns):
        self.settings = config(legs=legs, on_partial=policy, reject_rate=rejects, unknown_rate=unknowns, max_loss="20bps")
        self.random = random.Random(seed)
        self.sent: Counter[str] = Counter()
        self.heard: list[OrderReport] = []
        self.halts = 0
        self.world = World(":memory:", self.settings, seed=seed)
        self.watch()
        self.world.start()
        self.books()

    def watch(self) -> None:
        """Listen between driver and broker."""
        broker = self.world.broker
        submit, due = broker.submit, broker.due

        def counted(order: Order, now_ns: int) -> None:
            self.sent[order.id] += 1
            assert order.quantity > 0
            if order.purpose is Purpose.OPEN:
                assert self.world.doubt is None
                assert not self.world.driver.halts
            row = self.world.rows("SELECT state FROM intents WHERE id = ?", order.intent_id)
            assert row
            assert row[0][0] not in ("Done", "Stuck")
            assert self.world.rows("SELECT count(*) FROM orders WHERE id = ?", order.id) == [(1,)], "journal first"
            submit(order, now_ns)

        def kept(now_ns: int) -> list[OrderReport]:
            reports = due(now_ns)
            self.heard += reports
            return reports

        broker.submit, broker.due = counted, kept  # type: ignore[method-assign]

    def tear(self) -> Decimal:
        return Decimal(self.random.randrange(-45, 46)) / 100

    def size(self) -> str:
        return str(Decimal(self.random.randrange(1, 4000)) / 1000)

    @rule()
    def books(self):
        for feed, centre in (("a", Decimal(100)), ("b", Decimal(101))):
            middle = centre + self.tear()
            if self.random.random() < 0.05:
                self.world.book(feed, withheld="Gap")
                continue
            bids = tuple((str(middle - Decimal(i) / 20 - Decimal("0.05")), self.size()) for i in range(3))
            asks = tuple((str(middle + Decimal(i) / 20 + Decimal("0.05")), self.size()) for i in range(3))
            self.world.book(feed, bids=bids, asks=asks)

    @rule(quantity=st.integers(50, 4000), then_ms=st.integers(0, 40), moves=st.booleans())
    def chance(self, quantity, then_ms, moves):
        amount = str(Decimal(quantity // 2 * 2) / 1000)
        self.world.take(leg("a", Side.BUY, amount, "100.40"), leg("b", Side.SELL, amount, "100.60"))
        self.world.run(then_ms * MS)
        if moves:
            self.books()
            self.world.run(then_ms * MS)

    @rule(milliseconds=st.sampled_from([1, 10, 25, 100, 600, 1500]))
    def pass_time(self, milliseconds):
        self.world.run(milliseconds * MS)

    @rule(mode=st.sampled_from(HaltMode), venue=st.sampled_from(["venue-a", "venue-b", ""]))
    def halt(self, mode, venue):
        self.halts += 1
        level = Level.VENUE if venue else Level.ALL
        self.world.driver.on_halts((halt(self.halts, level=level, subject=venue, mode=mode),), self.world.now_ns)

    @precondition(lambda self: self.halts)
    @rule()
    def clear(self):
        self.world.driver.on_halts([clear(number) for number in range(1, self.halts + 1)], self.world.now_ns)

    @rule(doubted=st.booleans())
    def doubt(self, doubted):
        self.world.doubt = Doubt.SILENT if doubted else None

    @precondition(lambda self: self.heard)
    @rule(choice=st.randoms())
    def hear_again(self, choice):
        report = choice.choice(self.heard)
        self.world.driver._perform(self.world.engine.on_report(report, self.world.now_ns), self.world.now_ns)

    @rule()
    def restart(self):
        """A process dies with whatever it had in memory; its successor reads the same file."""
        old = self.world
        new = World.__new__(World)
        new.__dict__.update(old.__dict__)
        store, store.database = old.store, old.store.database
        store._token = 0  # a new process does not know the old one's token
        fresh = World(":memory:", self.settings, now_ns=old.now_ns + 6 * SECOND)
        new.now_ns = fresh.now_ns
        new.store = store
        new.engine = fresh.engine
        new.broker = type(old.broker)(self.settings, seed=1, ledger=store)
        new.driver = type(old.driver)(
            engine=new.engine,
            journal=store,
            broker=new.broker,
            holder="two",
            monotonic_ns=lambda: new.now_ns,
            doubt=lambda _: new.doubt,
        )
        self.world = new
        self.watch()
        new.start()
        self.books()

    @invariant()
    def sent_at_most_once(self):
        assert all(number == 1 for number in getattr(self, "sent", Counter()).values())

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
        self.world.driver.flush()
        check_sums(self.world)
        check_even(self.world)
        self.world.store.close()


@exactly
def check_sums(world: World) -> None:
    """Journal, engine and ledger say the same, and no balance is below zero."""
    journal = Inventory({}, ())
    for fill in world.booked():
        journal.book(trade_flows((fill.feed, fill.symbol), fill.side, fill.price, fill.quantity, fill.fee, fill.fee_asset))
    assert journal.moved == world.engine.accounts.inventory.moved
    flows = {asset: amount for asset, amount in journal.by_asset().items() if amount}
    pnl = world.engine.pnl(world.now_ns)
    assert pnl.flows == flows
    assert pnl.cash == flows.get("USDT", 0)
    assert all(amount >= 0 for amount in world.broker.balances().values())
    if not world.engine.live_intents:
        for holding, amount in world.broker.balances().items():
            assert world.engine.accounts.inventory.amount(holding) == amount


def check_even(world: World) -> None:
    """Every settled intent is even to the lot, or its difference is booked as residual or stuck."""
    state = world.store.load(0)
    booked = world.booked()
    assert not state.unsettled
    for intent in state.recent:
        if is_flatten(intent):
            continue
        fills = [fill for fill in booked if fill.intent_id == intent.id]
        base_fees = sum((fill.fee for fill in fills if fill.fee_asset == "BTC"), Decimal(0))
        net = sum((f.quantity if f.side is Side.BUY else -f.quantity for f in fills), Decimal(0))
        for order in state.orders[intent.id]:
            assert order.state not in (OrderState.JOURNALED, OrderState.SENT, OrderState.UNKNOWN)
            assert order.filled == sum((f.quantity for f in fills if f.order_id == order.id), Decimal(0))
            assert order.filled <= order.quantity
        if intent.state is IntentState.DONE and intent.outcome != "Residual":
            assert abs(net) < Decimal("0.002"), (intent.outcome, net)
        elif intent.outcome == "Residual":
            # Below the least order of either venue, 5 USDT, and what fees took.
            assert abs(net) <= Decimal("0.052") + base_fees
        opened = sum((o.filled for o in state.orders[intent.id] if o.purpose is not Purpose.UNWIND), Decimal(0))
        assert all(o.filled <= opened for o in state.orders[intent.id])


Execution.TestCase.settings = settings(
    max_examples=250, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestExecution = Execution.TestCase
