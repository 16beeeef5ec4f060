"""An exact order book: the pure-Python form of the hot path's data structure.

For: applying a venue's level updates and reading the best levels back, exactly as the venue wrote them.
May not: know sequence numbers, checksums or venues (see `verified`), read a clock, or do arithmetic on prices.

A level is keyed by the float of its price text and keeps the text itself. Distinct decimals of up to 15 significant digits
have distinct doubles, so the key is exact as an identity, equal prices written with more or fewer zeros meet, and no price is
ever computed from it. A compiled form with the same interface may take this one's place.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
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
