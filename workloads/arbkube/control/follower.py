"""How a pod follows the heads of its document: what to fetch, what to answer, when to swap.

For: the pod's side of revisions, without I/O. The pod tells what it heard, fetched and swapped; the follower says what comes
next, and `running`, `candidate`, `answer`, `problem` and `heard` are what its ack says. May not: do I/O, read a clock, or know
what a document means: `Problem` is what the pod's own parsing and validation found.

1. A pod boots with what is promoted, or with `run` where nothing ever was, and stays there until a *newer* head comes. So one
   that crashed under a candidate boots without it.
2. A candidate is fetched, judged and answered, and swapped in only when a head says so.
3. Heads older than one heard before are refused, and so is a revision of lower order than the one running.
4. What does not pass is never swapped in; the pod keeps what it runs and says why.
5. A revision made for another pod shape is left alone: a pod of that shape is about to take this one's place.
"""

from __future__ import annotations

import msgspec

from arbkube.control.protocol import DOCUMENT_VERSIONS, Answer, Head, Order, Ref, Revision


class Problem(msgspec.Struct, frozen=True):
    """Why a revision is not accepted, and where in the document."""

    reason: str
    path: str = ""


class _Fetched(msgspec.Struct, frozen=True):
    revision: Revision
    ours: bool
    """Whether it is made for pods of this shape."""
    problem: Problem | None


class Follower:
    """One pod's place in the rollouts of its document."""

    def __init__(self, *, pod: str, workload: str, shape: str) -> None:
        self._pod = pod
        self._workload = workload
        self._shape = shape
        self._head: Head | None = None
        self._booted_under: Order | None = None
        self._fetched: dict[Ref, _Fetched] = {}
        self.running: Ref | None = None
        """What the pod runs; None until the first swap."""

    @property
    def heard(self) -> Order | None:
        """The order of the newest head, which only a newer one can follow."""
        return self._head.order if self._head else None

    @property
    def candidate(self) -> Ref | None:
        """What `answer` is about: what was refused though every pod shall run it, before what is only offered."""
        return self._answered()[0]

    @property
    def answer(self) -> Answer | None:
        """What the pod says of `candidate`."""
        return self._answered()[1]

    @property
    def problem(self) -> Problem | None:
        """Why it was rejected."""
        return self._answered()[2]

    def hear(self, head: Head | None) -> None:
        """Take a head in; one that is not newer than the last is refused. None, a server without it, changes nothing."""
        if head is None or (self._head is not None and head.order <= self._head.order):
            return
        self._head = head
        self._fetched = {ref: found for ref, found in self._fetched.items() if ref in (self._target(), head.candidate)}

    def wants(self) -> Ref | None:
        """The revision to fetch next, or None."""
        for ref in (self._target(), self._head.candidate if self._head else None):
            if ref is not None and ref != self.running and ref not in self._fetched:
                return ref
        return None

    def fetched(self, revision: Revision, problem: Problem | None) -> None:
        """It came; `problem` is what parsing and validation said of it. One that is no longer wanted is ignored."""
        if revision.ref not in (self._target(), self._head.candidate if self._head else None):
            return
        if revision.version not in DOCUMENT_VERSIONS:
            problem = Problem(f"this pod reads documents of version {DOCUMENT_VERSIONS}, not {revision.version}")
        ours = revision.shapes.get(self._workload) == self._shape
        self._fetched[revision.ref] = _Fetched(revision, ours, problem if ours else None)

    def due(self) -> Revision | None:
        """The revision to swap to now, or None."""
        target = self._target()
        found = self._fetched.get(target) if target else None
        if found is None or found.problem or not found.ours or found.revision.ref == self.running:
            return None
        return found.revision

    def swapped(self, ref: Ref) -> None:
        """The pointer was swapped."""
        if self.running is None and self._head is not None and ref == _boot(self._head):
            self._booted_under = self._head.order
        self.running = ref

    def _target(self) -> Ref | None:
        """What the newest head wants this pod to run."""
        head = self._head
        if head is None:
            return None
        if self.running is None:
            return _boot(head)
        if head.order == self._booted_under:
            return self.running
        target = head.candidate if head.candidate and self._pod in head.canaries else head.run
        return target if target.order >= self.running.order else self.running

    def _answered(self) -> tuple[Ref | None, Answer | None, Problem | None]:
        target, offered = self._target(), self._head.candidate if self._head else None
        refused = self._fetched.get(target) if target else None
        if refused and refused.problem:
            return target, Answer.REJECTED, refused.problem
        if offered is not None and offered == self.running:
            return offered, Answer.PREPARED, None
        found = self._fetched.get(offered) if offered else None
        if found is None or not found.ours:
            return None, None, None
        return offered, Answer.REJECTED if found.problem else Answer.PREPARED, found.problem


def _boot(head: Head) -> Ref:
    return head.promoted or head.run
