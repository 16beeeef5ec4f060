"""What a transition does to a document: new revisions, a head of higher order, and what of the pods is remembered.

For: `step`, the next state of one document. May not: decide whether it is time (`judging`), do I/O or read a clock.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from arbkube.control.protocol import Head, Order, Ref, Revision
from arbkube.control.rollout.inputs import WantedDocument
from arbkube.control.rollout.judging import Facts, Finding
from arbkube.control.rollout.state import KEPT, DocumentState, PodBefore, Stored, Transition, limits_text
from arbkube.control.rollout.table import TABLE, Action, Event, Phase, Reason

_MEETING = frozenset({Phase.PREPARING, Phase.CANARY, Phase.CANARY_BAKING, Phase.COMMITTING, Phase.BAKING, Phase.STALLED})
_TELLING = frozenset({Phase.COMMITTING, Phase.BAKING})
_ABOUT_WISHES = frozenset({Event.WANTED, Event.AT_ONCE, Event.REVERTED})


class Orders:
    """Gives orders, each above all before."""

    def __init__(self, term: int, serial: int) -> None:
        self.term = term
        self.serial = serial

    def next(self) -> Order:
        """One that was never given."""
        self.serial += 1
        return Order(self.term, self.serial)


def meet(facts: Facts, now_ns: int) -> DocumentState:
    """Remember the pods that a rollout meets for the first time, as they are now."""
    doc = facts.doc
    if doc.phase not in _MEETING or doc.candidate is None:
        return doc
    pods = dict(doc.pods)
    for name, ack in facts.acks.items():
        known = pods.get(name)
        if known is not None:
            if known.boot_id == ack.boot_id and known.started_ns == facts.pods[name].started_ns:
                continue
            # While it is stalled, a pod that was started again may be just what it waits for.
            if facts.restarted(name, known) and doc.phase is not Phase.STALLED:
                continue
        pods[name] = PodBefore(
            boot_id=ack.boot_id,
            started_ns=facts.pods[name].started_ns,
            health=ack.health,
            lived_ns=max(0, now_ns - facts.pods[name].started_ns),
            told=ack.health if doc.phase in _TELLING else None,
        )
    return doc if pods == doc.pods else replace(doc, pods=pods)


def step(facts: Facts, finding: Finding, orders: Orders, now_ns: int) -> tuple[DocumentState, Transition]:
    """The document after `finding`, and the line of its history."""
    doc, wanted = facts.doc, facts.wanted
    cell = TABLE[doc.phase, finding.event]
    after = _ACTIONS[cell.action](facts, orders)
    propagation_ns = None
    if finding.event is Event.APPLIED and doc.phase is not Phase.CANARY:
        propagation_ns = max(0, now_ns - doc.wanted_ns)
    reason = finding.reason or cell.reason or doc.reason
    after = replace(
        after,
        phase=cell.phase,
        reason=reason,
        detail=finding.detail,
        since_ns=doc.since_ns if cell.action is Action.NUDGE else now_ns,
        wanted_ns=wanted.since_ns if finding.event in _ABOUT_WISHES else doc.wanted_ns,
        propagation_ns=doc.propagation_ns if propagation_ns is None else propagation_ns,
    )
    about = doc.pursued if cell.phase in (Phase.ROLLED_BACK, Phase.STALLED) else after.pursued
    line = Transition(
        at_ns=now_ns,
        event=finding.event,
        phase=after.phase,
        reason=Reason(reason),
        detail=after.detail,
        ref=about.ref if about else None,
        propagation_ns=propagation_ns,
    )
    return _collected(after), line


def _place(facts: Facts, orders: Orders) -> DocumentState:
    run = _new(facts, orders)
    return _headed(facts.doc, orders, (run,), run=run.ref, promoted=None)


def _offer(facts: Facts, orders: Orders) -> DocumentState:
    doc, new = facts.doc, []
    promoted = _promoted(doc)
    if promoted.ref != _head(doc).run or _head(doc).canaries or facts.overtaken:
        promoted = _again(promoted, orders)
        new.append(promoted)
    candidate = _new(facts, orders)
    return _headed(doc, orders, (*new, candidate), run=promoted.ref, promoted=promoted.ref, candidate=candidate.ref)


def _try(facts: Facts, orders: Orders) -> DocumentState:
    head = replace(_head(facts.doc), order=orders.next(), canaries=facts.canaries)
    return replace(facts.doc, head=head, pods=_told(facts))


def _commit(facts: Facts, orders: Orders) -> DocumentState:
    head = _head(facts.doc)
    assert head.candidate is not None
    head = replace(head, order=orders.next(), run=head.candidate, canaries=())
    return replace(facts.doc, head=head, pods=_told(facts))


def _told(facts: Facts) -> dict[str, PodBefore]:
    """The pods with their counters as they are now: what is counted from here on is the candidate's."""
    return {
        name: replace(before, told=facts.acks[name].health) if name in facts.acks else before
        for name, before in facts.doc.pods.items()
    }


def _promote(facts: Facts, orders: Orders) -> DocumentState:
    head = _head(facts.doc)
    if head.promoted == head.run and head.candidate is None:
        return facts.doc
    return _headed(facts.doc, orders, (), run=head.run, promoted=head.run)


def _withdraw(facts: Facts, orders: Orders) -> DocumentState:
    doc = facts.doc
    if facts.overtaken:
        return _republish(replace(doc, head=replace(doc.head, candidate=None) if doc.head else None), orders)
    if doc.head is None or doc.head.candidate is None:
        return doc
    return _headed(doc, orders, (), run=doc.head.run, promoted=doc.head.promoted)


def _return(facts: Facts, orders: Orders) -> DocumentState:
    back = _again(_promoted(facts.doc), orders)
    return _headed(facts.doc, orders, (back,), run=back.ref, promoted=back.ref)


def _republish_all(facts: Facts, orders: Orders) -> DocumentState:
    return _republish(facts.doc, orders)


def _republish(doc: DocumentState, orders: Orders) -> DocumentState:
    head, run = _head(doc), doc.run
    assert run is not None
    again = _again(run, orders)
    new = [again]
    candidate = doc.candidate
    if candidate is not None:
        candidate = _again(candidate, orders)
        new.append(candidate)
    return _headed(
        doc,
        orders,
        tuple(new),
        run=again.ref,
        promoted=again.ref if head.promoted == head.run else None,
        candidate=candidate.ref if candidate else None,
    )


def _nudge(facts: Facts, orders: Orders) -> DocumentState:
    return replace(facts.doc, head=replace(_head(facts.doc), order=orders.next()))


def _nothing(facts: Facts, orders: Orders) -> DocumentState:
    return facts.doc


_ACTIONS = {
    Action.NONE: _nothing,
    Action.PLACE: _place,
    Action.OFFER: _offer,
    Action.TRY: _try,
    Action.COMMIT: _commit,
    Action.PROMOTE: _promote,
    Action.WITHDRAW: _withdraw,
    Action.RETURN: _return,
    Action.REPUBLISH: _republish_all,
    Action.NUDGE: _nudge,
}


def _headed(
    doc: DocumentState, orders: Orders, new: tuple[Stored, ...], *, run: Ref, promoted: Ref | None, candidate: Ref | None = None
) -> DocumentState:
    """The document under a new head, with the revisions that the head needs; the pods of the rollout before are forgotten."""
    head = Head(document=doc.name, order=orders.next(), run=run, promoted=promoted, candidate=candidate)
    return replace(doc, head=head, revisions=(*doc.revisions, *new), pods={})


def _new(facts: Facts, orders: Orders) -> Stored:
    wanted: WantedDocument = facts.wanted
    assert facts.version is not None
    revision = Revision(
        document=wanted.name,
        ref=Ref(order=orders.next(), digest=wanted.digest),
        version=facts.version,
        content=msgspec.Raw(wanted.contents[facts.version]),
        shapes=wanted.shapes,
        sources=wanted.sources,
    )
    return Stored(revision=revision, meaning=wanted.meaning, limits=limits_text(wanted.limits))


def _again(stored: Stored, orders: Orders) -> Stored:
    """The same as a new revision: pods never go back to a lower order."""
    ref = replace(stored.ref, order=orders.next())
    return replace(stored, revision=replace(stored.revision, ref=ref))


def _collected(doc: DocumentState) -> DocumentState:
    if doc.head is None:
        return doc
    named = {doc.head.run, doc.head.promoted, doc.head.candidate}
    ordered = sorted(doc.revisions, key=lambda stored: stored.ref.order)
    kept = [stored for stored in ordered if stored.ref not in named][-KEPT:]
    return replace(doc, revisions=tuple(stored for stored in ordered if stored.ref in named or stored in kept))


def _head(doc: DocumentState) -> Head:
    assert doc.head is not None, "the table has this action only where there is a head"
    return doc.head


def _promoted(doc: DocumentState) -> Stored:
    promoted = doc.promoted
    assert promoted is not None, "the table has this action only where something is promoted"
    return promoted
