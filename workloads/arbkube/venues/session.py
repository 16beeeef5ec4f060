"""The contract of a venue's market data: what an adapter offers, and what one connection does.

For: `Adapter` (addresses, instruments, fees) and `Session` (frames in, verified books and actions out). A session is a pure
state machine: the same one is driven by a socket, a recording, the simulator or a test that feeds it by hand. May not: open
sockets, read a clock, or use randomness that was not handed in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

import msgspec

from arbkube.market.instruments import Fees, Instrument, MarketType
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel, Proof

SECOND = 10**9

UNREADABLE = (msgspec.MsgspecError, ValueError, LookupError, TypeError, OverflowError, RecursionError)
"""What a frame that is not what it should be may raise; nesting without end is a RecursionError."""


class Send(msgspec.Struct, frozen=True):
    """Send `text` as one WebSocket text message."""

    text: str


class Ping(msgspec.Struct, frozen=True):
    """Send a WebSocket ping frame; the pong comes back through `Session.ponged`."""


class Fetch(msgspec.Struct, frozen=True):
    """GET `url` and hand the body to `Session.fetched` for `symbol`, or call `Session.fetch_failed`."""

    symbol: str
    url: str


class Reconnect(msgspec.Struct, frozen=True):
    """Close the connection and open it anew, with backoff."""

    reason: str


Action = Send | Ping | Fetch | Reconnect
Scan = Callable[[bytes, int], bool]


class Endpoint(msgspec.Struct, frozen=True):
    """Base addresses of a venue, without a trailing slash."""

    websocket: str
    rest: str


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed asks of its connections."""

    endpoint: Endpoint
    depth: int
    """Levels a side that will be published."""
    channels: frozenset[Channel] = frozenset({Channel.BOOK})
    require: frozenset[Proof] = frozenset()
    """Proofs without which a book is withheld; empty means any proof that the venue offers."""


class WireLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue allows of one connection, with the source of the figures in the adapter's docstring."""

    symbols_per_connection: int
    arguments_per_message: int
    """Subscriptions that one message may carry."""
    messages_per_second: float
    """Messages that we may send."""


class Snapshot(msgspec.Struct, frozen=True):
    """A whole book from a REST endpoint. `sequence` is the venue's number, 0 where it has none."""

    bids: tuple[tuple[str, str], ...]
    asks: tuple[tuple[str, str], ...]
    sequence: int
    venue_ns: int


class Adapter(Protocol):
    """Everything the rest of the system needs to know of one market of one venue."""

    venue: str
    market: MarketType
    proofs: frozenset[Proof]
    endpoint: Endpoint
    limits: WireLimits
    default_fees: Fees
    """The venue's public base tier on the date in `source`."""

    def instrument_urls(self, symbols: Sequence[str], endpoint: Endpoint) -> list[str]:
        """What to GET for the trading rules of `symbols` (venue-neutral)."""

    def parse_instruments(self, bodies: Sequence[bytes], symbols: Sequence[str]) -> list[Instrument]:
        """The rules from the bodies of `instrument_urls`. Raises ValueError naming every symbol that is not listed."""

    def snapshot_url(self, instrument: Instrument, depth: int, endpoint: Endpoint) -> str:
        """Where REST polling finds the whole book of `instrument`, at least `depth` levels."""

    def parse_snapshot(self, body: bytes) -> Snapshot:
        """The book of one `snapshot_url` body. Raises ValueError."""

    def session(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random) -> Session:
        """The state machine of one connection carrying `instruments`."""


class Backoff:
    """Exponential backoff with full jitter: the n-th wait is uniform in (0, min(cap, base · 2ⁿ)], at least `floor`."""

    def __init__(self, rng: Random, *, base_ns: int, cap_ns: int, floor_ns: int = 0) -> None:
        self._rng = rng
        self._base_ns = base_ns
        self._cap_ns = cap_ns
        self._floor_ns = floor_ns
        self._attempts = 0

    def next_ns(self) -> int:
        ceiling = min(self._cap_ns, self._base_ns << min(self._attempts, 20))
        self._attempts += 1
        return max(self._floor_ns, int(self._rng.random() * ceiling))

    def reset(self) -> None:
        self._attempts = 0


class Session(ABC):
    """One connection of one venue, sans I/O. Whoever drives it calls the public methods, then takes `actions` and `changed`.

    Subclasses implement `_subscribe`, `_frame` and `_resync`, and `_snapshot` where the venue's snapshot comes by REST.
    """

    ping_interval_ns = SECOND // 2
    """How long a connection may be quiet before a ping; a third of the shortest sensible `maxAge` or less."""
    silence_limit_ns = 10 * SECOND
    """A connection that has proved nothing for so long is opened anew."""
    snapshot_limit_ns = 10 * SECOND
    """How long an in-band snapshot may take before it is asked for again."""

    def __init__(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random, url: str) -> None:
        self.url = url
        self.options = options
        self.instruments = {instrument.symbol: instrument for instrument in instruments}
        self.books = {i.symbol: VerifiedBook(i.symbol, covered_depth=self.covered_depth()) for i in instruments}
        self.actions: list[Action] = []
        self.changed: dict[str, VerifiedBook] = {}
        """Books whose frame would differ from the last one taken; cleared by `take_changed`."""
        self.alive_ns = 0
        """When the connection last proved to be alive; readers judge the age of its books by it."""
        self.connected = False
        self.rng = rng
        self._scan: Scan | None = None
        """The compiled form's way with frames, where there is one: False says that it has done nothing with this one."""
        self._by_native = {i.native: self.books[i.symbol] for i in instruments}
        self._last_ping_ns = 0
        self._silent_since_ns = 0
        self._resync_at: dict[str, int] = {}
        self._backoffs = {
            symbol: Backoff(rng, base_ns=SECOND // 4, cap_ns=30 * SECOND, floor_ns=SECOND // 20) for symbol in self.books
        }

    # What a driver calls

    def opened(self, now_ns: int) -> None:
        """The connection stands: subscribe, from empty books, whatever REST polling said of them meanwhile."""
        self.connected = True
        self.alive_ns = now_ns
        self._last_ping_ns = now_ns
        for book in self.books.values():
            book.forget()
            self.withhold(book, WithheldReason.NO_SNAPSHOT)
        self._subscribe(now_ns)

    def received(self, frame: bytes, now_ns: int) -> None:
        """One message arrived. Never raises: what cannot be read withholds the book it was for, or all of them."""
        self.alive_ns = now_ns
        scan = self._scan
        try:
            if scan is None or not scan(frame, now_ns):
                self._frame(frame, now_ns)
        except UNREADABLE:
            self._malformed(now_ns)

    def fetched(self, symbol: str, body: bytes, now_ns: int) -> None:
        """The body of a `Fetch` for `symbol` arrived. What was asked for on a connection that is gone counts for nothing."""
        if not self.connected:
            return
        try:
            self._snapshot(symbol, body, now_ns)
        except UNREADABLE:
            self.books[symbol].counts.malformed += 1
            self._schedule_resync(symbol, now_ns)

    def fetch_failed(self, symbol: str, now_ns: int) -> None:
        """A `Fetch` for `symbol` gave no body."""
        self._schedule_resync(symbol, now_ns)

    def polled(self, symbol: str, snapshot: Snapshot, now_ns: int) -> None:
        """A whole book came by REST polling, while there is no WebSocket: neither chain nor checksum, only the venue's word."""
        book = self.books[symbol]
        self.alive_ns = now_ns
        book.counts.messages += 1
        if self.options.require:
            self.withhold(book, WithheldReason.NO_PROOF)
            return
        try:
            book.book.replace(snapshot.bids, snapshot.asks)
        except ValueError:
            book.counts.malformed += 1
            self.withhold(book, WithheldReason.MALFORMED)
            return
        book.bid_floor = float(snapshot.bids[-1][0]) if snapshot.bids else 0.0
        book.ask_cap = float(snapshot.asks[-1][0]) if snapshot.asks else float("inf")
        book.counts.updates += 1
        self.prove(book, snapshot.venue_ns, now_ns)

    def ponged(self, now_ns: int) -> None:
        """A WebSocket pong arrived."""
        self.alive_ns = now_ns

    def tick(self, now_ns: int) -> None:
        """Called every 100 ms or so: pings, due resyncs, silence."""
        if not self.connected:
            return
        if now_ns - max(self.alive_ns, self._silent_since_ns) > self.silence_limit_ns:
            self._silent_since_ns = now_ns
            self.actions.append(Reconnect("silent connection"))
            return
        if now_ns - max(self.alive_ns, self._last_ping_ns) >= self.ping_interval_ns:
            self._last_ping_ns = now_ns
            self._ping()
        for symbol in [symbol for symbol, at in self._resync_at.items() if at <= now_ns]:
            del self._resync_at[symbol]
            self._resync(symbol, now_ns)

    def closed(self, now_ns: int) -> None:
        """The connection is gone: nothing is known any more. A reconnect starts from empty books."""
        self.connected = False
        self._resync_at.clear()
        for book in self.books.values():
            book.forget()
            self.withhold(book, WithheldReason.DISCONNECTED)

    def take_actions(self) -> list[Action]:
        """What is to be done, in order; the driver's to perform."""
        actions, self.actions = self.actions, []
        return actions

    def take_changed(self) -> list[VerifiedBook]:
        """The books that changed since the last call."""
        changed = list(self.changed.values())
        self.changed.clear()
        return changed

    # What a venue implements

    def covered_depth(self) -> int | None:
        """How many levels a side the venue's proof covers; None for all."""
        return None

    @abstractmethod
    def _subscribe(self, now_ns: int) -> None:
        """Queue the messages that subscribe to everything, and fetches where needed."""

    @abstractmethod
    def _frame(self, frame: bytes, now_ns: int) -> None:
        """Apply one message. May raise what `received` catches."""

    @abstractmethod
    def _resync(self, symbol: str, now_ns: int) -> None:
        """Ask for a new snapshot of `symbol`."""

    def _snapshot(self, symbol: str, body: bytes, now_ns: int) -> None:
        raise ValueError(f"{type(self).__name__} takes no REST snapshot")

    def _ping(self) -> None:
        self.actions.append(Ping())

    # What venues share

    def withhold(self, book: VerifiedBook, reason: WithheldReason) -> None:
        """Void `book` and tell readers."""
        if book.withhold(reason):
            self.changed[book.symbol] = book

    def prove(self, book: VerifiedBook, venue_ns: int, now_ns: int) -> None:
        """The update just applied is proven; a crossed or unrequired-proof book is withheld all the same."""
        if book.book.crossed():
            book.counts.crossed += 1
            self.lose(book, WithheldReason.CROSSED, now_ns)
            return
        if book.withheld is not None:
            self._backoffs[book.symbol].reset()
        book.prove(venue_ns, now_ns)
        self.changed[book.symbol] = book

    def lose(self, book: VerifiedBook, reason: WithheldReason, now_ns: int) -> None:
        """Void `book` and resync it after a backoff."""
        self.withhold(book, reason)
        self._schedule_resync(book.symbol, now_ns)

    def expect_snapshot(self, symbol: str, now_ns: int) -> None:
        """A snapshot of `symbol` was asked for in-band: `_resync` again where `got_snapshot` does not follow in time."""
        self._resync_at[symbol] = now_ns + self.snapshot_limit_ns

    def got_snapshot(self, symbol: str) -> None:
        """The snapshot of `symbol` has come."""
        self._resync_at.pop(symbol, None)

    def _schedule_resync(self, symbol: str, now_ns: int) -> None:
        if symbol not in self._resync_at:
            self._resync_at[symbol] = now_ns + self._backoffs[symbol].next_ns()

    def _malformed(self, now_ns: int) -> None:
        """A message that cannot be read may have been an update of any book on this connection."""
        for book in self.books.values():
            book.counts.malformed += 1
            self.lose(book, WithheldReason.MALFORMED, now_ns)
