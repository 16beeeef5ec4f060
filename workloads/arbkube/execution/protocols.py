"""The seams of execution: what the engine says (effects), what it hears (reports), and the two things a driver performs on.

For: one file from which the whole of execution can be understood: engine → effects → journal and broker → reports → engine.
May not: hold behaviour.

Effects are performed strictly in order. A `Submit` is performed only after every `Record` before it is durable.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

import msgspec

from arbkube.control.freshness import KnownEpoch
from arbkube.control.halts import Entry
from arbkube.detection.model import Balances
from arbkube.execution.config import ExecutorConfig
from arbkube.execution.model import Fill, Intent, Order
from arbkube.market.frames import FrameBatch
from arbkube.risk.accounts import Positions
from arbkube.risk.daily import RiskDay


class EventKind(StrEnum):
    """What the journal's events say. Details stand beside them."""

    STARTED = "Started"
    """An executor took the lease and settled what it found."""
    CONFIGURED = "Configured"
    """Another revision is decided under from now on, without a restart."""
    STUCK = "Stuck"
    """An intent could not be unwound or flattened: exposure stays booked and a person is needed."""
    LATE_FILL = "LateFill"
    """A fill arrived for an order that had been considered final."""
    UNKNOWN_ORDER = "UnknownOrder"
    """A report named an order that is not this executor's; it was not touched."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    at_ns: int
    kind: EventKind
    subject: str
    """The id of what it is about."""
    detail: str = ""


class EquityPoint(msgspec.Struct, frozen=True, kw_only=True):
    """PnL at a moment, in the profit asset."""

    at_ns: int
    cash: Decimal
    """Net flow of the profit asset over all fills, fees included."""
    residual: Decimal | None
    """Worth of every other asset's distance from target at conservative marks; None while one cannot be valued."""
    inventory: Decimal | None
    """Worth of the target inventory: its change is InventoryPnL, kept apart from ArbPnL (cash + residual)."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one durable transaction. Everything but `new_intent` replaces what the journal has under the same key."""

    new_intent: Intent | None = None
    """Inserted; an id that is already there fails the whole record with `DuplicateIntent`."""
    intents: tuple[Intent, ...] = ()
    orders: tuple[Order, ...] = ()
    fills: tuple[Fill, ...] = ()
    """Inserted by (feed, trade id); one that is already there is left as it is."""
    events: tuple[Event, ...] = ()
    risk_day: RiskDay | None = None
    halts: tuple[Entry, ...] = ()
    """Entries of the halt log, added by id; one that is already there is left as it is."""
    epoch: KnownEpoch | None = None


class Submit(msgspec.Struct, frozen=True):
    """Send this order, once."""

    order: Order


class Query(msgspec.Struct, frozen=True):
    """Ask the venue what became of an order."""

    feed: str
    order_id: str


class Announce(msgspec.Struct, frozen=True):
    """Tell the detector what may be spent."""

    balances: Balances


class Closed(msgspec.Struct, frozen=True):
    """An intent is settled (or stuck): for metrics and logs, already journaled."""

    intent: Intent


class Refused(msgspec.Struct, frozen=True):
    """An opportunity was refused: telemetry, stored in a batch."""

    intent: Intent


class Snapshot(msgspec.Struct, frozen=True):
    """A point of the equity curve: telemetry, stored in a batch."""

    equity: EquityPoint


class Raise(msgspec.Struct, frozen=True):
    """This executor set or cleared a halt: in force here and journaled, to be appended to the control server's log."""

    entry: Entry


Effect = Record | Submit | Query | Announce | Closed | Refused | Snapshot | Raise


class ReportKind(StrEnum):
    DONE = "Done"
    """The order is finished: what it filled is all it will fill. Nothing filled is an IOC miss."""
    REJECTED = "Rejected"
    """The venue refused it; the reason says in what sense."""
    PENDING = "Pending"
    """Answer to a query: the venue has it and it is not finished."""
    NOT_FOUND = "NotFound"
    """Answer to a query: the venue knows no such order."""


class RejectReason(StrEnum):
    """Why a venue refused an order, by meaning."""

    INSUFFICIENT_BALANCE = "InsufficientBalance"
    """The account holds less than the order needs."""
    INVALID_ORDER = "InvalidOrder"
    """It breaks a rule of the market: lot, tick, minimum, unknown symbol."""
    VENUE = "Venue"
    """The venue refused for reasons of its own (paper: injected by `rejectRate`)."""
    LEASE_LOST = "LeaseLost"
    """Never sent: the lease ran out between journal and send."""
    CONTROL_DOUBTED = "ControlDoubted"
    """Never sent: the control server ceased to be believed between journal and send."""
    HALTED = "Halted"
    """Never sent: a halt came between journal and send."""


class OrderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker says of one order: at once, late, or in answer to a query. Fills may repeat earlier ones."""

    order_id: str
    feed: str
    kind: ReportKind
    at_ns: int
    fills: tuple[Fill, ...] = ()
    reason: str = ""


class Broker(Protocol):
    """Where orders go. Answers come out of `due`, never from the call that asked."""

    def resume(self) -> None:
        """Go on with what a predecessor left. Called once the lease is held, before anything else: until then it may act."""

    def reconfigure(self, config: ExecutorConfig) -> None:
        """Go on under another configuration. Orders that were sent keep what they were sent under."""

    def submit(self, order: Order, now_ns: int) -> None:
        """Send an order. Called at most once for an id."""

    def query(self, order_id: str, feed: str, now_ns: int) -> None:
        """Ask what became of an order."""

    def on_batch(self, batch: FrameBatch, now_ns: int) -> None:
        """Show the broker the market."""

    def due(self, now_ns: int) -> list[OrderReport]:
        """Reports that have arrived by `now_ns`."""

    def next_deadline(self) -> int | None:
        """When `due` next has something to do, in nanoseconds UTC."""


class JournalState(msgspec.Struct, kw_only=True):
    """What the journal holds when an executor starts."""

    positions: Positions
    """What all fills ever booked come to."""
    fills: tuple[Fill, ...]
    """Those of the intents in `unsettled` and `recent`, oldest first."""
    unsettled: tuple[Intent, ...]
    orders: dict[str, tuple[Order, ...]]
    """Orders of each intent in `unsettled` or `recent`."""
    recent: tuple[Intent, ...]
    """Settled lately: a late fill may still arrive for them."""
    risk_day: RiskDay | None
    halts: tuple[Entry, ...]
    """Every entry of the halt log ever seen."""
    epoch: KnownEpoch | None
    """The newest epoch of the control server that was trusted."""


class JournalError(Exception):
    """The journal refused a write. Nothing of the record was stored."""


class DuplicateIntent(JournalError):  # noqa: N818 - named for what has happened
    """An intent of this id exists: the opportunity was decided before."""


class JournalUnavailable(JournalError):  # noqa: N818 - named for what has happened
    """The journal cannot be written (disk full, read-only, locked, damaged). The message names file and remedy."""


class LeaseLost(JournalError):  # noqa: N818 - named for what has happened
    """Another executor holds the lease, or this one's ran out. Stop; a restart waits for the lease and settles."""


class Journal(Protocol):
    """The durable record. Calls are synchronous and made inline on the event loop: one commit is one write to the disk.

    Every write asserts the lease's token in its own transaction.
    """

    def acquire_lease(self, holder: str, ttl_ns: int, now_ns: int) -> None:
        """Take the lease or keep it for another `ttl_ns`. Raises LeaseLost while another holder's has not run out.

        Raises it, too, when somebody took the lease since we did, gone or not: what was loaded before is out of date.
        """

    def release_lease(self) -> None:
        """Give it up, so that a successor need not wait."""

    def write(self, record: Record) -> None:
        """Store the record durably. Raises DuplicateIntent, JournalUnavailable or LeaseLost."""

    def load(self, recent_since_ns: int) -> JournalState:
        """What was stored, with the intents settled since then."""

    def note(self, effects: Iterable[Refused | Snapshot | Announce]) -> None:
        """Store telemetry, in one batch, without waiting for the disk. Raises JournalUnavailable."""
