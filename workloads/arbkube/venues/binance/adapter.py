"""Binance's addresses, trading rules and fees, spot and USD-M futures.

For: `SpotAdapter` and `UsdMAdapter`. May not: do I/O.
Sources, read 2026-11: developers.binance.com, "Spot → General endpoints → Exchange information", "WebSocket Streams", "USDⓈ-M
Futures → Exchange Information", "Websocket Market Streams" (since 2026-04 routed: book streams are under /public); fee schedule
of a regular user without BNB discount.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random
from urllib.parse import quote

import msgspec

from arbkube.market.instruments import FeeAsset, Fees, Instrument, MarketType, parse_symbol
from arbkube.resources.kinds import Proof
from arbkube.venues.binance.session import BinanceSession, parse_depth
from arbkube.venues.session import Endpoint, SessionOptions, Snapshot, WireLimits


class _Filter(msgspec.Struct, rename="camel"):
    filter_type: str
    tick_size: Decimal = Decimal(0)
    step_size: Decimal = Decimal(0)
    min_qty: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)


class _Symbol(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[_Filter]
    contract_type: str = ""


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


_exchange_info = msgspec.json.Decoder(_ExchangeInfo)


class _Binance:
    """What both markets share."""

    venue = "binance"
    proofs = frozenset({Proof.CHAIN})
    market: MarketType
    endpoint: Endpoint
    limits: WireLimits
    default_fees: Fees
    _path: str
    _snapshot_limits: tuple[int, ...]

    def parse_instruments(self, bodies: Sequence[bytes], symbols: Sequence[str]) -> list[Instrument]:
        listed: dict[str, Instrument] = {}
        for body in bodies:
            for row in _exchange_info.decode(body).symbols:
                if self.market is MarketType.PERPETUAL and row.contract_type != "PERPETUAL":
                    continue
                instrument = self._instrument(row)
                listed[instrument.symbol] = instrument
        missing = [symbol for symbol in symbols if symbol not in listed]
        if missing:
            raise ValueError(f"binance {self.market.value} does not list {', '.join(missing)}")
        return [listed[symbol] for symbol in symbols]

    def _instrument(self, row: _Symbol) -> Instrument:
        filters = {f.filter_type: f for f in row.filters}
        notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL")
        suffix = "-PERP" if self.market is MarketType.PERPETUAL else ""
        return Instrument(
            venue=self.venue,
            market=self.market,
            symbol=f"{row.base_asset}-{row.quote_asset}{suffix}",
            native=row.symbol,
            base=row.base_asset,
            quote=row.quote_asset,
            tick=filters["PRICE_FILTER"].tick_size.normalize(),
            lot=filters["LOT_SIZE"].step_size.normalize(),
            min_quantity=filters["LOT_SIZE"].min_qty,
            min_notional=max(notional.min_notional, notional.notional) if notional else Decimal(0),
            tradable=row.status == "TRADING",
        )

    def snapshot_url(self, instrument: Instrument, depth: int, endpoint: Endpoint) -> str:
        limit = next((limit for limit in self._snapshot_limits if limit >= depth), self._snapshot_limits[-1])
        return f"{endpoint.rest}{self._path}/depth?symbol={instrument.native}&limit={limit}"

    def parse_snapshot(self, body: bytes) -> Snapshot:
        return parse_depth(body)

    def session(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random) -> BinanceSession:
        # Deep enough that the price may wander for minutes before the covered range runs out.
        urls = {i.symbol: self.snapshot_url(i, max(1000, options.depth), options.endpoint) for i in instruments}
        return BinanceSession(instruments, options, rng, urls, self.limits, spot=self.market is MarketType.SPOT)


class SpotAdapter(_Binance):
    market = MarketType.SPOT
    endpoint = Endpoint("wss://stream.binance.com:9443", "https://api.binance.com")
    limits = WireLimits(symbols_per_connection=200, arguments_per_message=100, messages_per_second=4)
    default_fees = Fees(
        maker=Decimal("0.001"), taker=Decimal("0.001"), charged_in=FeeAsset.RECEIVED, source="binance regular user 2026-11"
    )
    _path = "/api/v3"
    _snapshot_limits = (100, 500, 1000, 5000)

    def instrument_urls(self, symbols: Sequence[str], endpoint: Endpoint) -> list[str]:
        natives = ",".join('"' + "".join(parse_symbol(symbol)[:2]) + '"' for symbol in symbols)
        return [f"{endpoint.rest}{self._path}/exchangeInfo?symbols={quote('[' + natives + ']')}"]


class UsdMAdapter(_Binance):
    market = MarketType.PERPETUAL
    endpoint = Endpoint("wss://fstream.binance.com/public", "https://fapi.binance.com")
    limits = WireLimits(symbols_per_connection=100, arguments_per_message=50, messages_per_second=8)
    default_fees = Fees(
        maker=Decimal("0.0002"), taker=Decimal("0.0005"), charged_in=FeeAsset.QUOTE, source="binance regular user 2026-11"
    )
    _path = "/fapi/v1"
    _snapshot_limits = (5, 10, 20, 50, 100, 500, 1000)

    def instrument_urls(self, symbols: Sequence[str], endpoint: Endpoint) -> list[str]:
        return [f"{endpoint.rest}{self._path}/exchangeInfo"]
