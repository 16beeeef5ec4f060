"""Sessions on real sockets: the I/O shell around every adapter.

For: opening, pacing, answering and reopening a feed's connections, performing what sessions ask for, and polling by REST while
no WebSocket can be had. May not: know a venue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Literal

import aiohttp
import structlog

from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook
from arbkube.venues.recording import Event, EventKind
from arbkube.venues.rest import RestGate
from arbkube.venues.session import (
    SECOND,
    UNREADABLE,
    Action,
    Adapter,
    Backoff,
    Fetch,
    Ping,
    Reconnect,
    Send,
    Session,
    SessionOptions,
)

log = structlog.get_logger(__name__)

_TICK_S = 0.1
_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT = aiohttp.ClientWSTimeout(ws_close=1.0)
"""A silent peer answers no close frame either."""
_LARGEST_MESSAGE = 64 * 2**20
"""A whole book of the largest market is a few MB."""
_FAILURES_BEFORE_POLLING = 3
_POLL_INTERVAL_S = 1.0
_POLL_PAUSE_S = 0.25
"""Between two books polled, so that many of them stay within what venues bear of one address."""
_HEALTHY_S = 10.0
"""A connection that has lived so long begins its backoff anew when it ends."""
_DAY_S = 23 * 3600
"""Venues end a connection after a day; ending it ourselves an hour earlier is the gentler way."""

_Socket = aiohttp.ClientWebSocketResponse[Literal[False]]
Tap = Callable[[Event], None]
OnChange = Callable[[Session, Sequence[VerifiedBook]], None]


class Connection:
    """One session on one WebSocket, for as long as `run` runs."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        adapter: Adapter,
        session: Session,
        *,
        rest: RestGate,
        index: int,
        rng: Random,
        on_change: OnChange,
        tap: Tap | None = None,
    ) -> None:
        self.session = session
        self.reconnects = -1
        self._http = http
        self._adapter = adapter
        self._rest = rest
        self._index = index
        self._on_change = on_change
        self._tap = tap
        self._socket: _Socket | None = None
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_due = False
        self._failures = 0
        """Attempts to connect, in a row, that have brought nothing."""
        self._backoff = Backoff(rng, base_ns=SECOND // 2, cap_ns=30 * SECOND, floor_ns=SECOND // 10)

    async def run(self) -> None:
        """Keep the session connected until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick())
            group.create_task(self._send())
            group.create_task(self._poll())
            while True:
                await self._connect_once()
                await asyncio.sleep(self._backoff.next_ns() / SECOND)

    async def _connect_once(self) -> None:
        reason = "closed by the venue"
        self._failures += 1
        try:
            async with (
                asyncio.timeout(_CONNECT_TIMEOUT_S) as limit,
                self._http.ws_connect(
                    self.session.url, autoping=False, max_msg_size=_LARGEST_MESSAGE, decode_text=False, timeout=_CLOSE_TIMEOUT
                ) as socket,
            ):
                limit.reschedule(None)
                self._socket = socket
                self.reconnects += 1
                self._record(EventKind.OPENED, self.session.url.encode())
                self.session.opened(time.time_ns())
                self._perform()
                async with asyncio.timeout(_DAY_S):
                    await self._receive(socket)
        except asyncio.CancelledError:
            await self._let_go("")
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = f"{type(error).__name__}: {error}"
        await self._let_go(reason)
        log.warning("disconnected", url=self.session.url, reason=reason, failures=self._failures)

    async def _let_go(self, reason: str) -> None:
        """Forget the connection and whatever was under way on it: no answer to one may reach the next.

        Without a `reason` it was ended by us, and a recording says nothing of that.
        """
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while not self._outgoing.empty():
            self._outgoing.get_nowait()
        if self._socket is not None:
            self._socket = None
            if reason:
                self._record(EventKind.CLOSED, reason.encode())
            self.session.closed(time.time_ns())
            self._perform()

    async def _receive(self, socket: _Socket) -> None:
        received = self.session.received
        healthy_at = time.monotonic() + _HEALTHY_S
        text, binary = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
        while True:
            message = await socket.receive()
            kind = message.type
            if kind is text or kind is binary:
                data = message.data
                now_ns = time.time_ns()
                self._failures = 0
                if self._tap is not None:
                    self._tap(Event(now_ns, self._index, EventKind.RECEIVED, "", data))
                received(data, now_ns)
                if self.session.actions or self.session.changed:
                    self._perform()
                if time.monotonic() > healthy_at:
                    self._backoff.reset()
                    healthy_at = float("inf")
            elif kind is aiohttp.WSMsgType.PING:
                await socket.pong(message.data)
            elif kind is aiohttp.WSMsgType.PONG:
                self._record(EventKind.PONGED, b"-")
                self.session.ponged(time.time_ns())
            else:
                return

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.session.tick(time.time_ns())
            self._perform()

    async def _send(self) -> None:
        pause = 1 / self._adapter.limits.messages_per_second
        while True:
            text = await self._outgoing.get()
            if self._socket is not None and not self._socket.closed:
                self._record(EventKind.SENT, text.encode())
                try:
                    await self._socket.send_str(text)
                except (aiohttp.ClientError, OSError):
                    continue
                await asyncio.sleep(pause)

    async def _poll(self) -> None:
        """While no WebSocket can be had, ask for whole books."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            if self._failures >= _FAILURES_BEFORE_POLLING:
                for symbol, instrument in self.session.instruments.items():
                    if self._socket is not None:
                        break
                    await self._poll_one(symbol, instrument)
                    await asyncio.sleep(_POLL_PAUSE_S)

    async def _poll_one(self, symbol: str, instrument: Instrument) -> None:
        options = self.session.options
        body = await self._rest.get(self._adapter.snapshot_url(instrument, options.depth, options.endpoint))
        if body is None or self._socket is not None:
            return
        try:
            snapshot = self._adapter.parse_snapshot(body)
        except UNREADABLE as error:
            log.warning("unreadable snapshot", symbol=symbol, error=str(error))
            return
        self.session.polled(symbol, snapshot, time.time_ns())
        self._perform()

    def _perform(self) -> None:
        for action in self.session.take_actions():
            self._perform_one(action)
        if self.session.changed and not self._flush_due:
            # One batch for all that this turn of the event loop brings.
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._on_change(self.session, self.session.take_changed())

    def _perform_one(self, action: Action) -> None:
        match action:
            case Send(text):
                self._outgoing.put_nowait(text)
            case Ping():
                if self._socket is not None and not self._socket.closed:
                    self._spawn(_swallow(self._socket.ping()))
            case Fetch(symbol, url):
                self._spawn(self._fetch(symbol, url))
            case Reconnect(reason):
                log.warning("reconnecting", url=self.session.url, reason=reason)
                if self._socket is not None:
                    self._spawn(_swallow(self._socket.close()))

    async def _fetch(self, symbol: str, url: str) -> None:
        body = await self._rest.get(url)
        now_ns = time.time_ns()
        if body is None:
            self.session.fetch_failed(symbol, now_ns)
        else:
            if self._tap is not None:
                self._tap(Event(now_ns, self._index, EventKind.FETCHED, symbol, body))
            self.session.fetched(symbol, body, now_ns)
        self._perform()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _record(self, kind: EventKind, data: bytes) -> None:
        if self._tap is not None:
            self._tap(Event(time.time_ns(), self._index, kind, "", data))


async def _swallow(coroutine: Coroutine[None, None, object]) -> None:
    """Await what may fail because the socket has gone meanwhile: the receive loop notices that itself."""
    try:
        await coroutine
    except (aiohttp.ClientError, OSError, RuntimeError):
        return


class FeedTransport:
    """All connections of one feed."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        adapter: Adapter,
        instruments: Sequence[Instrument],
        options: SessionOptions,
        *,
        rng: Random,
        on_change: OnChange,
        tap: Tap | None = None,
    ) -> None:
        step = adapter.limits.symbols_per_connection
        rest = RestGate(http)
        self.connections = [
            Connection(
                http,
                adapter,
                adapter.session(instruments[start : start + step], options, rng),
                rest=rest,
                index=index,
                rng=rng,
                on_change=on_change,
                tap=tap,
            )
            for index, start in enumerate(range(0, len(instruments), step))
        ]

    @property
    def sessions(self) -> list[Session]:
        return [connection.session for connection in self.connections]

    async def run(self) -> None:
        """Keep every connection until cancelled."""
        async with asyncio.TaskGroup() as group:
            for connection in self.connections:
                group.create_task(connection.run())
