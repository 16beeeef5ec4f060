"""One recording driven through its adapter's session.

For: handing recorded events to a session as a socket would, and standing in for the venue where the session asks for a
snapshot that the recording does not hold. May not: read a clock, or hide that a snapshot was rebuilt.

A rebuilt snapshot is the recorded one with every recorded diff up to now applied in the order of their numbers, less what the
recorded best prices contradict: what this recording's venue would have answered. It is as complete as the recording is, so
reports count it apart (`rebuilt`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from random import Random

import msgspec

from arbkube.market.book import TextBook
from arbkube.market.instruments import Instrument
from arbkube.venues.recording import Event, EventKind, Recording
from arbkube.venues.session import SECOND, UNREADABLE, Adapter, Fetch, Session, SessionOptions

_PATIENCE_NS = 10 * SECOND
"""How long a recorded snapshot may be away when it is asked for: as long as a request may take."""

_AHEAD = 3
"""Diffs that may wait for a missing one before it is given up."""

_Levels = list[tuple[str, str]]


class Source:
    """A recording's sessions. `apply` takes its events one by one, in order."""

    def __init__(
        self, recording: Recording, adapter: Adapter, instruments: Sequence[Instrument], options: SessionOptions, *, seed: int
    ) -> None:
        header = recording.header
        groups = header.connections or (tuple(instrument.symbol for instrument in instruments),)
        by_symbol = {instrument.symbol: instrument for instrument in instruments}
        self.recording = recording
        self.sessions: list[Session] = [
            adapter.session([by_symbol[symbol] for symbol in group if symbol in by_symbol], options, Random(seed + index))
            for index, group in enumerate(groups)
        ]
        self.snapshots_recorded = 0
        self.snapshots_rebuilt = 0
        self._to_symbol = {instrument.native: instrument.symbol for instrument in instruments}
        self._events = 0
        self._shadow = _Shadow(recording, self._to_symbol)
        self._fetches: dict[str, deque[int]] = {instrument.symbol: deque() for instrument in instruments}
        """When each symbol's recorded snapshots are still to come."""
        for event in recording.events():
            if event.kind is EventKind.FETCHED:
                self._fetches[_symbol_of(event, self._to_symbol)].append(event.ns)

    def events(self) -> Iterator[Event]:
        """The recording's events, in its order."""
        return self.recording.events()

    def apply(self, event: Event, now_ns: int) -> Session:
        """Hand one event to its session. `now_ns` is the replay's clock, never behind the event."""
        self._events += 1
        session = self.sessions[event.connection]
        if not session.connected and event.kind in (EventKind.RECEIVED, EventKind.FETCHED):
            # Foreign recordings begin in the middle of a connection.
            session.opened(now_ns)
        match event.kind:
            case EventKind.RECEIVED:
                session.received(event.data, now_ns)
            case EventKind.OPENED:
                session.opened(now_ns)
            case EventKind.PONGED:
                session.ponged(now_ns)
            case EventKind.CLOSED:
                session.closed(now_ns)
            case EventKind.FETCHED:
                symbol = _symbol_of(event, self._to_symbol)
                self._fetches[symbol].popleft()
                self.snapshots_recorded += 1
                session.fetched(symbol, event.data, now_ns)
            case EventKind.SENT:
                pass
        return session

    def answer(self, session: Session, now_ns: int) -> None:
        """Perform what the session asks for: snapshots that the recording will not bring are rebuilt, the rest is dropped."""
        for action in session.take_actions():
            if not isinstance(action, Fetch):
                continue
            recorded = self._fetches[action.symbol]
            if recorded and recorded[0] <= now_ns + _PATIENCE_NS:
                continue
            body = self._shadow.snapshot(action.symbol, self._events)
            if body is None:
                session.fetch_failed(action.symbol, now_ns)
            else:
                self.snapshots_rebuilt += 1
                session.fetched(action.symbol, body, now_ns)


def _symbol_of(event: Event, to_symbol: dict[str, str]) -> str:
    """The symbol of a recorded snapshot: foreign recordings name it as the venue does."""
    return to_symbol.get(event.symbol, event.symbol)


class _Data(msgspec.Struct):
    """A diff (levels) or a bookTicker (prices)."""

    u: int
    b: _Levels | str
    a: _Levels | str
    s: str
    U: int = 0
    pu: int = -1

    @property
    def previous(self) -> int:
        """The last number before a diff's own."""
        return self.pu if self.pu >= 0 else self.U - 1


class _Frame(msgspec.Struct):
    data: _Data


class _Depth(msgspec.Struct, rename="camel"):
    last_update_id: int
    bids: _Levels
    asks: _Levels


_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_depth = msgspec.json.Decoder(_Depth).decode


class _Known:
    """One instrument's book as far as the recording has told.

    A diff that is ahead of the book waits a little for those in between, which may have been recorded late.
    """

    def __init__(self) -> None:
        self.book = TextBook()
        self.last = 0
        self.tops: deque[_Data] = deque(maxlen=256)
        self.recent: deque[_Data] = deque(maxlen=100)
        self.ahead: list[_Data] = []

    def base(self, depth: _Depth) -> None:
        self.book.replace(depth.bids, depth.asks)
        self.last = depth.last_update_id
        # The diff that spans the snapshot has often been received before it.
        self.ahead = list(self.recent)
        self._catch_up()

    def hear(self, data: _Data) -> None:
        if isinstance(data.b, str) or isinstance(data.a, str):
            self.tops.append(data)
        else:
            self.recent.append(data)
            if self.last:
                self.ahead.append(data)
                self._catch_up()

    def _catch_up(self) -> None:
        self.ahead.sort(key=lambda diff: diff.u)
        while self.ahead and (self.ahead[0].previous <= self.last or len(self.ahead) > _AHEAD):
            diff = self.ahead.pop(0)
            if diff.u > self.last:
                self.book.apply(diff.b, diff.a)  # type: ignore[arg-type]  # only diffs come here
                self.last = diff.u

    def body(self) -> bytes:
        bids, asks = self.book.bids(2000), self.book.asks(2000)
        top = next((ticker for ticker in reversed(self.tops) if ticker.u <= self.last), None)
        if top is not None:
            bids = [level for level in bids if float(level[0]) <= float(str(top.b))]
            asks = [level for level in asks if float(level[0]) >= float(str(top.a))]
        return msgspec.json.encode({"lastUpdateId": self.last, "bids": bids[:1000], "asks": asks[:1000]})


class _Shadow:
    """What the venue's own books were, read from the recording when first asked for, and never further than the replay is.

    Binance's form: of the venues here the only one whose snapshots are fetched.
    """

    def __init__(self, recording: Recording, to_symbol: dict[str, str]) -> None:
        self._recording = recording
        self._to_symbol = to_symbol
        self._books = {symbol: _Known() for symbol in to_symbol.values()}
        self._unread: Iterator[Event] | None = None
        self._read = 0

    def snapshot(self, symbol: str, events: int) -> bytes | None:
        """The REST depth body after so many events, or None where the recording holds no base for it."""
        if self._unread is None:
            self._unread = self._recording.events()
        while self._read < events:
            self._read += 1
            self._take(next(self._unread))
        known = self._books[symbol]
        return known.body() if known.last else None

    def _take(self, event: Event) -> None:
        try:
            if event.kind is EventKind.FETCHED:
                self._books[_symbol_of(event, self._to_symbol)].base(_decode_depth(event.data))
            elif event.kind is EventKind.RECEIVED:
                data = _decode_frame(event.data).data
                symbol = self._to_symbol.get(data.s)
                if symbol is not None:
                    self._books[symbol].hear(data)
        except UNREADABLE:
            # The session counts what cannot be read.
            return
