"""Kraken's book channel (WebSocket v2): in-band snapshot and updates, proven by a checksum over the top of the book.

For: one connection's frames to verified books. May not: do I/O.
Protocol (docs.kraken.com, "Book (Level 2)" and "Book checksum (WebSocket v2)", read 2026-11): the snapshot and every update
carry the CRC32 of the best ten asks and then bids after it, each price and size as on the wire without the point and leading
zeros. A size of 0 removes a level; levels beyond the subscribed depth are dropped without a message, so the book is cut to it
after each update. There are no sequence numbers: the checksum is the only proof, and it speaks for ten levels. Ten are
therefore subscribed to, since deeper ones would never be published.

Prices and sizes are JSON numbers, whose text matters: the decoder keeps it. The guide says that they carry full precision on
the wire, and its worked example does; the example of the reference page verifies only with its dropped zeros put back, as
many as the pair's precisions say. Both are accepted. The `ticker` channel carries nothing that ties its top to a book update,
so that no comparison of the two would be sound; the checksum says more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from random import Random
from zlib import crc32

import msgspec

from arbkube import kernel
from arbkube.market.book import Level
from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.venues.session import Send, Session, SessionOptions, WireLimits
from arbkube.venues.timestamps import epoch_ns

_MAX_MAGNITUDE = 30
"""Powers of ten beyond which nothing is a price; writing such a number out could fill the memory."""
DEPTH = 10
"""Levels a side that the checksum covers, and the least that can be subscribed to."""


class _Level(msgspec.Struct, gc=False):
    price: object
    qty: object


class _Book(msgspec.Struct, gc=False):
    """A book's update; other channels' data lacks these fields and is not looked at."""

    symbol: str = ""
    bids: list[_Level] | None = None
    asks: list[_Level] | None = None
    checksum: int = -1
    timestamp: datetime | None = None


class _Message(msgspec.Struct, gc=False):
    """A channel's message, or the answer to a request."""

    channel: str = ""
    type: str = ""
    data: list[_Book] = []
    method: str = ""
    success: bool = True
    symbol: str = ""


_decode = msgspec.json.Decoder(_Message, float_hook=str).decode


def checksum(asks: Iterable[Level], bids: Iterable[Level]) -> int:
    """Kraken's CRC32 of the best ten asks (lowest first) and bids (highest first), given as the wire's text."""
    return crc32("".join([*map(_digits, asks), *map(_digits, bids)]).encode())


@lru_cache(maxsize=4096)
def _digits(level: Level) -> str:
    # Remembered, since an update changes few of the twenty levels.
    price, qty = level
    return price.replace(".", "").lstrip("0") + qty.replace(".", "").lstrip("0")


def _texts(levels: list[_Level] | None, places: tuple[int, int]) -> list[Level]:
    """Levels in the text that the checksum is made of, given the decimal places of prices and sizes."""
    if levels is None:
        raise ValueError("a book without one of its sides")
    price_places, qty_places = places
    texts = []
    for level in levels:
        price, qty = str(level.price), str(level.qty)
        if price[-price_places - 1 : -price_places] != ".":
            price = _in_full(price, price_places)
        if qty[-qty_places - 1 : -qty_places] != ".":
            qty = _in_full(qty, qty_places)
        texts.append((price, qty))
    return texts


def _in_full(text: str, places: int) -> str:
    """`text` with at least so many decimal places. Raises ValueError where it is no number of a sensible size."""
    try:
        number = Decimal(text)
        if not -_MAX_MAGNITUDE < number.adjusted() < _MAX_MAGNITUDE:
            raise ValueError(f"not a price or size: {text}")
        return f"{number:.{max(places, decimal_places(number))}f}"
    except (ArithmeticError, TypeError) as error:
        raise ValueError(f"not a number: {text}") from error


def decimal_places(step: Decimal) -> int:
    """How many decimal places `step` is written with. Raises TypeError where it is not finite."""
    exponent = step.as_tuple().exponent
    if isinstance(exponent, str):
        raise TypeError(f"not a finite number: {step}")
    return max(0, -exponent)


class KrakenSession(Session):
    """One connection carrying book subscriptions."""

    def __init__(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random, limits: WireLimits) -> None:
        super().__init__(instruments, options, rng, f"{options.endpoint.websocket}/v2")
        self._limits = limits
        self._places = {i.symbol: (decimal_places(i.tick), decimal_places(i.lot)) for i in instruments}
        self._without_snapshot: set[str] = set()
        """Symbols whose updates mean nothing until a snapshot has come."""
        if kernel.form is kernel.Form.COMPILED:
            from arbkube.kernel._compiled import KrakenScanner

            self._scan = KrakenScanner(self, self._places, self._without_snapshot).take

    def covered_depth(self) -> int | None:
        return DEPTH

    def _subscribe(self, now_ns: int) -> None:
        natives = [instrument.native for instrument in self.instruments.values()]
        step = self._limits.arguments_per_message
        for start in range(0, len(natives), step):
            self._request("subscribe", natives[start : start + step])
        for symbol in self.books:
            self._without_snapshot.add(symbol)
            self.expect_snapshot(symbol, now_ns)

    def _resync(self, symbol: str, now_ns: int) -> None:
        native = [self.instruments[symbol].native]
        self._request("unsubscribe", native)
        self._request("subscribe", native)
        self._without_snapshot.add(symbol)
        self.expect_snapshot(symbol, now_ns)

    def _request(self, method: str, natives: list[str]) -> None:
        request = {"method": method, "params": {"channel": "book", "symbol": natives, "depth": DEPTH}}
        self.actions.append(Send(msgspec.json.encode(request).decode()))

    def _ping(self) -> None:
        self.actions.append(Send('{"method":"ping"}'))

    def _frame(self, frame: bytes, now_ns: int) -> None:
        message = _decode(frame)
        if message.channel == "book":
            for data in message.data:
                book = self._by_native.get(data.symbol)
                if book is None:
                    raise ValueError(f"a book nobody asked for: {data.symbol}")
                book.counts.messages += 1
                self._update(book, data, snapshot=message.type == "snapshot", now_ns=now_ns)
        elif message.method == "subscribe" and not message.success:
            refused = self._by_native.get(message.symbol)
            for book in self.books.values() if refused is None else (refused,):
                if book.symbol in self._without_snapshot:
                    self.got_snapshot(book.symbol)
                    self.lose(book, WithheldReason.NO_SNAPSHOT, now_ns)

    def _update(self, book: VerifiedBook, data: _Book, *, snapshot: bool, now_ns: int) -> None:
        venue_ns = epoch_ns(data.timestamp)
        if snapshot:
            self.got_snapshot(book.symbol)
            self._without_snapshot.discard(book.symbol)
            book.book.clear()
        elif book.symbol in self._without_snapshot:
            return
        try:
            places = self._places[book.symbol]
            book.book.apply(_texts(data.bids, places), _texts(data.asks, places))
        except ValueError:
            book.counts.malformed += 1
            self._lose(book, WithheldReason.MALFORMED, now_ns)
            return
        book.book.truncate(DEPTH)
        self.judge(book, data.checksum, venue_ns, now_ns)

    def judge(self, book: VerifiedBook, said: int, venue_ns: int, now_ns: int) -> None:
        """Hold the book as it stands against the checksum that the venue said."""
        if checksum(book.book.asks(DEPTH), book.book.bids(DEPTH)) != said:
            book.counts.checksums_mismatched += 1
            self._lose(book, WithheldReason.CHECKSUM, now_ns)
            return
        book.counts.checksums_matched += 1
        book.counts.updates += 1
        # Whatever was in doubt, this is the venue's book: what was to be asked for again need not be.
        self.got_snapshot(book.symbol)
        self.prove(book, venue_ns, now_ns)

    def _lose(self, book: VerifiedBook, reason: WithheldReason, now_ns: int) -> None:
        self._without_snapshot.add(book.symbol)
        self.lose(book, reason, now_ns)
