"""Which event of the table holds for a document just now.

For: `find`, the first event in the order of `Event` that holds and that the phase has a cell for. May not: change anything, do
I/O or read a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import msgspec

from arbkube.control.protocol import ACK_TTL_MS, Ack, Answer, LimitsRecord
from arbkube.control.rollout.health import conclusive, worse
from arbkube.control.rollout.inputs import PodSeen, Seen, WantedDocument
from arbkube.control.rollout.state import DocumentState, PodBefore, Stored
from arbkube.control.rollout.table import TABLE, Event, Phase, Reason
from arbkube.plan.documents import decode_limits
from arbkube.risk.limits import nowhere_looser

_HELD = frozenset({Reason.REJECTED_BEFORE, Reason.NO_COMMON_VERSION})
"""Reasons of Stalled for which what is wanted was not even tried."""
_YOUNG_NS = 2 * ACK_TTL_MS * 1_000_000
_BAKES = frozenset({Phase.CANARY_BAKING, Phase.BAKING})


class Finding(msgspec.Struct, frozen=True):
    """An event, and what the table does not know of it."""

    event: Event
    reason: Reason | None = None
    detail: str = ""


class Facts:
    """What can be said of one document from what was seen."""

    def __init__(
        self,
        doc: DocumentState,
        wanted: WantedDocument,
        seen: Seen,
        *,
        rejected: Mapping[str, object],
        limits: LimitsRecord | None,
        now_ns: int,
    ) -> None:
        self.doc = doc
        self.wanted = wanted
        self._seen = seen
        self._rejected = rejected
        self._limits = limits
        self._now_ns = now_ns
        self.pods: dict[str, PodSeen] = {
            name: pod for name, pod in sorted((seen.pods or {}).items()) if pod.workload in wanted.shapes
        }
        """The pods that exist and read this document."""
        self.acks: dict[str, Ack] = {
            name: ack for name in self.pods if (ack := seen.acks.get(name)) is not None and ack.document == doc.name
        }
        """What those of them say that say something."""

    @cached_property
    def complete(self) -> bool:
        """Whether every workload has a pod and every pod says something: running without an ack is pending, deleted is gone."""
        staffed = {pod.workload for pod in self.pods.values()}
        return len(self.acks) == len(self.pods) and staffed >= self.wanted.shapes.keys()

    @cached_property
    def applied(self) -> bool:
        """Whether every pod runs what every pod shall run."""
        return self.complete and self.doc.head is not None and all(a.running == self.doc.head.run for a in self.acks.values())

    @cached_property
    def version(self) -> int | None:
        """The highest version of documents that is written here and read by every live pod."""
        common = set(self.wanted.contents).intersection(*(ack.versions for ack in self.acks.values()))
        return max(common, default=None)

    @cached_property
    def canaries(self) -> tuple[str, ...]:
        """One pod of each role that has two or more."""
        by_role: dict[str, list[str]] = {}
        for name, ack in self.acks.items():
            by_role.setdefault(ack.role, []).append(name)
        return tuple(sorted(names[0] for names in by_role.values() if len(names) > 1))

    @cached_property
    def overtaken(self) -> bool:
        """Whether a pod or the server holds an order that this writer never gave."""
        head, held = self.doc.head, self._seen.heads.get(self.doc.name)
        if head is None:
            return False
        if held is not None and (held.order > head.order or (held.order == head.order and held != head)):
            return True
        acks = [ack for ack in self._seen.acks.values() if ack.document == self.doc.name]
        return any(
            (ack.heard is not None and ack.heard > head.order)
            or (ack.running is not None and ack.running != head.candidate and ack.running.order > head.run.order)
            for ack in acks
        )

    def is_wanted(self, stored: Stored | None) -> bool:
        """Whether `stored` is what is wanted, but at most for limits that were tightened since."""
        wanted = self.wanted
        if stored is None or stored.revision.shapes != wanted.shapes:
            return False
        if stored.ref.digest == wanted.digest or wanted.contents.get(stored.revision.version) == bytes(stored.revision.content):
            return True
        held = stored.decoded_limits
        if stored.meaning != wanted.meaning or wanted.limits is None or held is None:
            return False
        limits, record = decode_limits(wanted.limits), self._limits
        return nowhere_looser(limits, held) and (record is None or nowhere_looser(limits, decode_limits(bytes(record.limits))))

    def restarted(self, name: str, before: PodBefore) -> bool:
        """Whether a pod was started again since it was met."""
        if self.pods[name].started_ns != before.started_ns:
            return True
        # One that was met young may have been met in the ack of the process before it, which outlives that one.
        ack = self.acks.get(name)
        return ack is not None and ack.boot_id != before.boot_id and before.lived_ns >= _YOUNG_NS

    @property
    def baked_ns(self) -> int:
        return self._now_ns - self.doc.since_ns

    def find(self) -> Finding | None:
        """The first event that holds and means something in this phase."""
        for event, holds in _HOLDS.items():
            if (self.doc.phase, event) in TABLE and (finding := holds(self)):
                return finding
        return None

    @cached_property
    def _other(self) -> bool:
        """Whether the pods are not on their way to what is wanted."""
        return not self.is_wanted(self.doc.pursued)

    @cached_property
    def _held_back(self) -> bool:
        return self.doc.phase is Phase.STALLED and self.doc.reason in _HELD

    @cached_property
    def _unreadable(self) -> bool:
        """Whether a pod cannot read what it shall come to run, though pods have not been asked yet or it ran before."""
        pursued = self.doc.pursued
        if pursued is None or self.doc.phase not in (Phase.APPLYING, Phase.PREPARING, Phase.SYNCED, Phase.STALLED):
            return False
        return any(pursued.revision.version not in ack.versions for ack in self.acks.values())

    @cached_property
    def _may_run(self) -> bool:
        return self.wanted.digest not in self._rejected

    @cached_property
    def _place_only(self) -> bool:
        """Whether what is wanted cannot be offered to pods that go on running what is promoted."""
        promoted = self.doc.promoted
        return promoted is None or promoted.revision.shapes != self.wanted.shapes

    @cached_property
    def _concerned(self) -> dict[str, Ack]:
        """The pods that run the candidate in this phase, or shall."""
        head = self.doc.head
        if head is not None and self.doc.phase in (Phase.CANARY, Phase.CANARY_BAKING):
            return {name: ack for name, ack in self.acks.items() if name in head.canaries}
        return self.acks

    def _refused(self) -> Finding | None:
        again = self.doc.phase is Phase.STALLED and self.doc.reason is Reason.REJECTED_BEFORE
        return Finding(Event.REFUSED, detail=self.wanted.digest) if self._other and not self._may_run and not again else None

    def _no_common_version(self) -> Finding | None:
        again = self.doc.phase is Phase.STALLED and self.doc.reason is Reason.NO_COMMON_VERSION
        if self.version is not None or again or not (self._unreadable or (self._other and self._may_run)):
            return None
        read = "; ".join(f"{name} reads {', '.join(map(str, ack.versions))}" for name, ack in self.acks.items())
        return Finding(Event.NO_COMMON_VERSION, detail=f"written: {', '.join(map(str, self.wanted.contents))}; {read}")

    def _reverted(self) -> Finding | None:
        if self.version is None or not self.is_wanted(self.doc.promoted) or not self._may_run:
            return None
        left = self._other or self._held_back or self.doc.phase is Phase.ROLLED_BACK
        return Finding(Event.REVERTED) if left else None

    def _at_once(self) -> Finding | None:
        if self.version is None or not self._may_run:
            return None
        rewritten = self._unreadable and not self._other and self.doc.candidate is None
        return Finding(Event.AT_ONCE) if rewritten or (self._other and self._place_only) else None

    def _wanted(self) -> Finding | None:
        if self.version is None or not self._may_run or self._place_only:
            return None
        rewritten = self._unreadable and self.doc.candidate is not None
        return Finding(Event.WANTED) if rewritten or self._other else None

    def _overtaken(self) -> Finding | None:
        return Finding(Event.OVERTAKEN) if self.overtaken else None

    def _rejected_by_pod(self) -> Finding | None:
        head = self.doc.head
        if head is None or (self.doc.phase is Phase.STALLED and head.candidate is None):
            return None
        for name, ack in self.acks.items():
            if ack.answer is Answer.REJECTED and ack.candidate == (head.candidate or head.run):
                place = f" ({ack.path})" if ack.path else ""
                return Finding(Event.REJECTED, detail=f"{name}: {ack.reason}{place}")
        return None

    def _restarted(self) -> Finding | None:
        for name in self.pods:
            before = self.doc.pods.get(name)
            if before is not None and self.restarted(name, before):
                return Finding(Event.RESTARTED, detail=name)
        return None

    def _unhealthy(self) -> Finding | None:
        over = self.baked_ns >= self.wanted.bake_ns
        for name, ack in self._concerned.items():
            before = self.doc.pods.get(name)
            if before is not None and (reason := worse(before, ack.health, self.baked_ns, over=over)):
                return Finding(Event.UNHEALTHY, reason, name)
        return None

    def _joined(self) -> Finding | None:
        head = self.doc.head
        for name, ack in self.acks.items():
            waits = head is not None and ack.heard == head.order and ack.running == head.promoted != head.run
            if waits and head is not None and (ack.candidate, ack.answer) == (head.run, Answer.PREPARED):
                return Finding(Event.JOINED, detail=name)
        return None

    def _baked(self) -> Finding | None:
        if self.baked_ns < self.wanted.bake_ns or not (
            self._concerned_run if self.doc.phase is Phase.CANARY_BAKING else self.applied
        ):
            return None
        told = conclusive((self.doc.pods[name], ack.health) for name, ack in self._concerned.items() if name in self.doc.pods)
        return Finding(Event.BAKED, Reason.HEALTHY if told else Reason.INCONCLUSIVE)

    @cached_property
    def _concerned_run(self) -> bool:
        head = self.doc.head
        if head is None or len(self._concerned) < len(head.canaries):
            return False
        return all(ack.running == head.candidate for ack in self._concerned.values())

    def _applied(self) -> Finding | None:
        if self.doc.phase is Phase.CANARY:
            return Finding(Event.APPLIED) if self._concerned_run else None
        if self.doc.phase is Phase.STALLED and (self._other or self.doc.candidate is not None):
            return None
        return Finding(Event.APPLIED) if self.applied else None

    @cached_property
    def _prepared_by_all(self) -> bool:
        offered = self.doc.head.candidate if self.doc.head else None
        said = [(ack.candidate, ack.answer) for ack in self.acks.values()]
        return offered is not None and self.complete and all(words == (offered, Answer.PREPARED) for words in said)

    def _prepared_canary(self) -> Finding | None:
        if not self._prepared_by_all or not self.canaries:
            return None
        return Finding(Event.PREPARED_CANARY, detail=f"canary: {', '.join(self.canaries)}")

    def _prepared(self) -> Finding | None:
        return Finding(Event.PREPARED, detail="no canary: each role has one pod") if self._prepared_by_all else None

    def _late(self) -> Finding | None:
        patience_ns = self.wanted.deadline_ns + (self.wanted.bake_ns if self.doc.phase in _BAKES else 0)
        if self._now_ns - max(self.doc.since_ns, self._seen.steady_ns) < patience_ns:
            return None
        return Finding(Event.LATE, detail=", ".join(self.lagging()))

    def lagging(self) -> list[str]:
        """The pods and workloads that the rollout waits for."""
        head = self.doc.head
        staffed = {pod.workload for pod in self.pods.values()}
        names = [f"{workload}: no pod" for workload in sorted(self.wanted.shapes.keys() - staffed)]
        for name in self.pods:
            ack = self.acks.get(name)
            if ack is None:
                names.append(f"{name}: no heartbeat")
            elif head is not None and head.candidate not in (None, head.run):
                if ack.candidate != head.candidate:
                    names.append(f"{name}: no answer")
            elif head is not None and ack.running != head.run:
                names.append(f"{name}: not applied")
        return names


_HOLDS: Mapping[Event, Callable[[Facts], Finding | None]] = {
    Event.REFUSED: Facts._refused,
    Event.NO_COMMON_VERSION: Facts._no_common_version,
    Event.REVERTED: Facts._reverted,
    Event.AT_ONCE: Facts._at_once,
    Event.WANTED: Facts._wanted,
    Event.OVERTAKEN: Facts._overtaken,
    Event.REJECTED: Facts._rejected_by_pod,
    Event.RESTARTED: Facts._restarted,
    Event.UNHEALTHY: Facts._unhealthy,
    Event.JOINED: Facts._joined,
    Event.BAKED: Facts._baked,
    Event.APPLIED: Facts._applied,
    Event.PREPARED_CANARY: Facts._prepared_canary,
    Event.PREPARED: Facts._prepared,
    Event.LATE: Facts._late,
}
