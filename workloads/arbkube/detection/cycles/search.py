"""Looking for cycles: which rings a batch makes promising, and what becomes of each.

For: scanning the bounds of touched rings, choosing markets for the promising ones, and the order of the checks: freshness,
conversion, edge, plausibility, size. May not: hold the enumeration (`rings`), the sizing (`chain`) or the rules of episodes
(`episodes`).

One wrong price can make hundreds of rings promising at once, and taking one of them uses the price up. So a batch looks
closely at the MAX_RINGS best ones of a hop only; the others stay pending and are looked at when one of their markets moves
again. While one choice of markets of a ring is in a taken episode, no other choice of the same ring is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import localcontext
from heapq import nlargest
from math import log1p

from arbkube.detection.books import Book
from arbkube.detection.conversion import Conversion
from arbkube.detection.cycles.chain import Chain
from arbkube.detection.cycles.rings import Graph, Hop, Ring
from arbkube.detection.cycles.scores import NOWHERE
from arbkube.detection.episodes import EDGE_SLACK, Chance, Judge, State
from arbkube.detection.ladder import EXACT
from arbkube.detection.model import Balances, SkipReason
from arbkube.detection.sizing import Sized
from arbkube.market.instruments import Side
from arbkube.resources.kinds import Cycle, Detection

MAX_RINGS = 4
"""Promising rings of one hop that one batch looks at closely."""

MAX_COMBINATIONS = 4
"""Choices of markets that are tried for one ring, best first, until one can be taken."""

RETRY_NS = 50_000_000
"""A choice of markets that could not be sized is not sized again for so long, unless balances change: where lots fit badly the
search takes milliseconds, and they fit no better at the next tick."""


class RingChance(Chance):
    """A ring with its markets chosen."""

    __slots__ = ("chain", "failed", "failed_ns", "failed_with", "ring")

    def __init__(self, strategy: str, ring: Ring, chain: Chain) -> None:
        super().__init__(strategy, chain.legs)
        self.ring = ring
        self.chain = chain
        self.failed = SkipReason.BELOW_MINIMUM
        self.failed_ns: int | None = None
        self.failed_with: Balances | None = None


class CycleSearch:
    """All cycles of one strategy."""

    def __init__(
        self,
        strategy: Cycle,
        detection: Detection,
        books: list[Book],
        conversion_of: Callable[[str], Conversion],
        judge: Judge,
    ) -> None:
        self._judge = judge
        self._detection = detection
        self._max_skew = detection.max_skew.ns
        self._max_plausible = float(detection.max_plausible_edge.fraction)
        self._conversions = {asset: conversion_of(asset) for asset in strategy.start_assets}
        self._books = {book.key: book for book in books}
        self._graph = Graph(books, strategy.start_assets, strategy.max_legs)
        # The edge counts against the first leg's value before its fee, which is less than what it spends.
        fee = max((book.buy_factor for book in books if book.spot), default=1.0)
        self._threshold = log1p(judge.enter / fee) - EDGE_SLACK
        self._record = NOWHERE
        self._chances: dict[tuple[Ring, tuple[int, ...]], RingChance] = {}
        self._of_ring: dict[Ring, list[RingChance]] = {}

    @property
    def chances(self) -> Iterable[Chance]:
        """Every identity that has been looked at closely: those that were promising, or closer than any before."""
        return self._chances.values()

    @property
    def rings(self) -> int:
        """How many rings there are."""
        return self._graph.rings

    def same(self, chance: Chance) -> Chance | None:
        """Our own chance of that identity, or None where we do not look for it."""
        if not isinstance(chance, RingChance):
            return None
        ring = self._graph.find(chance.ring)
        legs = tuple((self._books[book.key], side) for book, side in chance.legs if book.key in self._books)
        return self._chance(ring, legs) if ring is not None and len(legs) == len(chance.legs) else None

    def touch(self, changed: list[Book], balances: Balances | None, now_ns: int) -> None:
        """Look at what the changed books touched: rings that may have got better, and those in an episode."""
        hops: dict[Hop, None] = {}
        for book in changed:
            hops.update(dict.fromkeys(self._graph.reprice(book)))
        for hop in hops:
            hop.pending = False  # unless what follows finds that there is more to look at
        looked: set[Ring] = set()
        if self._judge.open:
            moved = {book.index for book in changed}
            for chance in list(self._judge.open):
                if not isinstance(chance, RingChance) or chance.ring in looked:
                    continue
                if any(book.index in moved for book, _ in chance.legs):
                    looked.add(chance.ring)
                    self._look(chance.ring, balances, now_ns)
        for hop in hops:
            self._scan(hop, looked, balances, now_ns)

    def again(self, chance: Chance, balances: Balances | None, now_ns: int) -> None:
        """Look at one chance's ring anew."""
        if isinstance(chance, RingChance):
            self._look(chance.ring, balances, now_ns)

    def _scan(self, hop: Hop, looked: set[Ring], balances: Balances | None, now_ns: int) -> None:
        best, closest, unknown, promising = self._graph.glance(hop, self._threshold, self._record)
        counts = self._judge.counts
        counts[SkipReason.NO_BOOK.value] += unknown
        counts[SkipReason.BELOW_ENTER_EDGE.value] += len(hop.through) - unknown - len(promising)
        if closest >= 0:
            self._closest(hop.through[closest], best, balances, now_ns)
        if not promising:
            return
        fresh = [place for place in promising if hop.through[place] not in looked]
        for place in nlargest(MAX_RINGS, fresh, key=promising.__getitem__):
            ring = hop.through[place]
            looked.add(ring)
            self._look(ring, balances, now_ns)
        hop.pending = hop.pending or len(fresh) > MAX_RINGS

    def _closest(self, ring: Ring, score: float, balances: Balances | None, now_ns: int) -> None:
        """No ring has been this close: give it an identity, so that reports can name it."""
        for legs in ring.combinations(NOWHERE, 1):
            chance = self._chance(ring, legs)
            self._consider(chance, balances, now_ns)
            if chance.reason is SkipReason.BELOW_ENTER_EDGE:  # not for want of a fresh book
                self._record = score

    def _look(self, ring: Ring, balances: Balances | None, now_ns: int) -> None:
        looked = [chance for chance in self._of_ring.get(ring, ()) if chance.state is not State.IDLE]
        looked.sort(key=lambda chance: chance.state is not State.TAKEN)
        taken = False
        for chance in looked:
            self._consider(chance, balances, now_ns, taken=taken)
            taken = taken or chance.state is State.TAKEN
        if taken:
            return
        for legs in ring.combinations(self._threshold, MAX_COMBINATIONS):
            chance = self._chance(ring, legs)
            if chance not in looked:
                self._consider(chance, balances, now_ns)
                if chance.state is State.TAKEN:
                    return

    def _consider(self, chance: RingChance, balances: Balances | None, now_ns: int, *, taken: bool = False) -> None:
        """Draw the conclusion. `taken`: another choice of the ring's markets is in a taken episode."""
        judge = self._judge
        reason = self._obstacle(chance, now_ns)
        if reason is not None:
            judge.lost(chance, reason, now_ns)
            for hop in chance.ring.hops:
                hop.pending = True
            return
        edge = chance.chain.edge()
        if edge < judge.enter:
            judge.below(chance, edge, SkipReason.BELOW_ENTER_EDGE, now_ns)
        elif edge > self._max_plausible:
            judge.skipped(chance, edge, SkipReason.IMPLAUSIBLE_EDGE, now_ns)
        elif taken or chance.state is State.TAKEN:
            judge.skipped(chance, edge, SkipReason.EPISODE_OPEN, now_ns)
        else:
            self._size(chance, edge, balances, now_ns)

    def _obstacle(self, chance: RingChance, now_ns: int) -> SkipReason | None:
        alive = []
        for book, _ in chance.legs:
            reason = book.unfit(now_ns)
            if reason is not None:
                return reason
            alive.append(book.alive_ns() or 0)
        if max(alive) - min(alive) > self._max_skew:
            return SkipReason.SKEWED_LEGS
        if not self._conversions[chance.ring.start].possible(now_ns):
            return SkipReason.NO_CONVERSION
        return None

    def _size(self, chance: RingChance, edge: float, balances: Balances | None, now_ns: int) -> None:
        if chance.failed_ns is not None and now_ns - chance.failed_ns < RETRY_NS and chance.failed_with is balances:
            self._judge.skipped(chance, edge, chance.failed, now_ns)
            return
        enter_edge, max_notional = self._judge.enter_edge, self._detection.max_notional
        with localcontext(EXACT):
            sized: Sized | SkipReason = SkipReason.NO_BALANCE
            if balances is not None:
                sized = chance.chain.size(enter_edge=enter_edge, max_notional=max_notional, balances=balances, now_ns=now_ns)
            if isinstance(sized, SkipReason):
                # Which reason it is shows when balances do not matter.
                unbound = chance.chain.size(enter_edge=enter_edge, max_notional=max_notional, balances=None, now_ns=now_ns)
                chance.failed = unbound if isinstance(unbound, SkipReason) else SkipReason.NO_BALANCE
                chance.failed_ns, chance.failed_with = now_ns, balances
                self._judge.skipped(chance, edge, chance.failed, now_ns)
            else:
                self._judge.taken(chance, edge, sized, now_ns)

    def _chance(self, ring: Ring, legs: tuple[tuple[Book, Side], ...]) -> RingChance:
        key = (ring, tuple(book.index for book, _ in legs))
        chance = self._chances.get(key)
        if chance is None:
            chance = self._chances[key] = RingChance(self._judge.strategy, ring, Chain(legs, self._conversions[ring.start]))
            self._of_ring.setdefault(ring, []).append(chance)
        return chance
