"""The exact size of a cycle: every leg spends no more than the leg before it brought in.

For: given the legs of a ring, the quantities that make the most of it. May not: choose the legs, or count dust as worth
anything.

Rounding to lots leaves a little of every asset on the way, and with coarse lots that is more than the profit, so that what
matters is how well the lots happen to fit. Any choice of quantities is at best as good as this one: fix the quantity of one
leg (the pivot), buy before it the least that suffices, and sell after it the most that is paid for. So it is enough to look
at the multiples of the pivot's lot, and the pivot with the fewest is taken.

They are looked at in the order of a bound: the profit of the same walk with no lots at all, which is concave (its marginal
rates only get worse), rises to one peak and falls. The search goes outwards from the peak and ends when the bound promises
no more than CLOSE_ENOUGH times what was found. Quantities that cannot be better by an estimate in floats are passed over.

Every leg's order must be covered by what is available on its feed beforehand: what an earlier leg brings in does not count,
since legs may be sent at once.

Profit and notional are counted in the start asset and converted once: profit at what selling the start asset brings,
notional (the first leg's value, before its fee) at what buying it costs. The size is the one with the most profit among
those whose average edge is at least `enterEdge`.
"""

from __future__ import annotations

from decimal import Decimal

from arbkube.detection.books import Book
from arbkube.detection.conversion import Conversion
from arbkube.detection.cycles.bound import Bound, estimate, walk
from arbkube.detection.cycles.links import Link
from arbkube.detection.ladder import ZERO, divide_down, divide_up, down, up
from arbkube.detection.model import Balances, SkipReason
from arbkube.detection.sizing import Sized, sized_leg
from arbkube.market.instruments import Side

MAX_TRIES = 1000
"""Quantities of the pivot that are tried: a bound on time, reached only where lots are worth more than the profit."""

CLOSE_ENOUGH = 1.008
"""Nothing that was not computed is better than what was found by more than this factor."""


class Chain:
    """The legs of one ring, and the conversion of its start asset."""

    __slots__ = ("legs", "start")

    def __init__(self, legs: tuple[tuple[Book, Side], ...], start: Conversion) -> None:
        self.legs = legs
        self.start = start

    def edge(self) -> float:
        """Net edge of the best levels as a fraction of the first leg's value, conversion included: no size has a better one."""
        rate = 1.0
        for book, side in self.legs:
            rate *= book.gain if side is Side.SELL else 1.0 / book.cost
        first, side = self.legs[0]
        if side is Side.BUY and not first.fee_from_base:
            return (rate - 1.0) * first.buy_factor * self.start.sell / self.start.buy
        return (rate - 1.0) * self.start.sell / self.start.buy

    def size(self, *, enter_edge: Decimal, max_notional: Decimal, balances: Balances | None, now_ns: int) -> Sized | SkipReason:
        """The best quantities, or why there are none. `balances` None: as if there were enough."""
        rates = self.start.rates(now_ns)
        if rates is None:
            return SkipReason.NO_CONVERSION
        links = [Link(book, side, balances) for book, side in self.legs]
        # From here on in the start asset.
        max_notional = divide_down(min(max_notional, rates.limit), rates.buy)
        enter = divide_up(enter_edge * rates.buy, rates.sell)
        bound = walk([link.floats for link in links], float(enter), float(max_notional))
        if bound is None:
            return SkipReason.BELOW_ENTER_EDGE
        quantities = _best(links, bound, enter, max_notional)
        if isinstance(quantities, SkipReason):
            return quantities
        legs = tuple(sized_leg(*leg, quantity) for leg, quantity in zip(self.legs, quantities, strict=True))
        profit = rates.sell * (links[-1].ladder.get(quantities[-1]) - links[0].ladder.pay(quantities[0]))
        return Sized(legs, up(rates.buy * links[0].notional(quantities[0])), down(profit))


def _best(links: list[Link], bound: Bound, enter: Decimal, max_notional: Decimal) -> list[Decimal] | SkipReason:
    """The best quantities found, or why there are none."""
    floats = [link.floats for link in links]
    pivot = max(range(len(links)), key=lambda leg: floats[leg].lot / bound.quantities[leg][-1])
    lot = floats[pivot].lot
    peak = bound.quantities[pivot][bound.profit.index(max(bound.profit))]
    # A later leg's depth may end the walk between two lots: buying a whole lot and wasting the rest can still be worth it.
    last = int(bound.quantities[pivot][-1] / lot) + len(links)
    first = int(links[pivot].least / links[pivot].lot)
    lower = min(last, int(peak / lot))
    upper = max(first, lower + 1)
    best: list[Decimal] | None = None
    best_profit = ZERO
    wanted, enter_float = 0.0, float(enter) * (1.0 - 1e-9)
    orderable = False
    for _ in range(MAX_TRIES):
        below = bound.at(pivot, lower * lot) if lower >= first else 0.0
        above = bound.at(pivot, upper * lot) if upper <= last else 0.0
        if max(below, above) <= wanted * CLOSE_ENOUGH:
            break
        if below >= above:
            steps, lower = lower, lower - 1
        else:
            steps, upper = upper, upper + 1
        promised = estimate(floats, pivot, steps * lot)
        if promised is None:
            continue
        profit_at_best, notional_at_least = promised
        if profit_at_best <= max(wanted * CLOSE_ENOUGH, enter_float * notional_at_least):
            orderable = True
            continue
        quantities = _fitted(links, pivot, steps * links[pivot].lot)
        if quantities is None:
            continue
        notional = links[0].notional(quantities[0])
        if notional > max_notional:
            continue
        orderable = True
        profit = links[-1].ladder.get(quantities[-1]) - links[0].ladder.pay(quantities[0])
        if profit > best_profit and profit >= enter * notional:
            best, best_profit, wanted = quantities, profit, float(profit)
    if best is not None:
        return best
    return SkipReason.BELOW_ENTER_EDGE if orderable else SkipReason.BELOW_MINIMUM


def _fitted(links: list[Link], pivot: int, quantity: Decimal) -> list[Decimal] | None:
    """The best quantities of all legs when the pivot's is given; None where a rule, a balance or the depth forbids it."""
    if links[pivot].orderable_from(quantity) != quantity:
        return None
    quantities = [quantity]
    need = links[pivot].ladder.pay(quantity)
    for link in reversed(links[:pivot]):
        enough = link.ladder.least(need, link.lot)
        ordered = None if enough is None else link.orderable_from(enough)
        if ordered is None:
            return None
        quantities.insert(0, ordered)
        need = link.ladder.pay(ordered)
    if not all(link.covered(each) for link, each in zip(links, quantities, strict=False)):
        return None
    have = links[pivot].ladder.get(quantity)
    for link in links[pivot + 1 :]:
        most = link.orderable_to(link.ladder.most(have, link.lot))
        if most is None:
            return None
        quantities.append(most)
        have = link.ladder.get(most)
    return quantities
