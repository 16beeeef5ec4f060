"""Looking for cross-venue chances: which pairs a batch touches, and what becomes of each.

For: the index market → pairs, and the order of the checks: freshness, conversion, kind of market, edge, plausibility, size. May
not: hold the arithmetic of a pair (`pairs`) or the rules of episodes (`episodes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import localcontext

from arbkube.detection.books import Book, Feed, obstacle
from arbkube.detection.conversion import Conversion
from arbkube.detection.crossvenue.pairs import Pair, paired
from arbkube.detection.episodes import Chance, Judge, State
from arbkube.detection.ladder import EXACT
from arbkube.detection.model import Balances, SkipReason
from arbkube.detection.sizing import Sized
from arbkube.market.instruments import Side
from arbkube.resources.kinds import CrossVenue, Detection


class Link:
    """Two markets and the two directions between them."""

    __slots__ = ("conversions", "directions", "first", "needs_conversion", "second")

    def __init__(self, first: Book, second: Book, conversion_of: Callable[[str], Conversion], judge: Judge) -> None:
        self.first = first
        self.second = second
        self.conversions = (conversion_of(first.quote), conversion_of(second.quote))
        self.needs_conversion = any(not conversion.identical for conversion in self.conversions)
        self.directions: list[tuple[Pair, Chance]] = []
        for buy, sell in ((first, second), (second, first)):
            pair = Pair(buy, sell, conversion_of(buy.quote), conversion_of(sell.quote))
            self.directions.append((pair, Chance(judge.strategy, ((buy, Side.BUY), (sell, Side.SELL)))))


class CrossVenueSearch:
    """All pairs of one strategy."""

    def __init__(
        self,
        strategy: CrossVenue,
        detection: Detection,
        books: list[Book],
        conversion_of: Callable[[str], Conversion],
        judge: Judge,
    ) -> None:
        self._judge = judge
        self._detection = detection
        self._allow_basis = strategy.allow_basis
        self._max_skew = detection.max_skew.ns
        self._max_plausible = float(detection.max_plausible_edge.fraction)
        self._links: list[list[Link]] = [[] for _ in books]
        self._converting: list[list[Link]] = [[] for _ in books]
        self._waiting: dict[Feed, dict[Link, int | None]] = {}
        self._link_of: dict[Chance, Link] = {}
        for first, second in paired(books, strategy):
            link = Link(first, second, conversion_of, judge)
            self._links[first.index].append(link)
            self._links[second.index].append(link)
            self._link_of.update((chance, link) for _, chance in link.directions)
            for book in {book.index: book for conversion in link.conversions for book in conversion.books}.values():
                self._converting[book.index].append(link)
        self._of_identity = {chance.identity: chance for chance in self._link_of}

    @property
    def chances(self) -> Iterable[Chance]:
        """Every identity."""
        return self._link_of

    def same(self, chance: Chance) -> Chance | None:
        """Our own chance of that identity, or None where we do not look for it."""
        return self._of_identity.get(chance.identity)

    def touch(self, feed: Feed, changed: list[Book], repriced: list[Book], balances: Balances | None, now_ns: int) -> None:
        """Look at what a batch of `feed` touched.

        That is: the pairs of the `changed` books, those that the `repriced` books convert, and those that had been waiting
        for a sign of life from this feed.
        """
        links: dict[Link, None] = {}
        for book in changed:
            links.update(dict.fromkeys(self._links[book.index]))
        for book in repriced:
            links.update(dict.fromkeys(self._converting[book.index]))
        waiting = self._waiting.get(feed)
        if waiting:
            links.update((link, None) for link in [link for link, alive in waiting.items() if self._revived(link, feed, alive)])
        for link in links:
            self._look(link, balances, now_ns)

    def again(self, chance: Chance, balances: Balances | None, now_ns: int) -> None:
        """Look at one chance's pair anew."""
        link = self._link_of.get(chance)
        if link is not None:
            self._look(link, balances, now_ns)

    @staticmethod
    def _revived(link: Link, feed: Feed, alive: int | None) -> bool:
        book = link.first if link.first.feed is feed else link.second
        return book.alive_ns() != alive

    def _look(self, link: Link, balances: Balances | None, now_ns: int) -> None:
        judge = self._judge
        found = obstacle(link.first, link.second, self._max_skew, now_ns)
        if found is not None:
            reason, culprit = found
            for _, chance in link.directions:
                judge.lost(chance, reason, now_ns)
            if reason is not SkipReason.NO_BOOK:
                self._waiting.setdefault(culprit.feed, {})[link] = culprit.alive_ns()
            return
        if self._waiting:
            for waiting in self._waiting.values():
                waiting.pop(link, None)
        if link.needs_conversion and not all(conversion.possible(now_ns) for conversion in link.conversions):
            for _, chance in link.directions:
                judge.lost(chance, SkipReason.NO_CONVERSION, now_ns)
            return
        for pair, chance in link.directions:
            edge = pair.edge()
            if not pair.of_one_kind and not self._allow_basis:
                if edge < judge.enter:
                    judge.below(chance, edge, SkipReason.BASIS_NOT_ALLOWED, now_ns)
                else:
                    judge.skipped(chance, edge, SkipReason.BASIS_NOT_ALLOWED, now_ns)
            elif edge < judge.enter:
                judge.below(chance, edge, SkipReason.BELOW_ENTER_EDGE, now_ns)
            elif edge > self._max_plausible:
                judge.skipped(chance, edge, SkipReason.IMPLAUSIBLE_EDGE, now_ns)
            elif chance.state is State.TAKEN:
                judge.skipped(chance, edge, SkipReason.EPISODE_OPEN, now_ns)
            else:
                self._size(pair, chance, edge, balances, now_ns)

    def _size(self, pair: Pair, chance: Chance, edge: float, balances: Balances | None, now_ns: int) -> None:
        enter_edge, max_notional = self._judge.enter_edge, self._detection.max_notional
        with localcontext(EXACT):
            sized: Sized | SkipReason = SkipReason.NO_BALANCE
            if balances is not None:
                sized = pair.size(enter_edge=enter_edge, max_notional=max_notional, balances=balances, now_ns=now_ns)
            if isinstance(sized, SkipReason):
                # Which reason it is shows when balances do not matter.
                unbound = pair.size(enter_edge=enter_edge, max_notional=max_notional, balances=None, now_ns=now_ns)
                reason = unbound if isinstance(unbound, SkipReason) else SkipReason.NO_BALANCE
                self._judge.skipped(chance, edge, reason, now_ns)
            else:
                self._judge.taken(chance, edge, sized, now_ns)
