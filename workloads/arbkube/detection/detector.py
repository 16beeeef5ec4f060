"""The detector: batches of frames in, sightings and opportunities out.

For: holding one strategy's books, and handing what a batch touched to its search. Pure: time is an argument, and the same
sequence of calls gives the same answers. May not: do I/O or read a clock.

All times are nanoseconds UTC on the bus server's clock: feeds say how far their own is off, and the caller's `now_ns` must be
corrected likewise.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from arbkube.detection.books import Book, Feed
from arbkube.detection.conversion import Conversion
from arbkube.detection.crossvenue.search import CrossVenueSearch
from arbkube.detection.cycles.search import CycleSearch
from arbkube.detection.episodes import Chance, Judge, State, bps
from arbkube.detection.ladder import ONE
from arbkube.detection.model import Balances, Sighting, SkipReason
from arbkube.market.frames import FrameBatch
from arbkube.market.instruments import Market, MarketKey
from arbkube.resources.kinds import CrossVenue, Cycle, Detection


class DetectorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy as the detector sees it. `markets` are all markets of its feeds, those that only convert included."""

    strategy: str
    strategy_uid: str
    revision: str
    cross_venue: CrossVenue | None
    cycle: Cycle | None
    profit_asset: str
    detection: Detection
    markets: tuple[Market, ...]
    max_age_ns: dict[str, int]
    """By feed: oldest proof of a connection's liveness."""
    max_transit_ns: dict[str, int]
    """By feed: how much slower than the quickest recent one an event may have been."""


class Detector:
    """One strategy's detection. `counts` has every look at a chance by the reason it ended with, `opportunities` the others."""

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        detection = config.detection
        self._feeds: dict[str, Feed] = {}
        self._books: list[Book] = []
        for market in config.markets:
            if market.instrument.tradable:
                self._add(market)
        self._conversions: dict[str, Conversion] = {}
        self._judge = Judge(
            strategy=config.strategy,
            strategy_uid=config.strategy_uid,
            revision=config.revision,
            profit_asset=config.profit_asset,
            enter_edge=detection.enter_edge.fraction,
            exit_edge=detection.exit_edge.fraction,
        )
        self._balances: Balances | None = None
        self._pairs: CrossVenueSearch | None = None
        if config.cross_venue is not None:
            self._pairs = CrossVenueSearch(config.cross_venue, detection, self._books, self._conversion, self._judge)
        self._cycles: CycleSearch | None = None
        if config.cycle is not None:
            self._cycles = CycleSearch(config.cycle, detection, self._books, self._conversion, self._judge)
        self._converting: dict[int, list[Conversion]] = {}
        for conversion in self._conversions.values():
            for book in conversion.books:
                self._converting.setdefault(book.index, []).append(conversion)

    @property
    def counts(self) -> dict[str, int]:
        """Looks at a chance by the reason they ended with."""
        return self._judge.counts

    @property
    def opportunities(self) -> int:
        """Looks that gave an opportunity."""
        return self._judge.opportunities

    @property
    def closest(self) -> dict[str, Decimal]:
        """The best net edge of fresh books so far, by identity, in basis points rounded down."""
        return {chance.identity: bps(chance.closest) for chance in self._chances() if chance.closest > float("-inf")}

    @property
    def outcomes(self) -> dict[str, SkipReason | None]:
        """How the last look at each identity ended; None where it gave an opportunity, or where there has been none."""
        return {chance.identity: chance.reason for chance in self._chances()}

    def without_book(self) -> list[MarketKey]:
        """Markets that have no verified book now."""
        return [book.key for book in self._books if book.frame is None]

    def on_batch(self, batch: FrameBatch, now_ns: int) -> list[Sighting]:
        """Take frames or a pulse and look again at what they touch. Batches of unknown feeds are passed over."""
        feed = self._feeds.get(batch.feed)
        if feed is None:
            return []
        self._look(feed, feed.hear(batch), now_ns)
        return self._judge.collect()

    def succeed(self, old: Detector, now_ns: int) -> list[Sighting]:
        """Go on where `old` is, another configuration of the same strategy: with its books, its balances and its episodes.

        An episode of an identity that is still looked for goes on as it stands, so what was taken is not said again; all others
        end. Call it once, before anything else; `old` is used up.
        """
        self._balances = old._balances
        heard = []
        for name, feed in self._feeds.items():
            before = old._feeds.get(name)
            batch = before.said(now_ns) if before is not None else None
            if batch is not None:
                heard.append((feed, feed.hear(batch)))
        for chance in old._chances():
            successor = self._same(chance)
            if successor is not None:
                self._judge.resume(successor, chance)
            elif chance.state is not State.IDLE:
                old._judge.lost(chance, SkipReason.NO_BOOK, now_ns)
        # Only now, since a look at one leg without the others would end what goes on.
        for feed, changed in heard:
            self._look(feed, changed, now_ns)
        return old._judge.collect() + self._judge.collect()

    def _same(self, chance: Chance) -> Chance | None:
        """Our own chance of that identity, if we look for it."""
        if self._pairs is not None:
            return self._pairs.same(chance)
        return self._cycles.same(chance) if self._cycles is not None else None

    def _look(self, feed: Feed, changed: list[Book], now_ns: int) -> None:
        """Look at what the changed books of a feed touch."""
        repriced: list[Book] = []
        if self._converting:
            for book in changed:
                refreshed = [conversion.refresh() for conversion in self._converting.get(book.index, ())]
                if any(refreshed):
                    repriced.append(book)
        if self._pairs is not None:
            self._pairs.touch(feed, changed, repriced, self._balances, now_ns)
        if self._cycles is not None:
            self._cycles.touch(changed, self._balances, now_ns)
        if feed.offset is None:
            self._end_unfit(now_ns)

    def on_balances(self, balances: Balances, now_ns: int) -> list[Sighting]:
        """Take what may be spent and look again at what had been waiting for it. Those of another strategy are passed over."""
        if balances.strategy != self.config.strategy:
            return []
        self._balances = balances
        for chance in [chance for chance in self._judge.open if chance.reason is SkipReason.NO_BALANCE]:
            if self._pairs is not None:
                self._pairs.again(chance, balances, now_ns)
            if self._cycles is not None:
                self._cycles.again(chance, balances, now_ns)
        return self._judge.collect()

    def next_deadline(self) -> int | None:
        """When the first book of an open episode goes stale, unless it shows life: call `on_time` then. None without one."""
        moments = [
            alive_ns + book.feed.max_age + 1
            for chance in self._judge.open
            for book, _ in chance.legs
            if (alive_ns := book.alive_ns()) is not None
        ]
        return min(moments, default=None)

    def on_time(self, now_ns: int) -> list[Sighting]:
        """End the episodes whose books have gone stale in silence."""
        self._end_unfit(now_ns)
        return self._judge.collect()

    def _end_unfit(self, now_ns: int) -> None:
        for chance in list(self._judge.open):
            reasons = [reason for book, _ in chance.legs if (reason := book.unfit(now_ns)) is not None]
            if reasons:
                self._judge.lost(chance, reasons[0], now_ns)

    def _add(self, market: Market) -> None:
        config = self.config
        feed = self._feeds.get(market.feed)
        if feed is None:
            max_age_ns, max_transit_ns = config.max_age_ns[market.feed], config.max_transit_ns[market.feed]
            feed = self._feeds[market.feed] = Feed(market.feed, max_age_ns=max_age_ns, max_transit_ns=max_transit_ns)
        book = Book(len(self._books), market, feed)
        feed.books[book.symbol] = book
        self._books.append(book)

    def _conversion(self, asset: str) -> Conversion:
        conversion = self._conversions.get(asset)
        if conversion is None:
            detection = self.config.detection
            # What comes back is larger than what went out, at most by the largest plausible edge.
            amount = detection.max_notional * (ONE + detection.max_plausible_edge.fraction)
            conversion = self._conversions[asset] = Conversion(asset, self.config.profit_asset, self._books, amount)
        return conversion

    def _chances(self) -> list[Chance]:
        searches = [search for search in (self._pairs, self._cycles) if search is not None]
        return [chance for search in searches for chance in search.chances]
