"""The detector's view of the market: the newest frame of every book, and how fresh it is.

For: `Feed` (clock, liveness and transit of one feed) and `Book` (one market). May not: score or size anything, do I/O or read a
clock. Floats serve the scan only; the exact ladders are parsed when something is sized, once a frame.
"""

from __future__ import annotations

from arbkube.detection.ladder import Ladder
from arbkube.detection.model import SkipReason
from arbkube.market.frames import BookFrame, FrameBatch
from arbkube.market.instruments import FeeAsset, Market, MarketKey, MarketType, Side


class Feed:
    """What the batches of one feed say about all its books. Times of the feed's clock become the bus's by `offset`."""

    __slots__ = ("alive", "books", "epoch", "excess", "max_age", "max_transit", "name", "offset")

    def __init__(self, name: str, *, max_age_ns: int, max_transit_ns: int) -> None:
        self.name = name
        self.max_age = max_age_ns
        self.max_transit = max_transit_ns
        self.epoch: int | None = None
        self.offset: int | None = None
        self.alive: dict[str, int] = {}
        self.excess: dict[str, int] = {}
        self.books: dict[str, Book] = {}

    def hear(self, batch: FrameBatch) -> list[Book]:
        """Take a batch; returns the books it changed, each once.

        A new epoch is a new process of the feed: its pulses must not keep the books of the old one alive, so those are dropped.
        """
        changed: dict[str, Book] = {}
        if batch.epoch != self.epoch:
            self.epoch = batch.epoch
            self.alive.clear()
            self.excess.clear()
            changed = {symbol: book for symbol, book in self.books.items() if book.drop()}
        self.offset = batch.clock_offset_ns
        self.alive.update(batch.alive_ns)
        self.excess.update(batch.excess_transit_ns)
        for frame in batch.frames:
            taken = self.books.get(frame.symbol)
            if taken is not None and taken.take(frame):
                changed[frame.symbol] = taken
        return list(changed.values())

    def said(self, now_ns: int) -> FrameBatch | None:
        """All that is known of the feed as one batch, for a successor; None where it has said nothing yet."""
        if self.epoch is None:
            return None
        return FrameBatch(
            feed=self.name,
            epoch=self.epoch,
            sent_ns=now_ns,
            clock_offset_ns=self.offset,
            alive_ns=self.alive,
            excess_transit_ns=self.excess,
            frames=tuple(book.frame for book in self.books.values() if book.frame is not None),
        )


class Book:
    """One market and the newest frame of its book.

    `gain` is what selling one base unit at the best bid brings in quote units after the fee, `cost` what buying one at the best
    ask takes: floats for the scan, 0 and infinity without a book.
    """

    __slots__ = (
        "_asks",
        "_bids",
        "ask",
        "base",
        "bid",
        "buy_factor",
        "cost",
        "fee_from_base",
        "feed",
        "frame",
        "gain",
        "index",
        "market",
        "quote",
        "sell_factor",
        "spot",
        "symbol",
        "taker",
    )

    def __init__(self, index: int, market: Market, feed: Feed) -> None:
        instrument = market.instrument
        self.index = index
        self.market = market
        self.feed = feed
        self.symbol = instrument.symbol
        self.base = instrument.base
        self.quote = instrument.quote
        self.spot = instrument.market is MarketType.SPOT
        self.taker = market.fees.taker
        self.fee_from_base = market.fees.charged_in is FeeAsset.RECEIVED and self.spot
        """A purchase's fee is taken from the base. A perpetual brings in no asset, so its fee is always the quote's."""
        taker = float(self.taker)
        self.sell_factor = 1.0 - taker
        self.buy_factor = 1.0 / (1.0 - taker) if self.fee_from_base else 1.0 + taker
        self.frame: BookFrame | None = None
        self.drop()

    @property
    def key(self) -> MarketKey:
        return (self.feed.name, self.symbol)

    def drop(self) -> bool:
        """Forget the book. Returns whether there was one."""
        had = self.frame is not None
        self.frame = None
        self.bid = self.gain = 0.0
        self.ask = self.cost = float("inf")
        self._bids: Ladder | None = None
        self._asks: Ladder | None = None
        return had

    def take(self, frame: BookFrame) -> bool:
        """Take a newer frame; returns whether it changed anything.

        A book that lacks one side counts as none: a leg needs one side and its unwind the other.
        """
        old = self.frame
        if old is not None and frame.epoch == old.epoch and frame.seq <= old.seq:
            return False
        if frame.withheld or not frame.bids or not frame.asks:
            return self.drop()
        self.frame = frame
        self.bid = bid = float(frame.bids[0][0])
        self.ask = ask = float(frame.asks[0][0])
        self.gain = bid * self.sell_factor
        self.cost = ask * self.buy_factor
        self._bids = self._asks = None
        return True

    def ladder(self, side: Side) -> Ladder:
        """The levels an order of `side` takes. Raises ValueError without a book."""
        if self.frame is None:
            raise ValueError(f"{self.symbol} on {self.feed.name} has no book")
        if side is Side.BUY:
            if self._asks is None:
                self._asks = Ladder(self.frame.asks, side, self.taker, fee_from_base=self.fee_from_base)
            return self._asks
        if self._bids is None:
            self._bids = Ladder(self.frame.bids, side, self.taker, fee_from_base=self.fee_from_base)
        return self._bids

    def alive_ns(self) -> int | None:
        """When the book's connection last proved to be alive, on the bus's clock; None while that is not known."""
        alive = self.feed.alive.get(self.symbol)
        return None if alive is None or self.feed.offset is None else alive - self.feed.offset

    def age_ns(self, now_ns: int) -> int | None:
        """How long ago the connection proved to be alive; None without a book or while that is not known."""
        alive = self.alive_ns()
        return None if alive is None or self.frame is None else now_ns - alive

    def recv_ns(self) -> int:
        """When the book's last event was received, on the bus's clock. Raises ValueError without a book."""
        if self.frame is None:
            raise ValueError(f"{self.symbol} on {self.feed.name} has no book")
        return self.frame.recv_ns - (self.feed.offset or 0)

    def unfit(self, now_ns: int) -> SkipReason | None:
        """Why nothing may be concluded from this book now, or None."""
        if self.frame is None:
            return SkipReason.NO_BOOK
        feed = self.feed
        if feed.offset is None:
            return SkipReason.CLOCK_UNKNOWN
        alive = feed.alive.get(self.symbol)
        # As far in the future is no better than too old: a clock has leapt.
        if alive is None or not -feed.max_age <= now_ns - alive + feed.offset <= feed.max_age:
            return SkipReason.STALE_BOOK
        if feed.excess.get(self.symbol, 0) > feed.max_transit:
            return SkipReason.SLOW_TRANSIT
        return None


def obstacle(first: Book, second: Book, max_skew_ns: int, now_ns: int) -> tuple[SkipReason, Book] | None:
    """Why two books may not be compared now, and the one to blame: the unfit one, or the less lively one."""
    reason = first.unfit(now_ns)
    if reason is not None:
        return reason, first
    reason = second.unfit(now_ns)
    if reason is not None:
        return reason, second
    lead = (first.alive_ns() or 0) - (second.alive_ns() or 0)
    if -max_skew_ns <= lead <= max_skew_ns:
        return None
    return SkipReason.SKEWED_LEGS, second if lead > 0 else first
