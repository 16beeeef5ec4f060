"""Instruments and their trading rules, venue-neutral.

For: one spelling of an instrument everywhere (`BTC-USDT`, `BTC-USDT-PERP`), with the exact rules a
venue imposes on an order for it. May not: know a venue's wire protocol or do I/O.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

import msgspec


class MarketType(StrEnum):
    """What a venue trades under one symbol."""

    SPOT = "Spot"
    PERPETUAL = "Perpetual"


class Side(StrEnum):
    """The side of an order, seen by whoever sends it."""

    BUY = "Buy"
    SELL = "Sell"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class FeeAsset(StrEnum):
    """Which asset a venue takes its trading fee from."""

    QUOTE = "Quote"
    """Always the quote asset, added to a purchase or taken off a sale's proceeds."""
    RECEIVED = "Received"
    """Whatever the order brings in: base on a purchase, quote on a sale."""


class Fees(msgspec.Struct, frozen=True, kw_only=True):
    """A fee schedule. `maker` and `taker` are fractions of notional (0.001 is ten basis points).

    `source` says where the figures came from: `spec`, `recording`, `instruments file`, or the adapter's dated default.
    """

    maker: Decimal
    taker: Decimal
    charged_in: FeeAsset
    source: str


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable thing on one venue, with the rules of its orders.

    Prices are quote units for one base unit. Quantities are base units, also for perpetuals whose venue counts
    contracts: `contract_size` (base units a contract) converts on the wire, nowhere else.
    """

    venue: str
    """The adapter's name, e.g. `binance`."""
    market: MarketType
    symbol: str
    """Venue-neutral, e.g. `BTC-USDT` or `BTC-USDT-PERP`."""
    native: str
    """The venue's own spelling, e.g. `BTCUSDT`."""
    base: str
    quote: str
    tick: Decimal
    """Smallest price step."""
    lot: Decimal
    """Smallest quantity step, in base units."""
    min_quantity: Decimal
    min_notional: Decimal
    """Smallest price × quantity of an order, in quote units; zero where the venue has none."""
    contract_size: Decimal = Decimal(1)
    tradable: bool = True

    def quantity_down(self, quantity: Decimal) -> Decimal:
        """The largest multiple of the lot that is not above `quantity`."""
        return (quantity / self.lot).to_integral_value(ROUND_FLOOR) * self.lot

    def price_against_us(self, price: Decimal, side: Side) -> Decimal:
        """`price` moved to a tick in the direction that is worse for an order of `side`."""
        rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        return (price / self.tick).to_integral_value(rounding) * self.tick

    def orderable(self, quantity: Decimal, price: Decimal) -> bool:
        """Whether an order of `quantity` at `price` meets lot, minimum quantity and minimum notional."""
        return (
            quantity > 0
            and quantity % self.lot == 0
            and quantity >= self.min_quantity
            and quantity * price >= self.min_notional
        )


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument as a strategy sees it: on which feed, under which fees."""

    feed: str
    instrument: Instrument
    fees: Fees

    @property
    def key(self) -> MarketKey:
        return (self.feed, self.instrument.symbol)


MarketKey = tuple[str, str]
"""(feed name, venue-neutral symbol): how books, legs and positions name a market."""


def parse_symbol(symbol: str) -> tuple[str, str, MarketType]:
    """Split a venue-neutral symbol into base, quote and market type.

    Raises ValueError with the expected form when `symbol` is not one.
    """
    parts = symbol.split("-")
    if len(parts) == 2 and all(parts):
        return parts[0], parts[1], MarketType.SPOT
    if len(parts) == 3 and all(parts) and parts[2] == "PERP":
        return parts[0], parts[1], MarketType.PERPETUAL
    raise ValueError(f"{symbol!r} is not an instrument: write BASE-QUOTE or BASE-QUOTE-PERP")
