"""The local supervisor: a plan's workloads as child processes, its documents through the controller.

For: starting one process a workload, starting again what dies, replacing what changed its shape, ending all of them. May not:
decide what runs (`plan` does), how a document reaches a pod (`control.controller` does), or trade.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from arbkube.cli.local.runfile import CONTROL_STATE, CREDENTIALS, RunFile, last_run
from arbkube.cli.local.servers import Server, ServerError, bus_server, control_server, end_server
from arbkube.control.acl import User
from arbkube.control.connection import connect
from arbkube.control.controller import Controller
from arbkube.control.protocol import STATUS_PREFIX, Ack
from arbkube.control.rollout.inputs import PodSeen
from arbkube.control.store import FileStateStore
from arbkube.control.writer import ControlWriter
from arbkube.plan.planning import Plan, Role, Workload
from arbkube.pods.shell.status import PodStatus

log = structlog.get_logger(__name__)

_RESTART_BASE_S = 0.2
_RESTART_CAP_S = 10.0
_HEALTHY_AFTER_S = 20.0
_STOP_TIMEOUT_S = 60.0
_SERVER_PATIENCE_S = 5.0
_SERVER_RETRY_S = 1.0
_LOOK_S = 0.2
_STATUS_PATIENCE_S = 2.0


def end_leftover_servers(state: Path) -> None:
    """End servers that a killed supervisor left behind: two writers of one append-only file would destroy it.

    They are asked on their own sockets, in a directory that only that run used: no process of anybody else's can be meant.
    """
    run = last_run(state)
    if run is None:
        return
    for name, url in (("bus", run.bus), ("control", run.control)):
        path = Path(url.removeprefix("unix://"))
        with contextlib.suppress(RedisError, OSError):
            end_server(url, state=state, patience_s=_SERVER_PATIENCE_S)
        deadline = time.monotonic() + _SERVER_PATIENCE_S
        while (pid := run.servers.get(name)) is not None and path.exists() and _is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    (state / "run.json").unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        # A zombie answers signals, but runs no more.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return True


class Child:
    """One workload's process and its history."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.process: asyncio.subprocess.Process | None = None
        self.started_ns = 0
        self.restarts = 0
        """How often it ended by itself."""
        self.last_exit: int | None = None
        self.leaving = False
        """Asked to end: it is not started again."""
        self.keeper: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """Runs plans, one after the other. Use as: `start`, `apply` each plan, `statuses` whenever wanted, then `stop`."""

    def __init__(self, *, state: Path, directory: Path) -> None:
        self.plan = Plan(workloads=(), documents={}, sources={}, rollouts={}, halts={})
        """What was applied last."""
        self._children: dict[str, Child] = {}
        self._ended: dict[str, int] = {}
        """Restarts of workloads that run no more."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._state = state.resolve()
        self._directory = directory
        self._sockets = Path(tempfile.mkdtemp(prefix="arb-"))
        self._bus: Server = bus_server(sockets=self._sockets, state=self._state)
        self._control: Server = control_server(sockets=self._sockets, state=self._state)
        self._simulator = f"http://127.0.0.1:{_free_port()}"
        self._credentials = self._state / CREDENTIALS
        self._client = connect(self._control.url, credentials=self._credentials, user=User.OPERATOR)
        self._writer = ControlWriter(self._control.url, credentials=self._credentials, user=User.OPERATOR)
        self._reader = ControlWriter(self._control.url, credentials=self._credentials, user=User.OPERATOR)
        """Beside the controller's: its connection is for what it does."""
        self.controller = Controller(self._writer, FileStateStore(self._state / CONTROL_STATE))
        self._server_watcher: asyncio.Task[None] | None = None
        self._controlling: asyncio.Task[None] | None = None
        self._started_ns = time.time_ns()
        self._stopping = False

    @property
    def children(self) -> list[Child]:
        """The workloads that shall run, by name."""
        return [self._children[name] for name in sorted(self._children)]

    @property
    def restarts(self) -> dict[str, int]:
        """How often each workload ended by itself, where it did."""
        counts = dict(self._ended)
        for child in self.children:
            counts[child.workload.name] = counts.get(child.workload.name, 0) + child.restarts
        return {name: count for name, count in counts.items() if count}

    async def start(self) -> None:
        """Start the servers and the controller. Raises ServerError."""
        for name in ("logs", "journal"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._control.start)
        await asyncio.to_thread(self._bus.start)
        await self._forget_old_statuses()
        self._server_watcher = asyncio.create_task(self._keep_servers())
        self._controlling = asyncio.create_task(self.controller.run())

    async def apply(self, plan: Plan) -> None:
        """Make what runs what `plan` says: documents are rolled out, pods come, go, and are replaced where their shape changed.

        Returns at once; pods that leave take their time.
        """
        self.plan = plan
        self.controller.want(plan)
        planned = {workload.name: workload for workload in plan.workloads}
        for name, child in list(self._children.items()):
            if name not in planned or planned[name].shape != child.workload.shape:
                self._dismiss(child)
        # The simulator first, so that feeds need not wait for their first backoff to pass.
        for workload in sorted(plan.workloads, key=lambda workload: workload.role is not Role.SIMULATOR):
            if workload.name in self._children:
                self._children[workload.name].workload = workload
                continue
            child = self._children[workload.name] = Child(workload)
            child.keeper = asyncio.create_task(self._keep(child))
            if workload.role is Role.SIMULATOR:
                await self._wait_for_port()
        self._observe()
        self._write_run_file()

    async def stop(self) -> dict[str, PodStatus]:
        """End every pod gracefully, then the servers; the pods' last words."""
        self._stopping = True
        order = {Role.DETECTOR: 0, Role.EXECUTOR: 1, Role.FEED: 2, Role.RECORDER: 3, Role.SIMULATOR: 4}
        for role in sorted({child.workload.role for child in self.children}, key=lambda role: order[role]):
            group = [child for child in self.children if child.workload.role is role]
            await asyncio.gather(*(self._end(child) for child in group))
        await asyncio.gather(*self._leaving)
        keepers = [child.keeper for child in self.children if child.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        if self._controlling is not None:
            self._controlling.cancel()
            await asyncio.wait([self._controlling])
        if self._server_watcher is not None:
            await self._server_watcher  # not cancelled: a server that it is just starting must be known to be stopped
        statuses = {}
        with contextlib.suppress(RedisError, OSError, TimeoutError):  # it may never have started
            statuses = await self.statuses()
        await self._writer.close()
        await self._reader.close()
        await self._client.aclose()
        await asyncio.to_thread(self._bus.stop)
        await asyncio.to_thread(self._control.stop)
        (self._state / "run.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._sockets.rmdir()
        return statuses

    def failure(self) -> BaseException | None:
        """What ended the controller, which nothing but `stop` should."""
        task = self._controlling
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    def retry(self, document: str) -> None:
        """Try what is wanted of `document` once more, though it was rejected."""
        status = self.controller.status().documents.get(document)
        if status is not None:
            self.controller.retry(document, status.wanted)

    async def acks(self) -> dict[str, Ack] | None:
        """What each pod says that it holds; None where the control server does not answer."""
        try:
            return (await self._reader.look()).acks
        except (RedisError, OSError, TimeoutError):
            return None

    async def statuses(self) -> dict[str, PodStatus]:
        """The latest heartbeat of each pod that has one. Raises RedisError, OSError or TimeoutError."""
        return await read_statuses(self._client, list(self._children))

    def _observe(self) -> None:
        """Tell the controller which pods there are."""
        self.controller.observe(
            {
                child.workload.name: PodSeen(workload=child.workload.name, started_ns=child.started_ns)
                for child in self.children
                if child.runs
            }
        )

    def _write_run_file(self) -> None:
        run = RunFile(
            pid=os.getpid(),
            started_ns=self._started_ns,
            directory=str(self._directory),
            bus=self._bus.url,
            control=self._control.url,
            servers={server.name: server.pid for server in (self._bus, self._control) if server.pid is not None},
            simulator=self._simulator if any(child.workload.role is Role.SIMULATOR for child in self.children) else "",
            pods={child.workload.name: child.workload.role.value for child in self.children},
        )
        temporary = self._state / "run.json.new"
        temporary.write_bytes(msgspec.json.encode(run))
        temporary.replace(self._state / "run.json")

    async def _forget_old_statuses(self) -> None:
        keys = [key async for key in self._client.scan_iter(STATUS_PREFIX + "*")]
        if keys:
            await self._client.delete(*keys)

    def _dismiss(self, child: Child) -> None:
        """Let a pod go, for good or because one of another shape takes its place once it has ended."""
        child.leaving = True
        del self._children[child.workload.name]
        self._ended[child.workload.name] = self._ended.get(child.workload.name, 0) + child.restarts
        leaving = asyncio.create_task(self._end(child), name=child.workload.name)
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _keep(self, child: Child) -> None:
        """Run the child, again and again until told to stop; sooner again when it had been healthy."""
        # One process writes a journal: a successor begins when its predecessor has ended.
        while predecessors := [task for task in self._leaving if task.get_name() == child.workload.name]:
            await asyncio.wait(predecessors)
        failures = 0
        while not self._is_over(child):
            started = time.monotonic()
            log_path = self._state / "logs" / f"{child.workload.name}.log"
            try:
                with log_path.open("ab") as output:
                    child.process = await asyncio.create_subprocess_exec(
                        *self._command(child.workload),
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                child.started_ns = time.time_ns()
                self._observe()
                if self._is_over(child):
                    child.process.terminate()  # it was being started while everything else was ended
                child.last_exit = await child.process.wait()
            except OSError as error:
                log.error("pod cannot be started", pod=child.workload.name, error=str(error))
            if self._is_over(child):
                return
            failures = 0 if time.monotonic() - started > _HEALTHY_AFTER_S else failures + 1
            child.restarts += 1
            pause = min(_RESTART_CAP_S, _RESTART_BASE_S * 2 ** min(failures - 1, 10)) if failures else 0.0
            log.warning("pod ended", pod=child.workload.name, exit=child.last_exit, restart_in_s=pause, log=str(log_path))
            await asyncio.sleep(pause)

    def _is_over(self, child: Child) -> bool:
        return self._stopping or child.leaving

    async def _keep_servers(self) -> None:
        while not self._stopping:
            await asyncio.sleep(_LOOK_S)
            for server in (self._control, self._bus):
                if not server.alive and not self._stopping:
                    log.warning("server ended", server=server.name)
                    try:
                        await asyncio.to_thread(server.start)
                        self._write_run_file()
                    except (ServerError, OSError) as error:
                        log.error("server cannot be started", server=server.name, error=str(error))
                        await asyncio.sleep(_SERVER_RETRY_S)

    def _command(self, workload: Workload) -> Sequence[str]:
        port = self._simulator.rsplit(":", 1)[1] if workload.role is Role.SIMULATOR else "0"
        return [
            sys.executable,
            *("-m", "arbkube.pods", workload.role.value.lower()),
            *("--name", workload.name),
            *("--workload", workload.name, "--shape", workload.shape, "--document", workload.document),
            *("--bus", self._bus.url, "--control", self._control.url, "--credentials", str(self._credentials)),
            *("--state", str(self._state / "journal")),
            *("--port", port, "--simulator", self._simulator),
            *("--supervisor", str(os.getpid())),
        ]

    async def _wait_for_port(self) -> None:
        host, port = self._simulator.removeprefix("http://").split(":")
        for _ in range(200):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(0.05)

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
        except TimeoutError:
            log.error("pod does not stop, killed", pod=child.workload.name)
            process.kill()
            await process.wait()


async def read_statuses(client: redis.Redis, pods: Sequence[str]) -> dict[str, PodStatus]:
    """The latest heartbeat of each of `pods` that has one. Raises RedisError, OSError or TimeoutError."""
    if not pods:
        return {}
    async with asyncio.timeout(_STATUS_PATIENCE_S):
        values = await client.mget([STATUS_PREFIX + pod for pod in pods])
    found = [msgspec.json.decode(value, type=PodStatus) for value in values if value is not None]
    return {status.pod: status for status in found}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
