"""What stands on the control server: the words that writers and pods share.

For: one file from which the whole of control can be understood. A writer (the operator, or `arb up`) renders documents into
immutable revisions, a `Head` says which of them runs, pods answer with an `Ack`; `LimitsRecord` goes its own, quicker way; the
`Epoch` says whose server this is. Halts and clears stand in `control.halts`. May not: do I/O or hold behaviour.

Everything a writer writes is ordered by (term, serial): the term comes from the writer's lease, the serial grows with every
write of that key. The server refuses a lower term, and a pod refuses what is older than what it has seen.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from arbkube.plan.documents import Source

EPOCH_KEY = "epoch"
CAPACITIES_KEY = "capacities"
TERM_KEY = "term"
"""The highest term that ever wrote; a lower one is refused."""
HALTS_KEY = "halts"
"""The log of halts and clears: a list, for which a server has commands that only append (a stream's XADD may also trim)."""
HALT_IDS_KEY = "halts:ids"
"""The ids in the log, so that an entry is appended once."""
HEAD_PREFIX = "head:"
REVISION_PREFIX = "revision:"
"""A hash a document: order → revision, which is never replaced."""
LIMITS_PREFIX = "limits:"
ACK_PREFIX = "ack:"
STATUS_PREFIX = "status:"
CHANGED_CHANNEL = "changed"
"""Said after every write of a head, limits, epoch or halt: it only hurries, pods also poll."""
ACKED_CHANNEL = "acked"
"""Said after every ack that says something new."""

POLL_NS = 200_000_000
"""How often a pod asks, whether or not something was said."""
ACK_TTL_MS = 3000
"""An ack that is not renewed is gone after this long: its pod is not there."""
DOCUMENT_VERSIONS = (1,)
"""Versions of documents that this release writes and understands, the newest last."""


class Order(msgspec.Struct, frozen=True, order=True, array_like=True):
    """When something was written, among all that was ever written under its key."""

    term: int
    serial: int


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable revision of a document. Equal digests mean the same; equal orders are the same revision."""

    order: Order
    digest: str

    def __str__(self) -> str:
        return f"{self.order.term}.{self.order.serial} ({self.digest})"


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What stands under a revision's key, for ever the same."""

    document: str
    """The document's name, e.g. `strategy-cross`."""
    ref: Ref
    version: int
    """How `content` is to be read: one of DOCUMENT_VERSIONS."""
    content: msgspec.Raw
    """The document as JSON."""
    shapes: dict[str, str]
    """The pod shape this revision wants, by workload: a pod of another shape is about to be replaced and leaves it alone."""
    sources: tuple[Source, ...]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the pods of one document shall run. Made anew, with a higher order, for every step of a rollout."""

    document: str
    order: Order
    run: Ref
    """Every pod runs this one, but for `canaries`."""
    promoted: Ref | None
    """The last one that was found good: what a pod that boots runs. None while none ever was; it then boots with `run`."""
    candidate: Ref | None = None
    """To be parsed and validated by every pod, and answered; the pods in `canaries` run it."""
    canaries: tuple[str, ...] = ()


class LimitsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The limits in force for one strategy. A pod holds the field-wise stricter of these and its document's."""

    strategy: str
    order: Order
    limits: msgspec.Raw


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a shared budget there is, and whose executors share it; see `control.reservations`."""

    units: int
    users: tuple[str, ...]
    """Strategies, sorted. Nothing new is granted until the executors of all of them have declared what they use."""


class Capacities(msgspec.Struct, frozen=True, kw_only=True):
    """All shared budgets, by the pool's text: written whole each time."""

    order: Order
    pools: dict[str, Capacity]


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """Whose server this is, and that it was seeded: without it, or with another run id than the server's, nothing is sure."""

    incarnation: str
    """Made once with the writer's durable state: another one means that state was lost."""
    number: int
    """Grows with every seeding."""
    run_id: str
    """Of the server process that was seeded."""


class Answer(StrEnum):
    """What a pod says of a candidate."""

    PREPARED = "Prepared"
    """Parsed, validated, and ready to be swapped in."""
    REJECTED = "Rejected"
    """Not of this pod's version, or invalid: reason and path beside it."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's counters since its boot: what a rollout's bake holds against the time before. All grow, but the age."""

    attempts: int = 0
    """Orders sent (executor), evaluations (detector), messages (feed): how much could go wrong."""
    rejects: int = 0
    """Orders that a venue refused."""
    errors: int = 0
    """Unreadable messages, gaps, failed writes: what should never happen."""
    data_age_ns: int | None = None
    """Age of the oldest data it works on; None where there is none yet."""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod holds, said anew with every heartbeat and at once when it changes. Applied is what stands here."""

    pod: str
    workload: str
    role: str
    document: str
    boot_id: str
    """Made at the process's start: another one means that the pod was started again."""
    heard: Order | None = None
    """Of the newest head it took in. A writer that lost its past learns here what it has to exceed."""
    running: Ref | None
    candidate: Ref | None = None
    """What `answer` is about."""
    answer: Answer | None = None
    reason: str = ""
    path: str = ""
    limits: Order | None = None
    epoch: int | None = None
    """Number of the epoch it trusts; None while it does not trust the server."""
    halts: tuple[str, ...] = ()
    """Ids of the halts in force that it holds (executors)."""
    versions: tuple[int, ...] = DOCUMENT_VERSIONS
    health: Health = Health()


class PutRevision(msgspec.Struct, frozen=True):
    """Store a revision; one that is there already is left as it is."""

    revision: Revision


class PutHead(msgspec.Struct, frozen=True):
    """Replace a head by one of higher order."""

    head: Head


class PutLimits(msgspec.Struct, frozen=True):
    """Replace a strategy's limits by a record of higher order."""

    record: LimitsRecord


class PutCapacities(msgspec.Struct, frozen=True):
    """Replace the capacities by those of a higher order."""

    capacities: Capacities


class PutEpoch(msgspec.Struct, frozen=True):
    """Say that the server is seeded, last of all that seeding writes. Refused where another process has taken its place."""

    epoch: Epoch


class DropRevision(msgspec.Struct, frozen=True):
    """Forget a revision that nothing names any more."""

    document: str
    order: Order


class DropDocument(msgspec.Struct, frozen=True):
    """Forget a document with its head and all its revisions, and a strategy's limits with it: nothing runs it any more."""

    document: str
    strategy: str | None = None


Write = PutRevision | PutHead | PutLimits | PutCapacities | PutEpoch | DropRevision | DropDocument
"""What a writer does to the server, each refused to a lower term than has written before. Halts are appended apart."""


def revision_field(order: Order) -> str:
    """The field of a document's hash that holds the revision of `order`."""
    return f"{order.term}.{order.serial}"


def order_of_field(field: str) -> Order:
    """The other way round. Raises ValueError."""
    term, _, serial = field.partition(".")
    return Order(int(term), int(serial))


def encode(value: msgspec.Struct) -> bytes:
    """Any struct of control as JSON."""
    return _encoder.encode(value)


_encoder = msgspec.json.Encoder(order="deterministic")
