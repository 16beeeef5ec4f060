"""What must outlive writer and control server: the truth that the server is a projection of.

For: the store that keeps it, `decide` that makes the next from the last. May not: do I/O, or hold what can be seen anew.
"""

from __future__ import annotations

import msgspec

from arbkube.control.halts import Entry
from arbkube.control.protocol import Head, Health, LimitsRecord, Ref, Revision
from arbkube.control.rollout.table import Event, Phase, Reason
from arbkube.plan.documents import decode_limits
from arbkube.risk.limits import Limits

HISTORY = 20
"""Transitions kept a document."""
KEPT = 5
"""Revisions kept a document besides those that its head names."""
_NO_LIMITS = b"null"


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A revision, and what of its meaning a later decision needs."""

    revision: Revision
    meaning: str
    """Its digest without limits."""
    limits: msgspec.Raw
    """As JSON; `null` where the document is no strategy's."""

    @property
    def ref(self) -> Ref:
        return self.revision.ref

    @property
    def decoded_limits(self) -> Limits | None:
        """Raises msgspec.MsgspecError where another release wrote limits that this one does not know."""
        text = bytes(self.limits)
        return None if text == _NO_LIMITS else decode_limits(text)


def limits_text(limits: bytes | None) -> msgspec.Raw:
    """What stands in `Stored.limits`."""
    return msgspec.Raw(_NO_LIMITS if limits is None else limits)


class PodBefore(msgspec.Struct, frozen=True, kw_only=True):
    """A pod as it was when a rollout first met it."""

    boot_id: str
    started_ns: int
    """As whoever starts pods knows it."""
    health: Health
    lived_ns: int
    """How long it had run by then: what its counters are spread over."""
    told: Health | None = None
    """Its counters when it was told to run the candidate: the bake counts from there."""


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a document's history."""

    at_ns: int
    event: Event
    phase: Phase
    reason: Reason
    detail: str
    ref: Ref | None
    """The revision that it was about."""
    propagation_ns: int | None = None
    """From the wish to the last pod's ack, on the transition that saw that ack."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Why a digest is not tried again."""

    reason: Reason
    detail: str
    at_ns: int


class DocumentState(msgspec.Struct, frozen=True, kw_only=True):
    """One document's rollout."""

    name: str
    phase: Phase
    reason: Reason
    detail: str = ""
    since_ns: int
    """When this phase began, UTC."""
    wanted_ns: int
    """When what is under way was wished for, UTC."""
    head: Head | None = None
    """None where there is nothing that may be run."""
    revisions: tuple[Stored, ...] = ()
    """Those that the head names and the last few, by order."""
    pods: dict[str, PodBefore] = {}
    """Those the rollout under way has met."""
    propagation_ns: int | None = None
    """Of the last document that every pod took up."""

    def stored(self, ref: Ref | None) -> Stored | None:
        """The revision `ref`, if it is kept."""
        return next((stored for stored in self.revisions if stored.ref == ref), None)

    @property
    def run(self) -> Stored | None:
        return self.stored(self.head.run) if self.head else None

    @property
    def promoted(self) -> Stored | None:
        return self.stored(self.head.promoted) if self.head else None

    @property
    def candidate(self) -> Stored | None:
        return self.stored(self.head.candidate) if self.head else None

    @property
    def pursued(self) -> Stored | None:
        """What the pods shall come to run."""
        return self.candidate or self.run


class LimitsState(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy's limits in force."""

    record: LimitsRecord
    wanted_ns: int
    propagation_ns: int | None = None
    """From the wish to the last pod's ack; None until then."""


class ControlState(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    incarnation: str
    """Made once: another one means that the state was lost."""
    term: int = 0
    """Grows with every start of a writer."""
    serial: int = 0
    """The last given; with the term it orders all that is written."""
    saves: int = 0
    """How often it was saved: what tells two writers of one store apart."""
    epoch: int = 0
    """The number of the last seeding."""
    documents: dict[str, DocumentState] = {}
    limits: dict[str, LimitsState] = {}
    """By strategy."""
    rejected: dict[str, dict[str, Rejection]] = {}
    """By document and digest. It outlives the document: one that comes back is still not tried again."""
    history: dict[str, tuple[Transition, ...]] = {}
    """By document, the oldest first."""
    halts: tuple[Entry, ...] = ()
    """Mirror of the log, by time and id."""


def encode_state(state: ControlState) -> bytes:
    """The state as JSON."""
    return msgspec.json.encode(state, order="deterministic")


def decode_state(data: bytes) -> ControlState:
    """The state from its JSON. Raises msgspec.MsgspecError."""
    return _decoder.decode(data)


_decoder = msgspec.json.Decoder(ControlState)
