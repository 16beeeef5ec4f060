"""ccxt's own classes against a simulated venue on loopback: streamed, polled, cut off, and without the extra."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from arbkube.market.instruments import MarketType
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Proof, Simulated
from arbkube.simulator.model import SimulatedFeed
from arbkube.simulator.server import Simulator
from arbkube.venues import catalog
from arbkube.venues.ccxt.source import CcxtSource, options
from arbkube.venues.session import Session

FEED = SimulatedFeed(
    name="far",
    venue="binance",
    market=MarketType.SPOT,
    instruments=("BTC-USDT", "ETH-USDT"),
    simulated=Simulated(updates_per_second=20),
)


class Heard:
    """Every change a source told of, as the frame that a reader would get."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, str, int, int]] = []
        self.more = asyncio.Event()

    def __call__(self, session: Session, changed: Sequence[VerifiedBook]) -> None:
        for book in changed:
            frame = book.frame(feed="far", epoch=1, depth=10)
            self.frames.append((frame.symbol, frame.withheld, len(frame.bids), len(frame.asks)))
        self.more.set()

    async def until(self, done: Any) -> None:
        async with asyncio.timeout(20):
            while not done(self.frames):
                self.more.clear()
                await self.more.wait()


def _rebased(urls: Any, base: str) -> Any:
    """Every address in ccxt's nested `urls` with another scheme and host."""
    if isinstance(urls, dict):
        return {name: _rebased(value, base) for name, value in urls.items()}
    if not isinstance(urls, str) or "://" not in urls:
        return urls
    scheme, _, rest = urls.partition("://")
    path = rest.partition("/")[2]
    return f"{'ws' if scheme.startswith('ws') else 'http'}://{base}/{path}"


@asynccontextmanager
async def served(heard: Heard, *, require: frozenset[Proof] = frozenset()) -> AsyncIterator[tuple[CcxtSource, Simulator]]:
    simulator = Simulator([FEED], seed=3)
    await simulator.start()
    source = CcxtSource("ccxt:binance", options(10, require=require), rng=Random(1), on_change=heard)
    base = simulator.endpoint("far").rest.removeprefix("http://")
    source.exchange.urls["api"] = _rebased(source.exchange.urls["api"], base)
    source.exchange.options["fetchMarkets"] = {"types": ["spot"]}
    try:
        yield source, simulator
    finally:
        await source.close()
        await simulator.stop()


@pytest.mark.parametrize("streams", [True, False])
async def test_books_arrive_streamed_or_polled(streams: bool) -> None:
    heard = Heard()
    async with served(heard) as (source, _):
        source.exchange.has["watchOrderBook"] = streams
        instruments = await source.instruments(["BTC-USDT", "ETH-USDT"])
        assert [i.symbol for i in instruments] == ["BTC-USDT", "ETH-USDT"]
        assert all(i.tick > 0 and i.lot > 0 and i.tradable for i in instruments)
        assert source.fees(["BTC-USDT"]).source == "ccxt"
        running = asyncio.create_task(source.run(instruments))
        await heard.until(lambda frames: len([f for f in frames if not f[1]]) >= (40 if streams else 4))
        books = [book for session in source.sessions for book in session.books.values()]
        assert {book.symbol for book in books} == {"BTC-USDT", "ETH-USDT"}
        for book in books:
            assert book.withheld is None
            bids, asks, truncated = book.levels(10)
            assert len(bids) == len(asks) == 10
            assert truncated, "nothing is known beyond the levels that were taken"
        assert all(session.alive_ns for session in source.sessions)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_required_proof_withholds_what_ccxt_cannot_prove() -> None:
    assert catalog.proofs("ccxt:binance", MarketType.SPOT) == frozenset()
    heard = Heard()
    async with served(heard, require=frozenset({Proof.CHAIN})) as (source, _):
        running = asyncio.create_task(source.run(await source.instruments(["BTC-USDT"])))
        await heard.until(lambda frames: len(frames) >= 1)
        assert {frame[1:] for frame in heard.frames} == {(WithheldReason.NO_PROOF.value, 0, 0)}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_venue_that_goes_away_voids_its_books() -> None:
    heard = Heard()
    async with served(heard) as (source, simulator):
        running = asyncio.create_task(source.run(await source.instruments(["BTC-USDT"])))
        await heard.until(lambda frames: any(not frame[1] for frame in frames))
        await simulator.stop()
        await heard.until(lambda frames: frames[-1][1] == WithheldReason.DISCONNECTED.value)
        assert heard.frames[-1][2:] == (0, 0)
        assert source.connections[0].reconnects >= 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_unlisted_and_unreachable_are_told_apart() -> None:
    async with served(Heard()) as (source, simulator):
        with pytest.raises(ValueError, match="ccxt:binance does not list NOT-HERE"):
            await source.instruments(["BTC-USDT", "NOT-HERE"])
        await simulator.stop()
        with pytest.raises(OSError, match="ccxt:binance: "):
            await source.instruments(["BTC-USDT"])


def test_an_unknown_venue_is_named_with_its_neighbours() -> None:
    with pytest.raises(ValueError, match=r"knows no venue 'binanse': did you mean ccxt:binance"):
        CcxtSource("ccxt:binanse", options(10), rng=Random(1), on_change=Heard())


def test_without_the_extra_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "ccxt" or name.startswith("ccxt.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(ImportError, match=r"pip install 'arbkube\[ccxt\]'"):
        CcxtSource("ccxt:gate", options(10), rng=Random(1), on_change=Heard())
