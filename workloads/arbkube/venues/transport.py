"""Sessions on real sockets: the I/O shell around every adapter.

For: opening, pacing, answering and reopening a feed's connections, fetching what sessions ask for, and polling by REST while no
WebSocket can be had. May not: know a venue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Literal

import aiohttp
import structlog

from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook
from arbkube.venues.recording import Event, EventKind
from arbkube.venues.session import (
    SECOND,
    Action,
    Adapter,
    Backoff,
    Endpoint,
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
_REST_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT = aiohttp.ClientWSTimeout(ws_close=1.0)
"""A silent peer answers no close frame either."""
_REST_AT_ONCE = 4
_FAILURES_BEFORE_POLLING = 3
_POLL_INTERVAL_S = 1.0
_DAY_S = 23 * 3600
"""Venues end a connection after a day; ending it ourselves an hour earlier is the gentler way."""

_Socket = aiohttp.ClientWebSocketResponse[Literal[False]]
Tap = Callable[[Event], None]
OnChange = Callable[[Session, Sequence[VerifiedBook]], None]


class VenueHttpError(Exception):
    """A REST answer other than 200.

    `status` is the HTTP status; the message has the address's path and the body's beginning.
    """

    def __init__(self, url: str, status: int, body: bytes) -> None:
        self.status = status
        super().__init__(f"HTTP {status} from {url.split('?')[0]}: {body[:200].decode(errors='replace')}")


async def get(http: aiohttp.ClientSession, url: str) -> bytes:
    """The body of `url`. Raises VenueHttpError, aiohttp.ClientError or TimeoutError."""
    async with http.get(url, timeout=aiohttp.ClientTimeout(total=_REST_TIMEOUT_S)) as response:
        body = await response.read()
        if response.status != 200:
            raise VenueHttpError(url, response.status, body)
        return body


async def fetch_instruments(
    http: aiohttp.ClientSession, adapter: Adapter, symbols: Sequence[str], endpoint: Endpoint
) -> list[Instrument]:
    """The venue's own trading rules of `symbols`. Raises as `get`, and ValueError for symbols it does not list."""
    bodies = [await get(http, url) for url in adapter.instrument_urls(symbols, endpoint)]
    return adapter.parse_instruments(bodies, symbols)


class Connection:
    """One session on one WebSocket, for as long as `run` runs."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        adapter: Adapter,
        session: Session,
        *,
        index: int,
        rng: Random,
        on_change: OnChange,
        tap: Tap | None = None,
    ) -> None:
        self.session = session
        self.reconnects = -1
        self._http = http
        self._adapter = adapter
        self._index = index
        self._on_change = on_change
        self._tap = tap
        self._socket: _Socket | None = None
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._rest = asyncio.Semaphore(_REST_AT_ONCE)
        self._rest_pause_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_due = False
        self._failures = 0
        self._backoff = Backoff(rng, base_ns=SECOND // 2, cap_ns=30 * SECOND, floor_ns=SECOND // 10)

    async def run(self) -> None:
        """Keep the session connected until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick())
            group.create_task(self._send())
            group.create_task(self._poll())
            try:
                while True:
                    await self._connect_once()
                    await asyncio.sleep(self._backoff.next_ns() / SECOND)
            finally:
                for task in self._tasks:
                    task.cancel()

    async def _connect_once(self) -> None:
        reason = "closed by the venue"
        try:
            async with (
                asyncio.timeout(_CONNECT_TIMEOUT_S) as limit,
                self._http.ws_connect(
                    self.session.url, autoping=False, max_msg_size=0, decode_text=False, timeout=_CLOSE_TIMEOUT
                ) as socket,
            ):
                limit.reschedule(None)
                self._socket = socket
                self._failures = 0
                self.reconnects += 1
                self._record(EventKind.OPENED, self.session.url.encode())
                self.session.opened(time.time_ns())
                self._perform()
                async with asyncio.timeout(_DAY_S):
                    await self._receive(socket)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = f"{type(error).__name__}: {error}"
            self._failures += self._socket is None
        finally:
            if self._socket is not None:
                self._socket = None
                while not self._outgoing.empty():
                    self._outgoing.get_nowait()
                self._record(EventKind.CLOSED, reason.encode())
                self.session.closed(time.time_ns())
                self._perform()
            log.warning("disconnected", url=self.session.url, reason=reason, failures=self._failures)

    async def _receive(self, socket: _Socket) -> None:
        received = self.session.received
        alive_since = time.monotonic()
        text, binary = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
        while True:
            message = await socket.receive()
            kind = message.type
            if kind is text or kind is binary:
                data = message.data
                now_ns = time.time_ns()
                if self._tap is not None:
                    self._tap(Event(now_ns, self._index, EventKind.RECEIVED, "", data))
                received(data, now_ns)
                if self.session.actions or self.session.changed:
                    self._perform()
                if alive_since and time.monotonic() - alive_since > 10:
                    self._backoff.reset()
                    alive_since = 0.0
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
                    options = self.session.options
                    url = self._adapter.snapshot_url(instrument, options.depth, options.endpoint)
                    body = await self._get(url)
                    if body is not None and self._socket is None:
                        try:
                            snapshot = self._adapter.parse_snapshot(body)
                        except ValueError as error:
                            log.warning("unreadable snapshot", symbol=symbol, error=str(error))
                            continue
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
                    self._spawn(self._socket.ping())
            case Fetch(symbol, url):
                self._spawn(self._fetch(symbol, url))
            case Reconnect(reason):
                log.warning("reconnecting", url=self.session.url, reason=reason)
                if self._socket is not None:
                    self._spawn(self._socket.close())

    async def _fetch(self, symbol: str, url: str) -> None:
        body = await self._get(url)
        now_ns = time.time_ns()
        if body is None:
            self.session.fetch_failed(symbol, now_ns)
        else:
            if self._tap is not None:
                self._tap(Event(now_ns, self._index, EventKind.FETCHED, symbol, body))
            self.session.fetched(symbol, body, now_ns)
        self._perform()

    async def _get(self, url: str) -> bytes | None:
        async with self._rest:
            await asyncio.sleep(max(0.0, self._rest_pause_until - time.monotonic()))
            try:
                return await get(self._http, url)
            except VenueHttpError as error:
                if error.status in (418, 429):
                    self._rest_pause_until = time.monotonic() + 30
                log.warning("REST request refused", error=str(error))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("REST request failed", url=url.split("?")[0], error=f"{type(error).__name__}: {error}")
            return None

    def _spawn(self, coroutine: object) -> None:
        task = asyncio.ensure_future(_swallow(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _record(self, kind: EventKind, data: bytes) -> None:
        if self._tap is not None:
            self._tap(Event(time.time_ns(), self._index, kind, "", data))


async def _swallow(coroutine: object) -> None:
    """Await what may fail because the socket has gone meanwhile: the receive loop notices that itself."""
    try:
        await coroutine  # type: ignore[misc]
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
        self.connections = [
            Connection(
                http,
                adapter,
                adapter.session(instruments[start : start + step], options, rng),
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
