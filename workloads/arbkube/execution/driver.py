"""The driver: performs the engine's effects, strictly in order, on a journal and a broker.

For: the loop that executor pod and replay share. May not: decide anything about trading, or read a clock but the monotonic one
it was given.

A `Submit` is performed only when every `Record` before it is durable. A new intent that cannot be journaled is dropped with
its orders, and the engine is told. Any other record that cannot be journaled stays at the head of the line, everything after
it waits, Opens are refused, and the line is tried again every `RETRY_NS`: nothing is sent that is not written down.

Right before an Open is sent halts and belief in the control server are asked once more, whatever held when it was decided:
after `on_halts` has returned, no Open that it forbids is sent. Complete, Unwind and Flatten never ask.

The lease is renewed at a third of its time. Before each send its monotonic deadline is checked, which lies a tenth of its time
before the moment a successor may take it. A lease that another holder took raises LeaseLost: stop and start anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from arbkube.control.halts import Entry, Halt
from arbkube.control.protocol import Epoch
from arbkube.detection.model import Opportunity
from arbkube.execution.config import ExecutorConfig
from arbkube.execution.engine import Engine
from arbkube.execution.model import Order, Purpose
from arbkube.execution.protocols import (
    Announce,
    Broker,
    Closed,
    DuplicateIntent,
    Effect,
    Journal,
    JournalUnavailable,
    Query,
    Raise,
    Record,
    Refused,
    RejectReason,
    Snapshot,
    Submit,
)
from arbkube.execution.settling.settler import REMEMBER_NS
from arbkube.market.frames import FrameBatch
from arbkube.risk.gates import RefusalReason

RETRY_NS = 500_000_000
LEASE_TTL_NS = 5_000_000_000
NOTE_EVERY_NS = 1_000_000_000
MAX_NOTES = 100

Outcome = Announce | Closed | Refused | Snapshot | Raise
"""What a caller may want to publish, count or log."""


def believed(_monotonic_ns: int) -> None:
    """For a replay: it has no control server, so there is none to doubt."""


class Driver:
    def __init__(
        self,
        *,
        engine: Engine,
        journal: Journal,
        broker: Broker,
        holder: str,
        monotonic_ns: Callable[[], int],
        doubt: Callable[[int], object | None],
        lease_ttl_ns: int = LEASE_TTL_NS,
    ) -> None:
        """`holder` names this process, never two of them. `monotonic_ns` is a monotonic clock (virtual in a replay).

        `doubt` says at a monotonic time why the control server is not believed, or None: `Freshness.doubt`.
        """
        self._engine = engine
        self._journal = journal
        self._broker = broker
        self._holder = holder
        self._monotonic_ns = monotonic_ns
        self._doubt = doubt
        self._ttl_ns = lease_ttl_ns
        self._lease_until_ns = 0
        self._renew_ns = 0
        self._renew_monotonic_ns = 0
        """The same on the clock that never goes back: a lease must not run out because the other one did."""
        self._line: deque[Effect] = deque()
        self._retry_ns: int | None = None
        self._broker_retry_ns = 0
        self._notes: list[Refused | Snapshot | Announce] = []
        self._note_ns: int | None = None
        self.fault = ""
        """Why the journal cannot be written just now; empty while it can."""

    def start(self, now_ns: int) -> list[Outcome]:
        """Take the lease, load the journal, settle what it left open. Raises LeaseLost while another holds the lease.

        Call it once. Where it raises, begin anew with another engine and broker: they may have taken in half of it.
        """
        self._renew(now_ns)
        self._broker.resume()
        return self._perform(self._engine.restore(self._journal.load(now_ns - REMEMBER_NS), now_ns), now_ns)

    def on_batch(self, batch: FrameBatch, now_ns: int) -> list[Outcome]:
        """New books. Orders that arrived before them are executed on the old ones first."""
        outcomes = self._hear(now_ns)
        self._broker.on_batch(batch, now_ns)
        self._tell(now_ns)
        return outcomes + self._perform(self._engine.on_batch(batch, now_ns), now_ns)

    def on_opportunity(self, opportunity: Opportunity, now_ns: int) -> list[Outcome]:
        self._tell(now_ns)
        return self._perform(self._engine.on_opportunity(opportunity, now_ns), now_ns)

    def on_halts(self, entries: Iterable[Entry], now_ns: int) -> list[Outcome]:
        """Take entries of the halt log in, any number of times. In force when this returns, and on their way to the disk."""
        self._tell(now_ns)
        return self._perform(self._engine.on_halts(entries, now_ns), now_ns)

    def on_epoch(self, epoch: Epoch, now_ns: int) -> list[Outcome]:
        """The control server answers under this epoch: before it is believed, and after its halts were heard."""
        return self._perform(self._engine.on_epoch(epoch, now_ns), now_ns)

    def reconfigure(self, config: ExecutorConfig, now_ns: int) -> list[Outcome]:
        """Decide under another configuration, or other limits or markets, from now on; what is under way goes on under its own.

        Raises ValueError, with nothing changed, where a field differs that takes a restart.
        """
        effects = self._engine.reconfigure(config, now_ns)
        self._broker.reconfigure(config)
        return self._perform(effects, now_ns)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The halt log as this executor knows it: what the control server lacks of it is to be appended there."""
        return self._engine.entries

    @property
    def halts(self) -> tuple[Halt, ...]:
        """The halts in force that concern this strategy."""
        return self._engine.halts

    def on_time(self, now_ns: int) -> list[Outcome]:
        """Call when `next_deadline` has come, or at any time."""
        outcomes = self._hear(now_ns)
        if not self._line:
            # Else nothing that it could want would happen: its timers wait with what waits, lest that grow.
            self._tell(now_ns)
            outcomes += self._perform(self._engine.on_time(now_ns), now_ns)
        if self._note_ns is not None and now_ns >= self._note_ns:
            self.flush()
        return outcomes

    def next_deadline(self) -> int:
        """When `on_time` is next needed, in nanoseconds UTC."""
        broker_ns = self._broker.next_deadline()
        if broker_ns is not None:
            broker_ns = max(broker_ns, self._broker_retry_ns)
        engine_ns = None if self._line else self._engine.next_deadline()
        deadlines = (self._renew_ns, engine_ns, self._retry_ns, self._note_ns, broker_ns)
        return min(deadline for deadline in deadlines if deadline is not None)

    def stop(self, now_ns: int) -> None:
        """Write a last point of the equity curve and all that is buffered, and give the lease up.

        Unsettled intents are the next start's. Raises JournalUnavailable.
        """
        self._perform(self._engine.snapshot(now_ns), now_ns)
        self.flush()
        self._journal.release_lease()

    def flush(self) -> None:
        """Store buffered telemetry. What cannot be stored is dropped: it is telemetry."""
        notes, self._notes, self._note_ns = self._notes, [], None
        try:
            self._journal.note(notes)
        except JournalUnavailable as error:
            self.fault = str(error)

    def _hear(self, now_ns: int) -> list[Outcome]:
        """Keep the lease, retry the waiting line, then hand the broker's reports to the engine."""
        if now_ns >= self._renew_ns or self._monotonic_ns() >= self._renew_monotonic_ns:
            self._renew(now_ns)
        outcomes = self._perform((), now_ns) if self._line and now_ns >= (self._retry_ns or 0) else []
        if now_ns < self._broker_retry_ns:
            return outcomes
        try:
            reports = self._broker.due(now_ns)
            self._broker_retry_ns = 0
        except JournalUnavailable as error:
            self.fault, self._broker_retry_ns = str(error), now_ns + RETRY_NS
            return outcomes
        for report in reports:
            self._tell(now_ns)
            outcomes += self._perform(self._engine.on_report(report, now_ns), now_ns)
        return outcomes

    def _perform(self, effects: Iterable[Effect], now_ns: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        self._queue(effects, outcomes, now_ns)
        if now_ns < (self._retry_ns or 0):
            return outcomes
        self._retry_ns = None
        while self._line:
            effect = self._line[0]
            if isinstance(effect, Record):
                try:
                    self._journal.write(effect)
                except (DuplicateIntent, JournalUnavailable) as error:
                    if effect.new_intent is not None:
                        self._drop(effect, error, outcomes, now_ns)
                        continue
                    self.fault, self._retry_ns = str(error), now_ns + RETRY_NS
                    for waiting in [other for other in self._line if isinstance(other, Record) and other.new_intent]:
                        self._drop(waiting, error, outcomes, now_ns)
                    break
                self.fault = ""
            elif isinstance(effect, Submit):
                if (reason := self._forbids(effect.order)) is None:
                    self._submit(effect.order, now_ns)
                else:
                    self._tell(now_ns)
                    self._queue(self._engine.on_not_sent(effect.order, reason, now_ns), outcomes, now_ns)
            elif isinstance(effect, Query):
                self._broker.query(effect.order_id, effect.feed, now_ns)
            else:
                outcomes.append(effect)
                if not isinstance(effect, Closed | Raise):
                    self._note(effect, now_ns)
            self._line.popleft()
        return outcomes

    def _submit(self, order: Order, now_ns: int) -> None:
        """Send, once. A broker that could not take the order leaves it unanswered: the engine will ask for it by id."""
        try:
            self._broker.submit(order, now_ns)
        except JournalUnavailable as error:
            self.fault = str(error)

    def _queue(self, effects: Iterable[Effect], outcomes: list[Outcome], now_ns: int) -> None:
        """Put effects at the end of the line. A refusal waits for nothing."""
        for effect in effects:
            if isinstance(effect, Refused):
                outcomes.append(effect)
                self._note(effect, now_ns)
            else:
                self._line.append(effect)

    def _drop(self, record: Record, error: Exception, outcomes: list[Outcome], now_ns: int) -> None:
        """A new intent was not journaled: neither it nor its orders happen."""
        assert record.new_intent is not None
        duplicate = isinstance(error, DuplicateIntent)
        if not duplicate:
            self.fault = str(error)
        dropped = {order.id for order in record.orders}
        self._line = deque(
            effect
            for effect in self._line
            if effect is not record and not (isinstance(effect, Submit) and effect.order.id in dropped)
        )
        reason = RefusalReason.DUPLICATE_INTENT if duplicate else RefusalReason.JOURNAL_UNAVAILABLE
        self._queue(self._engine.on_record_failed(record.new_intent, reason, now_ns), outcomes, now_ns)

    def _note(self, effect: Announce | Refused | Snapshot, now_ns: int) -> None:
        self._notes.append(effect)
        if len(self._notes) >= MAX_NOTES:
            self.flush()
        elif self._note_ns is None:
            self._note_ns = now_ns + NOTE_EVERY_NS

    def _tell(self, now_ns: int) -> None:
        """Tell the engine what only the driver can know, before it decides."""
        monotonic_ns = self._monotonic_ns()
        self._engine.lease_valid = self._may_send()
        self._engine.journal_writable = not self._line and now_ns >= self._broker_retry_ns
        self._engine.believe(self._doubt(monotonic_ns) is None)

    def _forbids(self, order: Order) -> RejectReason | None:
        """What speaks against sending an order at this very moment."""
        if not self._may_send():
            return RejectReason.LEASE_LOST
        if order.purpose is not Purpose.OPEN:
            return None
        if self._doubt(self._monotonic_ns()) is not None:
            return RejectReason.CONTROL_DOUBTED
        return RejectReason.HALTED if self._engine.halted(order) else None

    def _may_send(self) -> bool:
        return self._monotonic_ns() < self._lease_until_ns

    def _renew(self, now_ns: int) -> None:
        asked_ns = self._monotonic_ns()
        try:
            self._journal.acquire_lease(self._holder, self._ttl_ns, now_ns)
        except JournalUnavailable as error:
            if not self._lease_until_ns:
                raise
            self.fault = str(error)
            self._renew_ns, self._renew_monotonic_ns = now_ns + RETRY_NS, asked_ns + RETRY_NS
            return
        if not self._line:
            self.fault = ""  # a renewal is a durable write as well
        self._lease_until_ns = asked_ns + self._ttl_ns * 9 // 10
        self._renew_ns, self._renew_monotonic_ns = now_ns + self._ttl_ns // 3, asked_ns + self._ttl_ns // 3
