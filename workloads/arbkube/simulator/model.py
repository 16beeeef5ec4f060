"""Which feeds the simulator serves, and one simulated venue put together.

For: `SimulatedFeed`, and `Venue`, a feed's exchange with its markets and its prices, stepped by hand. May not: do I/O or read a
clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

import msgspec

from arbkube.market.instruments import MarketType
from arbkube.resources.kinds import Simulated
from arbkube.simulator import exchange
from arbkube.simulator.exchange.base import Market
from arbkube.simulator.faults import Fault, Faults
from arbkube.simulator.ladder import Ladder
from arbkube.simulator.listings import listing
from arbkube.simulator.process import GRID_NS, CommonPrices, Deviation, starting_price


class SimulatedFeed(msgspec.Struct, frozen=True, kw_only=True):
    """One feed to serve, under its own name: several feeds may be of one venue with different parameters."""

    name: str
    venue: str
    market: MarketType
    instruments: tuple[str, ...]
    simulated: Simulated = Simulated()


class Venue:
    """One feed's exchange. What makes it move depends on seed, symbols and parameters, and on the feed's name only through
    `noise`: feeds with equal parameters and no noise show equal books at equal times.
    """

    def __init__(self, feed: SimulatedFeed, prices: CommonPrices, *, seed: int, history: int = 0) -> None:
        self.feed = feed
        self.faults = Faults(feed.instruments)
        self.step_ns = 10**9 // feed.simulated.updates_per_second
        self._prices = prices
        self._lag_ns = feed.simulated.lag.ns
        self._half_spread = float(feed.simulated.spread.fraction) / 2
        self._deviations: dict[str, Deviation] = {}
        self._seed = seed
        self._history = history
        markets = [self._market(symbol, 0) for symbol in feed.instruments]
        self.exchange = exchange.create(feed.venue, feed.market, markets)

    def enlist(self, instruments: Iterable[str], *, elapsed_ns: int, venue_ns: int) -> None:
        """List these, too; a new one has its book at once. Nothing is ever delisted: somebody may still be subscribed."""
        for symbol in instruments:
            if symbol not in self.exchange.markets:
                market = self._market(symbol, elapsed_ns)
                self.exchange.enlist(market)
                self._update(market, elapsed_ns, venue_ns)
        self.faults.enlist(tuple(self.exchange.markets))

    def _market(self, symbol: str, elapsed_ns: int) -> Market:
        rules = listing(symbol)
        dice = Random(f"{self._seed}/noise/{self.feed.name}/{symbol}")
        noise = float(self.feed.simulated.noise.fraction)
        self._deviations[symbol] = Deviation(dice, noise=noise, dt_ns=self.step_ns)
        ladder = Ladder(
            Random(f"{self._seed}/book/{rules.base}-{rules.quote}"),
            tick=float(rules.tick),
            lot_value=float(rules.lot) * starting_price(rules.base),
            mid=self._prices.price(rules.base, rules.quote, elapsed_ns),
            half_spread=self._half_spread,
        )
        return Market(rules, ladder, history=self._history)

    def step(self, *, elapsed_ns: int, venue_ns: int) -> None:
        """One update of every market, `elapsed_ns` after the simulation began, at the venue's time `venue_ns`."""
        for market in self.exchange.markets.values():
            if not self._still(market, elapsed_ns):
                self._update(market, elapsed_ns, venue_ns)

    def _still(self, market: Market, elapsed_ns: int) -> bool:
        """Whether a fault keeps the book from moving. Begins and ends halts."""
        halted = self.faults.active(Fault.HALT, market.symbol, elapsed_ns)
        if halted is not market.listing.halted:
            market.listing = msgspec.structs.replace(market.listing, halted=halted)
            self.exchange.relist(market)
        return halted or self.faults.active(Fault.FROZEN, market.symbol, elapsed_ns)

    def _update(self, market: Market, elapsed_ns: int, venue_ns: int) -> None:
        faults, symbol = self.faults, market.symbol
        if faults.take(Fault.TICK_SIZE, symbol):
            market.ladder.refine(10)
            market.listing = msgspec.structs.replace(market.listing, tick=market.listing.tick / 10)
            self.exchange.relist(market)
        if faults.take(Fault.SEQUENCE_RESET, symbol):
            self.exchange.reset_sequence(market, venue_ns)
        if faults.take(Fault.CROSSED, symbol):
            market.record(market.ladder.cross(), venue_ns)
        else:
            rules = market.listing
            mid = self._prices.price(rules.base, rules.quote, elapsed_ns - self._lag_ns)
            market.record(market.ladder.step(mid * (1.0 + self._deviations[symbol].step()), self._half_spread), venue_ns)
        if faults.take(Fault.GAP, symbol):
            self.exchange.skip(market)
        else:
            self.exchange.publish(market, venue_ns)


def venues(feeds: Sequence[SimulatedFeed], *, seed: int, history: int = 0) -> dict[str, Venue]:
    """Every feed's venue on one common price process; the largest volatility of all counts."""
    volatility = max((float(feed.simulated.volatility.fraction) for feed in feeds), default=0.0)
    longest = max((feed.simulated.lag.ns for feed in feeds), default=0)
    prices = CommonPrices(seed, volatility=volatility, longest_lag_ns=longest + GRID_NS)
    return {feed.name: Venue(feed, prices, seed=seed, history=history) for feed in feeds}
