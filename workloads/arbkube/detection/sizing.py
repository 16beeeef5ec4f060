"""What a sized chance is, and the rules that an order and its unwind must meet.

For: the words that pairs and rings share when they size. May not: choose anything.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from arbkube.detection.books import Book
from arbkube.detection.ladder import FEE_UNIT, ONE, ZERO, divide_up, steps_up, up
from arbkube.detection.model import Balances
from arbkube.market.instruments import Side


class SizedLeg(msgspec.Struct, frozen=True):
    """One order: quantity and limit as they will be sent, value and fee (in quote units) as they are counted."""

    book: Book
    side: Side
    quantity: Decimal
    limit: Decimal
    value: Decimal
    fee: Decimal


class Sized(msgspec.Struct, frozen=True):
    """A chance with its best quantity. Notional and profit are in the profit asset, rounded against us."""

    legs: tuple[SizedLeg, ...]
    notional: Decimal
    profit: Decimal


def sized_leg(book: Book, side: Side, quantity: Decimal) -> SizedLeg:
    """The order that takes `quantity`.

    A fee taken from the base counts as what buying it back at the limit costs, that purchase's fee included.
    """
    ladder = book.ladder(side)
    level = ladder.level_of(quantity)
    limit, value, rounding = ladder.prices[level], ladder.value_of(quantity), (level + 1) * ladder.unit
    if side is Side.BUY and book.fee_from_base:
        fee = divide_up((quantity * book.taker + rounding) * limit, ONE - book.taker)
    else:
        fee = value * book.taker + rounding
    return SizedLeg(book, side, quantity, limit, value, up(fee))


def least_unwindable(book: Book, side: Side) -> Decimal:
    """The smallest quantity whose unwind at the other side's best price is an order that the venue takes.

    A purchase whose fee came out of the base has only the rest left to sell.
    """
    rules = book.market.instrument
    price = book.ladder(side.opposite).prices[0]
    order = steps_up(max(rules.lot, rules.min_quantity, divide_up(rules.min_notional, price)), rules.lot) * rules.lot
    if side is Side.BUY and book.fee_from_base:
        # As many roundings as there could be fills.
        ladder = book.ladder(side)
        return divide_up(order + len(ladder.prices) * ladder.unit, ONE - book.taker)
    return order


def spendable(balances: Balances, book: Book, side: Side) -> Decimal:
    """What is available of the asset that an order of `side` locks: base for a spot sale, else quote.

    A perpetual locks quote on both sides: it is collateralised in full, never leveraged. Where quote is locked, the rounding of
    the fee on it is kept back.
    """
    available = balances.available.get(book.feed.name, {})
    if side is Side.SELL and book.spot:
        return available.get(book.base, ZERO)
    return available.get(book.quote, ZERO) - FEE_UNIT


def lock_rate(book: Book, side: Side, price: Decimal) -> Decimal:
    """What an order locks for each base unit at `price`: the base of a spot sale, else quote and as much as a fee on it."""
    return ONE if side is Side.SELL and book.spot else price * (ONE + book.taker)
