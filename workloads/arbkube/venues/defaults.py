"""Dated trading rules for recordings that carry none.

For: replaying foreign recordings of well-known instruments. A feed never uses these: it asks the venue. May not: be guessed:
each row is what the venue's instrument endpoint said on the date of `DATE`, as published in its documents.
"""

from __future__ import annotations

from decimal import Decimal

from arbkube.market.instruments import Instrument, MarketType

DATE = "2026-11"

_ROWS: dict[tuple[str, MarketType], tuple[tuple[str, str, str, str, str, str, str], ...]] = {
    # native, base, quote, tick, lot, smallest quantity, smallest notional
    ("binance", MarketType.SPOT): (
        ("BTCUSDT", "BTC", "USDT", "0.01", "0.00001", "0.00001", "5"),
        ("ETHUSDT", "ETH", "USDT", "0.01", "0.0001", "0.0001", "5"),
        ("ETHBTC", "ETH", "BTC", "0.00001", "0.0001", "0.0001", "0.0001"),
    ),
    ("binance", MarketType.PERPETUAL): (
        ("BTCUSDT", "BTC", "USDT", "0.1", "0.001", "0.001", "100"),
        ("ETHUSDT", "ETH", "USDT", "0.01", "0.001", "0.001", "20"),
    ),
    ("okx", MarketType.SPOT): (
        ("BTC-USDT", "BTC", "USDT", "0.1", "0.00000001", "0.00001", "0"),
        ("ETH-USDT", "ETH", "USDT", "0.01", "0.000001", "0.001", "0"),
    ),
}


def default_instruments(venue: str, market: MarketType, natives: tuple[str, ...]) -> list[Instrument]:
    """The rules of `natives`. Raises ValueError naming those that are not here and the remedy."""
    rows = {row[0]: row for row in _ROWS.get((venue, market), ())}
    missing = [native for native in natives if native not in rows]
    if missing:
        raise ValueError(
            f"no trading rules known for {', '.join(missing)} on {venue} {market.value}: give them with --instruments FILE"
        )
    suffix = "-PERP" if market is MarketType.PERPETUAL else ""
    return [
        Instrument(
            venue=venue,
            market=market,
            symbol=f"{base}-{quote}{suffix}",
            native=native,
            base=base,
            quote=quote,
            tick=Decimal(tick),
            lot=Decimal(lot),
            min_quantity=Decimal(quantity),
            min_notional=Decimal(notional),
        )
        for native, base, quote, tick, lot, quantity, notional in (rows[native] for native in natives)
    ]
