"""OKX's addresses, trading rules and fees, spot and linear perpetuals.

For: `SpotAdapter` and `PerpetualAdapter`. May not: do I/O.
Sources, read 2026-11: okx.com/docs-v5, "Public Data → Get instruments", "Order Book Trading → Market Data → Get order book",
"Overview → WebSocket → Connect": 480 requests to subscribe or unsubscribe an hour and connection, 3 new connections a second,
fewer than 30 channels of 400 levels a connection recommended; okx.com/fees: regular user, level 1.

A perpetual counts contracts of `ctVal` × `ctMult` of the base asset; rules and book sizes are in base units here, and only the
wire sees contracts. Inverse contracts (such as BTC-USD-SWAP, whose contract is worth a number of dollars) are not supported:
their size in base units depends on the price.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random

import msgspec

from arbkube.market.instruments import FeeAsset, Fees, Instrument, MarketType, parse_symbol
from arbkube.resources.kinds import Proof
from arbkube.venues.okx.session import WINDOW, OkxSession
from arbkube.venues.session import Endpoint, SessionOptions, Snapshot, WireLimits

_MILLISECOND = 10**6


class _Row(msgspec.Struct, rename="camel"):
    """One instrument. Numbers are text, and empty where they do not apply or are not fixed yet."""

    inst_id: str
    tick_sz: str
    lot_sz: str
    min_sz: str
    state: str
    settle_ccy: str = ""
    ct_type: str = ""
    ct_val: str = ""
    ct_mult: str = ""
    ct_val_ccy: str = ""


class _Instruments(msgspec.Struct):
    code: str
    data: list[_Row] = []
    msg: str = ""


class _Depth(msgspec.Struct, rename="camel"):
    asks: list[tuple[str, ...]]
    bids: list[tuple[str, ...]]
    ts: str
    seq_id: int = 0


class _Depths(msgspec.Struct):
    code: str
    data: list[_Depth] = []
    msg: str = ""


_instruments = msgspec.json.Decoder(_Instruments)
_depths = msgspec.json.Decoder(_Depths)


class _Okx:
    """What both markets share."""

    venue = "okx"
    proofs = frozenset({Proof.CHAIN, Proof.CHECKSUM})
    market: MarketType
    endpoint = Endpoint("wss://ws.okx.com:8443", "https://www.okx.com")
    limits = WireLimits(symbols_per_connection=25, arguments_per_message=50, messages_per_second=3)
    default_fees: Fees
    _type: str

    def instrument_urls(self, symbols: Sequence[str], endpoint: Endpoint) -> list[str]:
        return [f"{endpoint.rest}/api/v5/public/instruments?instType={self._type}"]

    def parse_instruments(self, bodies: Sequence[bytes], symbols: Sequence[str]) -> list[Instrument]:
        rows: dict[str, _Row] = {}
        for body in bodies:
            answer = _instruments.decode(body)
            if answer.code != "0":
                raise ValueError(f"okx answered code {answer.code}: {answer.msg}")
            rows.update((row.inst_id, row) for row in answer.data)
        listed, faults = [], []
        for symbol in symbols:
            row = rows.get(self._native(symbol))
            if row is None or not row.tick_sz:
                faults.append(f"does not list {symbol}")
            elif row.ct_type == "inverse":
                faults.append(f"{symbol} is an inverse contract, which is not supported")
            else:
                listed.append(self._instrument(symbol, row))
        if faults:
            raise ValueError(f"okx {self.market.value}: {'; '.join(faults)}")
        return listed

    @staticmethod
    def _native(symbol: str) -> str:
        base, quote, market = parse_symbol(symbol)
        return f"{base}-{quote}-SWAP" if market is MarketType.PERPETUAL else f"{base}-{quote}"

    def _instrument(self, symbol: str, row: _Row) -> Instrument:
        base, quote, market = parse_symbol(symbol)
        contract_size = Decimal(1)
        if market is MarketType.PERPETUAL:
            if (row.ct_type, row.ct_val_ccy, row.settle_ccy) != ("linear", base, quote):
                raise ValueError(f"okx {self.market.value}: {symbol} is not counted in {base} and settled in {quote}")
            contract_size = Decimal(row.ct_val) * Decimal(row.ct_mult or 1)
        return Instrument(
            venue=self.venue,
            market=self.market,
            symbol=symbol,
            native=row.inst_id,
            base=base,
            quote=quote,
            tick=Decimal(row.tick_sz),
            lot=(Decimal(row.lot_sz) * contract_size).normalize(),
            min_quantity=(Decimal(row.min_sz) * contract_size).normalize(),
            min_notional=Decimal(0),
            contract_size=contract_size.normalize(),
            tradable=row.state == "live",
        )

    def snapshot_url(self, instrument: Instrument, depth: int, endpoint: Endpoint) -> str:
        return f"{endpoint.rest}/api/v5/market/books?instId={instrument.native}&sz={min(depth, WINDOW)}"

    def parse_snapshot(self, body: bytes) -> Snapshot:
        """As the wire has it: a perpetual's sizes are contracts, which the session's own book converts."""
        answer = _depths.decode(body)
        if answer.code != "0" or len(answer.data) != 1:
            raise ValueError(f"okx answered code {answer.code}: {answer.msg}")
        depth = answer.data[0]
        bids, asks = (tuple((level[0], level[1]) for level in side if len(level) > 1) for side in (depth.bids, depth.asks))
        return Snapshot(bids, asks, depth.seq_id, int(depth.ts) * _MILLISECOND)

    def session(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random) -> OkxSession:
        return OkxSession(instruments, options, rng, self.limits)


class SpotAdapter(_Okx):
    market = MarketType.SPOT
    default_fees = Fees(
        maker=Decimal("0.0008"), taker=Decimal("0.001"), charged_in=FeeAsset.RECEIVED, source="okx regular user level 1 2026-11"
    )
    _type = "SPOT"


class PerpetualAdapter(_Okx):
    market = MarketType.PERPETUAL
    default_fees = Fees(
        maker=Decimal("0.0002"), taker=Decimal("0.0005"), charged_in=FeeAsset.QUOTE, source="okx regular user level 1 2026-11"
    )
    _type = "SWAP"
