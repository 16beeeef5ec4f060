"""A book whose venue counts contracts, read in base units.

For: perpetuals on OKX. The wire's sizes are numbers of contracts, and the venue's checksum is over that very text, so the book
is kept as it came (`wire`) and converted where it is read: only the few levels that are published are ever multiplied, most of
them out of a cache, and an update costs nothing extra. The product of two decimals is a decimal, so nothing is rounded.
May not: know sequence numbers or checksums.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

from arbkube import kernel
from arbkube.market.book import Book, Level

_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_CACHED_SIZES = 10_000
"""Sizes repeat; a bound all the same, for memory."""


class ContractBook:
    """A `Book` that takes contracts and gives base units: contracts × `contract_size`, exactly."""

    __slots__ = ("_base_units", "_coefficient", "_contract_size", "_places", "wire")

    def __init__(self, contract_size: Decimal) -> None:
        self.wire: Book = kernel.new_book()
        self._contract_size = contract_size
        _, digits, exponent = contract_size.as_tuple()
        self._coefficient = int("".join(map(str, digits)))
        self._places = -exponent if isinstance(exponent, int) else -1
        self._base_units: dict[str, str] = {}

    def clear(self) -> None:
        self.wire.clear()

    def replace(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        self.wire.replace(bids, asks)

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        self.wire.apply(bids, asks)

    def truncate(self, depth: int) -> None:
        self.wire.truncate(depth)

    def bids(self, depth: int) -> list[Level]:
        return self._converted(self.wire.bids(depth))

    def asks(self, depth: int) -> list[Level]:
        return self._converted(self.wire.asks(depth))

    def top(self) -> tuple[Level | None, Level | None]:
        bid, ask = self.wire.top()
        return self._level(bid), self._level(ask)

    def sizes(self) -> tuple[int, int]:
        return self.wire.sizes()

    def crossed(self) -> bool:
        return self.wire.crossed()

    def _level(self, level: Level | None) -> Level | None:
        return None if level is None else self._converted([level])[0]

    def _converted(self, levels: list[Level]) -> list[Level]:
        known = self._base_units
        return [(price, known.get(size) or self._convert(size)) for price, size in levels]

    def _convert(self, size: str) -> str:
        if len(self._base_units) >= _CACHED_SIZES:
            self._base_units.clear()
        text = (
            kernel.multiplied(size, self._coefficient, self._places)
            or f"{_EXACT.multiply(Decimal(size), self._contract_size):f}"
        )
        self._base_units[size] = text
        return text
