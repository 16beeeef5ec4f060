"""Detection per tick: 20 symbols on 5 venues, and cycles of up to 4 hops over 400 markets.

For: the time from a batch with one frame to its sightings, beside a naive detector that scores everything anew on every
tick, on the same books, in the same run. May not: do I/O. A tick is one frame of 20 levels a side whose prices moved a little.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from decimal import Decimal
from random import Random

from arbkube.detection.detector import Detector, DetectorConfig
from arbkube.detection.model import Balances
from arbkube.market.book import Level
from arbkube.market.frames import BookFrame, FrameBatch
from arbkube.market.instruments import FeeAsset, Fees, Instrument, Market, Side, parse_symbol
from arbkube.resources.kinds import CrossVenue, Cycle, Detection

SECOND = 10**9
LEVELS = 20
TARGET_US = 100.0


def _market(feed: str, symbol: str) -> Market:
    base, quote, kind = parse_symbol(symbol)
    rules = Instrument(
        venue=feed,
        market=kind,
        symbol=symbol,
        native=symbol,
        base=base,
        quote=quote,
        tick=Decimal("0.0001"),
        lot=Decimal("0.0001"),
        min_quantity=Decimal("0.0001"),
        min_notional=Decimal("0.0001"),
    )
    fee = Decimal("0.001")
    return Market(feed=feed, instrument=rules, fees=Fees(maker=fee, taker=fee, charged_in=FeeAsset.QUOTE, source="benchmark"))


class World:
    """Books of all markets that wander around consistent prices, and one detector that watches them."""

    def __init__(self, markets: list[Market], random: Random, *, cross_venue: CrossVenue | None, cycle: Cycle | None) -> None:
        self.random = random
        self.markets = markets
        self.cross_venue = cross_venue
        self.cycle = cycle
        self.detector = self.fresh()
        assets = sorted({asset for each in markets for asset in (each.instrument.base, each.instrument.quote)})
        self.worth = {asset: random.uniform(1, 1000) for asset in assets}
        self.now = 1_700_000_000 * SECOND
        self.seq = 0
        self.alive: dict[str, dict[str, int]] = {}
        for each in markets:
            self.alive.setdefault(each.feed, {})[each.instrument.symbol] = self.now

    def fresh(self) -> Detector:
        feeds = {each.feed for each in self.markets}
        return Detector(
            DetectorConfig(
                strategy="bench",
                strategy_uid="u",
                revision="1",
                cross_venue=self.cross_venue,
                cycle=self.cycle,
                profit_asset="USDT",
                detection=Detection(),
                markets=tuple(self.markets),
                max_age_ns=dict.fromkeys(feeds, 3600 * SECOND),
                max_transit_ns=dict.fromkeys(feeds, SECOND),
            )
        )

    def balances(self) -> Balances:
        available: dict[str, dict[str, Decimal]] = {}
        for each in self.markets:
            plenty = dict.fromkeys((each.instrument.base, each.instrument.quote), Decimal(10**9))
            available.setdefault(each.feed, {}).update(plenty)
        return Balances(strategy="bench", at_ns=self.now, available=available)

    def batch(self, each: Market, drift: float = 0.0) -> FrameBatch:
        """One frame; its price strays up to 4 bps from what is consistent, plus `drift`."""
        rules = each.instrument
        middle = self.worth[rules.base] / self.worth[rules.quote] * (1 + self.random.uniform(-4e-4, 4e-4) + drift)
        self.seq += 1
        self.now += 1000
        self.alive[each.feed] = dict.fromkeys(self.alive[each.feed], self.now)
        bids, asks = self._side(middle, -1), self._side(middle, 1)
        frame = BookFrame(
            feed=each.feed,
            symbol=rules.symbol,
            epoch=1,
            seq=self.seq,
            bids=bids,
            asks=asks,
            truncated=True,
            venue_ns=self.now,
            recv_ns=self.now,
        )
        return FrameBatch(
            feed=each.feed,
            epoch=1,
            sent_ns=self.now,
            clock_offset_ns=0,
            alive_ns=self.alive[each.feed],
            excess_transit_ns={},
            frames=(frame,),
        )

    def _side(self, middle: float, sign: int) -> tuple[Level, ...]:
        return tuple((f"{middle * (1 + sign * (1 + level) * 5e-5):.10f}", "25.5") for level in range(LEVELS))


def _per_tick_us(work: Callable[[FrameBatch, int], object], batches: list[tuple[FrameBatch, int]]) -> tuple[float, float]:
    """Mean and 99th percentile of one tick, in microseconds, the collector's pauses included."""
    took = []
    for batch, now in batches:
        began = time.perf_counter_ns()
        work(batch, now)
        took.append(time.perf_counter_ns() - began)
    took.sort()
    return sum(took) / len(took) / 1000, took[len(took) * 99 // 100] / 1000


class Naive:
    """Scores everything on every tick from the newest tops: each pair, or each simple cycle over all parallel markets."""

    def __init__(self, markets: list[Market], *, pairs: bool, max_legs: int) -> None:
        self._fee = 1 - 0.001
        self._tops: dict[tuple[str, str], tuple[float, float]] = {}
        self._pairs = [
            (first.key, second.key)
            for first in markets
            for second in markets
            if pairs and first.instrument.symbol == second.instrument.symbol and first.feed != second.feed
        ]
        self._leaving: dict[str, list[tuple[str, tuple[str, str], Side]]] = {}
        for each in markets:
            rules = each.instrument
            self._leaving.setdefault(rules.base, []).append((rules.quote, each.key, Side.SELL))
            self._leaving.setdefault(rules.quote, []).append((rules.base, each.key, Side.BUY))
        self._max_legs = max_legs

    def on_batch(self, batch: FrameBatch, now_ns: int) -> float:
        for frame in batch.frames:
            self._tops[frame.feed, frame.symbol] = (float(frame.bids[0][0]), float(frame.asks[0][0]))
        best = 0.0
        for buy, sell in self._pairs:
            if buy in self._tops and sell in self._tops:
                best = max(best, self._tops[sell][0] * self._fee / (self._tops[buy][1] * (2 - self._fee)))
        return max(best, self._round("USDT", 1.0, ("USDT",))) if self._max_legs else best

    def _round(self, at: str, rate: float, path: tuple[str, ...]) -> float:
        best = 0.0
        for target, key, side in self._leaving[at]:
            bid, ask = self._tops[key]
            after = rate * (bid * self._fee if side is Side.SELL else self._fee / ask)
            if target == "USDT":
                if len(path) >= 3:
                    best = max(best, after)
            elif len(path) < self._max_legs and target not in path:
                best = max(best, self._round(target, after, (*path, target)))
        return best


def _measure(name: str, world: World, naive: Naive, ticks: int, naive_ticks: int, note: str) -> list[dict[str, object]]:
    detector = world.detector
    detector.on_balances(world.balances(), world.now)
    for each in world.markets:
        batch = world.batch(each)
        detector.on_batch(batch, world.now)
        naive._tops[each.key] = (float(batch.frames[0].bids[0][0]), float(batch.frames[0].asks[0][0]))
    batches = [(world.batch(world.random.choice(world.markets)), world.now) for _ in range(ticks)]
    gc.collect()
    mean, p99 = _per_tick_us(detector.on_batch, batches)
    baseline, _ = _per_tick_us(naive.on_batch, batches[:naive_ticks])
    against = "naive, all anew"
    looks = sum(detector.counts.values()) + detector.opportunities
    note = f"{note}; {looks / ticks:.0f} looks a tick"
    return [
        {
            "name": name,
            "value": round(mean, 2),
            "unit": "us/tick",
            "baseline": round(baseline, 1),
            "against": against,
            "ratio": mean / baseline,
            "target": TARGET_US,
            "note": note,
        },
        {"name": f"{name}, p99", "value": round(p99, 2), "unit": "us/tick", "target": TARGET_US},
    ]


def cross_venue(ticks: int = 20_000) -> list[dict[str, object]]:
    """20 symbols on 5 venues: 400 directed pairs."""
    random = Random(1)
    symbols = [f"A{number}-USDT" for number in range(20)]
    markets = [_market(f"venue{venue}", symbol) for venue in range(5) for symbol in symbols]
    world = World(markets, random, cross_venue=CrossVenue(instruments=tuple(symbols)), cycle=None)
    naive = Naive(markets, pairs=True, max_legs=0)
    return _measure("cross-venue, 20 symbols x 5 venues", world, naive, ticks, 300, "400 directed pairs")


def _cycle_world(feeds: int, random: Random) -> World:
    """400 markets over `feeds` feeds, up to 4 hops: every asset against USDT, many against BTC, some against ETH."""
    each_feed = 400 // feeds
    coins = [f"A{number}" for number in range(each_feed)]
    symbols = ["BTC-USDT", "ETH-USDT", "ETH-BTC"]
    symbols += [f"{coin}-USDT" for coin in coins]
    half = each_feed - 3
    symbols = symbols[: 3 + half * 5 // 8]
    traded = [symbol.partition("-")[0] for symbol in symbols[3:]]
    symbols += [f"{coin}-BTC" for coin in traded[: half * 2 // 8]]
    symbols += [f"{coin}-ETH" for coin in traded[: each_feed - len(symbols)]]
    markets = [_market(f"venue{venue}", symbol) for venue in range(feeds) for symbol in symbols]
    return World(markets, random, cross_venue=None, cycle=Cycle(start_assets=("USDT",), max_legs=4))


def cycles(feeds: int, ticks: int = 5_000) -> list[dict[str, object]]:
    """Cycles over 400 markets; the naive baseline walks every cycle again, parallel markets told apart."""
    began = time.perf_counter()
    world = _cycle_world(feeds, Random(2))
    built = time.perf_counter() - began
    search = world.detector._cycles
    assert search is not None
    note = f"{len(world.markets)} markets, {search.rings} rings, enumerated in {built * 1000:.0f} ms"
    return _measure(
        f"cycles up to 4 hops, 400 markets on {feeds} feed(s)",
        world,
        Naive(world.markets, pairs=False, max_legs=4),
        ticks,
        20 if feeds == 1 else 2,
        note,
    )


def episode() -> list[dict[str, object]]:
    """The tick that opens an episode: the exact sizing of 20 levels a side, and the opportunity."""
    random = Random(3)
    took: list[float] = []
    for _ in range(300):
        markets = [_market("a", "BTC-USDT"), _market("b", "BTC-USDT")]
        world = World(markets, random, cross_venue=CrossVenue(instruments=("BTC-USDT",)), cycle=None)
        world.detector.on_balances(world.balances(), world.now)
        world.detector.on_batch(world.batch(markets[0]), world.now)
        batch = world.batch(markets[1], drift=0.004)
        began = time.perf_counter_ns()
        said = world.detector.on_batch(batch, world.now)
        took.append((time.perf_counter_ns() - began) / 1000)
        assert any(sighting.opportunity is not None for sighting in said)
    took.sort()
    return [
        {"name": "opening an episode, one pair", "value": round(took[len(took) // 2], 1), "unit": "us", "note": "exact sizing"}
    ]


def storm() -> list[dict[str, object]]:
    """A price that is 1 % wrong makes all its rings promising: the tick sizes as many as one batch may."""
    took: list[float] = []
    for seed in range(20):
        world = _cycle_world(1, Random(seed))
        world.detector.on_balances(world.balances(), world.now)
        for each in world.markets:
            world.detector.on_batch(world.batch(each), world.now)
        batch = world.batch(world.markets[0], drift=0.01)
        began = time.perf_counter_ns()
        said = world.detector.on_batch(batch, world.now)
        took.append((time.perf_counter_ns() - began) / 1000)
        assert any(sighting.opportunity is not None for sighting in said)
    took.sort()
    return [{"name": "opening 4 episodes at once, cycles", "value": round(took[10], 1), "unit": "us", "note": "exact sizing"}]


def run() -> list[dict[str, object]]:
    """All of it, as rows."""
    return [*cross_venue(), *cycles(1), *cycles(5), *episode(), *storm()]
