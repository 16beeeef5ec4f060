"""An exact order book: the pure-Python form of the hot path's data structure.

For: applying a venue's level updates and reading the best levels back, exactly as the venue wrote them.
May not: know sequence numbers, checksums or venues (see `verified`), read a clock, or do arithmetic on prices.

A level is keyed by the float of its price text and keeps the text itself. Distinct decimals of up to 15 significant digits
have distinct doubles, so the key is exact as an identity, equal prices written with more or fewer zeros meet, and no price is
ever computed from it. The compiled form with the same interface is in `arbkube.kernel`.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Protocol

import msgspec

Level = tuple[str, str]
"""(price, size) in the venue's own text."""


class Book(Protocol):
    """Both ladders of one instrument. Levels go in and come out as the venue's text.

    A price or size that is not a number as JSON writes them, a price not above zero, or a size below zero raises ValueError and
    leaves the book half changed: whoever applies must then withhold it.
    """

    def clear(self) -> None:
        """Forget every level."""

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take a snapshot: afterwards the book holds exactly these levels."""

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Set each level's size; a size of zero removes it."""

    def truncate(self, depth: int) -> None:
        """Drop what lies beyond the best `depth` levels of each side."""

    def bids(self, depth: int) -> list[Level]:
        """The best `depth` bids, highest price first."""

    def asks(self, depth: int) -> list[Level]:
        """The best `depth` asks, lowest price first."""

    def top(self) -> tuple[Level | None, Level | None]:
        """The best bid and ask."""

    def sizes(self) -> tuple[int, int]:
        """How many bid and ask levels there are."""

    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""


_LEAST, _MOST = sys.float_info.min, sys.float_info.max
"""What a price or size can be: neither zero nor infinite, nor the NaN that compares with nothing."""
_REACH = 512
"""Levels that are kept in order, at least; more than anybody reads."""


class _Numbers(msgspec.Struct, array_like=True, gc=False):
    """The numbers behind both sides' texts, converted in one call, since `float` of a text is several times as slow."""

    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class _Side:
    """One ladder: a dict from key to level, and the keys of the best levels in order.

    `keys` holds every key from `low` to `high`, ascending, and no other. Most changes lie deeper than anybody reads: they cost
    no search. When the best ones are used up, the next are sorted once.
    """

    __slots__ = ("descending", "high", "keys", "levels", "low", "reach")

    def __init__(self, *, descending: bool) -> None:
        self.descending = descending
        """Whether the best price is the highest: bids."""
        self.reach = _REACH
        self.levels: dict[float, Level] = {}
        self.keys: list[float] = []
        self.low, self.high = _LEAST, _MOST

    def clear(self) -> None:
        self.levels.clear()
        self.keys.clear()
        self.low, self.high = _LEAST, _MOST

    def apply(self, numbers: list[tuple[float, float]], changes: Sequence[Level]) -> None:
        levels, keys, low, high = self.levels, self.keys, self.low, self.high
        least, most = _LEAST, _MOST
        for (key, size), level in zip(numbers, changes, strict=False):
            if least <= size <= most:
                if low <= key <= high:
                    if key not in levels:
                        insort(keys, key)
                elif not least <= key <= most:
                    raise ValueError(f"not a price: {level[0]}")
                levels[key] = level
            elif size == 0.0:
                if levels.pop(key, None) is not None and low <= key <= high:
                    del keys[bisect_left(keys, key)]
            else:
                raise ValueError(f"not a size: {level[1]}")
        if len(keys) > 2 * self.reach:
            self._keep(keys)

    def best(self, depth: int) -> list[Level]:
        levels = self.levels
        if depth > len(self.keys) < len(levels):
            self.reach = max(self.reach, 2 * depth)
            self._keep(sorted(levels))
        keys = self.keys[: -depth - 1 : -1] if self.descending else self.keys[:depth]
        return [levels[key] for key in keys]

    def best_key(self) -> float | None:
        if not self.levels:
            return None
        if not self.keys:
            self._keep(sorted(self.levels))
        return self.keys[-1 if self.descending else 0]

    def truncate(self, depth: int) -> None:
        if len(self.levels) > depth:
            keys = self.keys if len(self.keys) == len(self.levels) else sorted(self.levels)
            cut = len(keys) - depth if self.descending else depth
            worse, better = keys[:cut], keys[cut:]
            if not self.descending:
                worse, better = better, worse
            for key in worse:
                del self.levels[key]
            self.keys = better
            self.low, self.high = _LEAST, _MOST

    def _keep(self, ordered: list[float]) -> None:
        """Keep the best of `ordered` keys in order."""
        reach = self.reach
        self.low, self.high = _LEAST, _MOST
        if len(ordered) <= reach:
            self.keys = ordered
        elif self.descending:
            self.keys = ordered[-reach:]
            self.low = self.keys[0]
        else:
            self.keys = ordered[:reach]
            self.high = self.keys[-1]


class TextBook:
    """The pure form of a `Book`."""

    __slots__ = ("_asks", "_bids")

    def __init__(self) -> None:
        self._bids = _Side(descending=True)
        self._asks = _Side(descending=False)

    def clear(self) -> None:
        self._bids.clear()
        self._asks.clear()

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        self.clear()
        self.apply(bids, asks)

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        numbers = msgspec.convert((bids, asks), _Numbers, strict=False)
        if bids:
            self._bids.apply(numbers.bids, bids)
        if asks:
            self._asks.apply(numbers.asks, asks)

    def truncate(self, depth: int) -> None:
        self._bids.truncate(depth)
        self._asks.truncate(depth)

    def bids(self, depth: int) -> list[Level]:
        return self._bids.best(depth)

    def asks(self, depth: int) -> list[Level]:
        return self._asks.best(depth)

    def top(self) -> tuple[Level | None, Level | None]:
        bids, asks = self._bids.best(1), self._asks.best(1)
        return (bids[0] if bids else None), (asks[0] if asks else None)

    def sizes(self) -> tuple[int, int]:
        return len(self._bids.levels), len(self._asks.levels)

    def crossed(self) -> bool:
        bid, ask = self._bids.best_key(), self._asks.best_key()
        return bid is not None and ask is not None and bid >= ask
