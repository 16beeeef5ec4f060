"""What ccxt says of a market, as instruments, fees and books.

For: pure conversions, exact: ccxt's numbers are floats whose shortest text is the venue's own. May not: do I/O or import
ccxt, whose structures are plain mappings (docs.ccxt.com, "Market Structure", "Precision Mode", "Order Book Structure", read
2026-11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from arbkube.market.instruments import FeeAsset, Fees, Instrument, MarketType, parse_symbol
from arbkube.venues.session import Snapshot

DECIMAL_PLACES = 2
TICK_SIZE = 4
"""ccxt's precision modes under which a price step is fixed; under the third, significant digits, it is not."""

Market = Mapping[str, Any]


def unified(symbol: str) -> str:
    """ccxt's name of a venue-neutral symbol: `BTC/USDT`, or `BTC/USDT:USDT` for a perpetual settled in its quote."""
    base, quote, market = parse_symbol(symbol)
    return f"{base}/{quote}" if market is MarketType.SPOT else f"{base}/{quote}:{quote}"


def exact(number: float | str) -> Decimal:
    """The decimal that ccxt's float was read from."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(number)


def instrument(venue: str, symbol: str, market: Market, precision_mode: int) -> Instrument:
    """The trading rules of `symbol`. Raises ValueError where ccxt does not know them all, since none is to be guessed."""
    base, quote, kind = parse_symbol(symbol)
    if kind is MarketType.PERPETUAL and not (market.get("swap") and market.get("linear")):
        raise ValueError(f"{venue}: {symbol} is not a linear perpetual")
    contract = exact(market["contractSize"]) if kind is MarketType.PERPETUAL else Decimal(1)
    limits = market["limits"]
    lot = _step(venue, symbol, market, "amount", precision_mode) * contract
    smallest = limits["amount"].get("min")
    cost = limits["cost"].get("min")
    return Instrument(
        venue=venue,
        market=kind,
        symbol=symbol,
        native=str(market["id"]),
        base=base,
        quote=quote,
        tick=_step(venue, symbol, market, "price", precision_mode),
        lot=lot,
        min_quantity=lot if smallest is None else exact(smallest) * contract,
        min_notional=Decimal(0) if cost is None else exact(cost),
        contract_size=contract,
        tradable=market.get("active") is not False,
    )


def _step(venue: str, symbol: str, market: Market, of: str, precision_mode: int) -> Decimal:
    value = market["precision"].get(of)
    if value is None or precision_mode not in {DECIMAL_PLACES, TICK_SIZE}:
        raise ValueError(
            f"{venue}: ccxt states no {of} step for {symbol}, so no order for it could be right: use another venue"
        )
    return Decimal(1).scaleb(-int(value)) if precision_mode == DECIMAL_PLACES else exact(value)


def fees(venue: str, markets: Iterable[Market]) -> Fees:
    """The highest fees of `markets`. Raises ValueError, with the remedy, where ccxt states none."""
    maker, taker, sides = [], [], set()
    for market in markets:
        if market.get("maker") is None or market.get("taker") is None:
            raise ValueError(f"{venue}: ccxt states no fees for {market['symbol']}: set spec.fees")
        maker.append(exact(market["maker"]))
        taker.append(exact(market["taker"]))
        sides.add(market.get("feeSide"))
    charged = FeeAsset.RECEIVED if sides == {"get"} else FeeAsset.QUOTE
    return Fees(maker=max(maker), taker=max(taker), charged_in=charged, source="ccxt")


def snapshot(book: Mapping[str, Any], instrument: Instrument, depth: int) -> Snapshot:
    """The best `depth` levels a side of a ccxt order book, in base units."""
    stamp = book.get("timestamp")
    bids, asks = (_levels(book[side], instrument.contract_size, depth) for side in ("bids", "asks"))
    return Snapshot(bids, asks, sequence=0, venue_ns=0 if stamp is None else int(stamp) * 10**6)


def _levels(side: Sequence[Sequence[float]], contract: Decimal, depth: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"{exact(level[0]):f}", f"{exact(level[1]) * contract:f}") for level in side[:depth])
