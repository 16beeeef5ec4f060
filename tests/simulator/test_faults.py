"""Every fault, on every venue, with our adapters on real sockets: never a wrong verified book, and whole again afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from arbkube.market.book import Level
from arbkube.market.instruments import MarketType
from arbkube.market.verified import BookCounts, VerifiedBook, WithheldReason
from arbkube.simulator.exchange.base import Market
from arbkube.simulator.faults import Fault, FaultRequest
from arbkube.simulator.model import SimulatedFeed
from arbkube.simulator.server import Simulator
from arbkube.venues.session import Session
from tests.simulator.support import feed, running, until, watching

SPOT = ["binance", "coinbase", "kraken", "okx", "bybit"]
SYMBOL = "BTC-USDT"
DEPTH = 10


class Watch:
    """One venue watched by our adapter; every verified book is looked up among all the books that the venue has had."""

    def __init__(self, simulator: Simulator, one: SimulatedFeed) -> None:
        self.feed = one
        self.market: Market = simulator.venues[one.name].exchange.markets[SYMBOL]
        self.wrong: list[object] = []
        self.reasons: set[WithheldReason] = set()
        self.latest = 0
        """The venue's time of the newest verified book."""
        self.session: Session
        self._known: dict[tuple[tuple[Level, ...], tuple[Level, ...]], int] = {}
        self._indexed_ns = 0

    def on_book(self, book: VerifiedBook) -> None:
        if book.symbol != SYMBOL:
            return
        if book.withheld is not None:
            self.reasons.add(book.withheld)
            return
        bids, asks, _ = book.levels(DEPTH)
        for truth in self.market.truths(DEPTH, when=lambda _, venue_ns: venue_ns > self._indexed_ns):
            self._known[truth.bids, truth.asks] = truth.venue_ns
            self._indexed_ns = truth.venue_ns
        at = self._known.get((bids, asks))
        if at is None:
            self.wrong.append(("not a book that the venue ever had", bids[:2], asks[:2]))
        elif at < self.latest:
            self.wrong.append(("an older book after a newer one", at, self.latest))
        elif float(bids[0][0]) >= float(asks[0][0]):
            self.wrong.append(("crossed", bids[0], asks[0]))
        else:
            self.latest = at

    @property
    def counts(self) -> BookCounts:
        return self.session.books[SYMBOL].counts

    def verified(self) -> bool:
        return self.session.books[SYMBOL].withheld is None


@contextlib.asynccontextmanager
async def watches(venues: list[str], *, rate: int = 40) -> AsyncIterator[tuple[Simulator, list[Watch]]]:
    feeds = [feed(venue, MarketType.SPOT, rate=rate, name=venue) for venue in venues]
    async with running(*feeds, history=1000) as simulator, contextlib.AsyncExitStack() as stack:
        all_of_them = [Watch(simulator, one) for one in feeds]
        for watch in all_of_them:
            transport = await stack.enter_async_context(watching(simulator, watch.feed, on_book=watch.on_book, depth=DEPTH))
            (watch.session,) = transport.sessions
        await until(lambda: all(watch.latest for watch in all_of_them), what="every book verified")
        await asyncio.sleep(0.2)
        yield simulator, all_of_them
        assert not [(watch.feed.venue, watch.wrong[:3]) for watch in all_of_them if watch.wrong]


async def whole_again(watches: list[Watch], *, seconds: float = 15.0) -> None:
    """Wait for a verified book of every venue that is newer than everything so far."""
    now = {watch.feed.venue: watch.market.venue_ns for watch in watches}

    def missing() -> list[str]:
        return [w.feed.venue for w in watches if not (w.verified() and w.latest > now[w.feed.venue])]

    with contextlib.suppress(AssertionError):
        await until(lambda: not missing(), seconds=seconds)
    assert not missing(), [
        (w.feed.venue, w.session.books[SYMBOL].withheld, w.counts) for w in watches if w.feed.venue in missing()
    ]


def inject(simulator: Simulator, watches: list[Watch], fault: Fault, **figures: int) -> None:
    for watch in watches:
        simulator.inject(FaultRequest(feed=watch.feed.name, fault=fault, symbol=SYMBOL, **figures))


@pytest.mark.parametrize(
    ("fault", "count"),
    [(Fault.DROP, 1), (Fault.DROP, 3), (Fault.DUPLICATE, 3), (Fault.REORDER, 2), (Fault.GAP, 2), (Fault.CROSSED, 1)],
)
async def test_a_fault_of_the_stream_never_gives_a_wrong_book(fault: Fault, count: int) -> None:
    async with watches(SPOT) as (simulator, all_of_them):
        inject(simulator, all_of_them, fault, count=count)
        await asyncio.sleep(0.5)
        await whole_again(all_of_them)
        for watch in all_of_them:
            if fault in (Fault.DROP, Fault.GAP):
                assert watch.reasons & {WithheldReason.GAP, WithheldReason.CHECKSUM}, (watch.feed.venue, watch.reasons)
            elif fault is Fault.CROSSED:
                assert watch.counts.crossed == 1, (watch.feed.venue, watch.counts)


@pytest.mark.parametrize(
    "venue",
    [
        "binance",
        "coinbase",
        "okx",
        "bybit",
    ],
)
async def test_a_sequence_that_begins_anew_is_recovered_from(venue: str) -> None:
    async with watches([venue]) as (simulator, all_of_them):
        inject(simulator, all_of_them, Fault.SEQUENCE_RESET)
        await asyncio.sleep(0.5)
        await whole_again(all_of_them, seconds=5)


async def test_a_venue_without_numbers_cannot_reset_them() -> None:
    async with running(feed("kraken", MarketType.SPOT)) as simulator:
        with pytest.raises(ValueError, match="kraken numbers nothing"):
            simulator.inject(FaultRequest(feed="feed", fault=Fault.SEQUENCE_RESET))


async def test_a_disconnect_voids_every_book_and_the_reconnect_starts_empty() -> None:
    async with watches(SPOT) as (simulator, all_of_them):
        inject(simulator, all_of_them, Fault.DISCONNECT, duration_ms=500)
        await until(lambda: all(not watch.session.connected for watch in all_of_them), what="disconnected")
        assert all(WithheldReason.DISCONNECTED in watch.reasons for watch in all_of_them)
        await whole_again(all_of_them)


async def test_a_halt_reaches_the_rules_and_ends() -> None:
    paths = {
        "binance": "/api/v3/exchangeInfo?symbol=BTCUSDT",
        "coinbase": "/api/v3/brokerage/market/products/BTC-USDT",
        "kraken": "/0/public/AssetPairs?pair=XBTUSDT",
        "okx": "/api/v5/public/instruments?instType=SPOT&instId=BTC-USDT",
        "bybit": "/v5/market/instruments-info?category=spot&symbol=BTCUSDT",
    }
    halted = ('"HALT"', '"trading_disabled":true', ':"cancel_only"', '"suspend"', '"Closed"')
    async with watches(SPOT) as (simulator, all_of_them), aiohttp.ClientSession() as http:

        async def says_halted(venue: str) -> bool:
            async with http.get(simulator.endpoint(venue).rest + paths[venue]) as response:
                body = await response.text()
            return any(word in body for word in halted)

        inject(simulator, all_of_them, Fault.HALT, duration_ms=2000)
        await asyncio.sleep(0.2)
        assert all([await says_halted(watch.feed.venue) for watch in all_of_them])
        await asyncio.sleep(2.0)
        assert not any([await says_halted(watch.feed.venue) for watch in all_of_them])
        await whole_again(all_of_them)


async def test_a_finer_tick_is_in_the_rules_and_books_go_on() -> None:
    async with watches(SPOT) as (simulator, all_of_them):
        before = all_of_them[0].market.listing.tick
        inject(simulator, all_of_them, Fault.TICK_SIZE)
        await asyncio.sleep(0.3)
        assert all(watch.market.listing.tick == before / 10 for watch in all_of_them)
        for watch in all_of_them:
            watch._known.clear()  # the same prices are written differently now
            watch.wrong.clear()
            watch._indexed_ns = 0
        await whole_again(all_of_them)


async def test_a_frozen_book_with_heartbeats_stays_alive_and_old() -> None:
    async with watches(SPOT) as (simulator, all_of_them):
        inject(simulator, all_of_them, Fault.FROZEN, duration_ms=3000)
        await asyncio.sleep(0.2)
        before = {watch.feed.venue: (watch.market.sequence, watch.latest, watch.session.alive_ns) for watch in all_of_them}
        await asyncio.sleep(1.0)
        for watch in all_of_them:
            sequence, latest, alive_ns = before[watch.feed.venue]
            assert (watch.market.sequence, watch.latest) == (sequence, latest)
            assert watch.session.alive_ns > alive_ns, watch.feed.venue
        await whole_again(all_of_them)


async def test_delayed_messages_come_late_and_in_order() -> None:
    async with watches(SPOT) as (simulator, all_of_them):
        inject(simulator, all_of_them, Fault.DELAY, duration_ms=2000, by_ms=300)
        await asyncio.sleep(0.25)
        behind = [watch.market.venue_ns - watch.latest for watch in all_of_them]
        assert all(ns > 150 * 10**6 for ns in behind), behind
        await whole_again(all_of_them)
        assert not any(watch.counts.gaps for watch in all_of_them)


@pytest.mark.parametrize("seconds", [60, -60])
async def test_clock_skew_shows_in_every_time_the_venue_gives(seconds: int) -> None:
    async with watches(SPOT) as (simulator, all_of_them):
        inject(simulator, all_of_them, Fault.CLOCK_SKEW, by_ms=seconds * 1000)

        def skewed(watch: Watch) -> bool:
            book = watch.session.books[SYMBOL]
            return abs((book.venue_ns - book.recv_ns) / 1e9 - seconds) < 2

        await until(lambda: all(map(skewed, all_of_them)), what="skewed times from every venue")
        for watch in all_of_them:
            watch.latest = 0  # times begin anew
            watch._indexed_ns = 0
            watch.wrong.clear()
        await whole_again(all_of_them)


async def test_a_silent_socket_says_nothing_until_it_is_opened_anew() -> None:
    async with watches(SPOT) as (simulator, all_of_them):
        inject(simulator, all_of_them, Fault.SILENT)
        await asyncio.sleep(0.2)
        before = [watch.session.alive_ns for watch in all_of_them]
        await asyncio.sleep(1.5)
        assert [watch.session.alive_ns for watch in all_of_them] == before, "not even a pong"
        await whole_again(all_of_them, seconds=20)


async def test_the_control_endpoint_breaks_things_tells_the_truth_and_refuses_nonsense() -> None:
    one = feed("binance", MarketType.SPOT, rate=10)
    async with running(one) as simulator, aiohttp.ClientSession() as http:
        base = simulator.endpoint("control").rest
        async with http.post(f"{base}/faults", json={"feed": "feed", "fault": "frozen", "symbol": SYMBOL}) as response:
            assert response.status == 200
        await asyncio.sleep(0.15)
        async with http.get(f"{base}/state", params={"feed": "feed", "symbol": SYMBOL, "depth": "5"}) as response:
            (truth,) = await response.json()
        async with http.get(f"{simulator.endpoint('feed').rest}/api/v3/depth?symbol=BTCUSDT&limit=5") as response:
            book = await response.json()
        assert (truth["sequence"], truth["bids"], truth["asks"]) == (book["lastUpdateId"], book["bids"], book["asks"])
        async with http.delete(f"{base}/faults", params={"feed": "feed"}) as response:
            assert response.status == 200
        market = simulator.venues["feed"].exchange.markets[SYMBOL]
        await until(lambda: market.sequence > truth["sequence"], what="moving again")
        for body, word in [
            ({"feed": "nobody", "fault": "drop"}, "no simulated feed"),
            ({"feed": "feed", "fault": "meteor"}, "Invalid enum"),
            ({"feed": "feed", "fault": "drop", "symbol": "XX-YY"}, "feed has no XX-YY"),
            ({"feed": "feed", "fault": "drop", "count": 0}, "count must be"),
            ({"feed": "feed", "fault": "drop", "cuont": 1}, "unknown field"),
        ]:
            async with http.post(f"{base}/faults", json=body) as response:
                assert response.status == 400
                assert word in await response.text()
