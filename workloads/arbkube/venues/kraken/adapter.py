"""Kraken's addresses, trading rules and fees, spot.

For: `KrakenAdapter`. May not: do I/O.
Sources, read 2026-11: docs.kraken.com, "Get Tradable Asset Pairs" (rules), "Get Order Book" (REST snapshot), "Spot WebSocket"
(v2 symbols: REST's XBT and XDG are BTC and DOGE there); fee schedule of kraken.com, Kraken Pro spot, lowest tier. Kraken
publishes no limit on messages of a public connection; ours are well below what it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from random import Random

import msgspec

from arbkube.market.instruments import FeeAsset, Fees, Instrument, MarketType
from arbkube.resources.kinds import Proof
from arbkube.venues.kraken.session import KrakenSession
from arbkube.venues.session import Endpoint, SessionOptions, Snapshot, WireLimits

_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""REST's names of assets that WebSocket v2 calls otherwise."""
_REST_NAMES = {name: rest for rest, name in _NAMES.items()}
_TRADABLE = frozenset({"online", "limit_only"})
_MAX_SNAPSHOT = 500


class _Pair(msgspec.Struct):
    pair_decimals: int
    lot_decimals: int
    ordermin: Decimal
    tick_size: Decimal
    status: str
    wsname: str = ""
    costmin: Decimal = Decimal(0)


class _AssetPairs(msgspec.Struct):
    error: list[str]
    result: dict[str, _Pair] = {}


class _Ladders(msgspec.Struct):
    bids: list[tuple[str, str, object]]
    asks: list[tuple[str, str, object]]


class _Depth(msgspec.Struct):
    error: list[str]
    result: dict[str, _Ladders] = {}


_decode_pairs = msgspec.json.Decoder(_AssetPairs).decode
_decode_depth = msgspec.json.Decoder(_Depth).decode


class KrakenAdapter:
    venue = "kraken"
    market = MarketType.SPOT
    proofs = frozenset({Proof.CHECKSUM})
    endpoint = Endpoint("wss://ws.kraken.com", "https://api.kraken.com")
    limits = WireLimits(symbols_per_connection=100, arguments_per_message=50, messages_per_second=5)
    default_fees = Fees(
        maker=Decimal("0.0025"), taker=Decimal("0.0040"), charged_in=FeeAsset.QUOTE, source="kraken pro lowest tier 2026-11"
    )

    def instrument_urls(self, symbols: Sequence[str], endpoint: Endpoint) -> list[str]:
        # One unknown pair makes Kraken refuse the whole request, so all are asked for and the missing named by us.
        return [f"{endpoint.rest}/0/public/AssetPairs"]

    def parse_instruments(self, bodies: Sequence[bytes], symbols: Sequence[str]) -> list[Instrument]:
        listed: dict[str, Instrument] = {}
        for body in bodies:
            answer = _decode_pairs(body)
            if answer.error:
                raise ValueError(f"kraken refused to list its pairs: {', '.join(answer.error)}")
            for pair in answer.result.values():
                if "/" in pair.wsname:
                    instrument = self._instrument(pair)
                    listed[instrument.symbol] = instrument
        missing = [symbol for symbol in symbols if symbol not in listed]
        if missing:
            raise ValueError(f"kraken Spot does not list {', '.join(missing)}")
        return [listed[symbol] for symbol in symbols]

    def _instrument(self, pair: _Pair) -> Instrument:
        base, quote = (_NAMES.get(name, name) for name in pair.wsname.split("/", 1))
        return Instrument(
            venue=self.venue,
            market=self.market,
            symbol=f"{base}-{quote}",
            native=f"{base}/{quote}",
            base=base,
            quote=quote,
            # Written with all its decimal places, from which a session knows the precision of prices.
            tick=pair.tick_size.quantize(Decimal(1).scaleb(-pair.pair_decimals)),
            lot=Decimal(1).scaleb(-pair.lot_decimals),
            min_quantity=pair.ordermin,
            min_notional=pair.costmin,
            tradable=pair.status in _TRADABLE,
        )

    def snapshot_url(self, instrument: Instrument, depth: int, endpoint: Endpoint) -> str:
        pair = "".join(_REST_NAMES.get(name, name) for name in (instrument.base, instrument.quote))
        return f"{endpoint.rest}/0/public/Depth?pair={pair}&count={min(depth, _MAX_SNAPSHOT)}"

    def parse_snapshot(self, body: bytes) -> Snapshot:
        answer = _decode_depth(body)
        if answer.error or len(answer.result) != 1:
            raise ValueError(f"not one book: {', '.join(answer.error) or sorted(answer.result)}")
        (ladders,) = answer.result.values()
        bids = tuple((price, size) for price, size, _ in ladders.bids)
        asks = tuple((price, size) for price, size, _ in ladders.asks)
        return Snapshot(bids, asks, sequence=0, venue_ns=0)

    def session(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random) -> KrakenSession:
        return KrakenSession(instruments, options, rng, self.limits)
