"""One recording driven through its adapter's session.

For: handing recorded events to a session as a socket would, and standing in for the venue where the session asks for a
snapshot that the recording does not hold. May not: read a clock, or hide that a snapshot was rebuilt.

A rebuilt snapshot is the recorded one with every recorded diff up to now applied in file order, less what the recorded best
prices contradict: what this recording's venue would have answered. It is as complete as the recording is, so reports count it
apart (`rebuilt`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from random import Random

import msgspec

from arbkube.market.book import TextBook
from arbkube.market.instruments import Instrument
from arbkube.venues.recording import Event, EventKind, Recording
from arbkube.venues.session import Adapter, Fetch, Session, SessionOptions

_Levels = list[tuple[str, str]]


class _Event(msgspec.Struct):
    """A diff (levels) or a bookTicker (prices)."""

    u: int
    b: _Levels | str
    a: _Levels | str
    s: str


class _Wrapped(msgspec.Struct):
    data: _Event


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
        self._native_to_symbol = {instrument.native: instrument.symbol for instrument in instruments}
        self._natives = {instrument.symbol: instrument.native for instrument in instruments}
        self._events = 0
        self._fetches_to_come: dict[str, int] = {}
        for event in recording.events():
            if event.kind is EventKind.FETCHED:
                symbol = self._symbol_of(event)
                self._fetches_to_come[symbol] = self._fetches_to_come.get(symbol, 0) + 1

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
                symbol = self._symbol_of(event)
                self._fetches_to_come[symbol] -= 1
                self.snapshots_recorded += 1
                session.fetched(symbol, event.data, now_ns)
            case EventKind.SENT:
                pass
        return session

    def answer(self, session: Session, now_ns: int) -> None:
        """Perform what the session asks for: snapshots that the recording will not bring are rebuilt, the rest is dropped."""
        for action in session.take_actions():
            if isinstance(action, Fetch) and self._fetches_to_come.get(action.symbol, 0) == 0:
                body = self._rebuild(action.symbol)
                if body is None:
                    session.fetch_failed(action.symbol, now_ns)
                else:
                    self.snapshots_rebuilt += 1
                    session.fetched(action.symbol, body, now_ns)

    def _symbol_of(self, event: Event) -> str:
        return self._native_to_symbol.get(event.symbol, event.symbol)

    def _rebuild(self, symbol: str) -> bytes | None:
        """A REST depth body (Binance's form: the only venue here whose snapshots are fetched), or None without a base."""
        book = TextBook()
        last = 0
        tops: deque[_Event] = deque(maxlen=256)
        recent: deque[tuple[int, _Levels, _Levels]] = deque(maxlen=100)
        native = self._natives[symbol]
        decode = msgspec.json.Decoder(_Wrapped).decode
        for _, event in zip(range(self._events), self.recording.events(), strict=False):
            if event.kind is EventKind.FETCHED and self._symbol_of(event) == symbol:
                depth = msgspec.json.decode(event.data)
                book.replace([tuple(level) for level in depth["bids"]], [tuple(level) for level in depth["asks"]])
                last = depth["lastUpdateId"]
                # The diff that spans the snapshot has often been received before it.
                for u, changed_bids, changed_asks in recent:
                    if u > last:
                        book.apply(changed_bids, changed_asks)
                        last = u
            elif event.kind is EventKind.RECEIVED:
                try:
                    data = decode(event.data).data
                    if data.s != native:
                        continue
                    if isinstance(data.b, str) or isinstance(data.a, str):
                        tops.append(data)
                        continue
                    recent.append((data.u, data.b, data.a))
                    if last and data.u > last:
                        book.apply(data.b, data.a)
                        last = data.u
                except (msgspec.MsgspecError, ValueError):
                    continue
        if not last:
            return None
        bids, asks = book.bids(2000), book.asks(2000)
        top = next((ticker for ticker in reversed(tops) if ticker.u <= last), None)
        if top is not None:
            bids = [level for level in bids if float(level[0]) <= float(str(top.b))]
            asks = [level for level in asks if float(level[0]) >= float(str(top.a))]
        return msgspec.json.encode({"lastUpdateId": last, "bids": bids[:1000], "asks": asks[:1000]})
