"""True books for the campaign: a naive one in Decimal, and one that moves at random.

For: oracles that share no code with the product. May not: be fast.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal
from random import Random

from arbkube.market.book import Level
from tests.venues.campaign.engine import DEPTH, Ladders


class TrueSide:
    """One side: price → text, and the prices in order."""

    def __init__(self) -> None:
        self.levels: dict[Decimal, Level] = {}
        self.prices: list[Decimal] = []

    def set(self, level: Level) -> None:
        price = Decimal(level[0])
        if Decimal(level[1]) == 0:
            if self.levels.pop(price, None) is not None:
                del self.prices[bisect_left(self.prices, price)]
            return
        if price not in self.levels:
            insort(self.prices, price)
        self.levels[price] = level


class TrueBook:
    """Absolute sizes by price, exactly as a venue documents them."""

    def __init__(self, bids: Iterable[Level] = (), asks: Iterable[Level] = ()) -> None:
        self.bids = TrueSide()
        self.asks = TrueSide()
        self.apply(bids, asks)

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        for level in bids:
            self.bids.set((level[0], level[1]))
        for level in asks:
            self.asks.set((level[0], level[1]))

    def ladders(self, depth: int = DEPTH) -> Ladders:
        bids = tuple(self.bids.levels[price] for price in reversed(self.bids.prices[-depth:]))
        asks = tuple(self.asks.levels[price] for price in self.asks.prices[:depth])
        return bids, asks


class RandomBook:
    """A book of `levels` ± a few levels a side that moves at random and never crosses."""

    def __init__(self, rng: Random, *, mid: Decimal, tick: Decimal, lot: Decimal, levels: int = 30) -> None:
        self._rng = rng
        self._tick = tick
        self._lot = lot
        self._levels = levels
        self._best = {True: int(mid / tick) - 1, False: int(mid / tick) + 1}
        """Best price of each side (True: bids) in ticks, moved apart by removals and together by insertions."""
        self.book = TrueBook()
        for bid in (True, False):
            for _ in range(levels):
                self._put(bid, self._deep(bid), self._size())

    def _deep(self, bid: bool) -> int:
        """A price behind the best one, most often close."""
        away = int(self._rng.expovariate(1 / self._levels))
        return self._best[bid] - away if bid else self._best[bid] + away

    def _size(self) -> int:
        return self._rng.randint(1, 10**5)

    def _text(self, ticks: int, lots: int) -> Level:
        return f"{ticks * self._tick:f}", f"{lots * self._lot:f}"

    def _put(self, bid: bool, ticks: int, lots: int) -> Level:
        level = self._text(ticks, lots)
        self.book.apply([level] if bid else [], [] if bid else [level])
        return level

    def move(self) -> tuple[list[Level], list[Level]]:
        """Change one to six levels; returns the absolute changes a side, removals with size 0."""
        changes: tuple[list[Level], list[Level]] = ([], [])
        for _ in range(self._rng.randint(1, 6)):
            bid = self._rng.random() < 0.5
            side = self.book.bids if bid else self.book.asks
            count = len(side.prices)
            if count > self._levels // 2 and (count > 2 * self._levels or self._rng.random() < 0.4):
                place = min(int(self._rng.expovariate(0.2)), count - 1)
                price = side.prices[-1 - place] if bid else side.prices[place]
                changes[0 if bid else 1].append(self._put(bid, int(price / self._tick), 0))
            else:
                best, other = self._edge(bid), self._edge(not bid)
                self._best[bid] = best
                ticks = self._deep(bid)
                if self._rng.random() < 0.2:
                    ticks = best + 1 if bid else best - 1
                if (ticks >= other) if bid else (ticks <= other):
                    continue
                changes[0 if bid else 1].append(self._put(bid, ticks, self._size()))
        return changes

    def _edge(self, bid: bool) -> int:
        prices = self.book.bids.prices if bid else self.book.asks.prices
        return int((prices[-1] if bid else prices[0]) / self._tick)
