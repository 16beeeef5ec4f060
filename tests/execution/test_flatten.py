"""Flatten: back to target, never beyond, never further away, within its budget, once a halt."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbkube.control.halts import HaltReason, Level
from arbkube.execution.engine import Engine
from arbkube.execution.model import Fill, Intent, IntentOutcome, IntentState, Order, OrderState, Purpose
from arbkube.execution.paper import Fate, PaperOrder
from arbkube.execution.protocols import Closed, JournalUnavailable, OrderReport, Raise, Record, ReportKind, Submit
from arbkube.execution.settling import flatten
from arbkube.execution.settling.flatten import judge_flatten
from arbkube.execution.settling.live import PATIENCE_NS, Live
from arbkube.execution.settling.states import FLATTEN_TABLE, Action, FlattenEvent
from arbkube.market.instruments import FeeAsset, Side
from arbkube.resources.kinds import HaltMode, PartialPolicy
from arbkube.risk.limits import Limits
from arbkube.risk.money import exactly
from arbkube.storage.executor import SqliteExecutorStore
from tests.execution.test_halts import clear, halt
from tests.execution.world import MS, SECOND, START, A, B, World, batch, config, leg, market

DOC = Path(__file__).parents[2] / "docs" / "execution.md"
P = market("p", "BTC-USDT-PERP")
RICH = {(feed, asset): "1000000" for feed in "abp" for asset in ("USDT", "BTC", "ETH", "USDC")}
FLATTEN = halt(mode=HaltMode.FLATTEN)


def hold(store: SqliteExecutorStore, **feeds: str) -> None:
    """Positions in BTC by feed, as if traded long ago at 100: in the journal and at the paper venues."""
    store.acquire_lease("before", SECOND, START - 1000 * SECOND)
    legs = tuple(leg(feed, Side.BUY, "1", "100") for feed in feeds)
    intent = Intent(
        id="0" * 32,
        opportunity_id="before",
        identity="before",
        strategy="test",
        revision="r0",
        created_ns=START - 1000 * SECOND,
        legs=legs,
        profit_asset="USDT",
        expected_profit=Decimal(0),
        state=IntentState.DONE,
        outcome=IntentOutcome.FILLED,
        closed_ns=START - 999 * SECOND,
    )
    orders, fills = [], []
    for number, (feed, amount) in enumerate(feeds.items()):
        side, quantity = (Side.BUY if Decimal(amount) > 0 else Side.SELL), abs(Decimal(amount))
        symbol = "BTC-USDT-PERP" if feed == "p" else "BTC-USDT"
        order = Order(
            id=f"before-{number}",
            intent_id=intent.id,
            leg=number,
            purpose=Purpose.OPEN,
            feed=feed,
            symbol=symbol,
            side=side,
            quantity=quantity,
            limit_price=Decimal(100),
            created_ns=intent.created_ns,
            deadline_ns=intent.created_ns,
            state=OrderState.FILLED,
            filled=quantity,
        )
        fill = Fill(
            trade_id=order.id,
            order_id=order.id,
            intent_id=intent.id,
            feed=feed,
            symbol=symbol,
            side=side,
            price=Decimal(100),
            quantity=quantity,
            fee=Decimal(0),
            fee_asset="USDT",
            at_ns=intent.created_ns,
        )
        orders.append(order)
        fills.append(fill)
        paper = PaperOrder(order=order, arrives_ns=order.created_ns, fate=Fate.ANSWERED)
        store.accept(paper)
        store.settle(replace(paper, state=OrderState.FILLED, fills=(fill,)))
    store.write(Record(new_intent=intent, orders=tuple(orders), fills=tuple(fills)))
    store.release_lease()


def holding(path: Path | str = ":memory:", feeds: dict[str, str] | None = None, **changes: Any) -> World:
    """A world that holds something off target, with books at about 100."""
    usual: dict[str, Any] = {"markets": (A, B, P), "balances": RICH, "limits": Limits(max_open_intents=5), "max_loss": "100bps"}
    world = World(path, config(**usual | changes))
    hold(world.store, **({"a": "3", "b": "-2"} if feeds is None else feeds))
    world.start()
    show(world)
    return world


def show(world: World, *, bid: str = "99.95", ask: str = "100.05", size: str = "50") -> None:
    for feed in world.config.venue_of:
        symbol = "BTC-USDT-PERP" if feed == "p" else "BTC-USDT"
        world.book(feed, symbol=symbol, bids=((bid, size),), asks=((ask, size),))


def say(world: World, *entries) -> None:
    world.outcomes += world.driver.on_halts(entries, world.now_ns)


def flattens(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT state, outcome FROM intents WHERE identity LIKE 'Flatten:%' ORDER BY created_ns, id")


def distances(world: World) -> dict[tuple[str, str], Decimal]:
    moved = world.engine.accounts.inventory.moved
    return {holding: amount for holding, amount in moved.items() if holding[1] != "USDT" and amount}


def test_positions_go_back_to_target_and_not_to_zero():
    world = holding()
    assert distances(world) == {("a", "BTC"): 3, ("b", "BTC"): -2}
    say(world, FLATTEN)
    world.run(SECOND)
    assert flattens(world) == [("Done", "Residual")]  # b takes its fee from what it bought
    assert distances(world) == {("b", "BTC"): Decimal("-0.002")}
    assert world.broker.balances()[("a", "BTC")] == 1_000_000
    orders = world.rows("SELECT feed, purpose, side, quantity FROM orders WHERE purpose = 'Flatten' ORDER BY feed")
    assert orders == [("a", "Flatten", "Sell", "3"), ("b", "Flatten", "Buy", "2")]
    assert [one.intent.outcome for one in world.outcomes if isinstance(one, Closed)] == [IntentOutcome.RESIDUAL]


def test_it_is_journaled_before_anything_is_sent():
    world = holding()
    seen = []
    submit = world.broker.submit

    def watched(order, now_ns):
        seen.append(world.rows("SELECT budget FROM orders WHERE id = ?", order.id))
        [(profit,)] = world.rows("SELECT expected_profit FROM intents WHERE id = ?", order.intent_id)
        assert Decimal(profit) < 0
        submit(order, now_ns)

    world.broker.submit = watched  # type: ignore[method-assign]
    say(world, FLATTEN)
    world.run(SECOND)
    assert len(seen) == 2
    assert all(Decimal(budget) > 0 for [(budget,)] in seen)


def test_live_intents_settle_first():
    world = holding(on_partial=PartialPolicy.COMPLETE)
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "9"),), asks=(("101.10", "5"),))
    world.take(leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90"))
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    say(world, FLATTEN)
    assert flattens(world) == []
    for _ in range(20):
        world.run(100 * MS)
        show(world)
    states = world.rows("SELECT identity, outcome FROM intents WHERE created_ns >= ? ORDER BY created_ns", START)
    assert [row[1] for row in states] == ["Unwound", "Residual"]
    assert all(abs(amount) < Decimal("0.052") for amount in distances(world).values())


def test_a_halt_on_a_venue_brings_back_that_venue_alone():
    world = holding()
    say(world, halt(level=Level.VENUE, subject="venue-a", mode=HaltMode.FLATTEN))
    world.run(SECOND)
    assert flattens(world) == [("Done", "Flattened")]
    assert distances(world) == {("b", "BTC"): -2}


def test_a_perpetuals_position_is_closed():
    world = holding(feeds={"a": "2", "p": "-2"})
    say(world, FLATTEN)
    world.run(SECOND)
    assert flattens(world) == [("Done", "Flattened")]
    assert distances(world) == {}


def test_once_a_halt_whatever_is_said_and_whoever_starts(tmp_path):
    world = holding(tmp_path / "x.db")
    say(world, FLATTEN)
    world.run(SECOND)
    say(world, FLATTEN)
    world.run(700 * SECOND)  # beyond what is remembered
    show(world)
    second = World(tmp_path / "x.db", world.config, holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    show(second)
    second.run(SECOND)
    assert len(flattens(second)) == 1
    assert second.reasons() == []
    say(second, halt(2, mode=HaltMode.FLATTEN))
    second.run(SECOND)
    assert len(flattens(second)) == 2
    assert second.rows("SELECT count(*) FROM orders WHERE purpose = 'Flatten'") == [(2,)]


def test_what_died_halfway_goes_on_in_the_next_process(tmp_path):
    world = holding(tmp_path / "x.db")

    def dies(order, now_ns):
        raise KeyboardInterrupt

    world.broker.submit = dies  # type: ignore[method-assign]
    say(world, FLATTEN)
    with pytest.raises(KeyboardInterrupt):
        world.run(SECOND)
    assert flattens(world) == [("Flattening", None)]
    second = World(tmp_path / "x.db", world.config, holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    for _ in range(40):
        show(second)
        second.run(250 * MS)
    assert flattens(second) == [("Done", "Residual")]
    assert all(abs(amount) < Decimal("0.052") for amount in distances(second).values())


def test_without_a_mark_it_waits_and_then_is_stuck_for_a_person():
    world = World(":memory:", config(markets=(A, B), balances=RICH, limits=Limits()))
    hold(world.store, a="3")
    world.start()
    say(world, FLATTEN)
    world.run(PATIENCE_NS - SECOND)
    assert flattens(world) == []
    world.run(PATIENCE_NS + 2 * SECOND)
    assert flattens(world) == [("Stuck", "Stuck")]
    assert world.rows("SELECT count(*) FROM events WHERE kind = 'Stuck'") == [(1,)]
    assert [one.reason for one in world.driver.halts] == [HaltReason.COMMANDED, HaltReason.STUCK_INTENT]
    assert [one.entry.owner for one in world.outcomes if isinstance(one, Raise)] == ["Breaker/StuckIntent/test"]


def test_a_position_without_a_market_is_told_and_the_others_go_back():
    world = holding(feeds={"a": "3"})
    world.engine.accounts.inventory.moved[("b", "DOGE")] = Decimal(7)
    say(world, FLATTEN)
    world.run(SECOND)
    assert flattens(world) == [("Stuck", "Stuck")]
    assert distances(world) == {("b", "DOGE"): 7}


def test_nothing_is_flattened_against_another_position():
    """ETH would be sold for BTC, which has a target of its own."""
    markets = (A, market("a", "ETH-BTC", min_notional="0.0001"))
    world = holding(feeds={"a": "1"}, markets=markets)
    world.book("a", symbol="ETH-BTC", bids=(("0.09", "50"),), asks=(("0.091", "50"),))
    world.engine.accounts.inventory.moved[("a", "ETH")] = Decimal(5)
    say(world, FLATTEN)
    world.run(SECOND)
    assert distances(world) == {("a", "ETH"): 5}
    assert flattens(world) == [("Stuck", "Stuck")]


def test_a_lifted_halt_sends_nothing_more():
    world = holding()
    show(world, size="0.5")
    say(world, FLATTEN)
    world.run(100 * MS)
    say(world, clear())
    sent = world.rows("SELECT count(*) FROM orders WHERE purpose = 'Flatten'")
    show(world)
    world.run(5 * SECOND)
    assert flattens(world) == [("Done", "Lifted")]
    assert world.rows("SELECT count(*) FROM orders WHERE purpose = 'Flatten'") == sent


def test_a_thin_book_takes_several_orders_and_prices_beyond_the_bound_none():
    world = holding(feeds={"a": "3"})
    world.book("b", bids=(("103", "5"),), asks=(("103.1", "5"),))
    world.book("p", symbol="BTC-USDT-PERP", bids=(("103", "5"),), asks=(("103.1", "5"),))
    world.book("a", bids=(("99.95", "1"), ("98.90", "9")), asks=(("100.05", "5"),))
    say(world, FLATTEN)
    world.run(200 * MS)
    assert distances(world) == {("a", "BTC"): 2}  # 98.90 is more than 100 bps below the mark, 99.95
    world.book("a", bids=(("99.90", "5"),), asks=(("100.05", "5"),))
    world.run(SECOND)
    assert flattens(world) == [("Done", "Flattened")]
    assert world.rows("SELECT count(*) FROM orders WHERE purpose = 'Flatten'") == [(2,)]


def test_a_journal_that_cannot_be_written_delays_it():
    world = holding()
    write = world.store.write

    def broken(record):
        raise JournalUnavailable("x.db: the disk is full")

    world.store.write = broken  # type: ignore[method-assign]
    say(world, FLATTEN)
    world.run(2 * SECOND)
    assert flattens(world) == []
    world.store.write = write  # type: ignore[method-assign]
    for _ in range(10):
        world.run(250 * MS)
        show(world)
    assert flattens(world) == [("Done", "Residual")]


def test_a_fill_that_comes_when_all_was_over_opens_it_again():
    world = holding(feeds={"a": "3"})
    say(world, FLATTEN)
    world.run(SECOND)
    assert flattens(world) == [("Done", "Flattened")]
    [live] = [live for live in world.engine._settler.settled.values() if live.intent.identity.startswith("Flatten")]
    fill = replace(next(iter(live.fills.values())), trade_id="late", quantity=Decimal(1))
    late = OrderReport(order_id=fill.order_id, feed="a", kind=ReportKind.DONE, at_ns=world.now_ns, fills=(fill,))
    show(world)
    world.driver._perform(world.engine.on_report(late, world.now_ns), world.now_ns)
    assert distances(world) == {("a", "BTC"): -1}
    assert flattens(world) == [("Flattening", None)]  # in the journal as well: a process that dies now leaves it so
    for _ in range(4):
        world.run(250 * MS)
        show(world, size="51")
    assert distances(world) == {}
    assert flattens(world) == [("Done", "Flattened")]


# ---- the table ---------------------------------------------------------------------------------------------------


def documented() -> list[tuple[str, str, str, str, str]]:
    section = DOC.read_text(encoding="utf-8").split("<!-- table: flatten -->")[1].split("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.strip().splitlines()[2:]]
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


def test_the_document_and_the_code_hold_the_same_table():
    code = [
        (state.value, event.value, step.state.value, step.outcome.value if step.outcome else "", step.action.value)
        for (state, event), step in FLATTEN_TABLE.items()
    ]
    assert documented() == code


def scene(event: FlattenEvent) -> tuple[Engine, Live]:
    engine = Engine(config(markets=(A, B), balances=RICH))
    for feed in "ab":
        engine.on_batch(batch(feed, START), START)
    engine.accounts.inventory.moved[("a", "BTC")] = Decimal(3)
    engine._situation.halting.hear((FLATTEN,))
    plan = flatten.plan(FLATTEN, engine._situation, START, whole=True)
    assert plan is not None
    live = Live(plan, engine._situation.rules)
    live.reducing_since_ns = START
    order = live.next_order(0, Purpose.FLATTEN, Side.SELL, Decimal(3), Decimal("99.41"), START)
    match event:
        case FlattenEvent.PENDING:
            live.orders[order.id] = replace(order, state=OrderState.UNKNOWN)
        case FlattenEvent.WAITING:
            live.last_final_ns = START
        case FlattenEvent.FLAT:
            engine.accounts.inventory.moved[("a", "BTC")] = Decimal(0)
        case FlattenEvent.DUST:
            engine.accounts.inventory.moved[("a", "BTC")] = Decimal("0.04")
        case FlattenEvent.LIFTED:
            engine._situation.halting.hear((clear(),))
        case FlattenEvent.EXHAUSTED:
            live.orders[order.id] = replace(order, state=OrderState.FILLED, filled=order.quantity, budget=Decimal(99))
    engine._settler.live[plan.id] = live
    return engine, live


@pytest.mark.parametrize(("state", "event", "after", "outcome", "action"), documented())
def test_every_row_does_what_it_says(state, event, after, outcome, action):
    engine, live = scene(FlattenEvent(event))
    assert live.intent.state is IntentState(state)
    found, proposed = judge_flatten(live, engine._situation, START, in_turn=True)
    assert found.value == event
    effects = engine._settler._advance(live, START)
    assert live.intent.state is IntentState(after)
    assert live.intent.outcome == (IntentOutcome(outcome) if outcome else None)
    sent = [effect.order for effect in effects if isinstance(effect, Submit)]
    assert tuple(sent) == proposed
    assert bool(sent) == (action == Action.SEND_FLATTEN)
    if sent:
        kinds = [type(effect) for effect in effects]
        assert kinds.index(Record) < kinds.index(Submit)
    assert (action == "Wait") == (live.intent.id in engine._settler._wait_ns)
    assert bool(outcome) == any(isinstance(effect, Closed) for effect in effects)


def test_out_of_turn_it_waits():
    engine, live = scene(FlattenEvent.DUE)
    assert judge_flatten(live, engine._situation, START, in_turn=False) == (FlattenEvent.PENDING, ())


# ---- whatever happens --------------------------------------------------------------------------------------------


class Watched:
    """Every Flatten order against the mark of its moment, every fill against the distance before it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.marks: dict[str, Decimal] = {}
        self.fills = 0
        self.watch()

    def watch(self) -> None:
        submit, book = self.world.broker.submit, self.world.engine.accounts.book

        def submitted(order: Order, now_ns: int) -> None:
            if order.purpose is Purpose.FLATTEN:
                self.marks[order.id] = self.mark(order.side)
                bound = self.world.config.limits.max_loss.fraction
                edge = self.marks[order.id] * (1 - bound if order.side is Side.SELL else 1 + bound)
                assert order.limit_price >= edge if order.side is Side.SELL else order.limit_price <= edge
                lot = self.world.engine._situation.markets[(order.feed, order.symbol)].instrument.lot
                assert order.quantity % lot == 0
            submit(order, now_ns)

        def booked(key, side, *, price, quantity, fee, fee_asset, at_ns):
            moved = self.world.engine.accounts.inventory.moved
            before = dict(moved)
            book(key, side, price=price, quantity=quantity, fee=fee, fee_asset=fee_asset, at_ns=at_ns)
            for holding, amount in moved.items():
                if holding[1] == "USDT":
                    continue
                was = before.get(holding, Decimal(0))
                assert abs(amount) <= abs(was), "further from target"
                assert amount * was >= 0, "beyond target"

        self.world.broker.submit = submitted  # type: ignore[method-assign]
        self.world.engine.accounts.book = booked  # type: ignore[method-assign]

    def mark(self, side: Side) -> Decimal:
        """The lowest bid of all books, or the highest ask: by hand."""
        books, best = self.world.engine.accounts.books, []
        for key in self.world.engine._situation.markets:
            top = books.best(key)
            if top is not None and books.fresh(key, self.world.now_ns, 5 * SECOND) and not key[1].endswith("PERP"):
                best.append(Decimal(top[0][0]) if side is Side.SELL else Decimal(top[1][0]))
        return min(best) if side is Side.SELL else max(best)

    @exactly
    def loss(self) -> Decimal:
        """What the fills of the Flattens lost against their orders' marks, fees included."""
        lost = Decimal(0)
        for fill in self.world.booked():
            mark = self.marks.get(fill.order_id)
            if mark is not None:
                sign = 1 if fill.side is Side.SELL else -1
                lost += sign * (mark - fill.price) * fill.quantity + fill.fee * (mark if fill.fee_asset == "BTC" else 1)
                self.fills += 1
        return lost


@given(
    a=st.integers(-3000, 3000),
    b=st.integers(-3000, 3000),
    seed=st.integers(0, 2**32),
    rejects=st.sampled_from(["0", "0.3"]),
    unknowns=st.sampled_from(["0", "0.3"]),
    restart=st.booleans(),
    fee=st.sampled_from(FeeAsset),
    max_loss=st.sampled_from(["0bps", "20bps", "100bps"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_never_beyond_never_further_never_over_budget(a, b, seed, rejects, unknowns, restart, fee, max_loss):
    dice = random.Random(seed)
    changes: dict[str, Any] = {
        "markets": (market("a"), market("b", charged_in=fee)),
        "balances": RICH,
        "reject_rate": rejects,
        "unknown_rate": unknowns,
        "max_loss": max_loss,
    }
    feeds = {feed: str(Decimal(amount) / 1000) for feed, amount in (("a", a), ("b", b)) if amount}
    world = World(":memory:", config(**changes), seed=seed)
    hold(world.store, **feeds)
    world.start()
    watched = Watched(world)

    def books() -> None:
        for feed in "ab":
            middle = 100 + Decimal(dice.randrange(-45, 46)) / 100
            size = str(Decimal(dice.randrange(1, 2000)) / 1000)
            world.book(
                feed,
                bids=((str(middle - Decimal("0.05")), size), (str(middle - Decimal("0.50")), size)),
                asks=((str(middle + Decimal("0.05")), size), (str(middle + Decimal("0.50")), size)),
                withheld="Gap" if dice.random() < 0.05 else "",
            )

    books()
    say(world, FLATTEN)
    again_at = dice.randrange(1, 12) if restart else None
    for turn in range(400):
        if turn == again_at:
            store, before = world.store, world
            store._token = 0
            world = World(":memory:", before.config, seed=seed, holder="two", now_ns=before.now_ns + 6 * SECOND)
            world.store = world.broker._ledger = world.driver._journal = store
            world.start()
            marks = watched.marks
            watched = Watched(world)
            watched.marks.update(marks)
        world.run(dice.choice([5, 50, 300]) * MS)
        books()
        if flattens(world) and flattens(world)[0][0] != "Flattening":
            break
    [(state, outcome)] = flattens(world)
    assert state in ("Done", "Stuck")
    [(profit,)] = world.rows("SELECT expected_profit FROM intents WHERE identity LIKE 'Flatten:%'")
    assert watched.loss() <= -Decimal(profit) + Decimal("2e-6") * watched.fills  # each fill rounds its fee up
    if outcome == "Flattened":
        assert distances(world) == {}
    elif outcome == "Residual":
        assert all(abs(amount) * 101 < 6 for amount in distances(world).values())
    sent = world.rows("SELECT count(*), count(DISTINCT id) FROM orders")
    assert sent[0][0] == sent[0][1]
