"""One leg of a cycle, with what sizing needs of it, exactly and as floats.

For: the minima and the balance of one order, and its ladder. May not: know the other legs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from decimal import Decimal
from math import ceil, floor

from arbkube.detection.books import Book
from arbkube.detection.ladder import steps_up
from arbkube.detection.model import Balances
from arbkube.detection.sizing import least_unwindable, lock_rate, spendable
from arbkube.market.instruments import Side

_LOT_SLACK = 1e-7
"""Share of a lot that floats may be off by: they round in favour of the leg by as much, so as never to miss what is exact."""


class Link:
    """One leg. `free` is what its order may lock, None where no balance limits it; `least` the minima of order and unwind."""

    __slots__ = ("_floats", "_min_notional", "book", "free", "ladder", "least", "lot", "side")

    def __init__(self, book: Book, side: Side, balances: Balances | None) -> None:
        rules = book.market.instrument
        self.book = book
        self.side = side
        self.ladder = book.ladder(side)
        self.lot = rules.lot
        self.least = steps_up(max(rules.min_quantity, least_unwindable(book, side)), rules.lot) * rules.lot
        self.free = None if balances is None else spendable(balances, book, side)
        self._min_notional = rules.min_notional
        self._floats = Floats(self)

    @property
    def floats(self) -> Floats:
        """The same leg in floats."""
        return self._floats

    def covered(self, quantity: Decimal) -> bool:
        """Whether the balance covers what the order locks at its limit."""
        return self.free is None or quantity * lock_rate(self.book, self.side, self.ladder.limit(quantity)) <= self.free

    def notional(self, quantity: Decimal) -> Decimal:
        """The value of what is spent before the fee, in the asset that is spent."""
        return self.ladder.value_of(quantity) if self.side is Side.BUY else quantity

    def orderable_from(self, quantity: Decimal) -> Decimal | None:
        """The smallest orderable quantity from `quantity` on; None if the levels given do not hold it."""
        quantity = max(quantity, self.least)
        while quantity <= self.ladder.depth[-1]:
            limit = self.ladder.limit(quantity)
            if quantity * limit >= self._min_notional:
                return quantity
            quantity = steps_up(self._min_notional, limit * self.lot) * self.lot
        return None

    def orderable_to(self, quantity: Decimal) -> Decimal | None:
        """The largest orderable quantity up to `quantity` that the balance covers; None without one."""
        while quantity >= self.least:
            level = self.ladder.level_of(quantity)
            limit, backed = self.ladder.prices[level], quantity
            if self.free is not None:
                backed = min(quantity, self.free // (lock_rate(self.book, self.side, limit) * self.lot) * self.lot)
            if backed > self.ladder.depth[level] and backed >= self.least and backed * limit >= self._min_notional:
                return backed
            quantity = self.ladder.depth[level] // self.lot * self.lot
        return None


class Floats:
    """A link's numbers as floats, for proposing only."""

    __slots__ = ("depth", "get_at", "get_rate", "get_until", "least", "locks", "lot", "pay_at", "pay_rate", "values")

    def __init__(self, link: Link) -> None:
        ladder = link.ladder
        self.lot = float(link.lot)
        self.least = float(link.least)
        self.depth = [float(depth) for depth in ladder.depth]
        self.pay_at = [float(pay) for pay in ladder.pay_at]
        self.pay_rate = [float(rate) for rate in ladder.pay_rate]
        self.get_at = [float(get) for get in ladder.get_at]
        self.get_rate = [float(rate) for rate in ladder.get_rate]
        self.get_until = [
            get + rate * (self.depth[level + 1] - self.depth[level])
            for level, (get, rate) in enumerate(zip(self.get_at, self.get_rate, strict=True))
        ]
        self.values = [float(price) for price in ladder.prices] if link.side is Side.BUY else [1.0] * len(ladder.prices)
        """Value before the fee of one base unit, in the asset that is spent."""
        self.locks: list[float] | None = None
        """By level, the largest quantity that the balance covers at its price."""
        if link.free is not None:
            free = float(link.free)
            self.locks = [free / float(lock_rate(link.book, link.side, price)) for price in ladder.prices]

    def pay(self, quantity: float) -> float:
        """What `quantity`, at most the depth, spends."""
        level = self._level(quantity)
        return self.pay_at[level] + (quantity - self.depth[level]) * self.pay_rate[level]

    def get(self, quantity: float) -> float:
        """What `quantity`, at most the depth, brings in."""
        level = self._level(quantity)
        return self.get_at[level] + (quantity - self.depth[level]) * self.get_rate[level]

    def _level(self, quantity: float) -> int:
        return max(0, min(bisect_left(self.depth, quantity), len(self.pay_at)) - 1)

    def least_for(self, sum_: float) -> float | None:
        """The smallest orderable multiple of the lot that brings in `sum_`; None if the levels given do not."""
        level = bisect_left(self.get_until, sum_ * (1.0 - 1e-12))
        if level == len(self.get_until):
            return None
        quantity = self.depth[level] + (sum_ - self.get_at[level]) / self.get_rate[level]
        quantity = max(self.least, ceil(quantity / self.lot - _LOT_SLACK) * self.lot)
        return quantity if quantity <= self.depth[-1] + self.lot * _LOT_SLACK else None

    def most_for(self, sum_: float) -> float | None:
        """The largest multiple of the lot that `sum_` pays for; None if that is below the minimum."""
        level = max(0, bisect_right(self.pay_at, sum_) - 1)
        quantity = self.depth[level] + (sum_ - self.pay_at[level]) / self.pay_rate[level]
        quantity = floor(min(quantity, self.depth[level + 1]) / self.lot + _LOT_SLACK) * self.lot
        return quantity if quantity >= self.least * (1.0 - 1e-12) else None
