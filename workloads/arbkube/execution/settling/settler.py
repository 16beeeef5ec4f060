"""Intents under way: what reports, books and time do to them, step by step through the tables.

For: every intent and Flatten from its first order to its end, a while beyond (for late fills), and over restarts. May not:
decide whether an opportunity is taken, do I/O, or read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec.structs import replace

from arbkube.control.halts import Entry
from arbkube.execution.model import FLATTEN, Fill, IntentOutcome, IntentState, Order, OrderState
from arbkube.execution.protocols import (
    Closed,
    Effect,
    Event,
    EventKind,
    JournalState,
    OrderReport,
    Query,
    Raise,
    Record,
    ReportKind,
    Submit,
)
from arbkube.execution.settling.bookkeeping import Bookkeeper
from arbkube.execution.settling.flatten import judge_flatten
from arbkube.execution.settling.intents import judge
from arbkube.execution.settling.live import OPEN_STATES, PATIENCE_NS, PAUSE_NS, Live
from arbkube.execution.settling.situation import Situation
from arbkube.execution.settling.states import FLATTEN_TABLE, INTENT_TABLE, Action, Step
from arbkube.risk.halting import stuck_intent
from arbkube.risk.inventory import OpenOrder

QUERY_EVERY_NS = 500_000_000
CLOCK_SKEW_NS = 1_000_000_000
"""How long after an order's deadline `NotFound` becomes final."""
REMEMBER_NS = 600_000_000_000
"""How long a settled intent is kept in memory for late fills."""


class Settler:
    """All intents of one executor. What it returns is performed in order (see `protocols`)."""

    def __init__(self, situation: Situation, bookkeeper: Bookkeeper) -> None:
        self._situation = situation
        self._bookkeeper = bookkeeper
        self.live: dict[str, Live] = {}
        self.settled: dict[str, Live] = {}
        """In the order in which they were settled."""
        self._intent_of: dict[str, str] = {}
        self._look_ns: dict[str, int] = {}
        """Per open order: when to declare it unknown or ask again."""
        self._wait_ns: dict[str, int] = {}
        """Per intent that waits for a book: when to look again, whatever the books do."""

    # ---- what comes in -------------------------------------------------------------------------------------------

    def resume(self, state: JournalState, now_ns: int) -> list[Effect]:
        """Go on with what the journal holds, under the rules held now. Orders whose outcome it does not know are asked for."""
        fills: dict[str, list[Fill]] = {}
        for fill in state.fills:
            fills.setdefault(fill.intent_id, []).append(fill)
        effects: list[Effect] = []
        for intent in (*state.unsettled, *state.recent):
            orders = tuple(
                replace(order, state=OrderState.UNKNOWN) if order.state in OPEN_STATES else order
                for order in state.orders.get(intent.id, ())
            )
            live = Live(intent, self._situation.rules, orders, tuple(fills.get(intent.id, ())), resumed=True)
            settled = intent.state in (IntentState.DONE, IntentState.STUCK)
            (self.settled if settled else self.live)[intent.id] = live
            self._intent_of.update((order.id, intent.id) for order in orders)
            if settled:
                continue
            live.reducing_since_ns = now_ns  # patience begins anew: books have yet to come
            open_orders = [order for order in orders if order.state in OPEN_STATES]
            for order in open_orders:
                self._look_ns[order.id] = now_ns + QUERY_EVERY_NS
            effects += [Query(order.feed, order.id) for order in open_orders]
            if not open_orders:
                effects += self._advance(live, now_ns)
        return effects

    def begin(self, live: Live, orders: tuple[Order, ...], now_ns: int) -> list[Effect]:
        """A new intent with its first orders, journaled before they are sent."""
        self.live[live.intent.id] = live
        self._sent(live, orders, now_ns)
        return [Record(new_intent=live.intent, orders=orders), *map(Submit, orders), self._announcement(now_ns)]

    def begin_flatten(self, live: Live, now_ns: int) -> list[Effect]:
        """A new Flatten. It takes its first step when it is journaled: with the next book, or at once when time is told."""
        live.reducing_since_ns = now_ns
        self.live[live.intent.id] = live
        self._wait_ns[live.intent.id] = now_ns
        return [Record(new_intent=live.intent)]

    def forget(self, intent: str) -> None:
        """It was not journaled: it never was."""
        live = self.live.pop(intent, None) or self.settled.pop(intent)
        self._wait_ns.pop(intent, None)
        for order in live.orders:
            self._intent_of.pop(order, None)
            self._look_ns.pop(order, None)

    def on_books(self, now_ns: int) -> list[Effect]:
        """Newer books. Intents that waited for one go on."""
        return [effect for intent in list(self._wait_ns) for effect in self._advance(self.live[intent], now_ns)]

    def on_report(self, report: OrderReport, now_ns: int) -> list[Effect]:
        """Book what is new in it, once, and go on with its intent."""
        live = self.intent_of(report.order_id)
        if live is None:
            event = Event(at_ns=now_ns, kind=EventKind.UNKNOWN_ORDER, subject=report.order_id, detail=report.kind.value)
            return [Record(events=(event,))]
        order = live.orders[report.order_id]
        was_open = order.state in OPEN_STATES
        new = live.unbooked(report.fills)
        for fill in new:
            live.fills[(fill.feed, fill.trade_id)] = fill
            self._book(fill)
        order = _reported(order, report, new, now_ns)
        if order == live.orders[order.id] and not new:
            return []
        live.orders[order.id] = order
        events, reopened = tuple[Event, ...](), False
        if order.state not in OPEN_STATES:
            self._look_ns.pop(order.id, None)
            live.last_final_ns = now_ns
        if new and not was_open:
            events = tuple(
                Event(at_ns=now_ns, kind=EventKind.LATE_FILL, subject=order.id, detail=fill.trade_id) for fill in new
            )
            reopened = self._reopen(live, now_ns)
        return self._advance(live, now_ns, orders=(order,), fills=new, events=events, reopened=reopened)

    def on_time(self, now_ns: int) -> list[Effect]:
        """Answers overdue, queries, and intents that waited long enough."""
        effects: list[Effect] = []
        for order_id in [order_id for order_id, at_ns in self._look_ns.items() if at_ns <= now_ns]:
            live = self.live[self._intent_of[order_id]]
            order = live.orders[order_id]
            self._look_ns[order_id] = now_ns + QUERY_EVERY_NS
            if order.state is not OrderState.UNKNOWN:
                live.orders[order_id] = order = replace(order, state=OrderState.UNKNOWN)
                effects.append(Record(orders=(order,)))
            effects.append(Query(order.feed, order_id))
        for intent in [intent for intent, at_ns in self._wait_ns.items() if at_ns <= now_ns]:
            effects += self._advance(self.live[intent], now_ns)
        self._drop_old(now_ns)
        return effects

    def deadlines(self) -> Iterable[int]:
        """When `on_time` has something to do."""
        yield from self._look_ns.values()
        yield from self._wait_ns.values()

    # ---- what others may see -------------------------------------------------------------------------------------

    def intent_of(self, order: str) -> Live | None:
        """The intent, live or settled lately, that an order belongs to."""
        intent = self._intent_of.get(order, "")
        return self.live.get(intent) or self.settled.get(intent)

    def open_orders(self) -> tuple[OpenOrder, ...]:
        """Orders whose outcome is open: each may still fill whole, or not at all."""
        markets = self._situation.markets
        return tuple(
            OpenOrder(
                market=markets[(order.feed, order.symbol)],
                side=order.side,
                quantity=max(order.quantity - order.filled, Decimal(0)),
                limit_price=order.limit_price,
            )
            for live in self.live.values()
            for order in live.orders.values()
            if order.state in OPEN_STATES and (order.feed, order.symbol) in markets
        )

    # ---- inside --------------------------------------------------------------------------------------------------

    def _advance(
        self,
        live: Live,
        now_ns: int,
        *,
        orders: tuple[Order, ...] = (),
        fills: tuple[Fill, ...] = (),
        events: tuple[Event, ...] = (),
        reopened: bool = False,
    ) -> list[Effect]:
        """Follow the table one step; everything that changed goes into one record, before what is sent."""
        before = live.intent
        step, proposed = self._judge(live, now_ns)
        closing = step.outcome is not None
        live.intent = replace(before, state=step.state, outcome=step.outcome, closed_ns=now_ns if closing else None)
        if step.state is IntentState.UNWINDING and before.state is not IntentState.UNWINDING:
            live.reducing_since_ns = now_ns
        raised: tuple[Entry, ...] = ()
        if step.outcome is IntentOutcome.STUCK:
            events += (Event(at_ns=now_ns, kind=EventKind.STUCK, subject=before.id, detail=before.identity),)
            raised = self._situation.halting.hear((stuck_intent(before.strategy, before.id, now_ns),))
        self._wait_ns.pop(before.id, None)
        if step.action is Action.WAIT:
            self._wait_ns[before.id] = _look_again_ns(live, now_ns)
        if closing:
            del self.live[before.id]
            self.settled[before.id] = live
        self._sent(live, proposed, now_ns)
        effects: list[Effect] = []
        changed = (live.intent,) if live.intent != before or closing or reopened else ()
        if changed or orders or proposed or fills or events:
            effects.append(Record(intents=changed, orders=orders + proposed, fills=fills, events=events, halts=raised))
        effects += map(Submit, proposed)
        if closing:
            effects += [Closed(live.intent), *map(Raise, raised), *self._bookkeeper.snapshot(now_ns)]
        if fills or orders or proposed:
            effects.append(self._announcement(now_ns))
        return effects

    def _judge(self, live: Live, now_ns: int) -> tuple[Step, tuple[Order, ...]]:
        state = live.intent.state
        if state is IntentState.FLATTENING:
            flatten_event, proposed = judge_flatten(live, self._situation, now_ns, in_turn=self._is_in_turn(live))
            return FLATTEN_TABLE[(state, flatten_event)], proposed
        event, proposed = judge(live, self._situation, now_ns)
        return INTENT_TABLE[(state, event)], proposed

    def _is_in_turn(self, flattening: Live) -> bool:
        """Whether nothing else under way moves what a Flatten counts: no intent, and no Flatten before it."""
        others = (live for live in self.live.values() if live is not flattening)
        first = next(live for live in self.live.values() if live.intent.state is IntentState.FLATTENING)
        return first is flattening and all(live.intent.state is IntentState.FLATTENING for live in others)

    def _sent(self, live: Live, orders: tuple[Order, ...], now_ns: int) -> None:
        for order in orders:
            live.orders[order.id] = replace(order, state=OrderState.SENT)
            self._intent_of[order.id] = live.intent.id
            self._look_ns[order.id] = now_ns + live.rules.order_lifetime_ns

    def _book(self, fill: Fill) -> None:
        self._situation.accounts.book(
            (fill.feed, fill.symbol),
            fill.side,
            price=fill.price,
            quantity=fill.quantity,
            fee=fill.fee,
            fee_asset=fill.fee_asset,
            at_ns=fill.at_ns,
        )

    def _reopen(self, live: Live, now_ns: int) -> bool:
        """A settled intent whose fills changed is judged again, as one that reduces what it holds; whether it was settled."""
        if self.settled.pop(live.intent.id, None) is None:
            return False
        self.live[live.intent.id] = live
        live.reducing_since_ns = now_ns
        state = IntentState.FLATTENING if live.intent.identity.startswith(FLATTEN) else IntentState.UNWINDING
        live.intent = replace(live.intent, state=state, outcome=None, closed_ns=None)
        return True

    def _announcement(self, now_ns: int) -> Effect:
        return self._bookkeeper.announcement(self.open_orders(), now_ns)

    def _drop_old(self, now_ns: int) -> None:
        """Forget settled intents that no late fill can concern any more."""
        while self.settled:
            intent, live = next(iter(self.settled.items()))
            if (live.intent.closed_ns or 0) >= now_ns - REMEMBER_NS:
                return
            self.forget(intent)


def _look_again_ns(live: Live, now_ns: int) -> int:
    """When what waits is looked at again, whatever the books do: after its pause, or when its patience runs out."""
    paused_ns = live.last_final_ns + PAUSE_NS
    if paused_ns > now_ns:
        return paused_ns
    over_ns = (live.reducing_since_ns or now_ns) + PATIENCE_NS
    return over_ns if over_ns > now_ns else now_ns + PAUSE_NS


def _reported(order: Order, report: OrderReport, new: tuple[Fill, ...], now_ns: int) -> Order:
    """The order after a report. A final state changes only by fills; `NotFound` counts only past deadline and skew."""
    filled = order.filled + sum((fill.quantity for fill in new), Decimal(0))
    state, reason = order.state, order.reason
    if order.state in OPEN_STATES:
        if report.kind is ReportKind.DONE:
            state = OrderState.MISSED
        elif report.kind is ReportKind.REJECTED:
            state, reason = OrderState.REJECTED, report.reason
        elif report.kind is ReportKind.NOT_FOUND and now_ns > order.deadline_ns + CLOCK_SKEW_NS:
            state = OrderState.NOT_FOUND
    if filled and state not in OPEN_STATES:
        state = OrderState.FILLED if filled >= order.quantity else OrderState.PARTLY_FILLED
    return replace(order, filled=filled, state=state, reason=reason)
