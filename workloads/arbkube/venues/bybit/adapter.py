"""Bybit's addresses, trading rules and fees, spot and linear perpetuals.

For: `SpotAdapter` and `PerpetualAdapter`. May not: do I/O.
Sources, read 2026-11: bybit-exchange.github.io/docs/v5, "Market → Get Instruments Info", "Get Orderbook", "Connect" (ten topics
a request on spot, 21 000 characters of topics a connection everywhere, 500 new connections in five minutes); help centre,
"Trading fee structure" of 2026-05-07, VIP 0.

Instruments are asked for one by one: the list of linear ones comes in pages whose cursors only the page before knows. USDC
perpetuals are spelt BTCPERP. Linear contracts are counted in base units. Inverse ones are another category, and not supported.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random

import msgspec

from arbkube.market.instruments import FeeAsset, Fees, Instrument, MarketType, parse_symbol
from arbkube.resources.kinds import Proof
from arbkube.venues.bybit.session import BybitSession
from arbkube.venues.session import Endpoint, SessionOptions, Snapshot, WireLimits

_MILLISECOND = 10**6
_REST_DEPTH = 200
"""Levels a side that the REST book gives on either market."""


class _Lots(msgspec.Struct, rename="camel"):
    """Spot names its step `basePrecision` and its least notional `minOrderAmt`, and no longer checks `minOrderQty`."""

    min_order_qty: Decimal
    qty_step: Decimal | None = None
    min_notional_value: Decimal = Decimal(0)
    base_precision: Decimal | None = None
    min_order_amt: Decimal = Decimal(0)


class _Prices(msgspec.Struct, rename="camel"):
    tick_size: Decimal


class _Row(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_coin: str
    quote_coin: str
    lot_size_filter: _Lots
    price_filter: _Prices
    contract_type: str = ""


class _Rows(msgspec.Struct):
    rows: list[_Row] = msgspec.field(default_factory=list, name="list")


class _Instruments(msgspec.Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: _Rows = msgspec.field(default_factory=_Rows)


class _Depth(msgspec.Struct):
    b: tuple[tuple[str, str], ...] = ()
    a: tuple[tuple[str, str], ...] = ()
    ts: int = 0
    u: int = 0


class _DepthAnswer(msgspec.Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: _Depth = msgspec.field(default_factory=_Depth)


_instruments = msgspec.json.Decoder(_Instruments)
_depth = msgspec.json.Decoder(_DepthAnswer)


class _Bybit:
    """What both markets share."""

    venue = "bybit"
    proofs = frozenset({Proof.CHAIN})
    market: MarketType
    endpoint = Endpoint("wss://stream.bybit.com", "https://api.bybit.com")
    limits: WireLimits
    default_fees: Fees
    _category: str

    def instrument_urls(self, symbols: Sequence[str], endpoint: Endpoint) -> list[str]:
        path = f"{endpoint.rest}/v5/market/instruments-info?category={self._category}&symbol="
        return [path + self._native(symbol) for symbol in symbols]

    def parse_instruments(self, bodies: Sequence[bytes], symbols: Sequence[str]) -> list[Instrument]:
        listed: dict[str, Instrument] = {}
        for body in bodies:
            answer = _instruments.decode(body)
            # An unknown symbol is an error of its own (10001); it is named below with the others.
            if answer.ret_code not in {0, 10001}:
                raise ValueError(f"bybit answered code {answer.ret_code}: {answer.ret_msg}")
            for row in answer.result.rows:
                if self.market is MarketType.SPOT or row.contract_type == "LinearPerpetual":
                    instrument = self._instrument(row)
                    listed[instrument.symbol] = instrument
        missing = [symbol for symbol in symbols if symbol not in listed]
        if missing:
            raise ValueError(f"bybit {self.market.value} does not list {', '.join(missing)}")
        return [listed[symbol] for symbol in symbols]

    @staticmethod
    def _native(symbol: str) -> str:
        base, quote, market = parse_symbol(symbol)
        return f"{base}PERP" if market is MarketType.PERPETUAL and quote == "USDC" else base + quote

    def _instrument(self, row: _Row) -> Instrument:
        lots = row.lot_size_filter
        spot = self.market is MarketType.SPOT
        lot = lots.base_precision if spot else lots.qty_step
        if lot is None:
            raise ValueError(f"bybit {self.market.value}: {row.symbol} has no quantity step")
        return Instrument(
            venue=self.venue,
            market=self.market,
            symbol=f"{row.base_coin}-{row.quote_coin}" + ("" if spot else "-PERP"),
            native=row.symbol,
            base=row.base_coin,
            quote=row.quote_coin,
            tick=row.price_filter.tick_size.normalize(),
            lot=lot.normalize(),
            min_quantity=lot if spot else lots.min_order_qty,
            min_notional=lots.min_order_amt if spot else lots.min_notional_value,
            tradable=row.status == "Trading",
        )

    def snapshot_url(self, instrument: Instrument, depth: int, endpoint: Endpoint) -> str:
        limit = min(depth, _REST_DEPTH)
        return f"{endpoint.rest}/v5/market/orderbook?category={self._category}&symbol={instrument.native}&limit={limit}"

    def parse_snapshot(self, body: bytes) -> Snapshot:
        answer = _depth.decode(body)
        if answer.ret_code != 0:
            raise ValueError(f"bybit answered code {answer.ret_code}: {answer.ret_msg}")
        depth = answer.result
        return Snapshot(depth.b, depth.a, depth.u, depth.ts * _MILLISECOND)

    def session(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random) -> BybitSession:
        return BybitSession(instruments, options, rng, self.limits, self._category)


class SpotAdapter(_Bybit):
    market = MarketType.SPOT
    limits = WireLimits(symbols_per_connection=50, arguments_per_message=10, messages_per_second=5)
    default_fees = Fees(
        maker=Decimal("0.001"), taker=Decimal("0.001"), charged_in=FeeAsset.RECEIVED, source="bybit VIP 0 2026-05"
    )
    _category = "spot"


class PerpetualAdapter(_Bybit):
    market = MarketType.PERPETUAL
    limits = WireLimits(symbols_per_connection=50, arguments_per_message=100, messages_per_second=5)
    default_fees = Fees(
        maker=Decimal("0.0002"), taker=Decimal("0.00055"), charged_in=FeeAsset.QUOTE, source="bybit VIP 0 2026-05"
    )
    _category = "linear"
