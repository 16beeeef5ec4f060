"""Connections that fail: nothing but loopback sockets, and a venue that can be told to misbehave.

What each fault does to books is tested with the simulator's (tests/simulator/test_faults.py); here it is the transport's part:
pings, silence, backoff, polling while there is no WebSocket, being told to ask less, many connections, leaving nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType, web

from arbkube.market.instruments import MarketType
from arbkube.market.verified import VerifiedBook
from arbkube.resources.kinds import Channel, Proof
from arbkube.simulator.faults import Fault, FaultRequest
from arbkube.venues import rest
from arbkube.venues.binance.adapter import SpotAdapter
from arbkube.venues.defaults import default_instruments
from arbkube.venues.recording import Event, EventKind
from arbkube.venues.session import SECOND, Backoff, Endpoint, Session, SessionOptions, WireLimits
from arbkube.venues.transport import FeedTransport
from tests.simulator.support import feed, running, until, watching

_SIDES = (("bids", 100, -1), ("asks", 101, 1))
Serve = Callable[[web.Request, web.WebSocketResponse], Awaitable[None]]


class Venue:
    """Binance in the least words: `serve` says what happens on a WebSocket, `depth` what a snapshot answers."""

    def __init__(self) -> None:
        self.serve: Serve = self.talk
        self.refuse = 0
        """How many WebSockets are still refused."""
        self.depth: Callable[[str], web.Response] = self.snapshot
        self.asked: list[float] = []
        """When snapshots were asked for."""
        self.opened: list[float] = []
        self.pings = 0
        self.numbers = {"BTCUSDT": 100, "ETHUSDT": 100, "ETHBTC": 100}
        self.subscriptions: list[list[str]] = []
        self.endpoint = Endpoint("", "")
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/stream", self._socket)
        app.router.add_get("/api/v3/depth", self._depth)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        base = f"127.0.0.1:{self._runner.addresses[0][1]}"
        self.endpoint = Endpoint(f"ws://{base}", f"http://{base}")

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def snapshot(self, native: str) -> web.Response:
        levels = {side: [[f"{start + step * n}.0", "1"] for n in range(6)] for side, start, step in _SIDES}
        return web.json_response({"lastUpdateId": self.numbers[native], **levels})

    async def _depth(self, request: web.Request) -> web.Response:
        self.asked.append(time.monotonic())
        return self.depth(request.query["symbol"])

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.opened.append(time.monotonic())
        if self.refuse:
            self.refuse -= 1
            raise web.HTTPServiceUnavailable(text="no WebSocket for you")
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        with contextlib.suppress(ConnectionError):
            await self.serve(request, socket)
        return socket

    async def talk(self, _: web.Request, socket: web.WebSocketResponse) -> None:
        """A diff for every symbol subscribed to, every 20 ms; pongs for pings."""
        natives: list[str] = []
        hearing = asyncio.create_task(self.hear(socket, natives))
        try:
            while not socket.closed and not hearing.done():
                for native in natives:
                    await socket.send_bytes(self.diff(native))
                await asyncio.sleep(0.02)
        finally:
            hearing.cancel()

    async def hear(self, socket: web.WebSocketResponse, natives: list[str]) -> None:
        async for message in socket:
            if message.type is WSMsgType.PING:
                self.pings += 1
                await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                streams = msgspec.json.decode(message.data)["params"]
                self.subscriptions.append(streams)
                natives += [stream.split("@")[0].upper() for stream in streams]

    def diff(self, native: str) -> bytes:
        number = self.numbers[native] = self.numbers[native] + 1
        data = {"e": "depthUpdate", "E": 1, "s": native, "U": number, "u": number, "b": [["100.0", "2"]], "a": []}
        return msgspec.json.encode({"stream": "x", "data": data})


class Few(SpotAdapter):
    """Two symbols a connection."""

    limits = WireLimits(symbols_per_connection=2, arguments_per_message=1, messages_per_second=50)


@contextlib.asynccontextmanager
async def venue() -> AsyncIterator[Venue]:
    made = Venue()
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@contextlib.asynccontextmanager
async def connected(
    to: Venue, *, symbols: int = 1, require: frozenset[Proof] = frozenset(), tap: Callable[[Event], None] | None = None
) -> AsyncIterator[FeedTransport]:
    natives = ("BTCUSDT", "ETHUSDT", "ETHBTC")[:symbols]
    options = SessionOptions(endpoint=to.endpoint, depth=5, channels=frozenset({Channel.BOOK}), require=require)

    def on_change(_session: Session, _books: object) -> None:
        return

    async with aiohttp.ClientSession() as http:
        instruments = default_instruments("binance", MarketType.SPOT, natives)
        transport = FeedTransport(http, Few(), instruments, options, rng=Random(7), on_change=on_change, tap=tap)
        task = asyncio.create_task(transport.run())
        try:
            yield transport
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def books(transport: FeedTransport) -> list[VerifiedBook]:
    return [book for session in transport.sessions for book in session.books.values()]


def verified(transport: FeedTransport) -> bool:
    return all(book.withheld is None for book in books(transport))


async def test_more_symbols_than_a_connection_carries_are_spread_over_several() -> None:
    async with venue() as there, connected(there, symbols=3) as transport:
        await until(lambda: verified(transport), what="all books")
        assert [list(session.books) for session in transport.sessions] == [["BTC-USDT", "ETH-USDT"], ["ETH-BTC"]]
        assert len(there.opened) == 2
        assert sorted(len(streams) for streams in there.subscriptions) == [1, 1, 1], "as many arguments as a message may carry"


async def test_pings_keep_a_quiet_connection_alive() -> None:
    async with venue() as there:

        async def quiet(_: web.Request, socket: web.WebSocketResponse) -> None:
            natives: list[str] = []
            hearing = asyncio.create_task(there.hear(socket, natives))
            await until(lambda: natives)
            for _turn in range(2):
                await socket.send_bytes(there.diff("BTCUSDT"))
                await asyncio.sleep(0.2)
            await hearing

        there.serve = quiet
        async with connected(there) as transport:
            await until(lambda: there.pings >= 3, what="pings")
            (session,) = transport.sessions
            assert time.time_ns() - session.alive_ns < 1.2 * SECOND
            assert len(there.opened) == 1


async def test_silence_ends_in_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "silence_limit_ns", SECOND)
    async with venue() as there:
        talk = there.serve

        async def silent(_: web.Request, socket: web.WebSocketResponse) -> None:
            there.serve = talk
            await asyncio.sleep(30)  # neither frames nor pongs, nor an answer to a close

        there.serve = silent
        async with connected(there) as transport:
            await until(lambda: len(there.opened) == 1)
            began = time.monotonic()
            await until(lambda: verified(transport), what="a book from the second connection")
            assert 0.8 < time.monotonic() - began < 5
            assert transport.connections[0].reconnects == 1


async def test_reconnects_back_off_with_jitter() -> None:
    async with venue() as there:
        there.refuse = 10**6
        async with connected(there):
            await until(lambda: len(there.opened) >= 5, seconds=20)
        waits = [after - before for before, after in zip(there.opened, there.opened[1:], strict=False)]
        assert all(wait >= 0.1 for wait in waits)
    bounds = [min(30 * SECOND, (SECOND // 2) << attempt) for attempt in range(12)]
    several = []
    for seed in range(50):
        backoff = Backoff(Random(seed), base_ns=SECOND // 2, cap_ns=30 * SECOND, floor_ns=SECOND // 10)
        several.append([backoff.next_ns() for _ in bounds])
        assert all(SECOND // 10 <= wait <= bound for wait, bound in zip(several[-1], bounds, strict=True))
    assert len({tuple(waits) for waits in several}) == 50


@pytest.mark.parametrize("refusal", ["refused", "accepted and closed"])
async def test_books_are_polled_while_no_websocket_can_be_had(refusal: str) -> None:
    async with venue() as there:
        talk = there.serve

        async def hang_up(_: web.Request, socket: web.WebSocketResponse) -> None:
            await socket.close()

        if refusal == "refused":
            there.refuse = 10**6
        else:
            there.serve = hang_up
        async with connected(there) as transport:
            await until(lambda: verified(transport), what="a polled book", seconds=30)
            (book,) = books(transport)
            assert book.book.bids(1) == [("100.0", "1")]
            asked = len(there.asked)
            await until(lambda: len(there.asked) > asked, what="polling goes on")

            there.refuse, there.serve = 0, talk
            await until(
                lambda: book.book.bids(1) == [("100.0", "2")] and verified(transport), seconds=40, what="WebSocket again"
            )
            await asyncio.sleep(0.3)
            asked = len(there.asked)
            await asyncio.sleep(1.5)
            assert len(there.asked) == asked, "no polling beside a WebSocket"


async def test_a_polled_book_is_no_proof_where_one_is_required() -> None:
    async with venue() as there:
        there.refuse = 10**6
        async with connected(there, require=frozenset({Proof.CHAIN})) as transport:
            await until(lambda: len(there.asked) >= 2, seconds=30)
            assert [book.withheld for book in books(transport)] == ["NoProof"]


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b'{"lastUpdateId": "x"}', b'{"code": -1}'])
async def test_polls_that_cannot_be_read_end_nothing(body: bytes) -> None:
    async with venue() as there:
        there.refuse = 10**6
        there.depth = lambda _: web.Response(body=body)
        async with connected(there) as transport:
            await until(lambda: len(there.asked) >= 2, seconds=30)
            there.depth = there.snapshot
            await until(lambda: verified(transport), seconds=10)


@pytest.mark.parametrize("status", [429, 418])
async def test_a_venue_that_wants_to_be_left_alone_is_left_alone_by_every_connection(status: int) -> None:
    async with venue() as there:
        there.depth = lambda _: web.Response(status=status, headers={"Retry-After": "2"})
        async with connected(there, symbols=3) as transport:
            await until(lambda: there.asked)
            await asyncio.sleep(0.5)
            first = list(there.asked)
            assert len(first) <= 4, "only what was under way"
            there.depth = there.snapshot
            await until(lambda: verified(transport), what="the books after the pause")
            assert there.asked[len(first)] - first[-1] > 1.8


async def test_a_pause_without_a_figure_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_PAUSE_S", 1.0)
    async with venue() as there:
        there.depth = lambda _: web.Response(status=429, headers={"Retry-After": "Sat, 21 Nov 2026 12:00:00 GMT"})
        async with connected(there) as transport:
            await until(lambda: there.asked)
            there.depth = there.snapshot
            await until(lambda: verified(transport))
            assert there.asked[1] - there.asked[0] > 0.9


async def test_an_answer_never_reaches_the_next_connection() -> None:
    """A snapshot asked for on a connection that is gone must not become the base of the next one's empty book."""
    async with venue() as there:
        release = asyncio.Event()
        late: list[int] = []

        async def slow(_: web.Request) -> web.Response:
            late.append(1)
            await release.wait()
            return there.snapshot("BTCUSDT")

        there._depth = slow  # type: ignore[assignment,method-assign]
        await there.stop()
        await there.start()
        sockets: list[web.WebSocketResponse] = []
        talk = there.talk

        async def kept(request: web.Request, socket: web.WebSocketResponse) -> None:
            sockets.append(socket)
            await talk(request, socket)

        there.serve = kept
        async with connected(there) as transport:
            (session,) = transport.sessions
            (book,) = books(transport)
            sizes = set()
            prove = session.prove

            def proven(one: VerifiedBook, venue_ns: int, now_ns: int) -> None:
                prove(one, venue_ns, now_ns)
                sizes.add(one.book.sizes())

            session.prove = proven  # type: ignore[assignment,method-assign]
            await until(lambda: late, what="the snapshot is asked for")
            await sockets[0].close()
            await until(lambda: not session.connected, what="the connection is gone")
            release.set()
            await until(lambda: verified(transport), what="the book of the second connection")
            assert sizes == {(6, 6)}
            assert book.book.bids(2) == [("100.0", "2"), ("99.0", "1")]


async def test_a_stop_leaves_no_task_and_is_no_disconnection(capsys: pytest.CaptureFixture[str]) -> None:
    async with venue() as there:
        before = asyncio.all_tasks()
        events: list[Event] = []
        async with connected(there, symbols=3, tap=events.append) as transport:
            await until(lambda: verified(transport))
            ours = asyncio.all_tasks() - before
            assert ours
        await asyncio.sleep(0.3)
        left = [task for task in ours if not task.done()]
        assert all("_socket" in repr(task) or "Connection" not in repr(task) for task in left), left
        assert not [task for task in left if "transport.py" in repr(task)]
        assert all(book.withheld == "Disconnected" for book in books(transport)), "readers are told at once"
    assert "disconnected" not in capsys.readouterr().out
    assert EventKind.CLOSED not in {event.kind for event in events}


async def _reconnects(count: int) -> tuple[int, int]:
    """Bytes in use after a fifth of `count` reconnects and after all of them."""
    async with venue() as there:

        async def short(request: web.Request, socket: web.WebSocketResponse) -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(there.talk(request, socket), 0.05)
            await socket.close()

        there.serve = short
        async with connected(there, symbols=2) as transport:
            (connection,) = transport.connections
            connection._backoff = Backoff(Random(1), base_ns=1, cap_ns=1)
            await until(lambda: connection.reconnects >= count // 5, seconds=600)
            gc.collect()
            tracemalloc.start()
            early = tracemalloc.get_traced_memory()[0]
            await until(lambda: connection.reconnects >= count, seconds=600)
            gc.collect()
            late = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert len(asyncio.all_tasks()) < 30
            return early, late


@pytest.mark.parametrize("count", [50, pytest.param(3000, marks=pytest.mark.soak)])
async def test_memory_is_flat_over_many_reconnects(count: int, record_property: Callable[[str, Any], None]) -> None:
    early, late = await _reconnects(count)
    record_property("reconnects", count)
    record_property("bytes more", late - early)
    assert late - early < 3_000_000


@pytest.mark.parametrize("name", ["kraken", "okx"])
async def test_real_protocols_fall_back_to_polling_and_return(name: str) -> None:
    one = feed(name, MarketType.SPOT, rate=20, name=name)
    async with running(one) as simulator, watching(simulator, one, depth=10) as transport:
        (session,) = transport.sessions
        await until(lambda: all(book.withheld is None for book in session.books.values()), what="books")
        simulator.inject(FaultRequest(feed=name, fault=Fault.DISCONNECT, duration_ms=6000))
        await until(lambda: any(book.withheld for book in session.books.values()))
        await until(lambda: all(b.withheld is None for b in session.books.values()), seconds=30, what="polled books")
        assert not session.connected
        await until(lambda: session.connected, seconds=60, what="the WebSocket again")
        await until(lambda: all(b.withheld is None for b in session.books.values()), what="books again")
        assert session.connected
