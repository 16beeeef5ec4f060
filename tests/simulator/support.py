"""What the simulator's tests share: one venue on a real socket, our adapter watching it, and the oracle.

Which update a frame carries is read here by hand, not with the adapters' parsers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any

import aiohttp
import msgspec

from arbkube.market.instruments import MarketType
from arbkube.market.verified import VerifiedBook
from arbkube.resources.kinds import Channel, Simulated
from arbkube.simulator.exchange.base import Truth
from arbkube.simulator.model import SimulatedFeed
from arbkube.simulator.server import Simulator
from arbkube.venues.recording import Event, EventKind
from arbkube.venues.registry import adapter
from arbkube.venues.rest import fetch_instruments
from arbkube.venues.session import Session, SessionOptions
from arbkube.venues.transport import FeedTransport

SEED = 20261121
VENUES = [
    ("binance", MarketType.SPOT),
    ("binance", MarketType.PERPETUAL),
    ("coinbase", MarketType.SPOT),
    ("kraken", MarketType.SPOT),
    ("okx", MarketType.SPOT),
    ("okx", MarketType.PERPETUAL),
    ("bybit", MarketType.SPOT),
    ("bybit", MarketType.PERPETUAL),
]


def feed(
    venue: str, market: MarketType, *, rate: int = 100, name: str = "feed", symbols: tuple[str, ...] = ()
) -> SimulatedFeed:
    default = ("BTC-USDT", "ETH-BTC") if market is MarketType.SPOT else ("BTC-USDT-PERP", "ETH-USDT-PERP")
    return SimulatedFeed(
        name=name,
        venue=venue,
        market=market,
        instruments=symbols or default,
        simulated=Simulated(updates_per_second=rate),
    )


@contextlib.asynccontextmanager
async def running(*feeds: SimulatedFeed, history: int = 0) -> AsyncIterator[Simulator]:
    simulator = Simulator(feeds, seed=SEED, history=history)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


@contextlib.asynccontextmanager
async def watching(
    simulator: Simulator,
    one: SimulatedFeed,
    *,
    on_book: Callable[[VerifiedBook], None] = lambda book: None,
    tap: Callable[[Event], None] | None = None,
    depth: int = 20,
) -> AsyncIterator[FeedTransport]:
    """Our adapter on a real socket; `on_book` sees every changed book."""

    def on_change(_session: Session, changed: Sequence[VerifiedBook]) -> None:
        for book in changed:
            on_book(book)

    ours = adapter(one.venue, one.market)
    endpoint = simulator.endpoint(one.name)
    async with aiohttp.ClientSession() as http:
        instruments = await fetch_instruments(http, ours, one.instruments, endpoint)
        transport = FeedTransport(
            http,
            ours,
            instruments,
            SessionOptions(endpoint=endpoint, depth=depth, channels=frozenset({Channel.BOOK, Channel.TICKER})),
            rng=Random(SEED),
            on_change=on_change,
            tap=tap,
        )
        task = asyncio.create_task(transport.run())
        try:
            yield transport
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object], *, seconds: float = 15.0, what: str = "the condition") -> None:
    """Wait for `condition`, failing loudly after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


class Oracle:
    """The true books of one feed, found by the venue's number or time of an update."""

    def __init__(self, simulator: Simulator, one: SimulatedFeed) -> None:
        self._markets = simulator.venues[one.name].exchange.markets

    def truths(self, symbol: str, key: Key, depth: int) -> list[Truth]:
        """Every remembered book that `key` may mean; more than one only where two updates fell into one millisecond."""
        return self._markets[symbol].truths(depth, when=key.means)


class Key(msgspec.Struct, frozen=True):
    """How a venue names an update: by the market's number, or by a time of some precision (ns a unit)."""

    number: int
    unit_ns: int = 0

    def means(self, sequence: int, venue_ns: int) -> bool:
        return venue_ns // self.unit_ns == self.number if self.unit_ns else sequence == self.number


class KeyTap:
    """Notes, from raw frames, which update each symbol's book was last told of."""

    def __init__(self, simulator: Simulator, one: SimulatedFeed) -> None:
        natives = simulator.venues[one.name].exchange.natives
        self._symbols = {native: market.symbol for native, market in natives.items()}
        self._key = _KEYS[one.venue]
        self.last: dict[str, Key] = {}

    def __call__(self, event: Event) -> None:
        if event.kind is EventKind.RECEIVED and event.data.startswith(b"{"):
            found = self._key(msgspec.json.decode(event.data))
            if found is not None:
                self.last[self._symbols[found[0]]] = found[1]


def time_key(text: str, unit_ns: int = 1000) -> Key:
    """The key of an RFC 3339 time with microseconds or finer."""
    at = msgspec.json.decode(f'"{text[:26]}Z"', type=datetime)
    return Key(round(at.timestamp() * 10**6) * 1000 // unit_ns, unit_ns)


def _binance(message: Any) -> tuple[str, Key] | None:
    data = message.get("data", {})
    return (data["s"], Key(data["u"])) if data.get("e") == "depthUpdate" else None


def _coinbase(message: Any) -> tuple[str, Key] | None:
    return (message["events"][0]["product_id"], time_key(message["timestamp"])) if message["channel"] == "l2_data" else None


def _kraken(message: Any) -> tuple[str, Key] | None:
    return (
        (message["data"][0]["symbol"], time_key(message["data"][0]["timestamp"])) if message.get("channel") == "book" else None
    )


def _okx(message: Any) -> tuple[str, Key] | None:
    if "data" not in message or message["arg"]["channel"] != "books":
        return None
    return message["arg"]["instId"], Key(message["data"][0]["seqId"])


def _bybit(message: Any) -> tuple[str, Key] | None:
    topic = message.get("topic", "")
    if not topic.startswith("orderbook.") or topic.startswith("orderbook.1."):
        return None
    return message["data"]["s"], Key(message["data"]["seq"])


_KEYS: dict[str, Callable[[Any], tuple[str, Key] | None]] = {
    "binance": _binance,
    "coinbase": _coinbase,
    "kraken": _kraken,
    "okx": _okx,
    "bybit": _bybit,
}
