"""Rings of assets: which cycles there are, and which of them a batch makes promising.

For: enumerating simple cycles once, and a bound on every cycle that a change touches. May not: size, or keep episodes.

A *hop* leads from one asset to another over whichever of its markets has the best rate; a *ring* is a simple cycle of hops.
The rate of a hop is kept as its logarithm at the best level after fees, so that a ring's bound is a sum, and only hops
whose rate rose can make a ring promising. Parallel markets of several feeds are told apart only where a ring is: that keeps
the number of rings what one venue would have.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import log

from arbkube.detection.books import Book
from arbkube.detection.cycles.scores import NOWHERE, Glance, Others, Scores, scores_of
from arbkube.market.instruments import Side

BEST_MARKETS = 3
"""Of each hop's parallel markets this many are combined with those of the other hops."""


class Hop:
    """From `source` to `target`. `through` holds its rings."""

    __slots__ = ("index", "markets", "pending", "source", "target", "through", "weights")

    def __init__(self, index: int, source: str, target: str) -> None:
        self.index = index
        self.source = source
        self.target = target
        self.markets: list[tuple[Book, Side]] = []
        self.weights: list[float] = []
        self.through: list[Ring] = []
        self.pending = False
        """Whether its rings must be looked at again even if its rate does not rise."""

    def best(self) -> list[tuple[float, tuple[Book, Side]]]:
        """Its best markets with their weights, best first."""
        ranked = sorted(zip(self.weights, range(len(self.weights)), strict=True), reverse=True)
        return [(weight, self.markets[place]) for weight, place in ranked[:BEST_MARKETS] if weight > NOWHERE]


class Ring:
    """A simple cycle that begins and ends at `start`."""

    __slots__ = ("hops", "start")

    def __init__(self, start: str, hops: tuple[Hop, ...]) -> None:
        self.start = start
        self.hops = hops

    @property
    def path(self) -> tuple[tuple[str, str], ...]:
        """Its hops, by the assets they lead between."""
        return tuple((hop.source, hop.target) for hop in self.hops)

    def combinations(self, threshold: float, most: int) -> list[tuple[tuple[Book, Side], ...]]:
        """Markets for all hops, best first, that reach the threshold together; at most `most` of them."""
        found = [
            (sum(weight for weight, _ in chosen), tuple(leg for _, leg in chosen))
            for chosen in product(*(hop.best() for hop in self.hops))
        ]
        found.sort(key=lambda each: each[0], reverse=True)
        return [legs for weight, legs in found[:most] if weight >= threshold]


class Graph:
    """Hops and rings over the spot markets of `books`."""

    def __init__(self, books: Iterable[Book], start_assets: tuple[str, ...], max_legs: int) -> None:
        self._hops: dict[tuple[str, str], Hop] = {}
        self._of_book: dict[int, list[tuple[Hop, int]]] = {}
        for book in books:
            if book.spot:
                self._join(book, book.base, book.quote, Side.SELL)
                self._join(book, book.quote, book.base, Side.BUY)
        self._weights = [NOWHERE] * len(self._hops)
        self.rings = 0
        leaving: dict[str, list[Hop]] = {}
        for hop in self._hops.values():
            leaving.setdefault(hop.source, []).append(hop)
        for number, start in enumerate(start_assets):
            # A ring through two start assets begins at the first of them.
            self._enumerate(leaving, start, (), set(start_assets[:number]), max_legs)
        self._scores: Scores = scores_of([[self._others(hop, ring) for ring in hop.through] for hop in self._hops.values()])

    def reprice(self, book: Book) -> list[Hop]:
        """Take a book's best levels. Returns the hops whose rings are to be looked at: those that rose, or are pending."""
        hops = []
        weights = self._weights
        for hop, place in self._of_book.get(book.index, ()):
            if book.frame is None:
                weight = NOWHERE
            else:
                weight = log(book.gain) if hop.markets[place][1] is Side.SELL else -log(book.cost)
            hop.weights[place] = weight
            before = weights[hop.index]
            after = weights[hop.index] = weight if len(hop.weights) == 1 else max(hop.weights)
            self._scores.weigh(hop.index, after)
            if hop.through and (after > before or hop.pending):
                hops.append(hop)
        return hops

    def find(self, ring: Ring) -> Ring | None:
        """The ring of this graph that leads where `ring`, of another one, leads; None where there is none."""
        path = ring.path
        first = self._hops.get(path[0])
        return next((own for own in first.through if own.path == path), None) if first is not None else None

    def glance(self, hop: Hop, threshold: float, record: float) -> Glance:
        """Score the hop's rings by their places in `through`: no quantity in any of their markets has a better log rate."""
        return self._scores.glance(hop.index, threshold, record)

    def _join(self, book: Book, source: str, target: str, side: Side) -> None:
        hop = self._hops.get((source, target))
        if hop is None:
            hop = self._hops[source, target] = Hop(len(self._hops), source, target)
        self._of_book.setdefault(book.index, []).append((hop, len(hop.markets)))
        hop.markets.append((book, side))
        hop.weights.append(NOWHERE)

    def _enumerate(
        self, leaving: dict[str, list[Hop]], start: str, path: tuple[Hop, ...], closed: set[str], max_legs: int
    ) -> None:
        at = path[-1].target if path else start
        for hop in leaving.get(at, ()):
            if hop.target == start:
                if len(path) >= 2:
                    self._add(Ring(start, (*path, hop)))
            elif len(path) + 1 < max_legs and hop.target not in closed:
                self._enumerate(leaving, start, (*path, hop), closed | {hop.target}, max_legs)

    def _add(self, ring: Ring) -> None:
        self.rings += 1
        for hop in ring.hops:
            hop.through.append(ring)

    def _others(self, hop: Hop, ring: Ring) -> Others:
        places = [other.index for other in ring.hops if other is not hop]
        nothing = len(self._hops)
        first, second, third = (*places, nothing)[:3]
        return first, second, third
