"""What holds at every step of every world, and where every world comes to rest.

1. A process never applies an order that is not above those it has applied, and follows no head older than one it heard.
2. What a pod rejects is run by no pod, but where pods could not be asked first: nothing was promoted, or pods are replaced.
3. A digest that was rejected is never offered or placed again by itself.
4. The limits published are nowhere looser than those wanted, and, until every pod runs what is wanted, nowhere looser than
   they were before nor than those of what is promoted.
5. No entry of the log of halts is forgotten by the durable state.
6. When faults stop, a rollout ends: every pod runs what the head says, the server is the state's projection, and holds every
   entry that anybody has written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arbkube.control.protocol import PutRevision, Ref
from arbkube.control.rollout.decide import Decision
from arbkube.control.rollout.projection import seeded, writes
from arbkube.control.rollout.state import ControlState
from arbkube.control.rollout.table import Phase, Reason
from arbkube.plan.documents import decode_limits
from arbkube.risk.limits import Limits, nowhere_looser

if TYPE_CHECKING:
    from tests.control.model.world import World

DOC, STRATEGY, REFUSED = "strategy-x", "x", "R"
ENDS = frozenset({Phase.SYNCED, Phase.ROLLED_BACK, Phase.STALLED})


def step(before: World, after: World) -> None:
    """What holds between two moments."""
    for pod in after.pods.values():
        assert list(pod.applied) == sorted(set(pod.applied)), "1: an order that is not above"
        running = pod.follower.running
        if running is not None and _refused(running):
            assert running.digest in after.placed, "2: run, though a pod rejects it"
    for name, pod in before.pods.items():
        same = after.pods.get(name)
        if same is not None and same.boot == pod.boot and pod.follower.heard is not None:
            assert same.follower.heard is not None
            assert same.follower.heard >= pod.follower.heard, "1: an older head was followed"
    if before.store is not None and after.store is not None:
        assert set(before.store.halts) <= set(after.store.halts), "5: an entry was forgotten"


def decision(world: World, before: ControlState, made: Decision) -> None:
    """What holds of a decision."""
    after = made.state
    retried = {digest for _, digest in world.wanted.retries}
    head = after.documents[DOC].head
    if head is not None and _refused(head.run):
        assert head.promoted is None, "2: every pod shall run what a pod rejects"
    assert head is None or not head.canaries or not _refused(head.candidate), "2: tried, though a pod rejects it"
    known = {stored.ref.order for doc in before.documents.values() for stored in doc.revisions}
    rejected = before.rejected.get(DOC, {}).keys() - retried
    promoted = {doc.promoted.ref.digest for doc in before.documents.values() if doc.promoted}
    for write in made.writes:
        if isinstance(write, PutRevision) and write.revision.ref.order not in known:
            digest = write.revision.ref.digest
            assert digest not in rejected or digest in promoted, f"3: {digest} is tried again"
    assert set(before.halts) | set(world.server.halts) <= set(after.halts), "5: an entry was not mirrored"
    _limits(world, before, after)


def _limits(world: World, before: ControlState, after: ControlState) -> None:
    doc, wanted = after.documents[DOC], world.wanted.documents[DOC]
    published, last = _of(after), _of(before)
    assert wanted.limits is not None
    assert published is not None
    if last is None:
        return
    assert nowhere_looser(published, decode_limits(wanted.limits)), "4: looser than wanted"
    if not nowhere_looser(published, last):
        acks = [world.server.acks.get(name) for name in world.pods]
        assert doc.head is not None
        assert doc.phase in (Phase.BAKING, Phase.SYNCED), f"4: loosened while {doc.phase}"
        assert doc.head.run.digest == wanted.digest, "4: loosened for what does not run"
        if doc.phase is Phase.BAKING:
            assert all(ack is not None and ack.running == doc.head.run for ack in acks), "4: loosened before all applied"
    promoted = doc.promoted
    if doc.phase not in (Phase.BAKING, Phase.SYNCED) and promoted is not None and promoted.decoded_limits is not None:
        assert nowhere_looser(published, promoted.decoded_limits), f"4: looser than the promoted while {doc.phase}"


def rest(world: World) -> None:
    """What holds where a world has come to rest."""
    assert world.store is not None
    doc = world.store.documents[DOC]
    assert doc.phase in ENDS, f"6: still {doc.phase}: {doc.reason} {doc.detail}"
    if doc.phase is Phase.STALLED:
        assert doc.reason in (Reason.REJECTED, Reason.REJECTED_BEFORE, Reason.NOT_APPLIED), f"6: stalled for {doc.reason}"
    assert doc.head is not None
    if doc.phase is not Phase.STALLED:
        assert world.running() == {doc.head.run}, f"6: {doc.phase}, and pods run {world.running()}, not {doc.head.run}"
        assert doc.head.promoted == doc.head.run
        assert doc.head.candidate is None
    if doc.phase is Phase.SYNCED:
        wanted = world.wanted.documents[DOC]
        assert doc.run is not None
        assert doc.run.meaning == wanted.meaning
        assert wanted.limits is not None
        assert _of(world.store) == decode_limits(wanted.limits), "6: other limits than wanted"
    seen = world.seen()
    assert seeded(world.store, seen), "6: not seeded"
    assert writes(world.store, seen, forgetting=True) == (), "6: the server is not what the state says"
    held = {entry.id for entry in world.server.halts}
    assert {entry.id for entry in (*world.store.halts, *world.journal)} <= held, "6: an entry is lost"
    if doc.phase is not Phase.STALLED:
        assert all(pod.limits == world.server.limits for pod in world.pods.values()), "6: a pod holds other limits"


def _refused(ref: Ref | None) -> bool:
    return ref is not None and ref.digest.startswith(REFUSED)


def _of(state: ControlState) -> Limits | None:
    held = state.limits.get(STRATEGY)
    return decode_limits(bytes(held.record.limits)) if held else None
