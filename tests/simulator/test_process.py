"""Prices and books: repeatable, of one piece over pairs, never crossed, and without any planted gap."""

from __future__ import annotations

from itertools import pairwise
from math import log, sqrt
from statistics import pstdev

from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.market.instruments import MarketType
from arbkube.resources.kinds import Simulated
from arbkube.resources.scalars import Bps, Duration
from arbkube.simulator.ladder import LEVELS
from arbkube.simulator.listings import Grid, listing
from arbkube.simulator.model import SimulatedFeed, Venue, venues
from arbkube.simulator.process import RELAXATION_NS, CommonPrices, Deviation
from tests.simulator.support import SEED

SECOND = 10**9
SPOT_VENUES = ["binance", "coinbase", "kraken", "okx", "bybit"]


def prices(seed: int = SEED, volatility: float = 2e-4, lag_ns: int = SECOND) -> CommonPrices:
    return CommonPrices(seed, volatility=volatility, longest_lag_ns=lag_ns)


def test_the_same_seed_gives_the_same_prices_in_whatever_order_they_are_asked_for() -> None:
    one, other, third = prices(), prices(), prices(SEED + 1)
    times = range(0, 5 * SECOND, 7 * 10**6)
    forwards = [(one.price("BTC", "USDT", at), one.price("ETH", "USDT", at)) for at in times]
    eth = [other.price("ETH", "USDT", at) for at in times]
    btc = [other.price("BTC", "USDT", at) for at in times]
    assert forwards == list(zip(btc, eth, strict=True))
    assert btc != [third.price("BTC", "USDT", at) for at in times]


@given(st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_the_past_is_remembered_for_as_long_as_the_longest_lag(ages: list[int]) -> None:
    run, straight = prices(), prices()
    run.price("BTC", "USDT", 20 * SECOND)
    for age in ages:
        fresh = prices()
        assert run.price("BTC", "USDT", 20 * SECOND - age) == fresh.price("BTC", "USDT", 20 * SECOND - age)
    assert straight.price("BTC", "USDT", -5) == straight.price("BTC", "USDT", 0)


def test_a_cross_pair_is_the_quotient_of_its_assets() -> None:
    common = prices()
    for at in range(0, 3 * SECOND, SECOND // 10):
        quotient = common.price("ETH", "USDT", at) / common.price("BTC", "USDT", at)
        assert abs(common.price("ETH", "BTC", at) / quotient - 1) < 1e-12


def test_volatility_is_the_standard_deviation_over_a_second() -> None:
    common = prices(volatility=5e-4)
    path = [common.price("BTC", "USDT", at * SECOND) for at in range(2000)]
    returns = [log(after / before) for before, after in pairwise(path)]
    assert 0.94 * 5e-4 < pstdev(returns) < 1.06 * 5e-4


def test_noise_is_the_standard_deviation_and_reverts() -> None:
    from random import Random

    step_ns = SECOND // 10
    deviation = Deviation(Random(SEED), noise=1e-3, dt_ns=step_ns)
    path = [deviation.step() for _ in range(40_000)]
    assert 0.9e-3 < pstdev(path) < 1.1e-3
    apart = RELAXATION_NS // step_ns
    mean = sum(path) / len(path)
    covariance = sum((a - mean) * (b - mean) for a, b in zip(path, path[apart:], strict=False)) / (len(path) - apart)
    assert 0.27 < covariance / pstdev(path) ** 2 < 0.47, "e to the -1 after one relaxation time"
    assert Deviation(Random(1), noise=0.0, dt_ns=step_ns).step() == 0.0


def simulated(venue: str, *, name: str = "", market: MarketType = MarketType.SPOT, **figures: object) -> SimulatedFeed:
    symbols = ("BTC-USDT", "ETH-USDT", "ETH-BTC") if market is MarketType.SPOT else ("BTC-USDT-PERP",)
    parameters = Simulated(updates_per_second=50, volatility=Bps("10bps"), **figures)  # type: ignore[arg-type]
    return SimulatedFeed(name=name or venue, venue=venue, market=market, instruments=symbols, simulated=parameters)


def run(feeds: list[SimulatedFeed], steps: int, look) -> None:
    """Step all feeds together and `look` at their venues after each step."""
    all_of_them = venues(feeds, seed=SEED)
    for step in range(1, steps + 1):
        for venue in all_of_them.values():
            venue.step(elapsed_ns=step * venue.step_ns, venue_ns=step * venue.step_ns)
        look(all_of_them)


def touch(venue: Venue, symbol: str) -> tuple[int, int]:
    ladder = venue.exchange.markets[symbol].ladder
    return ladder.bids.top(1)[0][0], ladder.asks.top(1)[0][0]


def test_identical_venues_show_identical_books_and_never_an_edge() -> None:
    feeds = [simulated(venue) for venue in SPOT_VENUES]

    def look(all_of_them: dict[str, Venue]) -> None:
        for symbol in ("BTC-USDT", "ETH-USDT", "ETH-BTC"):
            ladders = [venue.exchange.markets[symbol].ladder for venue in all_of_them.values()]
            first = ladders[0]
            assert all(ladder.bids.top(LEVELS) == first.bids.top(LEVELS) for ladder in ladders)
            assert all(ladder.asks.top(LEVELS) == first.asks.top(LEVELS) for ladder in ladders)
            touches = [touch(venue, symbol) for venue in all_of_them.values()]
            assert max(bid for bid, _ in touches) < min(ask for _, ask in touches)

    run(feeds, 400, look)


def test_edges_come_from_lag_and_noise() -> None:
    for figures in ({"lag": Duration("400ms")}, {"noise": Bps("10bps")}):
        edges = 0
        feeds = [simulated("binance"), simulated("kraken", **figures)]

        def look(all_of_them: dict[str, Venue]) -> None:
            nonlocal edges
            (bid, ask), (other_bid, other_ask) = (touch(venue, "BTC-USDT") for venue in all_of_them.values())
            edges += bid > other_ask or other_bid > ask

        run(feeds, 1000, look)
        assert edges > 50, figures


def test_noise_belongs_to_the_feed_and_lag_only_shifts() -> None:
    noisy = [simulated("binance", name=name, noise=Bps("10bps")) for name in ("one", "other")]
    run(noisy, 5, lambda vs: None)
    seen: list[list[tuple[int, int]]] = []
    run(noisy, 50, lambda vs: seen.append([touch(v, "BTC-USDT") for v in vs.values()]))
    assert any(one != other for one, other in seen)


@given(
    st.lists(st.tuples(st.floats(-30, 30), st.integers(1, 5)), min_size=1, max_size=40),
    st.sampled_from([0.2e-4, 1e-4, 20e-4]),
)
@settings(max_examples=40, deadline=None)
def test_a_book_is_never_crossed_and_its_changes_say_all(moves: list[tuple[float, int]], half_spread: float) -> None:
    from random import Random

    from arbkube.simulator.ladder import Ladder

    mid = 2500.0
    ladder = Ladder(Random(SEED), tick=0.01, lot_value=0.25, mid=mid, half_spread=half_spread)
    heard = [dict(ladder.bids.top(10**6)), dict(ladder.asks.top(10**6))]
    for bps, repeats in moves:
        mid *= 1 + bps / 10_000
        for _ in range(repeats):
            for side, changes in zip(heard, ladder.step(mid, half_spread), strict=True):
                side.update(changes)
                for ticks in [ticks for ticks, lots in side.items() if lots == 0]:
                    del side[ticks]
            bids, asks = ladder.bids.top(10**6), ladder.asks.top(10**6)
            assert (dict(bids), dict(asks)) == tuple(heard)
            assert len(bids) == len(asks) == LEVELS
            assert bids[0][0] * 0.01 <= mid * (1 - half_spread) < mid * (1 + half_spread) <= asks[0][0] * 0.01
            assert all(lots > 0 and ticks > 0 for ticks, lots in bids + asks)


def test_a_step_changes_little_of_a_quiet_book() -> None:
    changed: list[int] = []

    def look(all_of_them: dict[str, Venue]) -> None:
        market = all_of_them["binance"].exchange.markets["BTC-USDT"]
        changed.append(len(market.bids) + len(market.asks))

    run([simulated("binance")], 300, look)
    assert sum(changed) / len(changed) < 30


def test_sizes_and_prices_are_on_the_grid_in_exact_text() -> None:
    from decimal import Decimal

    for symbol in ("BTC-USDT", "ETH-BTC", "SOL-USDT", "XRP-USDC", "DOGE-EUR", "NEW-USDT", "BTC-USDT-PERP"):
        rules = listing(symbol)
        assert rules.tick > 0
        assert rules.lot > 0
        assert Decimal(2) < rules.min_notional * Decimal("1e9") or rules.min_notional > 0
        for pad, trim in ((0, False), (8, False), (0, True)):
            grid = Grid(rules.tick, pad=pad, trim=trim)
            for multiple in (0, 1, 9, 10, 12345, 10**7):
                assert Decimal(grid.text(multiple)) == multiple * rules.tick
                assert "E" not in grid.text(multiple)


def test_the_spread_is_as_asked_for() -> None:
    spreads: list[float] = []

    def look(all_of_them: dict[str, Venue]) -> None:
        bid, ask = touch(all_of_them["binance"], "BTC-USDT")
        spreads.append((ask - bid) / bid)

    run([simulated("binance", spread=Bps("3bps"))], 200, look)
    mean = sum(spreads) / len(spreads)
    assert 3e-4 <= mean < 3.1e-4
    assert pstdev(spreads) < mean / sqrt(len(spreads))
