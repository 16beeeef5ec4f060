"""A control server with its users, and pods that do nothing but follow: real links, real followers, no trading."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from redis.exceptions import RedisError

from arbkube.control.acl import CONTROL, User, user_line
from arbkube.control.controller import Controller, DocumentStatus
from arbkube.control.credentials import make_credentials, password_digest
from arbkube.control.follower import Follower, Problem
from arbkube.control.link import ControlLink, Snapshot
from arbkube.control.protocol import DOCUMENT_VERSIONS, Ack, Health, LimitsRecord, Revision
from arbkube.control.rollout.inputs import RENDERERS, PodSeen, Renderer
from arbkube.control.store import FileStateStore
from arbkube.control.writer import ControlWriter
from arbkube.plan.documents import StrategyDocument, decode_document, decode_limits
from arbkube.plan.planning import Plan, Role, Workload
from arbkube.resources.kinds import ArbStrategySpec, FeedRef, HaltMode, Rollout
from arbkube.resources.scalars import Bps, Duration
from arbkube.risk.limits import Limits, stricter
from tests.conftest import Valkey

DOC = "strategy-cross"


def strategy(asset: str = "USDT", *, edge: str = "10bps", name: str = "cross", **limits: Any) -> StrategyDocument:
    """A strategy's document: `asset` makes it another revision, `edge` and `limits` only another set of limits."""
    return StrategyDocument(
        strategy=name,
        uid=name,
        spec=ArbStrategySpec(feeds=(FeedRef(name="a"),), profit_asset=asset),
        feeds={},
        limits=replace(Limits(enter_edge=Bps(edge)), **limits),
        revision=f"r-{asset}",
    )


def plan_of(
    *documents: StrategyDocument,
    bake: str = "0s",
    deadline: str = "60s",
    shape: str = "s",
    halts: Mapping[str, HaltMode] | None = None,
) -> Plan:
    """A detector and an executor for each strategy."""
    names = [f"strategy-{document.strategy}" for document in documents]
    return Plan(
        workloads=tuple(
            Workload(name=f"{role.lower()}-{document.strategy}", role=role, resources=(), document=name, shape=shape)
            for name, document in zip(names, documents, strict=True)
            for role in (Role.DETECTOR, Role.EXECUTOR)
        ),
        documents=dict(zip(names, documents, strict=True)),
        sources=dict.fromkeys(names, ()),
        rollouts={name: Rollout(bake=Duration(bake), progress_deadline=Duration(deadline)) for name in names},
        halts=dict(halts or {}),
    )


class Pod:
    """A pod that follows and does nothing else. `refuses` are the profit assets it cannot work with."""

    def __init__(self, fleet: Fleet, workload: Workload, name: str, boot_id: str) -> None:
        self.name = name
        self.workload = workload
        self.refuses: set[str] = set()
        self.health = Health(attempts=100, data_age_ns=0)
        self.health_under: dict[str, Health] = {}
        """What the counters become under a profit asset."""
        self.versions = DOCUMENT_VERSIONS
        """Of documents, that it says it reads."""
        self.limits: LimitsRecord | None = None
        self.document: StrategyDocument | None = None
        self.follower = Follower(pod=name, workload=workload.name, shape=workload.shape)
        self._boot_id = boot_id
        user = str(workload.role).lower()
        strategy = workload.document.removeprefix("strategy-")
        self._link = ControlLink(
            fleet.url, credentials=fleet.credentials, user=user, document=workload.document, strategy=strategy, with_halts=False
        )
        self._said: Ack | None = None
        self._tasks = [asyncio.create_task(self._link.run(self._hear)), asyncio.create_task(self._renew())]

    @property
    def in_force(self) -> Limits:
        """The limits it holds."""
        assert self.document is not None
        if self.limits is None:
            return self.document.limits
        return stricter(self.document.limits, decode_limits(bytes(self.limits.limits)))

    async def stop(self) -> None:
        """End at once; the ack stays until it runs out."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()

    async def _hear(self, snapshot: Snapshot) -> None:
        follower = self.follower
        follower.hear(snapshot.head)
        if snapshot.limits is not None:
            self.limits = snapshot.limits
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            while (wanted := follower.wants()) is not None:
                revision = await self._link.revision(self.workload.document, wanted)
                if revision is None:
                    break
                follower.fetched(revision, self._judge(revision))
            if (due := follower.due()) is not None:
                document = decode_document(due.content)
                assert isinstance(document, StrategyDocument)
                self.document = document
                self.health = self.health_under.get(document.spec.profit_asset, self.health)
                follower.swapped(due.ref)
            await self._say()

    def _judge(self, revision: Revision) -> Problem | None:
        document = decode_document(revision.content)
        assert isinstance(document, StrategyDocument)
        asset = document.spec.profit_asset
        return Problem(f"no balance in {asset}", "spec.profitAsset") if asset in self.refuses else None

    async def _say(self) -> None:
        follower, problem = self.follower, self.follower.problem
        ack = Ack(
            pod=self.name,
            workload=self.workload.name,
            role=self.workload.role,
            document=self.workload.document,
            boot_id=self._boot_id,
            heard=follower.heard,
            running=follower.running,
            candidate=follower.candidate,
            answer=follower.answer,
            reason=problem.reason if problem else "",
            path=problem.path if problem else "",
            limits=self.limits.order if self.limits else None,
            versions=self.versions,
            health=self.health,
        )
        news, self._said = ack != self._said, ack
        if news:
            await self._link.acknowledge(ack, news=True)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(1)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                if self._said is not None:
                    await self._link.acknowledge(self._said, news=False)


class Fleet:
    """One server's pods and its writer."""

    def __init__(self, server: Valkey, folder: Path) -> None:
        self.server = server
        self.url = server.url
        self.credentials = folder / "credentials"
        self.state = folder / "control-state.json"
        self.pods: dict[str, Pod] = {}
        self._started: dict[str, int] = {}
        self._boots = 0
        self._running: asyncio.Task[None] | None = None
        self._writer: ControlWriter | None = None
        make_credentials(self.credentials, [str(user) for user in User])
        self.admit()

    def admit(self) -> None:
        """Make the users of the table known to the server."""
        for user, grants in CONTROL.items():
            words = user_line(user, grants, password_digest(self.credentials, user)).split(" ", 2)
            rules = _split(words[2])
            self.server.client.execute_command("ACL", "SETUSER", words[1], "reset", *rules)

    def control(self, *, renderers: Mapping[int, Renderer] = RENDERERS) -> Controller:
        """Start a writer."""
        self._writer = ControlWriter(self.url, credentials=self.credentials, user=User.OPERATOR)
        self.controller = Controller(self._writer, FileStateStore(self.state), renderers=renderers)
        self._running = asyncio.create_task(self.controller.run())
        self.observe()
        return self.controller

    async def abandon(self) -> None:
        """End the writer as a kill would, as far as one process can."""
        if self._running is not None and self._writer is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            await self._writer.close()

    async def start(self, plan: Plan, *, copies: int = 1) -> None:
        """A pod for each workload that has none, or `copies` of it."""
        for workload in plan.workloads:
            for copy in range(copies):
                name = workload.name if copies == 1 else f"{workload.name}-{copy}"
                if name not in self.pods:
                    await self.boot(workload, name)

    async def boot(self, workload: Workload, name: str) -> Pod:
        """Start a pod, in the place of one of that name."""
        if (before := self.pods.pop(name, None)) is not None:
            await before.stop()
        self._boots += 1
        self.pods[name] = Pod(self, workload, name, f"boot-{self._boots}")
        self._started[name] = time.time_ns()
        self.observe()
        return self.pods[name]

    async def remove(self, name: str) -> None:
        """End a pod for good."""
        await self.pods.pop(name).stop()
        self.observe()

    def observe(self) -> None:
        """Tell the writer which pods there are."""
        seen = {name: PodSeen(pod.workload.name, self._started[name]) for name, pod in self.pods.items()}
        self.controller.observe(seen)

    async def until(
        self, holds: Callable[[DocumentStatus], bool], *, document: str = DOC, timeout_s: float = 10
    ) -> DocumentStatus:
        """The document's status as soon as `holds`; whatever else ends the writer or the wait is raised."""
        deadline = time.monotonic() + timeout_s
        status = None
        while time.monotonic() < deadline:
            if self._running is not None and self._running.done():
                await self._running
            status = self.controller.status().documents.get(document)
            if status is not None and holds(status):
                return status
            await asyncio.sleep(0.005)
        raise TimeoutError(f"still {status}; trouble: {self.controller.status().trouble}")

    async def close(self) -> None:
        """End everything."""
        await self.abandon()
        for pod in self.pods.values():
            await pod.stop()


@contextlib.asynccontextmanager
async def fleet(server: Valkey, folder: Path) -> AsyncIterator[Fleet]:
    """A fleet that ends with the test."""
    made = Fleet(server, folder)
    try:
        yield made
    finally:
        await made.close()


def _split(rules: str) -> list[str]:
    """The rules of a line of users, each selector a word of its own."""
    head, *selectors = rules.split(" (")
    return [*head.split(), *(f"({selector}" for selector in selectors)]
