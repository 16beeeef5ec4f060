"""An exact order book: the pure-Python form of the hot path's data structure.

For: applying a venue's level updates and reading the best levels back, exactly as the venue wrote them.
May not: know sequence numbers, checksums or venues (see `verified`), read a clock, or do arithmetic on prices.

A level is keyed by the float of its price text and keeps the text itself. Distinct decimals of up to 15 significant digits
have distinct doubles, so the key is exact as an identity, equal prices written with more or fewer zeros meet, and no price is
ever computed from it. A compiled form with the same interface may take this one's place.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Protocol

Level = tuple[str, str]
"""(price, size) in the venue's own text."""


class Book(Protocol):
    """Both ladders of one instrument. Levels go in and come out as the venue's text."""

    def clear(self) -> None:
        """Forget every level."""

    def replace(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Take a snapshot: afterwards the book holds exactly these levels. Raises ValueError on a bad number."""

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set each level's size; a size of zero removes it. Raises ValueError on a bad number."""

    def truncate(self, depth: int) -> None:
        """Drop what lies beyond the best `depth` levels of each side."""

    def bids(self, depth: int) -> list[Level]:
        """The best `depth` bids, highest price first."""

    def asks(self, depth: int) -> list[Level]:
        """The best `depth` asks, lowest price first."""

    def sizes(self) -> tuple[int, int]:
        """How many bid and ask levels there are."""

    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""


class TextBook:
    """The pure form: per side a dict from key to level, and the keys in order with the best one last.

    Keeping the best at the end makes the frequent changes near the top of the book the cheap ones. A bad number raises
    ValueError and leaves the book half changed: whoever applies must then withhold it.
    """

    __slots__ = ("_ask_keys", "_asks", "_bid_keys", "_bids")

    def __init__(self) -> None:
        self._bids: dict[float, Level] = {}
        self._asks: dict[float, Level] = {}
        self._bid_keys: list[float] = []
        self._ask_keys: list[float] = []

    def clear(self) -> None:
        self._bids.clear()
        self._asks.clear()
        self._bid_keys.clear()
        self._ask_keys.clear()

    def replace(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        self.clear()
        self.apply(bids, asks)

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        levels, keys = self._bids, self._bid_keys
        for level in bids:
            key = float(level[0])
            size = float(level[1])
            if 0.0 < size < _INFINITY:
                if key not in levels:
                    if not 0.0 < key < _INFINITY:
                        raise ValueError(f"not a price: {level[0]}")
                    insort(keys, key)
                levels[key] = level
            elif size == 0.0:
                if levels.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]
            else:
                raise ValueError(f"not a size: {level[1]}")
        levels, keys = self._asks, self._ask_keys
        for level in asks:
            key = -float(level[0])
            size = float(level[1])
            if 0.0 < size < _INFINITY:
                if key not in levels:
                    if not -_INFINITY < key < 0.0:
                        raise ValueError(f"not a price: {level[0]}")
                    insort(keys, key)
                levels[key] = level
            elif size == 0.0:
                if levels.pop(key, None) is not None:
                    del keys[bisect_left(keys, key)]
            else:
                raise ValueError(f"not a size: {level[1]}")

    def truncate(self, depth: int) -> None:
        for levels, keys in ((self._bids, self._bid_keys), (self._asks, self._ask_keys)):
            excess = len(keys) - depth
            if excess > 0:
                for key in keys[:excess]:
                    del levels[key]
                del keys[:excess]

    def bids(self, depth: int) -> list[Level]:
        levels = self._bids
        return [levels[key] for key in self._bid_keys[: -depth - 1 : -1]]

    def asks(self, depth: int) -> list[Level]:
        levels = self._asks
        return [levels[key] for key in self._ask_keys[: -depth - 1 : -1]]

    def sizes(self) -> tuple[int, int]:
        return len(self._bid_keys), len(self._ask_keys)

    def crossed(self) -> bool:
        return bool(self._bid_keys and self._ask_keys) and self._bid_keys[-1] >= -self._ask_keys[-1]


_INFINITY = float("inf")
