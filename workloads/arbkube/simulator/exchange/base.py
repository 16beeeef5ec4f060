"""What the simulated exchanges share: a market's true book, windows onto it, and a client's connection.

For: `Market` (the oracle), `Window`, `Connection`, `Exchange`. May not: open sockets or read a clock; a server or a test drives
it. Whoever calls an exchange then takes what its connections have to send.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from arbkube.market.book import Level
from arbkube.market.instruments import MarketType
from arbkube.simulator.ladder import Changes, Ladder
from arbkube.simulator.listings import Grid, Listing

Pairs = Sequence[tuple[int, int]]
"""(ticks, lots) of levels."""


_SKEW_NS = 10**8
"""Updates made in one go share a time and are set apart; a clock this far back has been set."""


class Kind(StrEnum):
    """What a message is, as faults tell messages apart."""

    BOOK = "book"
    TICKER = "ticker"
    HEARTBEAT = "heartbeat"
    REPLY = "reply"


class Outgoing(msgspec.Struct, frozen=True):
    text: str
    kind: Kind
    symbol: str = ""
    """Venue-neutral; empty for what is about no single instrument."""


class Answer(msgspec.Struct, frozen=True):
    """A REST response: JSON."""

    body: bytes
    status: int = 200


class Truth(msgspec.Struct, frozen=True):
    """The true book of one market after one update, best levels first, in the text that the venue sends."""

    symbol: str
    sequence: int
    venue_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Market:
    """One instrument on one simulated venue: its rules, its book, its numbering and its past."""

    def __init__(self, listing: Listing, ladder: Ladder, *, history: int = 0) -> None:
        self.listing = listing
        self.ladder = ladder
        self.sequence = 1_000_000
        """Grows by the number of changed levels with each update."""
        self.previous = self.sequence
        """`sequence` before the last update."""
        self.venue_ns = 0
        """The venue's time of the last update, never the same twice."""
        self.bids: Changes = {}
        self.asks: Changes = {}
        self.price_grid = Grid(listing.tick)
        self.size_grid = Grid(listing.lot)
        self.past: deque[tuple[int, int, Pairs, Pairs]] = deque(maxlen=history)

    @property
    def symbol(self) -> str:
        return self.listing.symbol

    def record(self, changes: tuple[Changes, Changes], venue_ns: int) -> None:
        """Number the update that made `changes`."""
        self.bids, self.asks = changes
        self.previous = self.sequence
        self.sequence += max(1, len(self.bids) + len(self.asks))
        # Whole microseconds, the coarsest unit in which a venue tells updates apart. Only a skewed clock goes back.
        at = venue_ns // 1000 * 1000
        self.venue_ns = self.venue_ns + 1000 if 0 <= self.venue_ns - at < _SKEW_NS else at
        if self.past.maxlen:
            everything = len(self.ladder.bids.keys) + len(self.ladder.asks.keys)
            self.past.append((self.sequence, self.venue_ns, self.ladder.bids.top(everything), self.ladder.asks.top(everything)))

    def levels(self, pairs: Pairs) -> list[Level]:
        """The wire text of `pairs`."""
        price, size = self.price_grid.text, self.size_grid.text
        return [(price(ticks), size(lots)) for ticks, lots in pairs]

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """The best `depth` levels a side now."""
        return self.levels(self.ladder.bids.top(depth)), self.levels(self.ladder.asks.top(depth))

    def truths(self, depth: int, *, when: Callable[[int, int], bool]) -> list[Truth]:
        """The book after each remembered update whose (sequence, venue_ns) is `when`, oldest first, cut to `depth` levels."""
        return [
            Truth(self.symbol, sequence, venue_ns, tuple(self.levels(bids[:depth])), tuple(self.levels(asks[:depth])))
            for sequence, venue_ns, bids, asks in self.past
            if when(sequence, venue_ns)
        ]

    def truth(self, depth: int) -> Truth:
        """The book now."""
        bids, asks = self.top(depth)
        return Truth(self.symbol, self.sequence, self.venue_ns, tuple(bids), tuple(asks))


class Window:
    """The best `depth` levels of a market as its subscribers have last heard of them.

    `announce_exits` says whether the venue tells that a level has fallen out of the window although it is still in the book.
    """

    def __init__(self, market: Market, depth: int, *, announce_exits: bool) -> None:
        self.market = market
        self.depth = depth
        self.number = 1
        """Messages so far, the snapshot included."""
        self.sequence = market.sequence
        """The market's sequence at the last message."""
        self._announce_exits = announce_exits
        self._bids = dict(market.ladder.bids.top(depth))
        self._asks = dict(market.ladder.asks.top(depth))

    def pairs(self) -> tuple[Pairs, Pairs]:
        """Everything in the window, best first."""
        return list(self._bids.items()), list(self._asks.items())

    def advance(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]] | None:
        """What changed in the window since the last call, or None."""
        ladder = self.market.ladder
        bids, asks = dict(ladder.bids.top(self.depth)), dict(ladder.asks.top(self.depth))
        change = (
            self._difference(self._bids, bids, ladder.bids.lots, 1),
            self._difference(self._asks, asks, ladder.asks.lots, -1),
        )
        self._bids, self._asks = bids, asks
        if not (change[0] or change[1]):
            return None
        self.number += 1
        self.sequence = self.market.sequence
        return change

    def _difference(self, old: Changes, new: Changes, book: Changes, sign: int) -> list[tuple[int, int]]:
        gone = [(t, 0) for t in old if t not in new and (self._announce_exits or t * sign not in book)]
        return gone + [(t, lots) for t, lots in new.items() if old.get(t) != lots]


class Connection:
    """One client's WebSocket, seen from the exchange. A venue's own state of it goes into a subclass."""

    def __init__(self, path: str, query: Mapping[str, str]) -> None:
        self.path = path
        self.query = query
        self.out: deque[Outgoing] = deque()
        self.sent_ns = 0
        """When something was last queued."""

    def send(self, message: str | bytes, kind: Kind, symbol: str = "") -> None:
        self.out.append(Outgoing(message if isinstance(message, str) else message.decode(), kind, symbol))


class Exchange(ABC):
    """One market type of one venue. Subscriptions are kept by topic, in whatever form the venue names them."""

    venue: str
    websocket_paths: frozenset[str]
    """Paths at which the venue accepts WebSockets. The bare base address is accepted as well."""
    has_sequence = True
    """Whether a sequence reset means anything here."""

    def __init__(self, market_type: MarketType, markets: Sequence[Market]) -> None:
        self.market_type = market_type
        self.markets = {market.symbol: market for market in markets}
        self.natives: dict[str, Market] = {}
        self.connections: dict[Connection, None] = {}
        self._topics: dict[object, dict[Connection, None]] = {}
        for market in markets:
            self.relist(market)

    def relist(self, market: Market) -> None:
        """Take up the rules of `market`, at the beginning and after they changed."""
        market.price_grid, market.size_grid = self.grids(market.listing)
        self.natives[self.native(market.listing)] = market

    def enlist(self, market: Market) -> None:
        """Begin to list `market`."""
        self.markets[market.symbol] = market
        self.relist(market)

    # What a server calls

    def connect(self, path: str, query: Mapping[str, str], now_ns: int) -> Connection:
        """A client opened a WebSocket at `path`."""
        connection = self.connection(path, query)
        self.connections[connection] = None
        self.opened(connection, now_ns)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """It is gone."""
        self.connections.pop(connection, None)
        for topic in [topic for topic, members in self._topics.items() if connection in members]:
            self.leave(connection, topic)

    @abstractmethod
    def received(self, connection: Connection, text: str, now_ns: int) -> None:
        """A client's message. A bad one gets the venue's own error, never an exception."""

    @abstractmethod
    def publish(self, market: Market, now_ns: int) -> None:
        """Tell subscribers of the update that `market` has just recorded."""

    @abstractmethod
    def get(self, path: str, query: Mapping[str, str], now_ns: int) -> Answer:
        """Answer a GET of `path`."""

    def beat(self, now_ns: int) -> None:  # noqa: B027 — most venues have nothing to say unasked
        """Called once a second: heartbeats."""

    def reset_sequence(self, market: Market, now_ns: int) -> None:
        """Begin the numbering of `market` anew, as after maintenance."""
        market.sequence = market.previous = 1

    def skip(self, market: Market) -> None:  # noqa: B027 — where numbers are the market's, they have moved on already
        """An update was recorded that nobody is told of."""

    # What a venue implements

    @abstractmethod
    def native(self, listing: Listing) -> str:
        """The venue's own spelling on its WebSocket."""

    def grids(self, listing: Listing) -> tuple[Grid, Grid]:
        """How the venue writes prices and sizes."""
        return Grid(listing.tick), Grid(listing.lot)

    def connection(self, path: str, query: Mapping[str, str]) -> Connection:
        return Connection(path, query)

    def opened(self, connection: Connection, now_ns: int) -> None:  # noqa: B027 — most venues greet nobody
        """Greet the client."""

    # What venues share

    def join(self, connection: Connection, topic: object) -> None:
        self._topics.setdefault(topic, {})[connection] = None

    def leave(self, connection: Connection, topic: object) -> bool:
        """Whether it had been subscribed."""
        members = self._topics.get(topic, {})
        was = members.pop(connection, False) is None
        if not members:
            self._topics.pop(topic, None)
            self.abandoned(topic)
        return was

    def abandoned(self, topic: object) -> None:  # noqa: B027 — only those with windows have something to drop
        """Nobody is subscribed to `topic` any more."""

    def members(self, topic: object) -> Sequence[Connection]:
        return tuple(self._topics.get(topic, ()))

    def topics_of(self, connection: Connection) -> list[object]:
        return [topic for topic, members in self._topics.items() if connection in members]


def milliseconds(ns: int) -> int:
    return ns // 10**6


def rfc3339(ns: int, digits: int) -> str:
    """`2026-01-01T00:00:00.000000Z` with 3, 6 or 9 `digits`."""
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}"[: 20 + digits] + "Z"


json = msgspec.json.Encoder().encode
