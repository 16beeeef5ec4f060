"""A pod's side of its configuration: follow what the control server says, and answer for it.

For: one way for every role to boot, to prepare a candidate, to swap, to take limits, and to say so. May not: know what a role
does with its configuration, or decide what runs (`control.follower` does).

A candidate is fetched, read and judged as a whole, and answered; nothing changes. A revision that is due is handed to the
role, which swaps between two events; only then does the ack name it. Limits do not wait for either: they are taken when they
are heard, and are the field-wise stricter of record and document. Without the server a pod that has a document runs on with it;
one that never had any waits, and says for what.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog
from redis.exceptions import RedisError

from arbkube.control.follower import Follower, Problem
from arbkube.control.link import ControlLink, Snapshot
from arbkube.control.protocol import Ack, Health, LimitsRecord, Order, Revision
from arbkube.plan.documents import StrategyDocument, decode_limits
from arbkube.pods.shell.checking import UnfitError, read
from arbkube.pods.shell.status import ConfigPhase, ConfigStatus
from arbkube.risk.limits import Limits, stricter

log = structlog.get_logger(__name__)

AWAY: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
"""What the link raises while the control server cannot be asked."""
_NOT_FETCHED: tuple[type[Exception], ...] = (*AWAY, msgspec.MsgspecError)

_WAITING = "waiting for the configuration from the control server"
_RETRY_S = 0.5

_Document = TypeVar("_Document", bound=msgspec.Struct)


class NotAppliedError(Exception):
    """The role could not swap now, and runs on with what it has; it is asked again while the revision is due."""


class Role(ABC, Generic[_Document]):
    """What a role does with its configuration. `apply` is never called while it runs; the others may come beside it."""

    async def check(self, document: _Document) -> Problem | None:
        """What is wrong with a valid document for this pod alone; changes nothing."""
        return None

    @abstractmethod
    async def apply(self, document: _Document) -> None:
        """Run under `document` from now on. Of a strategy's, `limits` are those in force. Raises NotAppliedError."""

    @abstractmethod
    def health(self) -> Health:
        """The counters since boot."""


class Guard(Protocol):
    """What an executor believes of the control server."""

    async def hear(self, snapshot: Snapshot) -> None:
        """Take halts and epoch in; the flags are set when it returns."""

    def behind(self, late: bool) -> None:
        """Whether limits stand on the server that could not be applied."""

    @property
    def trusted(self) -> int | None:
        """Number of the epoch that is trusted, if any is."""

    @property
    def active(self) -> tuple[str, ...]:
        """Ids of the halts in force."""

    def doubt(self) -> str | None:
        """Why the server is not believed just now."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who follows."""

    pod: str
    workload: str
    role: str
    shape: str
    document: str
    boot_id: str


class Configuration(Generic[_Document]):
    """One pod's configuration. `reasons` is where it says why the pod is not ready; `running` is what runs."""

    def __init__(
        self,
        *,
        identity: Identity,
        kind: type[_Document],
        link: ControlLink,
        role: Role[_Document],
        reasons: dict[str, str],
        guard: Guard | None = None,
    ) -> None:
        self.running: _Document | None = None
        """As it was rendered: with the limits it was made with."""
        self.booted = asyncio.Event()
        """Set when the first document was applied."""
        self._identity = identity
        self._kind = kind
        self._link = link
        self._role = role
        self._guard = guard
        self._reasons = reasons
        self._follower = Follower(pod=identity.pod, workload=identity.workload, shape=identity.shape)
        self._heard = asyncio.Event()
        self._one = asyncio.Lock()
        """One change at a time: of the document or of its limits."""
        self._saying = asyncio.Lock()
        self._not_applied = ""
        self._record: Limits | None = None
        self._record_order: Order | None = None
        self._unreadable: Order | None = None
        self._applied_limits: Order | None = None
        self._answered_ns: int | None = None
        self._said: Ack | None = None
        reasons["config"] = _WAITING

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run(self._hear))
            group.create_task(self._follow())

    async def acknowledge(self, *, news: bool = False) -> None:
        """Say what this pod holds. Raises one of AWAY."""
        async with self._saying:  # lest an older ack overtake this one on another connection
            self._said = self._ack()
            await self._link.acknowledge(self._said, news=news)

    def status(self) -> ConfigStatus:
        """What tables show of it."""
        follower = self._follower
        return ConfigStatus(
            running=follower.running,
            candidate=follower.candidate,
            phase=self._phase(),
            problem=str(UnfitError(follower.problem)) if follower.problem is not None else self._not_applied,
            limits=self._applied_limits,
            halts=list(self._guard.active) if self._guard is not None else [],
            doubt=self._guard.doubt() if self._guard is not None else None,
        )

    def answer_age_s(self) -> float:
        """Seconds since what was last answered was asked; a day before there was an answer."""
        return 86400.0 if self._answered_ns is None else (time.monotonic_ns() - self._answered_ns) / 1e9

    # ---- what is heard -------------------------------------------------------------------------------------------

    async def _hear(self, snapshot: Snapshot) -> None:
        self._answered_ns = snapshot.asked_ns
        self._follower.hear(snapshot.head)
        await self._take_limits(snapshot.limits)
        if self._guard is not None:
            await self._guard.hear(snapshot)
        if self.running is None and snapshot.head is None:
            self._reasons["config"] = f"{_WAITING}: it holds no {self._identity.document}"
        self._heard.set()
        await self._news()

    async def _take_limits(self, record: LimitsRecord | None) -> None:
        """Take limits at once, whatever else goes on; an older record than was heard before is refused."""
        if record is not None and (self._record_order is None or record.order > self._record_order):
            try:
                limits = decode_limits(bytes(record.limits))
            except msgspec.MsgspecError as error:
                if self._unreadable != record.order:
                    log.error("limits cannot be read", order=str(record.order), error=str(error))
                self._unreadable = record.order
                if self._guard is not None:
                    self._guard.behind(True)
                return
            self._record, self._record_order = limits, record.order
        if self.running is not None and self._applied_limits != self._record_order:
            async with self._one:
                try:
                    await self._apply(self.running)
                except NotAppliedError as error:
                    log.error("limits not applied", order=str(self._record_order), reason=str(error))
            if self._guard is not None:
                self._guard.behind(self._applied_limits != self._record_order)

    # ---- what follows from it ------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            try:
                await self._prepare()
                await self._swap()
            except _NOT_FETCHED as error:
                log.warning("revision not fetched", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(_RETRY_S)
            except NotAppliedError as error:
                self._not_applied = f"not applied: {error}"
                log.warning("not applied", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                self._not_applied = ""

    async def _prepare(self) -> None:
        """Fetch and judge what the head names, and answer."""
        while (ref := self._follower.wants()) is not None:
            revision = await self._link.revision(self._identity.document, ref)
            if revision is None:
                return  # a server that lost it; whoever seeds it writes it again
            if self.running is None and revision.shapes.get(self._identity.workload) != self._identity.shape:
                self._reasons["config"] = "its configuration is made for pods of another shape"
            self._follower.fetched(revision, await self._judge(revision))
            await self._news()

    async def _judge(self, revision: Revision) -> Problem | None:
        try:
            document = self._read(revision)
        except UnfitError as error:
            problem: Problem | None = error.problem
        else:
            problem = await self._role.check(document)
        if problem is not None:
            log.warning("revision refused", revision=str(revision.ref), reason=problem.reason, path=problem.path)
            if self.running is None:
                self._reasons["config"] = f"revision {revision.ref} cannot be run: {UnfitError(problem)}"
        return problem

    def _read(self, revision: Revision) -> _Document:
        document: Any = read(revision, self._kind)
        found: _Document = document
        return found

    async def _swap(self) -> None:
        """Change over to what is due."""
        while (revision := self._follower.due()) is not None:
            document = self._read(revision)
            async with self._one:
                await self._apply(document)
                self.running = document
            self._follower.swapped(revision.ref)
            self.booted.set()
            self._reasons.pop("config", None)
            log.info("revision applied", revision=str(revision.ref))
            await self._news()

    async def _apply(self, document: _Document) -> None:
        """Hand the role what is to run, under the limits in force."""
        order = self._record_order
        limited: Any = document
        if isinstance(document, StrategyDocument) and self._record is not None:
            limited = msgspec.structs.replace(document, limits=stricter(document.limits, self._record))
        await self._role.apply(limited)
        self._applied_limits = order

    # ---- what is said --------------------------------------------------------------------------------------------

    async def _news(self) -> None:
        """Say it at once when anything changed but the counters; the next heartbeat says it again."""
        ack = self._ack()
        if self._said is None or msgspec.structs.replace(self._said, health=ack.health) != ack:
            try:
                await self.acknowledge(news=True)
            except AWAY:
                self._said = None

    def _ack(self) -> Ack:
        identity, follower, guard = self._identity, self._follower, self._guard
        problem = follower.problem
        return Ack(
            pod=identity.pod,
            workload=identity.workload,
            role=identity.role,
            document=identity.document,
            boot_id=identity.boot_id,
            heard=follower.heard,
            running=follower.running,
            candidate=follower.candidate,
            answer=follower.answer,
            reason=problem.reason if problem is not None else "",
            path=problem.path if problem is not None else "",
            limits=self._applied_limits,
            epoch=guard.trusted if guard is not None else None,
            halts=guard.active if guard is not None else (),
            health=self._role.health(),
        )

    def _phase(self) -> ConfigPhase:
        follower = self._follower
        if follower.running is None:
            return ConfigPhase.WAITING
        if follower.candidate is None:
            return ConfigPhase.SYNCED
        if follower.answer is None:
            return ConfigPhase.PREPARING
        return ConfigPhase(follower.answer.value)
