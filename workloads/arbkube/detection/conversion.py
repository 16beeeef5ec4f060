"""What an asset is worth in the profit asset, by real books only: a stablecoin is never taken for its dollar.

For: rates to sell and to buy an asset against the profit asset over one spot book, after its taker fee. May not: chain books.

An amount we gain counts at what selling it brings, an amount we spend at what buying it costs. Scanning uses the best level;
sizing the worst level that a walk of the largest allowed notional reaches, and nothing larger than the book holds.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from typing import NamedTuple

from arbkube.detection.books import Book
from arbkube.detection.ladder import ONE, divide_down, divide_up
from arbkube.market.instruments import Side


class Rates(NamedTuple):
    """Profit asset for one unit: what selling brings and what buying costs, up to `limit` (in the profit asset)."""

    sell: Decimal
    buy: Decimal
    limit: Decimal


class Conversion:
    """One asset's way into the profit asset. `sell`, `buy` are the floats of the best levels, 0 and infinity without a book."""

    __slots__ = ("_amount", "_routes", "asset", "buy", "identical", "sell")

    def __init__(self, asset: str, profit_asset: str, books: list[Book], amount: Decimal) -> None:
        self.asset = asset
        self.identical = asset == profit_asset
        self._amount = amount
        self._routes: list[Book] = []
        if not self.identical:
            pair = {asset, profit_asset}
            self._routes = [book for book in books if book.spot and {book.base, book.quote} == pair]
        self.sell = 0.0
        self.buy = float("inf")
        self.refresh()

    @property
    def books(self) -> list[Book]:
        """The books that convert, none if no conversion is needed."""
        return self._routes

    def refresh(self) -> bool:
        """Read the best levels again. Returns whether that changed a rate."""
        sell, buy = (1.0, 1.0) if self.identical else (0.0, float("inf"))
        for book in self._routes:
            if book.frame is not None:
                direct = book.base == self.asset
                sell = max(sell, book.gain if direct else 1.0 / book.cost)
                buy = min(buy, book.cost if direct else 1.0 / book.gain)
        changed = sell != self.sell or buy != self.buy
        self.sell, self.buy = sell, buy
        return changed

    def possible(self, now_ns: int) -> bool:
        """Whether a verified, fresh book converts."""
        return self.identical or any(book.unfit(now_ns) is None for book in self._routes)

    def rates(self, now_ns: int) -> Rates | None:
        """The exact rates, from the book that is best at its depth; None where no verified, fresh one converts."""
        if self.identical:
            return Rates(ONE, ONE, self._amount)
        fit = [self._walked(book) for book in self._routes if book.unfit(now_ns) is None]
        return max(fit, key=lambda rates: rates.sell / rates.buy) if fit else None

    def _walked(self, book: Book) -> Rates:
        selling, buying = book.ladder(Side.SELL), book.ladder(Side.BUY)
        after_fee = ONE - book.taker
        if book.base == self.asset:
            bid = selling.prices[min(bisect_left(selling.value, self._amount), len(selling.prices)) - 1]
            ask = buying.prices[min(bisect_left(buying.value, self._amount), len(buying.prices)) - 1]
            cost = divide_up(ask, after_fee) if book.fee_from_base else ask * (ONE + book.taker)
            return Rates(bid * after_fee, cost, min(selling.value[-1], buying.value[-1], self._amount))
        bid = selling.prices[min(bisect_left(selling.depth, self._amount), len(selling.prices)) - 1]
        ask = buying.prices[min(bisect_left(buying.depth, self._amount), len(buying.prices)) - 1]
        cost = divide_up(ask, after_fee) if book.fee_from_base else ask * (ONE + book.taker)
        return Rates(
            divide_down(ONE, cost), divide_up(ONE, bid * after_fee), min(selling.depth[-1], buying.depth[-1], self._amount)
        )
