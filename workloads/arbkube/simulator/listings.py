"""What the simulated venues list: trading rules of an instrument, the same on every venue.

For: `Listing`, and `Grid`, exact decimal text of whole multiples of a step. Steps follow from the starting prices, so that two
venues with equal parameters quote equal prices. May not: do I/O.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from math import floor, log10

import msgspec

from arbkube.market.instruments import MarketType, parse_symbol
from arbkube.simulator.process import starting_price


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one instrument, in base and quote units."""

    symbol: str
    base: str
    quote: str
    market: MarketType
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    halted: bool = False


def listing(symbol: str) -> Listing:
    """The rules of a venue-neutral symbol. Raises ValueError when it is not one.

    The tick is 0.01 to 0.1 bps of the price, the lot worth 0.1 to 1 USDT, the smallest order about 5 USDT.
    """
    base, quote, market = parse_symbol(symbol)
    price = starting_price(base) / starting_price(quote)
    lot = _power(-floor(log10(starting_price(base))) - 1)
    smallest = Decimal(repr(5.0 / starting_price(quote))).quantize(
        _power(floor(log10(5.0 / starting_price(quote)))), ROUND_CEILING
    )
    return Listing(
        symbol=symbol,
        base=base,
        quote=quote,
        market=market,
        tick=_power(floor(log10(price)) - 5),
        lot=lot,
        min_quantity=lot,
        min_notional=smallest,
    )


def _power(exponent: int) -> Decimal:
    """10 to `exponent`, written out."""
    return Decimal(1).scaleb(exponent) if exponent <= 0 else Decimal(10**exponent)


def plain(value: Decimal) -> str:
    """`value` without exponent and trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Grid:
    """Whole multiples of a decimal step as exact text, with at least `pad` decimals, or as few as possible with `trim`."""

    def __init__(self, step: Decimal, *, pad: int = 0, trim: bool = False) -> None:
        exponent = step.normalize().as_tuple().exponent
        assert isinstance(exponent, int)
        self.decimals = max(0, -exponent)
        self._units = int(step.scaleb(self.decimals))
        self._pad = "0" * (pad - self.decimals)
        self._trim = trim
        if self._pad and not self.decimals:
            self._pad = "." + self._pad

    def text(self, multiple: int) -> str:
        digits = str(multiple * self._units)
        if self.decimals:
            digits = digits.rjust(self.decimals + 1, "0")
            digits = f"{digits[: -self.decimals]}.{digits[-self.decimals :]}"
            if self._trim:
                return digits.rstrip("0").rstrip(".")
        return digits + self._pad
