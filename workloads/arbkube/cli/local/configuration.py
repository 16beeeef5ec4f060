"""What configuration runs, for eyes: one row a document, the halts in force, the last refused edit.

For: the live table, `arb status` and `arb config status`, which all show the same. May not: ask pods anything: it reads the
durable state of rollouts, and the pods' acks are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from arbkube.cli.local.edits import Refusal, read_admitted
from arbkube.cli.local.runfile import CONTROL_STATE
from arbkube.control.halts import Halt, Log
from arbkube.control.protocol import Ack
from arbkube.control.rollout.state import ControlState, DocumentState, decode_state


class DocumentRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where one document stands."""

    document: str
    phase: str
    reason: str
    detail: str
    since_ns: int
    run: str | None
    promoted: str | None
    candidate: str | None
    """What is offered, until all shall run it."""
    canaries: tuple[str, ...]
    sources: tuple[str, ...]
    """Kind/name@generation of what it was rendered from."""
    pods: dict[str, str | None] | None
    """What each pod says that it runs; None where the control server could not be asked."""
    agreed: int
    """How many of them run what all shall run."""
    propagation_ms: int | None
    """From the last change to the last pod's ack of it."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All of it."""

    documents: tuple[DocumentRow, ...]
    halts: tuple[Halt, ...]
    """Those in force."""
    refused: Refusal | None
    """The last edit, where it was not taken."""


def read_configuration(state: Path, acks: Mapping[str, Ack] | None) -> Configuration | None:
    """What the durable state says, with the pods' `acks` where they are known. None before there is one.

    Raises msgspec.MsgspecError where it is damaged.
    """
    try:
        control = decode_state((state / CONTROL_STATE).read_bytes())
    except FileNotFoundError:
        return None
    admitted = read_admitted(state)
    return Configuration(
        documents=tuple(_row(document, acks) for document in control.documents.values()),
        halts=active_halts(control),
        refused=admitted.refused if admitted is not None else None,
    )


def active_halts(control: ControlState) -> tuple[Halt, ...]:
    """The halts in force, as far as they were mirrored."""
    return Log(control.halts).active()


def _row(document: DocumentState, acks: Mapping[str, Ack] | None) -> DocumentRow:
    head = document.head
    mine = {pod: ack for pod, ack in sorted((acks or {}).items()) if ack.document == document.name}
    pursued = document.pursued
    return DocumentRow(
        document=document.name,
        phase=document.phase.value,
        reason=document.reason.value,
        detail=document.detail,
        since_ns=document.since_ns,
        run=str(head.run) if head else None,
        promoted=str(head.promoted) if head and head.promoted else None,
        candidate=str(head.candidate) if head and head.candidate and head.candidate != head.run else None,
        canaries=head.canaries if head else (),
        sources=tuple(f"{s.kind}/{s.name}@{s.generation}" for s in pursued.revision.sources) if pursued else (),
        pods=None if acks is None else {pod: str(ack.running) if ack.running else None for pod, ack in mine.items()},
        agreed=sum(head is not None and ack.running == head.run for ack in mine.values()),
        propagation_ms=None if document.propagation_ns is None else round(document.propagation_ns / 1e6),
    )
