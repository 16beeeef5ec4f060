"""Bybit's side of a connection: a seeded market, and the frames the venue would send of it."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import msgspec

from arbkube.market.instruments import Instrument, MarketType
from arbkube.resources.kinds import Channel
from arbkube.venues.bybit.adapter import PerpetualAdapter
from arbkube.venues.bybit.session import BybitSession
from arbkube.venues.session import SessionOptions
from tests.venues.campaign.engine import DEPTH, Genuine, Venue
from tests.venues.campaign.window import Levels, Window


def instrument(symbol: str, native: str) -> Instrument:
    """A perpetual that a session can be opened for."""
    return Instrument(
        venue="bybit",
        market=MarketType.PERPETUAL,
        symbol=symbol,
        native=native,
        base=symbol.split("-")[0],
        quote=symbol.split("-")[1],
        tick=Decimal("0.1"),
        lot=Decimal("0.001"),
        min_quantity=Decimal("0.001"),
        min_notional=Decimal(5),
    )


BTC = instrument("BTC-USDT-PERP", "BTCUSDT")
ETH = instrument("ETH-USDT-PERP", "ETHUSDT")


_RESTARTS_APART = 64
"""Each restart numbers from 1. When all between two of them is lost but the first, no chain can tell the second from it."""


class BybitMarket:
    """Frames of one instrument's `orderbook.50`."""

    def __init__(self, rng: Random, native: str, *, depth: int = 50) -> None:
        self._rng = rng
        self._native = native
        self._window = Window(rng, depth)
        self._u = rng.randrange(2, 10**6)
        self._seq = rng.randrange(10**9)
        self._since_restart = _RESTARTS_APART
        self._ms = 1_790_000_000_000

    @property
    def bids(self) -> Levels:
        return self._window.bids

    @property
    def asks(self) -> Levels:
        return self._window.asks

    def snapshot(self) -> bytes:
        return self._frame("snapshot", self.bids, self.asks)

    def update(self) -> bytes:
        """The next step: mostly a delta, now and then the snapshot of a service that began anew."""
        bids, asks = self._window.step()
        self._ms += 20
        self._seq += self._rng.randrange(1, 50)
        self._since_restart += 1
        if self._since_restart > _RESTARTS_APART and self._rng.random() < 0.01:
            self._u, self._since_restart = 1, 0
            return self.snapshot()
        self._u += 1
        return self._frame("delta", bids, asks)

    def top(self) -> bytes:
        """`orderbook.1` of the state that the last frame left."""
        data = {"s": self._native, "b": self.bids[:1], "a": self.asks[:1], "u": self._u + 17, "seq": self._seq}
        return msgspec.json.encode(
            {"topic": f"orderbook.1.{self._native}", "type": "snapshot", "ts": self._ms, "data": data, "cts": self._ms - 2}
        )

    def _frame(self, kind: str, bids: Levels, asks: Levels) -> bytes:
        data = {"s": self._native, "b": bids, "a": asks, "u": self._u, "seq": self._seq}
        return msgspec.json.encode(
            {"topic": f"orderbook.50.{self._native}", "type": kind, "ts": self._ms, "data": data, "cts": self._ms - 2}
        )


class BybitVenue(Venue):
    """`orderbook.50` and `orderbook.1` of two perpetuals."""

    name = "bybit"

    def __init__(self, seed: int) -> None:
        self._rng = rng = Random(seed)
        self._instruments = {instrument.native: instrument for instrument in (BTC, ETH)}
        self._markets = {native: BybitMarket(rng, native) for native in self._instruments}
        self._subscribed: set[str] = set()

    def session(self, rng: Random) -> BybitSession:
        options = SessionOptions(
            endpoint=PerpetualAdapter.endpoint, depth=DEPTH, channels=frozenset({Channel.BOOK, Channel.TICKER})
        )
        return PerpetualAdapter().session(list(self._instruments.values()), options, rng)

    def opened(self) -> None:
        self._subscribed.clear()

    def step(self) -> list[Genuine]:
        native = self._rng.choice(list(self._markets))
        market = self._markets[native]
        frame = market.update()
        pushed = []
        if f"orderbook.1.{native}" in self._subscribed and self._rng.random() < 0.5:
            pushed.append(Genuine(market.top()))
        if f"orderbook.50.{native}" in self._subscribed:
            pushed.append(self._genuine(frame, native))
        return pushed

    def sent(self, text: str) -> list[Genuine]:
        request = json.loads(text)
        if request["op"] == "ping":
            return [Genuine(b'{"req_id":"","op":"pong","args":["1675418560633"],"conn_id":"cfcb4ocsvfriu23r3er0-1b"}')]
        answers = [
            Genuine(msgspec.json.encode({"success": True, "ret_msg": "", "conn_id": "x", "req_id": "", "op": request["op"]}))
        ]
        for topic in request["args"]:
            if request["op"] == "unsubscribe":
                self._subscribed.discard(topic)
                continue
            self._subscribed.add(topic)
            if topic.startswith("orderbook.50."):
                native = topic.rpartition(".")[2]
                answers.append(self._genuine(self._markets[native].snapshot(), native))
        return answers

    def _genuine(self, frame: bytes, native: str) -> Genuine:
        market = self._markets[native]
        return Genuine(frame, self._instruments[native].symbol, (market.bids[:DEPTH], market.asks[:DEPTH]))
