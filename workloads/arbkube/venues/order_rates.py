"""How many orders a venue takes from one account, before it refuses or bans.

For: the budget that all executors on one account share. May not: be guessed where a document says it, or be above the
strictest of the limits that a venue's documents name for an ordinary account.

Read 2026-11:
- Binance spot: developers.binance.com, "Limits", and `rateLimits` in its WebSocket API's answers. It counts unfilled orders
  only; here all count.
- Binance USD-M: support FAQ "Rate Limits on Binance Futures": 300 in 10 s, and 1 200 in a minute.
- Coinbase: "Advanced Trade REST API Rate Limits": all private requests of a user.
- Kraken: support, "Trading rate limits": for each pair a counter that an order raises by 1, at most 125 and falling by 2.34 a
  second at the lowest level that may trade through the API; never above that with 125 in any 54 s.
- OKX: "Place order" of the v5 API, for each instrument; the account's own limit, 1 000 in 2 s, is far above.
- Bybit: v5 "Rate Limit", `/v5/order/create`.
- Through ccxt no document is known: a cautious figure of our own.
"""

from __future__ import annotations

import msgspec

from arbkube.market.instruments import MarketType

_SECOND = 1_000_000_000


class OrderRate(msgspec.Struct, frozen=True):
    """At most `orders` in any `window_ns`."""

    orders: int
    window_ns: int
    each_instrument: bool = False
    """Whether the venue counts each instrument by itself; else the account as a whole."""


_RATES: dict[tuple[str, MarketType], OrderRate] = {
    ("binance", MarketType.SPOT): OrderRate(50, 10 * _SECOND),
    ("binance", MarketType.PERPETUAL): OrderRate(200, 10 * _SECOND),
    ("coinbase", MarketType.SPOT): OrderRate(30, _SECOND),
    ("kraken", MarketType.SPOT): OrderRate(125, 54 * _SECOND, each_instrument=True),
    ("okx", MarketType.SPOT): OrderRate(60, 2 * _SECOND, each_instrument=True),
    ("okx", MarketType.PERPETUAL): OrderRate(60, 2 * _SECOND, each_instrument=True),
    ("bybit", MarketType.SPOT): OrderRate(20, _SECOND),
    ("bybit", MarketType.PERPETUAL): OrderRate(10, _SECOND),
}

_UNDOCUMENTED = OrderRate(30, 30 * _SECOND)


def order_rate(venue: str, market: MarketType) -> OrderRate:
    """The limit of one account on a venue's market."""
    return _RATES.get((venue, market), _UNDOCUMENTED)
