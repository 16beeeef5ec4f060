"""A recording played through real sockets, at its own or a higher speed.

For: `Player`, one recording as the venue that it was recorded from: frames are sent exactly as they were received, REST
snapshots are answered from the recording's own book at that point, control messages and trading rules by the venue's
exchange. May not: invent a frame, or answer market data that the recording does not hold (503 then).

There is one playback, with a place for one client a recorded connection. It begins when a client has subscribed, waits while
one is missing, closes where the recorded connection was closed, and goes on with the next client. Where the recording holds a
REST snapshot, it waits for the client to ask, so that a fast playback meets the client in the state in which the recorder
was.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from random import Random

import msgspec
from aiohttp import ClientConnectionResetError, WSMsgType, web

from arbkube.market.book import Level, TextBook
from arbkube.market.instruments import Instrument, MarketType
from arbkube.simulator import exchange
from arbkube.simulator.exchange.base import Connection, Kind, Market, json
from arbkube.simulator.ladder import Ladder
from arbkube.simulator.listings import Listing
from arbkube.venues.defaults import default_instruments
from arbkube.venues.recording import Event, EventKind, Recording
from arbkube.venues.session import Endpoint

_ASK_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 8.0
_SETTLE_S = 0.05
"""What a client gets to read a snapshot before the frames go on."""
_RULES = frozenset(
    {"ping", "time", "Time", "SystemStatus", "exchangeInfo"}
    | {"AssetPairs", "Assets", "products", "instruments", "instruments-info"}
)
"""Last parts of the paths whose answers do not depend on the market."""


class _Diff(msgspec.Struct):
    e: str = ""
    s: str = ""
    U: int = 0
    u: int = 0
    pu: int = -1
    b: list[Level] | str = ""
    a: list[Level] | str = ""


class _Frame(msgspec.Struct):
    data: _Diff | None = None


class _Depth(msgspec.Struct, rename="camel"):
    last_update_id: int
    bids: list[Level]
    asks: list[Level]


_frame = msgspec.json.Decoder(_Frame)
_depth = msgspec.json.Decoder(_Depth)


class _State:
    """One instrument's book as far as the recording has told (Binance's, the only one here whose snapshots come by REST)."""

    def __init__(self) -> None:
        self.known = asyncio.Event()
        self.asked = asyncio.Event()
        self.answered = asyncio.Event()
        self._book = TextBook()
        self._last = 0
        self._early: deque[_Diff] = deque(maxlen=1000)

    def base(self, body: bytes) -> None:
        """A recorded snapshot. The diff that spans it has often been received before it."""
        depth = _depth.decode(body)
        self._book.replace(depth.bids, depth.asks)
        self._last = depth.last_update_id
        early = list(self._early)
        self._early.clear()
        for diff in early:
            self.apply(diff)
        if self._last:
            self.known.set()

    def apply(self, diff: _Diff) -> None:
        """A recorded diff. Where one before it is missing, nothing is known until the next snapshot."""
        previous = diff.pu if diff.pu >= 0 else diff.U - 1
        if self._last and previous > self._last:
            self.forget()
        if not self._last:
            self._early.append(diff)
        elif diff.u > self._last and isinstance(diff.b, list) and isinstance(diff.a, list):
            self._book.apply(diff.b, diff.a)
            self._last = diff.u

    def forget(self) -> None:
        """What is known is out of date: a recorded connection ended, or lost something."""
        self._last = 0
        self._early.clear()
        self.known.clear()
        self.asked.clear()

    def body(self, limit: int) -> bytes:
        return json({"lastUpdateId": self._last, "bids": self._book.bids(limit), "asks": self._book.asks(limit)})


class _Client:
    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.gone = asyncio.Event()


class Player:
    """One recording on a server of its own. `speed` is a multiple of the recorded one; infinity is as fast as clients read."""

    def __init__(self, recording: Recording, *, speed: float = 1.0, clock: Callable[[], int] = time.time_ns) -> None:
        header = recording.header
        self.finished = asyncio.Event()
        """Everything has been sent."""
        self._recording = recording
        self._speed = speed
        self._clock = clock
        instruments = header.instruments or default_instruments(header.venue, header.market, header.natives)
        self._natives = {instrument.symbol: instrument.native for instrument in instruments}
        self._exchange = exchange.create(header.venue, header.market, [_market(instrument) for instrument in instruments])
        groups = header.connections or (tuple(self._natives),)
        self._groups = [{self._natives[symbol] for symbol in group if symbol in self._natives} for group in groups]
        self._clients: dict[int, _Client] = {}
        self._attached = asyncio.Condition()
        self._states = {instrument.native: _State() for instrument in instruments}
        self._runner: web.AppRunner | None = None
        self._playing: asyncio.Task[None] | None = None
        self._base = ""
        self._offset_ns = 0
        """Monotonic clock minus recorded time, less what was waited for clients."""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; playback begins with the first subscription. Returns the port."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        self._base = f"{host}:{bound}"
        self._playing = asyncio.create_task(self._play())
        return bound

    async def stop(self) -> None:
        """Disconnect everybody and stop listening."""
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.gather(self._playing, return_exceptions=True)
        for client in list(self._clients.values()):
            await client.socket.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def endpoint(self) -> Endpoint:
        """The base addresses."""
        return Endpoint(f"ws://{self._base}", f"http://{self._base}")

    # Playback

    async def _play(self) -> None:
        for event in self._recording.events():
            match event.kind:
                case EventKind.RECEIVED:
                    await self._send(event)
                case EventKind.FETCHED:
                    await self._snapshot(event)
                case EventKind.CLOSED:
                    for native in self._groups[event.connection]:
                        self._states[native].forget()
                    client = self._clients.pop(event.connection, None)
                    if client is not None:
                        await client.socket.close()
        self.finished.set()

    async def _send(self, event: Event) -> None:
        text = event.data.decode()
        while True:
            client = await self._client(event)
            await self._pace(event.ns)
            if client.gone.is_set():
                continue
            try:
                await client.socket.send_str(text)
                break
            except (ConnectionResetError, ClientConnectionResetError, RuntimeError):
                client.gone.set()
                self._clients.pop(event.connection, None)
        self._note(event.data)

    async def _client(self, event: Event) -> _Client:
        """The client of the event's connection. While it is waited for, recorded time stands still."""
        if event.connection not in self._clients:
            async with self._attached:
                await self._attached.wait_for(lambda: event.connection in self._clients)
            self._offset_ns = time.monotonic_ns() - int(event.ns / self._speed)
        return self._clients[event.connection]

    async def _pace(self, ns: int) -> None:
        ahead = int(ns / self._speed) + self._offset_ns - time.monotonic_ns()
        if self._speed != float("inf") and ahead > 0:
            await asyncio.sleep(ahead / 1e9)

    def _note(self, frame: bytes) -> None:
        if self._exchange.venue == "binance":
            diff = _frame.decode(frame).data
            if diff is not None and diff.e == "depthUpdate" and diff.s in self._states:
                self._states[diff.s].apply(diff)

    async def _snapshot(self, event: Event) -> None:
        state = self._states[self._natives.get(event.symbol, event.symbol)]
        waiting = asyncio.wait_for(state.asked.wait(), _ASK_TIMEOUT_S)
        state.answered.clear()
        asked = (await asyncio.gather(waiting, return_exceptions=True))[0] is True
        state.base(event.data)
        if asked:
            await asyncio.wait([asyncio.ensure_future(state.answered.wait())], timeout=_ASK_TIMEOUT_S)
            await asyncio.sleep(_SETTLE_S)

    # Server

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["path"]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, path)
        last = path.rstrip("/").rpartition("/")[2]
        if last == "depth" and request.query.get("symbol") in self._states:
            return await self._answer_depth(request, self._states[request.query["symbol"]])
        if last not in _RULES and "/products/" not in path:
            raise web.HTTPServiceUnavailable(text=f"the recording holds no answer for {path}")
        answer = self._exchange.get(path, request.query, self._clock())
        return web.Response(body=answer.body, status=answer.status, content_type="application/json")

    async def _answer_depth(self, request: web.Request, state: _State) -> web.StreamResponse:
        state.asked.set()
        try:
            await asyncio.wait_for(state.known.wait(), _ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text="the recording has not come to a snapshot yet") from None
        response = web.Response(body=state.body(int(request.query.get("limit", "1000"))), content_type="application/json")
        await response.prepare(request)
        await response.write_eof()
        state.asked.clear()
        state.answered.set()
        return response

    async def _socket(self, request: web.Request, path: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        connection = self._exchange.connect(path, request.query, self._clock())
        client = _Client(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._exchange.received(connection, message.data, self._clock())
                    await self._reply(connection, socket)
                    await self._attach(client, message.data)
        finally:
            client.gone.set()
            self._exchange.disconnect(connection)
            for index in [index for index, one in self._clients.items() if one is client]:
                del self._clients[index]
        return socket

    @staticmethod
    async def _reply(connection: Connection, socket: web.WebSocketResponse) -> None:
        """Send the exchange's answers, and none of its market data: that is the recording's."""
        while connection.out:
            message = connection.out.popleft()
            if message.kind is Kind.REPLY:
                await socket.send_str(message.text)

    async def _attach(self, client: _Client, subscription: str) -> None:
        """Give a client that has subscribed the recorded connection that carries what it asked for."""
        if client in self._clients.values():
            return
        asked = subscription.upper()
        for index, natives in enumerate(self._groups):
            if index not in self._clients and any(native.upper() in asked for native in natives):
                async with self._attached:
                    self._clients[index] = client
                    self._attached.notify_all()
                return


def _market(instrument: Instrument) -> Market:
    """The rules of a recorded instrument, with a book that nobody sees."""
    lot = instrument.lot
    if instrument.venue == "okx" and instrument.market is MarketType.PERPETUAL:
        lot = instrument.contract_size / 100  # as the exchange counts contracts
    listing = Listing(
        symbol=instrument.symbol,
        base=instrument.base,
        quote=instrument.quote,
        market=instrument.market,
        tick=instrument.tick,
        lot=lot,
        min_quantity=instrument.min_quantity,
        min_notional=instrument.min_notional,
    )
    tick = float(instrument.tick)
    return Market(listing, Ladder(Random(0), tick=tick, lot_value=1.0, mid=tick * 10**6, half_spread=1e-4))
