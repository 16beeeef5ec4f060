"""Which adapter serves a venue and market.

For: the one list to extend when a venue is added. May not: do I/O; adapters are imported when first asked for, so that a pod
loads only its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from arbkube.market.instruments import MarketType
from arbkube.venues.session import Adapter

_ADAPTERS: dict[tuple[str, MarketType], str] = {
    ("binance", MarketType.SPOT): "arbkube.venues.binance.adapter:SpotAdapter",
    ("binance", MarketType.PERPETUAL): "arbkube.venues.binance.adapter:UsdMAdapter",
    ("coinbase", MarketType.SPOT): "arbkube.venues.coinbase.adapter:CoinbaseAdapter",
    ("kraken", MarketType.SPOT): "arbkube.venues.kraken.adapter:KrakenAdapter",
    ("okx", MarketType.SPOT): "arbkube.venues.okx.adapter:SpotAdapter",
    ("okx", MarketType.PERPETUAL): "arbkube.venues.okx.adapter:PerpetualAdapter",
    ("bybit", MarketType.SPOT): "arbkube.venues.bybit.adapter:SpotAdapter",
    ("bybit", MarketType.PERPETUAL): "arbkube.venues.bybit.adapter:PerpetualAdapter",
}


def adapter(venue: str, market: MarketType) -> Adapter:
    """The adapter of `venue` for `market`. Raises ValueError naming what there is."""
    where = _ADAPTERS.get((venue, market))
    if where is None:
        known = ", ".join(f"{v} {m.value}" for v, m in _ADAPTERS)
        raise ValueError(f"no adapter for {venue} {market.value}; there are: {known}")
    module, name = where.split(":")
    return cast(Adapter, getattr(import_module(module), name)())
