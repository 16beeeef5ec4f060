"""What the control server must hold, and what has to be written so that it does.

For: one rule for the first seeding, a rebuilt server, a crash between save and write, and every step of a rollout: write what
differs from the durable state. May not: decide, do I/O or read a clock.
"""

from __future__ import annotations

from arbkube.control.protocol import (
    DropDocument,
    DropRevision,
    Epoch,
    Head,
    LimitsRecord,
    Order,
    PutEpoch,
    PutHead,
    PutLimits,
    PutRevision,
    Write,
)
from arbkube.control.rollout.inputs import Seen
from arbkube.control.rollout.state import ControlState

_STRATEGY = "strategy-"


def seeded(state: ControlState, seen: Seen) -> bool:
    """Whether the server is this state's own, and whole since it was seeded."""
    epoch = seen.epoch
    return epoch == Epoch(incarnation=state.incarnation, number=state.epoch, run_id=seen.run_id)


def writes(state: ControlState, seen: Seen, *, forgetting: bool) -> tuple[Write, ...]:
    """What has to be written, in order: revisions before the heads that name them, limits before heads, the epoch last.

    `forgetting`: also drop the documents that the state does not hold.
    """
    needed: list[Write] = []
    for name, doc in state.documents.items():
        there = seen.revisions.get(name, frozenset())
        needed += [PutRevision(stored.revision) for stored in doc.revisions if stored.ref.order not in there]
    needed += [PutLimits(held.record) for name, held in state.limits.items() if _newer(held.record, seen.limits.get(name))]
    needed += [
        PutHead(doc.head) for name, doc in state.documents.items() if doc.head and _newer(doc.head, seen.heads.get(name))
    ]
    for name, orders in seen.revisions.items():
        if (held_doc := state.documents.get(name)) is not None:
            kept = {stored.ref.order for stored in held_doc.revisions}
            needed += [DropRevision(name, order) for order in sorted(orders - kept)]
    if forgetting:
        needed += _drops(state, seen)
    if not seeded(state, seen):
        needed.append(PutEpoch(Epoch(incarnation=state.incarnation, number=state.epoch, run_id=seen.run_id)))
    return tuple(needed)


def orders_seen(seen: Seen) -> list[Order]:
    """Every order that stands on the server or that a pod holds."""
    orders = [head.order for head in seen.heads.values()]
    orders += [record.order for record in seen.limits.values()]
    orders += [order for there in seen.revisions.values() for order in there]
    for ack in seen.acks.values():
        refs = [ref.order for ref in (ack.running, ack.candidate) if ref is not None]
        orders += [order for order in (*refs, ack.heard, ack.limits) if order is not None]
    return orders


def _drops(state: ControlState, seen: Seen) -> list[Write]:
    gone = (seen.heads.keys() | seen.revisions.keys()) - state.documents.keys()
    loose = seen.limits.keys() - state.limits.keys()
    names = sorted(gone | {_STRATEGY + strategy for strategy in loose})
    return [
        DropDocument(
            name, strategy if (strategy := name.removeprefix(_STRATEGY)) in loose and name.startswith(_STRATEGY) else None
        )
        for name in names
    ]


def _newer(ours: Head | LimitsRecord, there: Head | LimitsRecord | None) -> bool:
    return there is None or there.order < ours.order
