"""OKX's side of a connection: a seeded market, and the frames the venue would send of it."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import msgspec

from arbkube.market.instruments import Instrument, MarketType
from arbkube.resources.kinds import Channel
from arbkube.venues.okx.adapter import PerpetualAdapter
from arbkube.venues.okx.session import CHECKSUM_DEPTH, WINDOW, OkxSession, checksum
from arbkube.venues.session import SessionOptions
from tests.venues.campaign.engine import DEPTH, Genuine, Venue
from tests.venues.campaign.window import Levels, Window


def instrument(symbol: str, native: str, contract_size: str = "1") -> Instrument:
    """An instrument that a session can be opened for."""
    return Instrument(
        venue="okx",
        market=MarketType.PERPETUAL if native.endswith("SWAP") else MarketType.SPOT,
        symbol=symbol,
        native=native,
        base=symbol.split("-")[0],
        quote=symbol.split("-")[1],
        tick=Decimal("0.1"),
        lot=Decimal("0.00000001"),
        min_quantity=Decimal("0.00001"),
        min_notional=Decimal(0),
        contract_size=Decimal(contract_size),
    )


SPOT = instrument("BTC-USDT", "BTC-USDT")
SWAP = instrument("BTC-USDT-PERP", "BTC-USDT-SWAP", "0.01")


_LONGEST_STEP = 10**6
"""Ids as sparse as the venue's: if a reset met an id that was used before, no chain could tell which of the two it was."""


class OkxMarket:
    """Frames of one instrument's `books`. With `legacy` they carry a checksum and no ids, as in 2022."""

    def __init__(self, rng: Random, native: str, *, depth: int = WINDOW, legacy: bool = False) -> None:
        self._rng = rng
        self._native = native
        self._legacy = legacy
        self._window = Window(rng, depth)
        self._id = rng.randrange(10**9)
        self._ms = 1_790_000_000_000

    @property
    def bids(self) -> Levels:
        """The window, in the wire's units."""
        return self._window.bids

    @property
    def asks(self) -> Levels:
        return self._window.asks

    def snapshot(self) -> bytes:
        return self._frame("snapshot", self.bids, self.asks, -1)

    def update(self) -> bytes:
        """The next step: mostly a change, now and then nothing new, or ids that begin anew."""
        previous = self._id
        self._ms += 100
        kind = self._rng.random()
        if kind < 0.03 and not self._legacy:
            return self._frame("update", (), (), previous)
        self._id = self._rng.randrange(max(1, previous)) if kind < 0.05 else previous + self._rng.randrange(1, _LONGEST_STEP)
        bids, asks = self._window.step()
        return self._frame("update", bids, asks, previous)

    def top(self) -> bytes:
        """`bbo-tbt` of the state that the last frame left."""
        best = {"asks": _wire(self.asks[:1]), "bids": _wire(self.bids[:1]), "ts": str(self._ms), "seqId": self._id}
        return msgspec.json.encode({"arg": {"channel": "bbo-tbt", "instId": self._native}, "data": [best]})

    def _frame(self, action: str, bids: Levels, asks: Levels, previous: int) -> bytes:
        data: dict[str, object] = {"asks": _wire(asks), "bids": _wire(bids), "ts": str(self._ms)}
        if self._legacy:
            data["checksum"] = checksum(self.bids[:CHECKSUM_DEPTH], self.asks[:CHECKSUM_DEPTH])
        else:
            data |= {"checksum": 0, "prevSeqId": previous, "seqId": self._id}
        return msgspec.json.encode({"arg": {"channel": "books", "instId": self._native}, "action": action, "data": [data]})


def _wire(levels: Levels) -> list[list[str]]:
    return [[price, size, "0", "1"] for price, size in levels]


class OkxVenue(Venue):
    """`books` and `bbo-tbt` of a pair and a perpetual. With `legacy` a checksum proves what a message says, as in 2022."""

    def __init__(self, seed: int, *, legacy: bool = False) -> None:
        self.name = "okx 2022" if legacy else "okx"
        self.proves_content = legacy
        self._rng = rng = Random(seed)
        self._instruments = {instrument.native: instrument for instrument in (SPOT, SWAP)}
        self._markets = {native: OkxMarket(rng, native, depth=30, legacy=legacy) for native in self._instruments}
        self._subscribed: set[tuple[str, str]] = set()

    def session(self, rng: Random) -> OkxSession:
        channels = frozenset({Channel.BOOK} if self.proves_content else {Channel.BOOK, Channel.TICKER})
        options = SessionOptions(endpoint=PerpetualAdapter.endpoint, depth=DEPTH, channels=channels)
        return PerpetualAdapter().session(list(self._instruments.values()), options, rng)

    def opened(self) -> None:
        self._subscribed.clear()

    def step(self) -> list[Genuine]:
        native = self._rng.choice(list(self._markets))
        market = self._markets[native]
        frame = market.update()
        pushed = []
        if ("bbo-tbt", native) in self._subscribed and self._rng.random() < 0.5:
            pushed.append(Genuine(market.top()))
        if ("books", native) in self._subscribed:
            pushed.append(self._genuine(frame, native))
        return pushed

    def sent(self, text: str) -> list[Genuine]:
        if text == "ping":
            return [Genuine(b"pong")]
        request = json.loads(text)
        answers = []
        for argument in request["args"]:
            key = (argument["channel"], argument["instId"])
            answers.append(Genuine(msgspec.json.encode({"event": request["op"], "arg": argument, "connId": "a4d3ae55"})))
            if request["op"] == "unsubscribe":
                self._subscribed.discard(key)
                continue
            self._subscribed.add(key)
            if key[0] == "books":
                answers.append(self._genuine(self._markets[key[1]].snapshot(), key[1]))
        return answers

    def _genuine(self, frame: bytes, native: str) -> Genuine:
        instrument, market = self._instruments[native], self._markets[native]

        def truth(levels: Levels) -> Levels:
            return tuple((price, f"{Decimal(size) * instrument.contract_size:f}") for price, size in levels[:DEPTH])

        return Genuine(frame, instrument.symbol, (truth(market.bids), truth(market.asks)))
