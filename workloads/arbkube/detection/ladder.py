"""One side of a book as a taker walks it, fees included, in exact arithmetic.

For: what taking a quantity pays and gets, and the two inverse questions: the most that a sum can pay for, and the least that
brings in a sum. May not: look beyond the last level given, or round in our favour.

At quantity q inside level i (which begins at cumulated depth d, holds price p, and costs n = i + 1 fills):

    buy,  fee in quote        pays value × (1 + taker) + n × unit      gets q
    buy,  fee from the base   pays value                               gets q × (1 − taker) − n × unit
    sell                      pays q                                   gets value × (1 − taker) − n × unit

`unit` is FEE_UNIT, by which every fill's fee may be rounded up; zero without a fee.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from arbkube.market.book import Level
from arbkube.market.instruments import Side

EXACT = Context(prec=60)
"""Sums and products of prices, quantities and fees have fewer digits than this: only divisions round, and those on purpose."""

FEE_UNIT = Decimal("1e-8")
"""The smallest amount that venues charge a fee in. A level is one fill here; its fee is rounded up by at most this."""

MONEY_UNIT = Decimal("1e-12")
"""What is said of money is rounded to this, against us."""

ZERO = Decimal(0)
ONE = Decimal(1)


def up(amount: Decimal) -> Decimal:
    """`amount` rounded up to MONEY_UNIT."""
    return amount.quantize(MONEY_UNIT, ROUND_CEILING, EXACT)


def down(amount: Decimal) -> Decimal:
    """`amount` rounded down to MONEY_UNIT."""
    return amount.quantize(MONEY_UNIT, ROUND_FLOOR, EXACT)


_FLOOR = Context(prec=60, rounding=ROUND_FLOOR)
_CEILING = Context(prec=60, rounding=ROUND_CEILING)


def divide_down(amount: Decimal, divisor: Decimal) -> Decimal:
    """The quotient, its last digit rounded down."""
    return _FLOOR.divide(amount, divisor)


def divide_up(amount: Decimal, divisor: Decimal) -> Decimal:
    """The quotient, its last digit rounded up."""
    return _CEILING.divide(amount, divisor)


def steps_up(amount: Decimal, step: Decimal) -> Decimal:
    """How many steps reach `amount`, zero for a negative one."""
    if amount <= ZERO:
        return ZERO
    steps = amount // step
    return steps if steps * step == amount else steps + 1


class Ladder:
    """The levels of one side, best first. Callers compute inside the EXACT context. Entry i of the lists speaks of level i.

    `depth[i]` and `value[i]` add up base and quote units of the levels before it (one entry more than there are levels);
    `pay_at[i]` and `get_at[i]` are what the first bit of level i has paid and got in sum, from where they grow by `pay_rate[i]`
    and `get_rate[i]` for each base unit.
    """

    __slots__ = ("_get_until", "depth", "get_at", "get_rate", "pay_at", "pay_rate", "prices", "unit", "value")

    def __init__(self, levels: tuple[Level, ...], side: Side, taker: Decimal, *, fee_from_base: bool) -> None:
        self.prices: list[Decimal] = []
        self.depth: list[Decimal] = [ZERO]
        self.value: list[Decimal] = [ZERO]
        self.pay_at: list[Decimal] = []
        self.pay_rate: list[Decimal] = []
        self.get_at: list[Decimal] = []
        self.get_rate: list[Decimal] = []
        self._get_until: list[Decimal] = []
        self.unit = FEE_UNIT if taker else ZERO
        depth = value = rounding = ZERO
        after_fee, with_fee = ONE - taker, ONE + taker
        for price_text, size_text in levels:
            price, size = Decimal(price_text), Decimal(size_text)
            rounding += self.unit
            if side is Side.SELL:
                pay_at, pay_rate = depth, ONE
                get_at, get_rate = value * after_fee - rounding, price * after_fee
            elif fee_from_base:
                pay_at, pay_rate = value, price
                get_at, get_rate = depth * after_fee - rounding, after_fee
            else:
                pay_at, pay_rate = value * with_fee + rounding, price * with_fee
                get_at, get_rate = depth, ONE
            depth += size
            value += price * size
            self.prices.append(price)
            self.depth.append(depth)
            self.value.append(value)
            self.pay_at.append(pay_at)
            self.pay_rate.append(pay_rate)
            self.get_at.append(get_at)
            self.get_rate.append(get_rate)
            self._get_until.append(get_at + size * get_rate)

    def level_of(self, quantity: Decimal) -> int:
        """Index of the level that the last bit of `quantity` (0 < quantity ≤ depth) comes from."""
        return bisect_left(self.depth, quantity) - 1

    def limit(self, quantity: Decimal) -> Decimal:
        """The worst price walked to."""
        return self.prices[self.level_of(quantity)]

    def value_of(self, quantity: Decimal) -> Decimal:
        """Quote units that the walked levels add up to, before fees."""
        level = self.level_of(quantity)
        return self.value[level] + (quantity - self.depth[level]) * self.prices[level]

    def pay(self, quantity: Decimal) -> Decimal:
        """What taking `quantity` spends, fee included: quote when buying, base when selling."""
        level = self.level_of(quantity)
        return self.pay_at[level] + (quantity - self.depth[level]) * self.pay_rate[level]

    def get(self, quantity: Decimal) -> Decimal:
        """What taking `quantity` brings in after the fee: base when buying, quote when selling."""
        level = self.level_of(quantity)
        return self.get_at[level] + (quantity - self.depth[level]) * self.get_rate[level]

    def most(self, sum_: Decimal, lot: Decimal) -> Decimal:
        """The largest multiple of `lot` that `sum_` pays for; zero if it pays for none."""
        level = bisect_right(self.pay_at, sum_) - 1
        if level < 0:
            return ZERO
        rate = self.pay_rate[level]
        lots = (self.depth[level] * rate + sum_ - self.pay_at[level]) // (rate * lot)
        return min(lots, self.depth[level + 1] // lot) * lot

    def least(self, sum_: Decimal, lot: Decimal) -> Decimal | None:
        """The smallest multiple of `lot` that brings in `sum_`; None if the levels given do not."""
        level = bisect_left(self._get_until, sum_)
        if level == len(self.prices):
            return None
        rate = self.get_rate[level]
        quantity = steps_up(self.depth[level] * rate + sum_ - self.get_at[level], rate * lot) * lot
        # The lot's last bit may lie in the next level, whose fill rounds its fee once more.
        while quantity <= self.depth[-1]:
            if quantity > ZERO and self.get(quantity) >= sum_:
                return quantity
            quantity += lot
        return None
