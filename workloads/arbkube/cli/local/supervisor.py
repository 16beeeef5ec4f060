"""The local supervisor: a plan's workloads as child processes.

For: starting one process a workload, starting again what dies, ending all of them. May not: decide what runs (`plan` does) or
trade.
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

from arbkube.cli.local.runfile import CREDENTIALS, RunFile, last_run
from arbkube.cli.local.seeding import seed
from arbkube.cli.local.servers import Server, ServerError, bus_server, control_server, end_server
from arbkube.control.acl import User
from arbkube.control.connection import connect
from arbkube.control.protocol import STATUS_PREFIX
from arbkube.control.writer import ControlWriter
from arbkube.plan.planning import Plan, Role, Workload
from arbkube.pods.status import PodStatus

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
        self.restarts = 0
        self.last_exit: int | None = None


class Supervisor:
    """Runs a plan. Use as: `start`, then `statuses` whenever wanted, then `stop`."""

    def __init__(self, plan: Plan, *, state: Path, directory: Path) -> None:
        self.children = [Child(workload) for workload in plan.workloads]
        self._plan = plan
        self._state = state.resolve()
        self._directory = directory
        self._sockets = Path(tempfile.mkdtemp(prefix="arb-"))
        self._bus: Server = bus_server(sockets=self._sockets, state=self._state)
        self._control: Server = control_server(sockets=self._sockets, state=self._state)
        self._simulator = f"http://127.0.0.1:{_free_port()}" if any(w.role is Role.SIMULATOR for w in plan.workloads) else ""
        self._watchers: list[asyncio.Task[None]] = []
        self._server_watcher: asyncio.Task[None] | None = None
        self._stopping = False
        self._credentials = self._state / CREDENTIALS
        self._client = connect(self._control.url, credentials=self._credentials, user=User.OPERATOR)

    async def start(self) -> None:
        """Start the servers and every workload. Raises ServerError."""
        for name in ("logs", "journal"):
            (self._state / name).mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(self._control.start)
        await asyncio.to_thread(self._bus.start)
        await self._forget_old_statuses()
        await self._seed()
        self._write_run_file()
        # The simulator first, so that feeds need not wait for their first backoff to pass.
        for child in sorted(self.children, key=lambda child: child.workload.role is not Role.SIMULATOR):
            self._watchers.append(asyncio.create_task(self._keep(child)))
            if child.workload.role is Role.SIMULATOR:
                await self._wait_for_port()
        self._server_watcher = asyncio.create_task(self._keep_servers())

    async def stop(self) -> dict[str, PodStatus]:
        """End every pod gracefully, then the servers; the pods' last words."""
        self._stopping = True
        order = {Role.DETECTOR: 0, Role.EXECUTOR: 1, Role.FEED: 2, Role.RECORDER: 3, Role.SIMULATOR: 4}
        for role in sorted({child.workload.role for child in self.children}, key=lambda role: order[role]):
            group = [child for child in self.children if child.workload.role is role]
            await asyncio.gather(*(self._end(child) for child in group))
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if self._server_watcher is not None:
            await self._server_watcher  # not cancelled: a server that it is just starting must be known to be stopped
        statuses = {}
        with contextlib.suppress(RedisError, OSError, TimeoutError):  # it may never have started
            statuses = await self.statuses()
        await self._client.aclose()
        await asyncio.to_thread(self._bus.stop)
        await asyncio.to_thread(self._control.stop)
        (self._state / "run.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._sockets.rmdir()
        return statuses

    async def statuses(self) -> dict[str, PodStatus]:
        """The latest heartbeat of each pod that has one. Raises RedisError, OSError or TimeoutError."""
        return await read_statuses(self._client, [child.workload.name for child in self.children])

    async def _seed(self) -> None:
        """Say to the control server what runs. Raises ServerError."""
        writer = ControlWriter(self._control.url, credentials=self._credentials, user=User.OPERATOR)
        try:
            await seed(writer, self._plan)
        except (RedisError, OSError, TimeoutError) as error:
            raise ServerError(f"the control server cannot be written: {type(error).__name__}: {error}") from error
        finally:
            await writer.close()

    def _write_run_file(self) -> None:
        run = RunFile(
            pid=os.getpid(),
            started_ns=time.time_ns(),
            directory=str(self._directory),
            bus=self._bus.url,
            control=self._control.url,
            servers={server.name: server.pid for server in (self._bus, self._control) if server.pid is not None},
            simulator=self._simulator,
            pods={child.workload.name: child.workload.role.value for child in self.children},
        )
        temporary = self._state / "run.json.new"
        temporary.write_bytes(msgspec.json.encode(run))
        temporary.replace(self._state / "run.json")

    async def _forget_old_statuses(self) -> None:
        keys = [key async for key in self._client.scan_iter(STATUS_PREFIX + "*")]
        if keys:
            await self._client.delete(*keys)

    async def _keep(self, child: Child) -> None:
        """Run the child, again and again until told to stop; sooner again when it had been healthy."""
        failures = 0
        while not self._stopping:
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
                if self._stopping:
                    child.process.terminate()  # it was being started while everything else was ended
                child.last_exit = await child.process.wait()
            except OSError as error:
                log.error("pod cannot be started", pod=child.workload.name, error=str(error))
            if self._stopping:
                return
            failures = 0 if time.monotonic() - started > _HEALTHY_AFTER_S else failures + 1
            child.restarts += 1
            pause = min(_RESTART_CAP_S, _RESTART_BASE_S * 2 ** min(failures - 1, 10)) if failures else 0.0
            log.warning("pod ended", pod=child.workload.name, exit=child.last_exit, restart_in_s=pause, log=str(log_path))
            await asyncio.sleep(pause)

    async def _keep_servers(self) -> None:
        while not self._stopping:
            await asyncio.sleep(_LOOK_S)
            for server in (self._control, self._bus):
                if not server.alive and not self._stopping:
                    log.warning("server ended", server=server.name)
                    try:
                        await asyncio.to_thread(server.start)
                        self._write_run_file()
                        if server is self._control:
                            await self._seed()
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
