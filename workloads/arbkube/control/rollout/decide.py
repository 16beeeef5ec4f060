"""The writer's decision: durable state, what is wanted and what was seen in; the next state and what to write out.

For: `Controller`, which saves the state before it writes anything, and the model that checks the protocol. May not: do I/O or
read a clock.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from arbkube.control.halts import Entry
from arbkube.control.protocol import Write
from arbkube.control.rollout.acting import Orders, meet, step
from arbkube.control.rollout.halting import asked, joined
from arbkube.control.rollout.inputs import Seen, Wanted, WantedDocument
from arbkube.control.rollout.judging import Facts, Finding
from arbkube.control.rollout.limiting import next_limits
from arbkube.control.rollout.projection import orders_seen, seeded, writes
from arbkube.control.rollout.state import HISTORY, ControlState, DocumentState, Rejection, Transition
from arbkube.control.rollout.table import FAILURES, Phase, Reason

_STEPS = len(Phase)
"""Transitions of one document in one look: as many as lead through every phase."""
_SERIALS = 10_000


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, in this order: save `state`, append `entries`, do `writes`."""

    state: ControlState
    writes: tuple[Write, ...]
    entries: tuple[Entry, ...]
    """Of the log of halts, those that the server lacks."""
    events: tuple[tuple[str, Transition], ...]
    """By document: what happened, for logs and Events."""


def fresh(incarnation: str, now_ns: int) -> ControlState:
    """A state made anew, where there is none.

    Its serials begin with the last digits of the time in seconds. Pods may have outlived a state that was lost: what they hold
    is exceeded as soon as they say so, but an order given twice for two things could not be told apart.
    """
    return ControlState(incarnation=incarnation, serial=now_ns // 1_000_000_000 % _SERIALS)


def begin(state: ControlState, seen: Seen) -> ControlState:
    """The state of a writer that starts: a term above all that ever wrote."""
    term = max([state.term, seen.term, *(order.term for order in orders_seen(seen))]) + 1
    return replace(state, term=term)


def decide(state: ControlState, wanted: Wanted | None, seen: Seen, now_ns: int) -> Decision:
    """The next step of everything. Until something is wanted, the server is only kept what the state says."""
    lacking = state if seeded(state, seen) else replace(state, epoch=_next_epoch(state, seen))
    state = replace(_exceeding(lacking, seen), halts=joined(state.halts, seen.halts))
    events: list[tuple[str, Transition]] = []
    if wanted is not None:
        state = replace(state, halts=joined(state.halts, asked(state.halts, wanted, now_ns)))
        state = _retried(_without_unwanted(state, wanted), wanted)
        if seen.pods is not None:
            for name in sorted(wanted.documents):
                state, happened = _advance(state, wanted.documents[name], seen, now_ns)
                events += [(name, transition) for transition in happened]
    there = {entry.id for entry in seen.halts}
    return Decision(
        state=state,
        writes=writes(state, seen, forgetting=wanted is not None),
        entries=tuple(entry for entry in state.halts if entry.id not in there),
        events=tuple(events),
    )


def _advance(state: ControlState, wanted: WantedDocument, seen: Seen, now_ns: int) -> tuple[ControlState, list[Transition]]:
    name = wanted.name
    rejected = dict(state.rejected.get(name, {}))
    held = state.limits.get(wanted.strategy) if wanted.strategy is not None else None
    orders = Orders(state.term, state.serial)
    happened: list[Transition] = []

    def facts_of(doc: DocumentState) -> Facts:
        record = held.record if held else None
        return Facts(doc, wanted, seen, rejected=rejected, limits=record, now_ns=now_ns)

    facts = facts_of(state.documents.get(name) or _fresh(wanted, now_ns))
    for _ in range(_STEPS):
        facts = facts_of(meet(facts, now_ns))
        finding = facts.find()
        if finding is None:
            break
        doc, line = step(facts, finding, orders, now_ns)
        if _is_failure(finding, doc) and line.ref is not None:
            rejected[line.ref.digest] = Rejection(reason=doc.reason, detail=doc.detail, at_ns=now_ns)
        happened.append(line)
        facts = facts_of(doc)
    limits = next_limits(held, facts, seen, orders, now_ns)
    state = replace(state, serial=orders.serial, documents={**state.documents, name: facts.doc})
    if limits is not None and wanted.strategy is not None:
        state = replace(state, limits={**state.limits, wanted.strategy: limits})
    if happened:
        history = (*state.history.get(name, ()), *happened)[-HISTORY:]
        state = replace(state, history={**state.history, name: history})
    if rejected != state.rejected.get(name, {}):
        state = replace(state, rejected={**state.rejected, name: rejected})
    return state, happened


def _is_failure(finding: Finding, after: DocumentState) -> bool:
    return finding.event in FAILURES and after.phase is Phase.ROLLED_BACK


def _fresh(wanted: WantedDocument, now_ns: int) -> DocumentState:
    return DocumentState(
        name=wanted.name, phase=Phase.APPLYING, reason=Reason.PLACED, since_ns=now_ns, wanted_ns=wanted.since_ns
    )


def _exceeding(state: ControlState, seen: Seen) -> ControlState:
    """The state with which the next order is above all that were seen."""
    highest = max(orders_seen(seen), default=None)
    if highest is None or (highest.term, highest.serial) <= (state.term, state.serial):
        return state
    if highest.term > state.term:
        return replace(state, term=highest.term + 1)
    return replace(state, serial=highest.serial)


def _next_epoch(state: ControlState, seen: Seen) -> int:
    heard = [ack.epoch for ack in seen.acks.values() if ack.epoch is not None]
    return max([state.epoch, *([seen.epoch.number] if seen.epoch else []), *heard]) + 1


def _retried(state: ControlState, wanted: Wanted) -> ControlState:
    rejected = {
        name: {digest: why for digest, why in digests.items() if (name, digest) not in wanted.retries}
        for name, digests in state.rejected.items()
    }
    return state if rejected == state.rejected else replace(state, rejected=rejected)


def _without_unwanted(state: ControlState, wanted: Wanted) -> ControlState:
    strategies = {doc.strategy for doc in wanted.documents.values()}
    if state.documents.keys() <= wanted.documents.keys() and state.limits.keys() <= strategies:
        return state
    return replace(
        state,
        documents={name: doc for name, doc in state.documents.items() if name in wanted.documents},
        limits={name: held for name, held in state.limits.items() if name in strategies},
    )
