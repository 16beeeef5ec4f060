"""The documented state table is the code's, and every row does what it says."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from arbkube.execution.config import Rules
from arbkube.execution.engine import Engine
from arbkube.execution.model import Fill, Intent, IntentOutcome, IntentState, Order, OrderState, Purpose
from arbkube.execution.protocols import Closed, Record, Submit
from arbkube.execution.settling.intents import UNWIND_ATTEMPTS, judge
from arbkube.execution.settling.live import Live
from arbkube.execution.settling.states import INTENT_TABLE, Action, IntentEvent
from arbkube.market.instruments import Side
from arbkube.resources.kinds import LegOrder, PartialPolicy
from tests.execution.world import SECOND, START, batch, config, leg

DOC = Path(__file__).parents[2] / "docs" / "execution.md"
NOW = START + 10 * SECOND


def documented() -> list[tuple[str, str, str, str, str]]:
    section = DOC.read_text(encoding="utf-8").split("<!-- table: states -->")[1].split("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.strip().splitlines()[2:]]
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


def test_the_document_and_the_code_hold_the_same_table():
    code = [
        (state.value, event.value, step.state.value, step.outcome.value if step.outcome else "", step.action.value)
        for (state, event), step in INTENT_TABLE.items()
    ]
    assert documented() == code


def live_intent(state: IntentState, rules: Rules) -> Live:
    return Live(
        Intent(
            id="i" * 32,
            opportunity_id="o",
            identity="x",
            strategy="test",
            revision="r1",
            created_ns=START,
            legs=(leg("a", Side.BUY, "2", "100.00"), leg("b", Side.SELL, "2", "101.00")),
            profit_asset="USDT",
            expected_profit=Decimal(1),
            state=state,
        ),
        rules,
    )


def add(live: Live, index: int, filled: str, purpose: Purpose = Purpose.OPEN, state: OrderState | None = None) -> None:
    order = live.opening(index, Decimal(2), START)
    attempt = len(live.orders)
    side = order.side.opposite if purpose is Purpose.UNWIND else order.side
    order = replace(
        order,
        id=f"{order.id}-{purpose.value}-{attempt}",
        purpose=purpose,
        side=side,
        filled=Decimal(filled),
        state=state or (OrderState.FILLED if Decimal(filled) == 2 else OrderState.PARTLY_FILLED),
    )
    live.orders[order.id] = order
    if Decimal(filled):
        fill = Fill(
            trade_id=order.id,
            order_id=order.id,
            intent_id=live.intent.id,
            feed=order.feed,
            symbol=order.symbol,
            side=side,
            price=order.limit_price,
            quantity=Decimal(filled),
            fee=Decimal(0),
            fee_asset="USDT",
            at_ns=START,
        )
        live.fills[(fill.feed, fill.trade_id)] = fill


def scene(state: IntentState, event: IntentEvent) -> tuple[Engine, Live]:
    """An engine with one intent whose orders amount to `event`."""
    halting = event in (IntentEvent.HALTED, IntentEvent.HALTED_COMPLETABLE)
    sequential = event is IntentEvent.LEG_FILLED or halting
    completing = event in (IntentEvent.UNEVEN_COMPLETABLE, IntentEvent.HALTED_COMPLETABLE)
    engine = Engine(
        config(
            legs=LegOrder.SEQUENTIAL if sequential else LegOrder.SIMULTANEOUS,
            on_partial=PartialPolicy.COMPLETE if completing else PartialPolicy.UNWIND,
        )
    )
    engine.believe(not halting)
    live = live_intent(state, engine._situation.rules)
    live.reducing_since_ns = NOW
    if event is not IntentEvent.WAITING:
        for feed in "ab":
            engine.on_batch(batch(feed, NOW, bids=(("101.00", "5"),), asks=(("101.10", "5"),)), NOW)
    fills = {
        IntentEvent.PENDING: ("2", None),
        IntentEvent.LEG_FILLED: ("2", None),
        IntentEvent.HALTED: ("2", None),
        IntentEvent.HALTED_COMPLETABLE: ("2", None),
        IntentEvent.NOTHING: ("0", "0"),
        IntentEvent.EVEN: ("1", "1"),
        IntentEvent.DUST: ("1.002", "1"),
    }.get(event, ("2", "1"))
    if event is IntentEvent.NOTHING and state is IntentState.UNWINDING:
        add(live, 0, "2")
        add(live, 0, "2", Purpose.UNWIND)
        add(live, 1, "0", state=OrderState.MISSED)
    else:
        for index, filled in enumerate(fills):
            if filled is not None:
                add(live, index, filled, state=OrderState.MISSED if filled == "0" else None)
    if event is IntentEvent.PENDING:
        add(live, 1, "0", state=OrderState.UNKNOWN)
    if event is IntentEvent.EXHAUSTED:
        for _ in range(UNWIND_ATTEMPTS):
            add(live, 0, "0", Purpose.UNWIND, OrderState.MISSED)
    engine._settler.live[live.intent.id] = live
    return engine, live


@pytest.mark.parametrize(("state", "event", "after", "outcome", "action"), documented())
def test_every_row_does_what_it_says(state, event, after, outcome, action):
    engine, live = scene(IntentState(state), IntentEvent(event))
    found, proposed = judge(live, engine._situation, NOW)
    assert found.value == event
    effects = engine._settler._advance(live, NOW)
    assert live.intent.state is IntentState(after)
    assert live.intent.outcome == (IntentOutcome(outcome) if outcome else None)
    sent = [effect.order for effect in effects if isinstance(effect, Submit)]
    purpose = {Action.SEND_NEXT_LEG: Purpose.OPEN, Action.SEND_COMPLETE: Purpose.COMPLETE, Action.SEND_UNWIND: Purpose.UNWIND}
    assert [order.purpose for order in sent] == ([purpose[Action(action)]] if Action(action) in purpose else [])
    assert tuple(sent) == proposed
    if sent:
        # Journal first: the record that holds the order comes before the order is sent.
        kinds = [type(effect) for effect in effects]
        assert kinds.index(Record) < kinds.index(Submit)
        first = next(effect for effect in effects if isinstance(effect, Record))
        assert {order.id for order in sent} <= {order.id for order in first.orders}
    assert (action == "Wait") == (live.intent.id in engine._settler._wait_ns)
    assert bool(outcome) == any(isinstance(effect, Closed) for effect in effects)


def reducing(order: Order, live: Live) -> bool:
    planned = live.intent.legs[order.leg]
    return order.side is planned.side.opposite


def test_an_unwind_goes_back_within_max_loss_of_the_legs_limit():
    engine, live = scene(IntentState.WORKING, IntentEvent.UNEVEN)
    _, (order,) = judge(live, engine._situation, NOW)
    assert reducing(order, live)
    assert order.quantity == 1
    assert order.limit_price == Decimal("99.50")


def test_a_completion_is_the_missing_part_within_max_loss():
    engine, live = scene(IntentState.WORKING, IntentEvent.UNEVEN_COMPLETABLE)
    _, (order,) = judge(live, engine._situation, NOW)
    assert not reducing(order, live)
    assert (order.leg, order.quantity) == (1, Decimal(1))
    assert order.limit_price == Decimal("100.50")  # 101 less 50 bps is 100.495: a tick inside
