"""Binance for the campaign: the recordings' own diffs, with an oracle that follows them in Decimal.

For: both markets. Snapshots are the oracle's book at the moment of asking, cut off at a random depth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

from arbkube.market.instruments import Instrument, MarketType
from arbkube.venues.recording import EventKind, Recording
from arbkube.venues.registry import adapter
from arbkube.venues.session import Session, SessionOptions
from tests.venues.campaign.books import TrueBook
from tests.venues.campaign.engine import DEPTH, Genuine, Venue

FILES = {
    MarketType.SPOT: ("spot-btcusdt", "spot-ethusdt"),
    MarketType.PERPETUAL: ("usdm-btcusdt", "usdm-ethusdt"),
}


def recorded_instrument(market: MarketType, name: str) -> Instrument:
    """The instrument of a recording file, e.g. `spot-btcusdt`."""
    base = name.split("-")[1][:3].upper()
    return Instrument(
        venue="binance",
        market=market,
        symbol=f"{base}-USDT" + ("-PERP" if market is MarketType.PERPETUAL else ""),
        native=f"{base}USDT",
        base=base,
        quote="USDT",
        tick=Decimal("0.01"),
        lot=Decimal("0.00001"),
        min_quantity=Decimal("0.00001"),
        min_notional=Decimal(5),
    )


class BinanceVenue(Venue):
    """Both instruments of one market, in the order in which their diffs were received."""

    def __init__(self, folder: Path, market: MarketType, seed: int, *, limit: int | None = None) -> None:
        self.name = f"binance {market.value}"
        self.market = market
        self.rng = Random(seed)
        self.instruments = {name: recorded_instrument(market, name) for name in FILES[market]}
        self._snapshots: dict[str, bytes] = {}
        diffs: list[tuple[int, str, bytes]] = []
        for name, instrument in self.instruments.items():
            events = list(Recording(folder / "binance-2024-08-08" / f"{name}.jsonl.gz").events())
            (self._snapshots[instrument.symbol],) = (e.data for e in events if e.kind is EventKind.FETCHED)
            diffs += [(e.ns, instrument.symbol, e.data) for e in events if b'"depthUpdate"' in e.data]
        self._diffs = [(symbol, data) for _, symbol, data in sorted(diffs)][:limit]
        self._restart()

    def _restart(self) -> None:
        self._books: dict[str, TrueBook] = {}
        self._last: dict[str, int] = {}
        for symbol, body in self._snapshots.items():
            snapshot = json.loads(body)
            self._books[symbol] = TrueBook(snapshot["bids"], snapshot["asks"])
            self._last[symbol] = snapshot["lastUpdateId"]
        self._next: Iterator[tuple[str, bytes]] = iter(self._diffs)

    def session(self, rng: Random) -> Session:
        binance = adapter("binance", self.market)
        options = SessionOptions(endpoint=binance.endpoint, depth=DEPTH)
        return binance.session(list(self.instruments.values()), options, rng)

    def opened(self) -> None:
        """Diffs go on where the recording is."""

    def step(self) -> list[Genuine] | None:
        for symbol, data in self._next:
            diff = json.loads(data)["data"]
            if diff["u"] <= self._last[symbol]:
                continue
            book = self._books[symbol]
            book.apply(diff["b"], diff["a"])
            self._last[symbol] = diff["u"]
            return [Genuine(data, symbol, book.ladders())]
        self._restart()
        return None

    def fetch(self, symbol: str) -> bytes:
        bids, asks = self._books[symbol].ladders(self.rng.choice((20, 100, 1000)))
        return json.dumps({"lastUpdateId": self._last[symbol], "bids": bids, "asks": asks}).encode()
