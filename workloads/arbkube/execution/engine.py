"""The executor's core: opportunities, books, reports and time in, effects out.

For: deciding. The same engine runs in the executor pod and in a replay with virtual time. May not: do I/O, read a clock, or
assume that an effect was performed before it hears so. Effects are performed in order (see `protocols`); what the driver could
not perform comes back through `on_record_failed` and `on_not_sent`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from arbkube.detection.model import Balances, Opportunity
from arbkube.execution.model import (
    Fill,
    Intent,
    IntentOutcome,
    IntentState,
    Order,
    OrderState,
    intent_id,
)
from arbkube.execution.protocols import (
    Announce,
    Closed,
    Effect,
    EquityPoint,
    Event,
    EventKind,
    JournalState,
    OrderReport,
    Query,
    Record,
    Refused,
    RejectReason,
    ReportKind,
    RiskDay,
    Snapshot,
    Submit,
)
from arbkube.execution.reprice import reprice
from arbkube.execution.settlement import (
    OPEN_STATES,
    UNWIND_PATIENCE_NS,
    UNWIND_PAUSE_NS,
    Live,
    Rules,
    judge,
    opening,
)
from arbkube.execution.states import TABLE, Action
from arbkube.market.frames import FrameBatch
from arbkube.market.instruments import Market
from arbkube.resources.kinds import Detection, Execution, LegOrder
from arbkube.risk.accounts import Accounts, Pnl
from arbkube.risk.gates import Gathered, RefusalReason, Repriced, first_refusal
from arbkube.risk.inventory import OpenOrder
from arbkube.risk.limits import Limits
from arbkube.risk.money import exactly

ANSWER_TIMEOUT_NS = 1_000_000_000
"""How long an order's answer may take, beyond the broker's own latency, before it counts as unknown; its deadline as well."""
QUERY_EVERY_NS = 500_000_000
CLOCK_SKEW_NS = 1_000_000_000
"""How long after an order's deadline `NotFound` becomes final."""
REMEMBER_NS = 600_000_000_000
"""How long a settled intent is kept in memory for late fills."""
SNAPSHOT_EVERY_NS = 10_000_000_000


class ExecutorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an executor is told. `venue_of` and `max_age_ns` go by feed."""

    strategy: str
    strategy_uid: str
    revision: str
    profit_asset: str
    detection: Detection
    execution: Execution
    limits: Limits
    markets: tuple[Market, ...]
    venue_of: dict[str, str]
    max_age_ns: dict[str, int]


class Engine:
    def __init__(self, config: ExecutorConfig) -> None:
        self.config = config
        self.lease_valid = True
        """Told by the driver; an Open is refused while false."""
        self.journal_writable = True
        """Told by the driver; an Open is refused while false."""
        target = {(b.feed, b.asset): b.amount for b in config.execution.paper.balances}
        self.accounts = Accounts(target=target, markets=config.markets, profit_asset=config.profit_asset)
        self._rules = Rules(
            legs=config.execution.legs,
            on_partial=config.execution.on_partial,
            max_loss=config.execution.max_loss.fraction,
            order_lifetime_ns=ANSWER_TIMEOUT_NS + config.execution.paper.latency.ns,
            markets={market.key: market for market in config.markets},
            max_age_ns=config.max_age_ns,
        )
        self._live: dict[str, Live] = {}
        self._settled: dict[str, Live] = {}
        """In the order in which they were settled."""
        self._intent_of: dict[str, str] = {}
        self._look_ns: dict[str, int] = {}
        """Per open order: when to declare it unknown or ask again."""
        self._wait_ns: dict[str, int] = {}
        """Per unwinding intent that waits: when to look again, whatever the books do."""
        self._risk_day: RiskDay | None = None
        self._snapshot_ns = 0

    # ---- what comes in -------------------------------------------------------------------------------------------

    @exactly
    def restore(self, state: JournalState, now_ns: int) -> list[Effect]:
        """Take over what the journal holds. Orders whose outcome it does not know are asked for; nothing is sent again."""
        self._risk_day = state.risk_day
        fills: dict[str, list[Fill]] = {}
        known = {intent.id for intent in (*state.unsettled, *state.recent)}
        for fill in state.fills:
            self._take_in(fill)
            if fill.intent_id in known:
                fills.setdefault(fill.intent_id, []).append(fill)
        effects: list[Effect] = []
        for intent in (*state.unsettled, *state.recent):
            orders = tuple(
                replace(order, state=OrderState.UNKNOWN) if order.state in OPEN_STATES else order
                for order in state.orders.get(intent.id, ())
            )
            live = Live(intent, orders, tuple(fills.get(intent.id, ())), resumed=True)
            settled = intent.state in (IntentState.DONE, IntentState.STUCK)
            (self._settled if settled else self._live)[intent.id] = live
            self._intent_of.update((order.id, intent.id) for order in orders)
            if settled:
                continue
            live.unwinding_since_ns = now_ns  # patience begins anew: books have yet to come
            open_orders = [order for order in orders if order.state in OPEN_STATES]
            for order in open_orders:
                self._look_ns[order.id] = now_ns + QUERY_EVERY_NS
            effects += [Query(order.feed, order.id) for order in open_orders]
            if not open_orders:
                effects += self._advance(live, now_ns)
        detail = f"{len(state.unsettled)} unsettled intents found"
        started = Event(at_ns=now_ns, kind=EventKind.STARTED, subject=self.config.strategy, detail=detail)
        return [Record(events=(started,)), *self._roll_day(now_ns), *effects, self._announcement(now_ns)]

    @exactly
    def on_batch(self, batch: FrameBatch, now_ns: int) -> list[Effect]:
        """Newer books. Intents that waited for one go on."""
        self.accounts.books.apply(batch)
        if not self._wait_ns:
            return []
        return [effect for intent in list(self._wait_ns) for effect in self._advance(self._live[intent], now_ns)]

    @exactly
    def on_opportunity(self, opportunity: Opportunity, now_ns: int) -> list[Effect]:
        """Take it or refuse it, wholly on what is known now."""
        effects: list[Effect] = list(self._roll_day(now_ns))
        gathered = self._gather(opportunity, now_ns)
        reason = first_refusal(gathered)
        if reason is not None:
            return [*effects, Refused(self._intent(opportunity, None, now_ns, reason))]
        intent = self._intent(opportunity, gathered.repriced, now_ns, None)
        if intent.id in self._settled or intent.id in self._live:
            # The journal would say so, too, but by then the earlier one's orders would have been forgotten.
            duplicate = RefusalReason.DUPLICATE_INTENT
            return [*effects, Refused(self._intent(opportunity, gathered.repriced, now_ns, duplicate))]
        live = Live(intent)
        count = len(intent.legs) if self._rules.legs is LegOrder.SIMULTANEOUS else 1
        lifetime_ns = self._rules.order_lifetime_ns
        orders = tuple(opening(intent, leg, intent.legs[leg].quantity, lifetime_ns, now_ns) for leg in range(count))
        self._live[intent.id] = live
        self._sent(live, orders, now_ns)
        return [*effects, Record(new_intent=intent, orders=orders), *map(Submit, orders), self._announcement(now_ns)]

    @exactly
    def on_report(self, report: OrderReport, now_ns: int) -> list[Effect]:
        """Book what is new in it, once, and go on with its intent."""
        intent = self._intent_of.get(report.order_id)
        live = self._live.get(intent or "") or self._settled.get(intent or "")
        if live is None:
            event = Event(at_ns=now_ns, kind=EventKind.UNKNOWN_ORDER, subject=report.order_id, detail=report.kind.value)
            return [Record(events=(event,))]
        order = live.orders[report.order_id]
        was_open = order.state in OPEN_STATES
        new = live.unbooked(report.fills)
        for fill in new:
            live.fills[(fill.feed, fill.trade_id)] = fill
            self._take_in(fill)
        order = self._reported(order, report, new, now_ns)
        if order == live.orders[order.id] and not new:
            return []
        live.orders[order.id] = order
        events: tuple[Event, ...] = ()
        if order.state not in OPEN_STATES:
            self._look_ns.pop(order.id, None)
            live.last_final_ns = now_ns
        if new and not was_open:
            events = tuple(
                Event(at_ns=now_ns, kind=EventKind.LATE_FILL, subject=order.id, detail=fill.trade_id) for fill in new
            )
            self._reopen(live, now_ns)
        return self._advance(live, now_ns, orders=(order,), fills=new, events=events)

    @exactly
    def on_time(self, now_ns: int) -> list[Effect]:
        """Whatever is due: answers overdue, queries, waiting unwinds, the risk day, the equity curve."""
        effects: list[Effect] = list(self._roll_day(now_ns))
        for order_id in [order_id for order_id, at_ns in self._look_ns.items() if at_ns <= now_ns]:
            live = self._live[self._intent_of[order_id]]
            order = live.orders[order_id]
            self._look_ns[order_id] = now_ns + QUERY_EVERY_NS
            if order.state is not OrderState.UNKNOWN:
                live.orders[order_id] = order = replace(order, state=OrderState.UNKNOWN)
                effects.append(Record(orders=(order,)))
            effects.append(Query(order.feed, order_id))
        for intent in [intent for intent, at_ns in self._wait_ns.items() if at_ns <= now_ns]:
            effects += self._advance(self._live[intent], now_ns)
        if now_ns >= self._snapshot_ns:
            effects += self.snapshot(now_ns)
        self._forget(now_ns)
        return effects

    def next_deadline(self) -> int | None:
        """When `on_time` next has something to do."""
        return min((*self._look_ns.values(), *self._wait_ns.values(), self._snapshot_ns))

    # ---- what the driver could not do ----------------------------------------------------------------------------

    def on_record_failed(self, intent: Intent, reason: RefusalReason, now_ns: int) -> list[Effect]:
        """A new intent was not journaled, so nothing of it was sent: it never was."""
        live = self._live.pop(intent.id)
        for order in live.orders:
            self._intent_of.pop(order, None)
            self._look_ns.pop(order, None)
        refused = replace(intent, state=IntentState.DONE, outcome=IntentOutcome.REFUSED, reason=reason.value, closed_ns=now_ns)
        return [Refused(refused), self._announcement(now_ns)]

    def on_not_sent(self, order: Order, now_ns: int) -> list[Effect]:
        """A journaled order was not sent, because the lease had run out."""
        report = OrderReport(
            order_id=order.id, feed=order.feed, kind=ReportKind.REJECTED, at_ns=now_ns, reason=RejectReason.LEASE_LOST.value
        )
        return self.on_report(report, now_ns)

    # ---- what others may see -------------------------------------------------------------------------------------

    @exactly
    def pnl(self, now_ns: int) -> Pnl:
        """PnL on the last known books."""
        return self.accounts.pnl(now_ns, None)

    @exactly
    def available(self) -> dict[str, dict[str, Decimal]]:
        """What may be spent, by feed and asset, after what open orders may take."""
        return self.accounts.available(self._open_orders())

    @property
    def live_intents(self) -> tuple[Intent, ...]:
        return tuple(live.intent for live in self._live.values())

    # ---- inside --------------------------------------------------------------------------------------------------

    def _gather(self, opportunity: Opportunity, now_ns: int) -> Gathered:
        lost = self._lost_today(now_ns)
        return Gathered(
            now_ns=now_ns,
            opportunity=opportunity,
            lease_valid=self.lease_valid,
            journal_writable=self.journal_writable,
            revision=self.config.revision,
            markets=self._rules.markets,
            venue_of=self.config.venue_of,
            max_age_ns=self.config.max_age_ns,
            expire_after_ns=self.config.execution.expire_after.ns,
            exit_edge=self.config.detection.exit_edge.fraction,
            max_plausible_edge=self.config.detection.max_plausible_edge.fraction,
            limits=self.config.limits,
            live_identities=frozenset(live.intent.identity for live in self._live.values()),
            reprice=lambda chance: self._reprice(chance, now_ns),
            accounts=self.accounts,
            open_orders=self._open_orders(),
            lost_today=lost,
        )

    def _reprice(self, opportunity: Opportunity, now_ns: int) -> Repriced:
        return reprice(
            opportunity,
            books=self.accounts.books,
            markets=self._rules.markets,
            marks=self.accounts.marks,
            now_ns=now_ns,
            max_mark_age_ns=self.config.limits.max_mark_age_ns,
        )

    def _intent(
        self, opportunity: Opportunity, repriced: Repriced | None, now_ns: int, refused: RefusalReason | None
    ) -> Intent:
        return Intent(
            id=intent_id(self.config.strategy_uid, opportunity.id),
            opportunity_id=opportunity.id,
            identity=opportunity.identity,
            strategy=self.config.strategy,
            revision=opportunity.revision,
            created_ns=now_ns,
            legs=opportunity.legs if repriced is None else repriced.legs,
            profit_asset=opportunity.profit_asset,
            expected_profit=opportunity.expected_profit if repriced is None else repriced.expected_profit,
            state=IntentState.WORKING if refused is None else IntentState.DONE,
            outcome=None if refused is None else IntentOutcome.REFUSED,
            reason="" if refused is None else refused.value,
            closed_ns=None if refused is None else now_ns,
        )

    def _sent(self, live: Live, orders: tuple[Order, ...], now_ns: int) -> None:
        for order in orders:
            live.orders[order.id] = replace(order, state=OrderState.SENT)
            self._intent_of[order.id] = live.intent.id
            self._look_ns[order.id] = now_ns + self._rules.order_lifetime_ns

    def _take_in(self, fill: Fill) -> None:
        self.accounts.book(
            (fill.feed, fill.symbol),
            fill.side,
            price=fill.price,
            quantity=fill.quantity,
            fee=fill.fee,
            fee_asset=fill.fee_asset,
            at_ns=fill.at_ns,
        )

    @staticmethod
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

    def _reopen(self, live: Live, now_ns: int) -> None:
        """A settled intent whose fills changed is judged again, as one that unwinds."""
        if self._settled.pop(live.intent.id, None) is not None:
            self._live[live.intent.id] = live
            live.unwinding_since_ns = now_ns
            live.intent = replace(live.intent, state=IntentState.UNWINDING, outcome=None, closed_ns=None)

    def _advance(
        self,
        live: Live,
        now_ns: int,
        *,
        orders: tuple[Order, ...] = (),
        fills: tuple[Fill, ...] = (),
        events: tuple[Event, ...] = (),
    ) -> list[Effect]:
        """Follow the table one step; everything that changed goes into one record, before what is sent."""
        before = live.intent
        event, proposed = judge(live, self._rules, self.accounts.books, now_ns)
        step = TABLE[(before.state, event)]
        closing = step.outcome is not None
        live.intent = replace(before, state=step.state, outcome=step.outcome, closed_ns=now_ns if closing else None)
        if step.state is IntentState.UNWINDING and before.state is not IntentState.UNWINDING:
            live.unwinding_since_ns = now_ns
        if step.outcome is IntentOutcome.STUCK:
            events += (Event(at_ns=now_ns, kind=EventKind.STUCK, subject=before.id, detail=before.identity),)
        self._wait_ns.pop(before.id, None)
        if step.action is Action.WAIT:
            since_ns = live.unwinding_since_ns or now_ns
            paused_ns = live.last_final_ns + UNWIND_PAUSE_NS
            self._wait_ns[before.id] = paused_ns if paused_ns > now_ns else max(since_ns + UNWIND_PATIENCE_NS, now_ns)
        if closing:
            del self._live[before.id]
            self._settled[before.id] = live
        self._sent(live, proposed, now_ns)
        effects: list[Effect] = []
        changed = () if live.intent == before and not closing else (live.intent,)
        if changed or orders or proposed or fills or events:
            effects.append(Record(intents=changed, orders=orders + proposed, fills=fills, events=events))
        effects += map(Submit, proposed)
        if closing:
            effects += [Closed(live.intent), *self.snapshot(now_ns)]
        if fills or orders or proposed:
            effects.append(self._announcement(now_ns))
        return effects

    def _open_orders(self) -> tuple[OpenOrder, ...]:
        return tuple(
            OpenOrder(
                market=self._rules.markets[(order.feed, order.symbol)],
                side=order.side,
                quantity=max(order.quantity - order.filled, Decimal(0)),
                limit_price=order.limit_price,
            )
            for live in self._live.values()
            for order in live.orders.values()
            if order.state in OPEN_STATES and (order.feed, order.symbol) in self._rules.markets
        )

    def _announcement(self, now_ns: int) -> Announce:
        return Announce(Balances(strategy=self.config.strategy, at_ns=now_ns, available=self.available()))

    def _roll_day(self, now_ns: int) -> list[Effect]:
        """Begin the UTC risk day, as soon as what is held can be valued freshly. A clock that goes back begins none anew."""
        day = datetime.fromtimestamp(now_ns // 10**9, UTC).date().isoformat()
        if self._risk_day is not None and self._risk_day.day >= day:
            return []
        start = self.accounts.pnl(now_ns, self.config.limits.max_mark_age_ns).arb
        if start is None:
            return []
        self._risk_day = RiskDay(day=day, start=start)
        return [Record(risk_day=self._risk_day)]

    def _lost_today(self, now_ns: int) -> Decimal | None:
        current = self.accounts.pnl(now_ns, self.config.limits.max_mark_age_ns).arb
        return None if current is None or self._risk_day is None else self._risk_day.start - current

    @exactly
    def snapshot(self, now_ns: int) -> list[Effect]:
        """A point of the equity curve, on the last known books."""
        self._snapshot_ns = now_ns + SNAPSHOT_EVERY_NS
        pnl = self.accounts.pnl(now_ns, None)
        worth = self.accounts.target_worth(now_ns)
        return [Snapshot(EquityPoint(at_ns=now_ns, cash=pnl.cash, residual=pnl.residual, inventory=worth))]

    def _forget(self, now_ns: int) -> None:
        """Drop settled intents that no late fill can concern any more."""
        while self._settled:
            intent, live = next(iter(self._settled.items()))
            if (live.intent.closed_ns or 0) >= now_ns - REMEMBER_NS:
                return
            del self._settled[intent]
            for order in live.orders:
                self._intent_of.pop(order, None)
