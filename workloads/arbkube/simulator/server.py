"""The simulator's process: every simulated venue on one aiohttp server, each under its feed's name.

For: `Simulator`. A feed NAME's base addresses are `ws://HOST:PORT/NAME` and `http://HOST:PORT/NAME`, followed by the venue's
own paths; `POST /control/faults` breaks something, `GET /control/state` tells the truth about a book (docs/simulator.md). May
not: know a venue's protocol.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence

import msgspec
from aiohttp import WSMsgType, web

from arbkube.simulator.exchange.base import Connection, json
from arbkube.simulator.faults import Fault, FaultRequest, Wire
from arbkube.simulator.model import SimulatedFeed, Venue, venues
from arbkube.venues.session import Endpoint

_BEAT_NS = 10**9
_HICCUP_NS = 10**9
"""Later than this, the simulation pauses with its process instead of catching up."""
_QUEUE_LIMIT = 10_000
"""Messages a client may be behind before it is disconnected, as venues do."""


class _Client:
    """The socket of one connection: what leaves it goes through the faults and a queue."""

    def __init__(self, connection: Connection, wire: Wire, socket: web.WebSocketResponse) -> None:
        self.connection = connection
        self.wire = wire
        self.socket = socket
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()

    def flush(self, elapsed_ns: int) -> None:
        """Queue what the exchange has said."""
        out = self.connection.out
        while out:
            for delay_ns, message in self.wire.carry(out.popleft(), elapsed_ns):
                if delay_ns:
                    asyncio.get_running_loop().call_later(delay_ns / 1e9, self._queue.put_nowait, message.text)
                else:
                    self._queue.put_nowait(message.text)
        if self._queue.qsize() > _QUEUE_LIMIT:
            self.close()

    def close(self) -> None:
        """End the connection after what is queued."""
        self._queue.put_nowait(None)

    async def write(self) -> None:
        """Send what is queued until `close`."""
        while (text := await self._queue.get()) is not None:
            await self.socket.send_str(text)
        await self.socket.close(code=1001, message=b"going away", drain=False)


class Simulator:
    """All feeds' exchanges. `clock` gives the venues' time in ns UTC; `history` is how many past books a market remembers."""

    def __init__(
        self, feeds: Sequence[SimulatedFeed], *, seed: int, clock: Callable[[], int] = time.time_ns, history: int = 0
    ) -> None:
        self.venues = venues(feeds, seed=seed, history=history)
        self._clock = clock
        self._clients: dict[str, list[_Client]] = {name: [] for name in self.venues}
        self._runner: web.AppRunner | None = None
        self._stepping: asyncio.Task[None] | None = None
        self._base = ""
        self._began_ns = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and let the prices run. Returns the port."""
        app = web.Application()
        app.router.add_post("/control/faults", self._post_fault)
        app.router.add_delete("/control/faults", self._delete_faults)
        app.router.add_get("/control/state", self._get_state)
        app.router.add_get("/{feed}", self._serve)
        app.router.add_get("/{feed}/{path:.*}", self._serve)
        # The first step comes before the first client: a book has a time from the beginning.
        self._began_ns = time.monotonic_ns()
        for name in self.venues:
            self._step(0, name)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        self._base = f"{host}:{bound}"
        self._stepping = asyncio.create_task(self._step_forever())
        return bound

    async def stop(self) -> None:
        """Disconnect everybody and stop listening."""
        if self._stepping is not None:
            self._stepping.cancel()
            await asyncio.gather(self._stepping, return_exceptions=True)
        for clients in self._clients.values():
            for client in clients:
                client.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def endpoint(self, feed: str) -> Endpoint:
        """A feed's base addresses."""
        return Endpoint(f"ws://{self._base}/{feed}", f"http://{self._base}/{feed}")

    def enlist(self, feed: SimulatedFeed) -> None:
        """Serve every instrument of `feed`, which is served already. Raises KeyError for another one."""
        venue = self.venues[feed.name]
        venue.enlist(feed.instruments, elapsed_ns=self._elapsed_ns(), venue_ns=self._venue_ns(venue))

    # Time

    def _venue_ns(self, venue: Venue) -> int:
        """The venue's own time, as far off as a fault has put it."""
        return self._clock() + venue.faults.skew_ns

    def _elapsed_ns(self) -> int:
        return time.monotonic_ns() - self._began_ns

    async def _step_forever(self) -> None:
        due: list[tuple[int, str]] = [(venue.step_ns, name) for name, venue in self.venues.items()]
        due += [(_BEAT_NS, "")]
        heapq.heapify(due)
        while True:
            late = self._elapsed_ns() - due[0][0]
            if late > _HICCUP_NS:
                self._began_ns += late
            await asyncio.sleep(max(0.0, -late / 1e9))
            elapsed = self._elapsed_ns()
            while due[0][0] <= elapsed:
                at, name = due[0]
                interval = self._step(at, name)
                heapq.heapreplace(due, (at + interval, name))
            for clients in self._clients.values():
                for client in clients:
                    client.flush(self._elapsed_ns())

    def _step(self, elapsed_ns: int, name: str) -> int:
        """What is due at `elapsed_ns`: a feed's update, or everybody's heartbeat. Returns the interval."""
        if name:
            venue = self.venues[name]
            venue.step(elapsed_ns=elapsed_ns, venue_ns=self._venue_ns(venue))
            return venue.step_ns
        for venue in self.venues.values():
            venue.exchange.beat(self._venue_ns(venue))
        return _BEAT_NS

    # The venues

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        feed, path = request.match_info["feed"], "/" + request.match_info.get("path", "")
        venue = self.venues.get(feed)
        if venue is None:
            raise web.HTTPNotFound(text=f"no simulated feed {feed}; there are: {', '.join(self.venues)}")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, venue, path)
        answer = venue.exchange.get(path, request.query, self._venue_ns(venue))
        return web.Response(body=answer.body, status=answer.status, content_type="application/json")

    async def _socket(self, request: web.Request, venue: Venue, path: str) -> web.StreamResponse:
        exchange = venue.exchange
        if path != "/" and not any(path == known or path.startswith(f"{known}/") for known in exchange.websocket_paths):
            raise web.HTTPNotFound(text=f"{exchange.venue} has no WebSocket at {path}")
        if venue.faults.anywhere(Fault.DISCONNECT, self._elapsed_ns()):
            raise web.HTTPServiceUnavailable(text="no connections for the moment")
        socket = web.WebSocketResponse(autoping=False, max_msg_size=2**16)
        await socket.prepare(request)
        client = _Client(exchange.connect(path, request.query, self._venue_ns(venue)), Wire(venue.faults), socket)
        self._clients[venue.feed.name].append(client)
        writer = asyncio.create_task(client.write())
        try:
            client.flush(self._elapsed_ns())
            async for message in socket:
                if message.type is WSMsgType.PING and not client.wire.silent:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    exchange.received(client.connection, message.data, self._venue_ns(venue))
                    client.flush(self._elapsed_ns())
        finally:
            writer.cancel()
            self._clients[venue.feed.name].remove(client)
            exchange.disconnect(client.connection)
        return socket

    # Control

    async def _post_fault(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=FaultRequest)
            self.inject(fault)
        except (msgspec.MsgspecError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"not a fault: {error}") from error
        return web.Response(body=b"{}", content_type="application/json")

    def inject(self, request: FaultRequest) -> None:
        """Begin a fault. Raises ValueError saying what is wrong with the request."""
        venue = self._venue(request.feed)
        if request.fault is Fault.SEQUENCE_RESET and not venue.exchange.has_sequence:
            raise ValueError(f"{venue.feed.venue} numbers nothing that could begin anew")
        venue.faults.inject(request, self._elapsed_ns())
        for client in self._clients[request.feed]:
            if request.fault is Fault.SILENT:
                client.wire.silent = True
            elif request.fault is Fault.DISCONNECT:
                client.close()

    async def _delete_faults(self, request: web.Request) -> web.Response:
        try:
            self._venue(request.query.get("feed", "")).faults.clear()
        except ValueError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        return web.Response(body=b"{}", content_type="application/json")

    async def _get_state(self, request: web.Request) -> web.Response:
        try:
            venue = self._venue(request.query.get("feed", ""))
            depth = int(request.query.get("depth", "20"))
        except ValueError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        markets = venue.exchange.markets
        wanted = request.query.get("symbol")
        if wanted is not None and wanted not in markets:
            raise web.HTTPNotFound(text=f"{venue.feed.name} has no {wanted}; there are: {', '.join(markets)}")
        truths = [market.truth(depth) for market in markets.values() if wanted in (None, market.symbol)]
        return web.Response(body=json(truths), content_type="application/json")

    def _venue(self, feed: str) -> Venue:
        if feed not in self.venues:
            raise ValueError(f"no simulated feed {feed!r}; there are: {', '.join(self.venues)}")
        return self.venues[feed]
