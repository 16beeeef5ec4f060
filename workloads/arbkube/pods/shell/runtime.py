"""What every pod has in common: event loop, JSON logs, health, metrics, heartbeat, graceful stop.

For: one way to run a pod. May not: know what a pod does.

A pod serves `/healthz` (the event loop turns), `/readyz` (200, or 503 with the reasons), `/status` (JSON) and `/metrics`. It
writes its status to the control server as a heartbeat whose lifetime the server keeps: a pod that died is gone after a few
seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
import uuid
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import structlog
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest

from arbkube.control.link import ControlLink
from arbkube.market.bus import Bus, ValkeyBus
from arbkube.pods.shell import config
from arbkube.pods.shell.config import AWAY, Configuration, Guard, Identity
from arbkube.pods.shell.metrics import config_metrics
from arbkube.pods.shell.status import PodStatus

log = structlog.get_logger(__name__)

HEARTBEAT_S = 1.0
"""Each one is a durable write on the control server, so not oftener than a reader needs."""
HEARTBEAT_TTL_MS = 3000
FINAL_STATUS_TTL_MS = 60_000
_CLOCK_INTERVAL_S = 10.0
_CLOCK_POLL_S = 0.02
_STOP_GRACE_S = 55.0
"""Less than the 60 s after which a pod is killed."""
_LAST_WORDS_S = 0.05
FEED_DOCUMENT = "feed-"
STRATEGY_DOCUMENT = "strategy-"
"""What the names of documents of feeds and strategies begin with."""


class PodArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod is started with."""

    name: str
    role: str
    workload: str
    """The workload of the plan that it is a pod of."""
    shape: str
    """That workload's shape, as it was when this pod was made."""
    document: str
    """The name of its document on the control server."""
    bus: str
    control: str
    credentials: Path
    """Directory with the password of this role's user on both servers."""
    state: Path
    """Directory this pod may write to."""
    port: int
    """HTTP port on `host`; 0 lets the system choose (it stands in the status)."""
    host: str = "127.0.0.1"
    simulator: str = ""
    """Base URL of the simulator, for a simulated feed."""
    supervisor: int = 0
    """Process that must stay this one's parent; 0 for none."""

    @property
    def strategy(self) -> str:
        """The strategy whose document it is; empty where it is none's."""
        return self.document.removeprefix(STRATEGY_DOCUMENT) if self.document.startswith(STRATEGY_DOCUMENT) else ""


_Document = TypeVar("_Document", bound=msgspec.Struct)


class Role(config.Role[_Document]):
    """What makes one kind of pod differ from another."""

    @abstractmethod
    def detail(self) -> dict[str, object]:
        """What a heartbeat says of it."""


class Pod(Generic[_Document]):
    """One running pod.

    `reasons` maps each thing waited for to why; empty means ready. `config` is what it runs under.
    """

    def __init__(
        self,
        arguments: PodArguments,
        *,
        kind: type[_Document],
        role: Role[_Document],
        starting: str = "",
        guard: Guard | None = None,
    ) -> None:
        self.arguments = arguments
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double what a scrape carries
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.bus: Bus = ValkeyBus(arguments.bus, credentials=arguments.credentials, user=arguments.role)
        self.reasons: dict[str, str] = {"start": starting} if starting else {}
        self.stopping = asyncio.Event()
        self.port = arguments.port
        self._clock_offset_ns: int | None = None
        self._role = role
        self._started_ns = time.time_ns()
        self.link = ControlLink(
            arguments.control,
            credentials=arguments.credentials,
            user=arguments.role,
            document=arguments.document,
            strategy=arguments.strategy or None,
            with_halts=guard is not None,
        )
        self.config = Configuration(
            identity=Identity(
                pod=arguments.name,
                workload=arguments.workload,
                role=arguments.role,
                shape=arguments.shape,
                document=arguments.document,
                boot_id=uuid.uuid4().hex,
            ),
            kind=kind,
            link=self.link,
            role=role,
            reasons=self.reasons,
            guard=guard,
        )
        config_metrics(self.registry, self.config.status, self.config.answer_age_s)

    def status(self) -> PodStatus:
        """The pod as it is now."""
        return PodStatus(
            pod=self.arguments.name,
            role=self.arguments.role,
            pid=os.getpid(),
            port=self.port,
            mode="PAPER",
            started_ns=self._started_ns,
            ready=not self.reasons,
            reasons=sorted(self.reasons.values()),
            config=self.config.status(),
            detail=self._role.detail(),
        )

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work`, which returns soon after `stopping` is set; then say goodbye. Raises what `work` raises."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        server = await self._serve()
        delivery = asyncio.create_task(self.bus.run())
        background = [
            delivery,
            asyncio.create_task(self._watch_clock()),
            asyncio.create_task(self._heartbeat()),
            asyncio.create_task(self.config.run()),
        ]
        if self.arguments.supervisor:
            background.append(asyncio.create_task(self._stop_when_orphaned(self.arguments.supervisor)))
        main = asyncio.create_task(work())
        stop = asyncio.create_task(self.stopping.wait())
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        try:
            await asyncio.wait([main, stop, *background], return_when=asyncio.FIRST_COMPLETED)
            self.stopping.set()
            self.reasons["stop"] = "stopping"
            await asyncio.wait([main], timeout=_STOP_GRACE_S)
            for task in (main, *background):
                if task.done():
                    task.result()
            if not main.done():
                raise TimeoutError(f"work did not end within {_STOP_GRACE_S:.0f} s")
        finally:
            await end([main, stop, *(task for task in background if task is not delivery)])
            await asyncio.sleep(_LAST_WORDS_S)  # what was published last still leaves
            await end([delivery])
            await self._beat(FINAL_STATUS_TTL_MS)
            await self.bus.close()
            await self.link.close()
            await server.cleanup()

    async def until(self, last: Coroutine[Any, Any, object], *work: Coroutine[Any, Any, None]) -> None:
        """Run `work` side by side until `last` returns. Raises what any of them raises."""
        tasks = [asyncio.create_task(coroutine) for coroutine in (last, *work)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks)

    async def pause(self, seconds: float) -> None:
        """Sleep, but no longer than until the pod is told to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    @property
    def clock_offset_ns(self) -> int | None:
        """This process's clock minus the bus server's; None while it could not be measured."""
        return self._clock_offset_ns

    def now_ns(self) -> int:
        """The time on the bus server's clock, which all pods of a namespace share."""
        return time.time_ns() - (self._clock_offset_ns or 0)

    async def clock_known(self) -> None:
        """Wait until `now_ns` can be compared with what other pods say: before, no age could be judged."""
        while self._clock_offset_ns is None:  # noqa: ASYNC110 - a poll at the start, no more
            await asyncio.sleep(_CLOCK_POLL_S)

    async def _measure_clock(self) -> None:
        offset = await self.bus.clock_offset_ns()
        if offset is not None:
            self._clock_offset_ns = offset

    async def _watch_clock(self) -> None:
        while True:
            await self._measure_clock()
            await asyncio.sleep(_CLOCK_INTERVAL_S if self._clock_offset_ns is not None else 0.5)

    async def _stop_when_orphaned(self, supervisor: int) -> None:
        """A pod whose supervisor was killed must not trade on beside the next one's."""
        while True:
            if os.getppid() != supervisor and not self.stopping.is_set():
                log.warning("the supervisor is gone", supervisor=supervisor)
                self.stopping.set()
            await asyncio.sleep(1.0)

    async def _heartbeat(self) -> None:
        while True:
            await self._beat(HEARTBEAT_TTL_MS)
            await asyncio.sleep(HEARTBEAT_S)

    async def _beat(self, ttl_ms: int) -> None:
        try:
            await self.config.acknowledge()
            await self.link.say_status(self.arguments.name, msgspec.json.encode(self.status()), ttl_ms)
        except AWAY as error:
            log.warning("heartbeat failed", error=f"{type(error).__name__}: {error}")

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/status", self._status)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self.arguments.host, self.arguments.port)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = sorted(self.reasons.values())
        return web.Response(text="\n".join(reasons or ["ok"]) + "\n", status=503 if reasons else 200)

    async def _status(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self.status()), content_type="application/json")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": "text/plain; version=0.0.4"})


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until all have ended, whatever they raise.

    Asked for again and again: before Python 3.12 `asyncio.wait_for`, which libraries use, may swallow a cancellation that comes
    in the moment its wait is over (https://github.com/python/cpython/issues/86296), and the task would go on for ever.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.2)


async def in_chunks(delete: Callable[[], int]) -> None:
    """Call `delete` until it deletes nothing more, letting the event loop turn in between."""
    deleted = 1
    while deleted:
        deleted = delete()
        await asyncio.sleep(0.01)


def configure_logs(name: str, role: str) -> None:
    """JSON lines on standard output, every one with the pod's name and role."""
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(pod=name, role=role)


def run_pod(arguments: PodArguments, main: Callable[[PodArguments], Awaitable[None]]) -> int:
    """Run a pod's `main` to its end; the process's exit code."""
    configure_logs(arguments.name, arguments.role)

    async def body() -> None:
        await main(arguments)

    try:
        uvloop.run(body())
    except KeyboardInterrupt:
        return 130
    except Exception:
        log.exception("pod failed")
        return 1
    return 0
