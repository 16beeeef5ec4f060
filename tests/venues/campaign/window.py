"""A market seen through a window: the best levels of a seeded book, and what changed in them from step to step.

For: venues that keep so many levels a side up to date (OKX, Bybit), and send a level that leaves the window as a size of zero.
The book here is plain dictionaries from tenths to text, sorted anew each time: the oracle that adapters are held against.
"""

from __future__ import annotations

from random import Random

Levels = tuple[tuple[str, str], ...]
Side = dict[int, str]

_MIDDLE = 300_000


class Window:
    """A book whose best `depth` levels a side are `bids` and `asks`, never crossed."""

    def __init__(self, rng: Random, depth: int) -> None:
        self._rng = rng
        self._depth = depth
        self._middle = _MIDDLE
        self._all: tuple[Side, Side] = ({}, {})
        for _ in range(3 * depth):
            for side in (0, 1):
                self._all[side][self._price(side)] = self._size()
        self.bids, self.asks = self._view()

    def step(self) -> tuple[Levels, Levels]:
        """Move the market; what changed in the window since the step before, as a venue writes it."""
        self._middle += self._rng.randrange(-3, 4)
        for side, levels in enumerate(self._all):
            for price in [price for price in levels if (price >= self._middle) is (side == 0)]:
                del levels[price]  # traded through
            for _ in range(self._rng.randrange(6)):
                if self._rng.random() < len(levels) / (6 * self._depth):
                    del levels[self._rng.choice(list(levels))]
                else:
                    levels[self._price(side)] = self._size()
        before = self.bids, self.asks
        self.bids, self.asks = self._view()
        return _changes(before[0], self.bids), _changes(before[1], self.asks)

    def _price(self, side: int) -> int:
        distance = int(self._rng.expovariate(1 / (2 * self._depth)))
        return self._middle - 1 - distance if side == 0 else self._middle + distance

    def _size(self) -> str:
        whole, places = self._rng.randrange(1, 10**6), self._rng.choice((0, 2, 4))
        return f"{whole // 10**places}.{whole % 10**places:0{places}}" if places else str(whole)

    def _view(self) -> tuple[Levels, Levels]:
        bids = sorted(self._all[0].items(), reverse=True)[: self._depth]
        asks = sorted(self._all[1].items())[: self._depth]
        return _texts(bids), _texts(asks)


def _texts(levels: list[tuple[int, str]]) -> Levels:
    return tuple((f"{price // 10}.{price % 10}", size) for price, size in levels)


def _changes(before: Levels, after: Levels) -> Levels:
    old, new = dict(before), dict(after)
    gone = [(price, "0") for price in old if price not in new]
    return tuple(gone + [(price, size) for price, size in new.items() if old.get(price) != size])
