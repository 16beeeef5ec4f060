"""The server side of the six venues' market-data protocols, one module a venue, sans I/O.

For: `create`. The modules are written from the venues' documents and share no code with the adapters, since each judges the
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import cast

from arbkube.market.instruments import MarketType
from arbkube.simulator.exchange.base import Exchange, Market

_EXCHANGES: dict[tuple[str, MarketType], str] = {
    ("binance", MarketType.SPOT): "binance:SpotExchange",
    ("binance", MarketType.PERPETUAL): "binance:UsdMExchange",
    ("coinbase", MarketType.SPOT): "coinbase:CoinbaseExchange",
    ("kraken", MarketType.SPOT): "kraken:KrakenExchange",
    ("okx", MarketType.SPOT): "okx:OkxExchange",
    ("okx", MarketType.PERPETUAL): "okx:OkxExchange",
    ("bybit", MarketType.SPOT): "bybit:BybitExchange",
    ("bybit", MarketType.PERPETUAL): "bybit:BybitExchange",
}


def create(venue: str, market: MarketType, markets: Sequence[Market]) -> Exchange:
    """The venue's server for `markets`. Raises ValueError naming what there is."""
    where = _EXCHANGES.get((venue, market))
    if where is None:
        known = ", ".join(f"{v} {m.value}" for v, m in _EXCHANGES)
        raise ValueError(f"the simulator has no {venue} {market.value}; there are: {known}")
    module, name = where.split(":")
    return cast(Exchange, getattr(import_module(f"arbkube.simulator.exchange.{module}"), name)(market, markets))
