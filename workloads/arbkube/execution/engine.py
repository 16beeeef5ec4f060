"""The executor's core: opportunities, books, reports, halts, configurations and time in, effects out.

For: deciding. The same engine runs in the executor pod and in a replay with virtual time. May not: do I/O, read a clock, or
assume that an effect was performed before it hears so. Effects are performed in order (see `protocols`); what the driver could
not perform comes back through `on_record_failed` and `on_not_sent`.

Whether an opportunity is taken is decided here; what becomes of an intent is the settler's.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec.structs import replace

from arbkube.control.freshness import KnownEpoch, continues
from arbkube.control.halts import Entry, Halt
from arbkube.control.protocol import Epoch
from arbkube.control.reservations.blocks import Reservations
from arbkube.control.reservations.demand import Levels
from arbkube.detection.model import Opportunity
from arbkube.execution.config import ExecutorConfig, Rules, ages_of
from arbkube.execution.model import FLATTEN, Intent, IntentOutcome, IntentState, Order, Purpose, intent_id
from arbkube.execution.protocols import (
    Effect,
    Event,
    EventKind,
    JournalState,
    OrderReport,
    Raise,
    Record,
    Refused,
    RejectReason,
    ReportKind,
)
from arbkube.execution.reprice import reprice
from arbkube.execution.reserving import Reserving
from arbkube.execution.settling import flatten
from arbkube.execution.settling.bookkeeping import Bookkeeper
from arbkube.execution.settling.live import PATIENCE_NS, Live
from arbkube.execution.settling.settler import Settler
from arbkube.execution.settling.situation import Situation
from arbkube.market.frames import FrameBatch
from arbkube.resources.kinds import HaltMode, LegOrder
from arbkube.risk.accounts import Pnl
from arbkube.risk.gates import RefusalReason, first_refusal
from arbkube.risk.gathered import Gathered, Repriced
from arbkube.risk.halting import state_lost
from arbkube.risk.limits import Limits
from arbkube.risk.money import exactly

FLATTEN_AGAIN_NS = 500_000_000
"""How soon a Flatten that could not be journaled is begun anew."""


class Engine:
    def __init__(self, config: ExecutorConfig, reservations: Reservations | None = None) -> None:
        """Without `reservations`, as in a replay, no budget is shared with anybody."""
        self.lease_valid = True
        """Told by the driver; an Open is refused while false."""
        self.journal_writable = True
        """Told by the driver; an Open is refused while false."""
        self._situation = Situation(config)
        self.accounts = self._situation.accounts
        self._books = Bookkeeper(self._situation)
        self._settler = Settler(self._situation, self._books)
        self._reserving = Reserving(self._situation, self._settler, reservations)
        self._known_epoch: KnownEpoch | None = None
        self._flattened: set[str] = set()
        """Halts whose Flatten is in the journal."""
        self._flatten_by_ns: int | None = None
        """When the next Flatten begins, even if not everything can be valued by then; None while none is due."""
        self._flatten_again_ns = 0
        """When a Flatten that could not be journaled is begun anew."""

    # ---- what comes in -------------------------------------------------------------------------------------------

    @exactly
    def restore(self, state: JournalState, now_ns: int) -> list[Effect]:
        """Take over what the journal holds. Orders whose outcome it does not know are asked for; nothing is sent again."""
        self._books.risk_day = state.risk_day
        self._known_epoch = state.epoch
        self._situation.halting.hear(state.halts)
        self.accounts.take_over(state.positions)
        resumed = self._settler.resume(state, now_ns)
        self._flattened.update(one.opportunity_id for one in (*state.unsettled, *state.recent) if is_flatten(one))
        detail = f"{len(state.unsettled)} unsettled intents found"
        started = self._event(EventKind.STARTED, detail, now_ns)
        return [Record(events=(started,)), *self._books.roll_day(now_ns), *resumed, self._announcement(now_ns)]

    def reconfigure(self, config: ExecutorConfig, now_ns: int) -> list[Effect]:
        """Decide under another configuration from now on. Intents under way keep the rules of theirs.

        Raises ValueError, with nothing changed, where a field differs that takes a restart.
        """
        before = self.revision
        self._situation.reconfigure(config)
        events = (self._event(EventKind.CONFIGURED, f"{before} → {self.revision}", now_ns),) if before != self.revision else ()
        return [*([Record(events=events)] if events else []), *self._present(now_ns)]

    @exactly
    def on_halts(self, entries: Iterable[Entry], now_ns: int) -> list[Effect]:
        """Take entries of the log in: what they halt or clear is so when this returns."""
        new = self._situation.halting.hear(entries)
        return [Record(halts=new), *self._flatten(now_ns)] if new else []

    def on_epoch(self, epoch: Epoch, now_ns: int) -> list[Effect]:
        """The control server answers under this epoch. One that does not continue the known one halts: a log was lost."""
        told, known = KnownEpoch(incarnation=epoch.incarnation, number=epoch.number), self._known_epoch
        if told == known:
            return []
        new: tuple[Entry, ...] = ()
        if known is not None and not continues(epoch, known):
            new = self._situation.halting.hear((state_lost(self._situation.config.strategy, epoch, known, now_ns),))
        self._known_epoch = told
        return [Record(halts=new, epoch=told), *map(Raise, new)]

    @exactly
    def on_batch(self, batch: FrameBatch, now_ns: int) -> list[Effect]:
        """Newer books. What waited for one goes on."""
        self.accounts.books.apply(batch)
        return [*self._settler.on_books(now_ns), *self._flatten(now_ns)]

    @exactly
    def on_opportunity(self, opportunity: Opportunity, now_ns: int) -> list[Effect]:
        """Take it or refuse it, wholly on what is known now."""
        effects: list[Effect] = list(self._books.roll_day(now_ns))
        known = self._situation.rules_for(opportunity.revision)
        rules = known or self._situation.rules
        lost = self._books.lost_today(now_ns)
        gathered = self._gather(opportunity, rules, known is not None, lost, now_ns)
        reason = first_refusal(gathered)
        effects += self._books.check_loss(lost, now_ns)
        if reason is not None:
            return [*effects, Refused(self._intent(opportunity, None, now_ns, reason))]
        intent = self._intent(opportunity, gathered.repriced, now_ns, None)
        if intent.id in self._settler.settled or intent.id in self._settler.live:
            # The journal would say so, too, but by then the earlier one's orders would have been forgotten.
            duplicate = RefusalReason.DUPLICATE_INTENT
            return [*effects, Refused(self._intent(opportunity, gathered.repriced, now_ns, duplicate))]
        live = Live(intent, rules)
        count = len(intent.legs) if rules.legs is LegOrder.SIMULTANEOUS else 1
        orders = tuple(live.opening(leg, intent.legs[leg].quantity, now_ns) for leg in range(count))
        effects += self._settler.begin(live, orders, now_ns)
        self._reserving.begun()
        return effects

    @exactly
    def on_report(self, report: OrderReport, now_ns: int) -> list[Effect]:
        """Book what is new in it, once, and go on with its intent."""
        return [*self._settler.on_report(report, now_ns), *self._flatten(now_ns)]

    @exactly
    def on_time(self, now_ns: int) -> list[Effect]:
        """Whatever is due: answers overdue, queries, what waits, the risk day, the equity curve."""
        effects: list[Effect] = [*self._books.roll_day(now_ns), *self._settler.on_time(now_ns)]
        if now_ns >= self._books.snapshot_ns:
            effects += self._books.check_loss(self._books.lost_today(now_ns), now_ns)
            effects += self.snapshot(now_ns)
        return [*effects, *self._flatten(now_ns)]

    def next_deadline(self) -> int:
        """When `on_time` next has something to do."""
        begins_ns: tuple[int, ...] = () if self._flatten_by_ns is None else (self._flatten_by_ns,)
        return min((self._books.snapshot_ns, *self._settler.deadlines(), *begins_ns))

    # ---- what the driver could not do ----------------------------------------------------------------------------

    def on_record_failed(self, intent: Intent, reason: RefusalReason, now_ns: int) -> list[Effect]:
        """A new intent was not journaled, so nothing of it was sent: it never was. A Flatten is begun anew, if it is new."""
        self._settler.forget(intent.id)
        if is_flatten(intent):
            if reason is not RefusalReason.DUPLICATE_INTENT:
                self._flattened.discard(intent.opportunity_id)
                self._flatten_again_ns = now_ns + FLATTEN_AGAIN_NS
            return []
        refused = replace(intent, state=IntentState.DONE, outcome=IntentOutcome.REFUSED, reason=reason.value, closed_ns=now_ns)
        return [Refused(refused), self._announcement(now_ns)]

    def on_not_sent(self, order: Order, reason: RejectReason, now_ns: int) -> list[Effect]:
        """A journaled order was not sent: what spoke against it came after the decision."""
        report = OrderReport(order_id=order.id, feed=order.feed, kind=ReportKind.REJECTED, at_ns=now_ns, reason=reason.value)
        return self.on_report(report, now_ns)

    # ---- what others may see -------------------------------------------------------------------------------------

    @property
    def revision(self) -> str:
        """What is decided under."""
        return self._situation.rules.revision

    @property
    def config(self) -> ExecutorConfig:
        """What is held, with the limits in force."""
        return self._situation.config

    def believe(self, believed: bool) -> None:
        """Whether the control server is believed just now."""
        self._situation.believed = believed

    def halted(self, order: Order) -> bool:
        """Whether a halt in force forbids an order now. Only an Open can be."""
        if order.purpose is not Purpose.OPEN:
            return False
        live = self._settler.intent_of(order.id)
        return self._situation.halting.mode((order.feed,) if live is None else live.feeds) is not None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The halt log as it is known here."""
        return self._situation.halting.entries

    @property
    def halts(self) -> tuple[Halt, ...]:
        """Those in force that concern the strategy."""
        return self._situation.halting.active

    @exactly
    def pnl(self, now_ns: int) -> Pnl:
        """PnL on the last known books."""
        return self.accounts.pnl(now_ns, None)

    @exactly
    def available(self) -> dict[str, dict[str, Decimal]]:
        """What may be spent, by feed and asset, after what open orders may take."""
        return self.accounts.available(self._settler.open_orders())

    @exactly
    def in_use(self, now_ns: int) -> Levels:
        """What is needed of each shared budget for what is held and under way; None where it cannot be valued."""
        return self._reserving.in_use(now_ns)

    @property
    def live_intents(self) -> tuple[Intent, ...]:
        return tuple(live.intent for live in self._settler.live.values())

    @exactly
    def snapshot(self, now_ns: int) -> list[Effect]:
        """A point of the equity curve, on the last known books."""
        return self._books.snapshot(now_ns)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _gather(
        self, opportunity: Opportunity, rules: Rules, revision_known: bool, lost: Decimal | None, now_ns: int
    ) -> Gathered:
        situation, limits = self._situation, self._situation.limits_for(rules)
        return Gathered(
            now_ns=now_ns,
            opportunity=opportunity,
            control_believed=situation.believed,
            halted=bool(situation.halting.active) and situation.halting.mode(leg.feed for leg in opportunity.legs) is not None,
            lease_valid=self.lease_valid,
            journal_writable=self.journal_writable,
            revision_known=revision_known,
            tradable=rules.tradable,
            markets=situation.markets,
            venue_of=situation.venue_of,
            max_age_ns=situation.max_age_ns if limits is situation.limits else ages_of(limits),
            exit_edge=rules.exit_edge,
            limits=limits,
            live_identities=frozenset(live.intent.identity for live in self._settler.live.values()),
            reprice=lambda chance: self._reprice(chance, limits, now_ns),
            accounts=self.accounts,
            open_orders=self._settler.open_orders(),
            lost_today=lost,
            reserved=lambda repriced: self._reserving.covers(repriced.legs, now_ns, limits.max_mark_age_ns),
        )

    def _reprice(self, opportunity: Opportunity, limits: Limits, now_ns: int) -> Repriced:
        return reprice(
            opportunity,
            books=self.accounts.books,
            markets=self._situation.markets,
            marks=self.accounts.marks,
            now_ns=now_ns,
            max_mark_age_ns=limits.max_mark_age_ns,
        )

    def _intent(
        self, opportunity: Opportunity, repriced: Repriced | None, now_ns: int, refused: RefusalReason | None
    ) -> Intent:
        return Intent(
            id=intent_id(self._situation.config.strategy_uid, opportunity.id),
            opportunity_id=opportunity.id,
            identity=opportunity.identity,
            strategy=self._situation.config.strategy,
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

    def _flatten(self, now_ns: int) -> list[Effect]:
        """Begin the Flatten of a halt that asks for one: once a halt, when everything else is settled."""
        due = (one for one in self._situation.halting.active if one.mode is HaltMode.FLATTEN and one.id not in self._flattened)
        halt = next(due, None)
        if halt is None or self._settler.live:
            self._flatten_by_ns = None
            return []
        if not self.journal_writable or now_ns < self._flatten_again_ns:
            return []
        by_ns = self._flatten_by_ns = self._flatten_by_ns or now_ns + PATIENCE_NS
        intent = flatten.plan(halt, self._situation, now_ns, whole=now_ns < by_ns)
        if intent is None:
            return []
        self._flatten_by_ns = None
        self._flattened.add(halt.id)
        return self._settler.begin_flatten(Live(intent, self._situation.rules), now_ns)

    @exactly
    def _present(self, now_ns: int) -> list[Effect]:
        """What follows from other limits or another unit at once."""
        effects = self._books.roll_day(now_ns)
        effects += self._books.check_loss(self._books.lost_today(now_ns), now_ns)
        return [*effects, self._announcement(now_ns)]

    def _announcement(self, now_ns: int) -> Effect:
        return self._books.announcement(self._settler.open_orders(), now_ns)

    def _event(self, kind: EventKind, detail: str, now_ns: int) -> Event:
        return Event(at_ns=now_ns, kind=kind, subject=self._situation.config.strategy, detail=detail)


def is_flatten(intent: Intent) -> bool:
    """Whether it is a Flatten and no opportunity's."""
    return intent.identity.startswith(FLATTEN)
