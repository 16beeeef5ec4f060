"""The exact size of a cycle: every leg spends no more than the leg before it brought in.

For: given the legs of a ring, the quantities that make the most of it. May not: choose the legs, or count dust as worth anything.

Rounding to lots leaves a little of every asset on the way, and with coarse lots that is more than the profit, so that what matters
is how well the lots happen to fit. Any choice of quantities is at best as good as this one: fix the quantity of one leg (the pivot),
buy before it the least that suffices, and sell after it the most that is paid for. So it is enough to look at the multiples of the
pivot's lot, and the pivot with the fewest is taken.

They are looked at in the order of a bound: the profit of the same walk with no lots at all, which is concave (its marginal rates
only get worse), rises to one peak and falls. The search goes outwards from the peak and ends when the bound promises no more than
a thousandth above what was found, or after MAX_TRIES.

Profit and notional are counted in the start asset and converted once: profit at what selling the start asset brings, notional
(the first leg's value, before its fee) at what buying it costs. The size is the one with the most profit among those whose average
edge is at least `enterEdge`.
"""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal
from typing import NamedTuple

from arbkube.detection.books import Book
from arbkube.detection.conversion import Conversion
from arbkube.detection.ladder import ZERO, Ladder, divide_down, divide_up, down, steps_up, up
from arbkube.detection.model import Balances, SkipReason
from arbkube.detection.sizing import Sized, least_unwindable, lock_rate, sized_leg, spendable
from arbkube.market.instruments import Side

MAX_TRIES = 400
"""Quantities of the pivot that are tried; a bound on time. Lots that fit as badly as that leave little to gain."""

_CLOSE_ENOUGH = 1.001
_SLACK = 1e-9


class Link(NamedTuple):
    """One leg with what the walk needs of it. `free` None: no balance limits it; `fed`: the leg before it delivers to this feed."""

    book: Book
    side: Side
    ladder: Ladder
    lot: Decimal
    least: Decimal
    free: Decimal | None
    fed: bool

    def locks(self, quantity: Decimal) -> Decimal:
        """What the order sets aside of the asset it spends, at its limit."""
        return quantity * lock_rate(self.book, self.side, self.ladder.limit(quantity))

    def orderable_from(self, quantity: Decimal) -> Decimal | None:
        """The smallest orderable quantity from `quantity` on; None if the levels given do not hold it."""
        min_notional = self.book.market.instrument.min_notional
        quantity = max(quantity, self.least)
        while quantity <= self.ladder.depth[-1]:
            limit = self.ladder.limit(quantity)
            if quantity * limit >= min_notional:
                return quantity
            quantity = steps_up(min_notional, limit * self.lot) * self.lot
        return None

    def orderable_to(self, quantity: Decimal, funds: Decimal | None) -> Decimal | None:
        """The largest orderable quantity up to `quantity` whose order `funds` can back; None without one."""
        min_notional = self.book.market.instrument.min_notional
        while quantity >= self.least:
            level = self.ladder.level_of(quantity)
            limit = self.ladder.prices[level]
            backed = quantity
            if funds is not None:
                backed = min(quantity, funds // (lock_rate(self.book, self.side, limit) * self.lot) * self.lot)
            if backed > self.ladder.depth[level] and backed >= self.least and backed * limit >= min_notional:
                return backed
            quantity = self.ladder.depth[level] // self.lot * self.lot
        return None


class Bound(NamedTuple):
    """The walk without lots, in floats: entry i of each list is the sum up to the i-th point where the marginal rate changes."""

    profit: list[float]
    quantities: list[list[float]]
    """By leg."""

    def at(self, leg: int, quantity: float) -> float:
        """The most profit that `quantity` of `leg` can be part of."""
        points = self.quantities[leg]
        right = min(bisect_left(points, quantity), len(points) - 1)
        left = right - 1
        share = min(1.0, (quantity - points[left]) / (points[right] - points[left]))
        return self.profit[left] + share * (self.profit[right] - self.profit[left])


class Chain:
    """The legs of one ring, and the conversion of its start asset."""

    __slots__ = ("legs", "start")

    def __init__(self, legs: tuple[tuple[Book, Side], ...], start: Conversion) -> None:
        self.legs = legs
        self.start = start

    def edge(self) -> float:
        """Net edge of the best levels as a fraction of the first leg's value, conversion included: no size can have a better one."""
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
        links = self._links(balances)
        # From here on in the start asset.
        max_notional = divide_down(min(max_notional, rates.limit), rates.buy)
        enter = divide_up(enter_edge * rates.buy, rates.sell)
        bound = _bound(links, float(enter), float(max_notional))
        if bound is None:
            return SkipReason.BELOW_ENTER_EDGE
        quantities, orderable = _best(links, bound, enter, max_notional)
        if quantities is None:
            return SkipReason.BELOW_ENTER_EDGE if orderable else SkipReason.BELOW_MINIMUM
        legs = tuple(sized_leg(*leg, quantity) for leg, quantity in zip(self.legs, quantities, strict=True))
        notional = rates.buy * _notional(links[0], quantities[0])
        profit = rates.sell * (links[-1].ladder.get(quantities[-1]) - links[0].ladder.pay(quantities[0]))
        return Sized(legs, up(notional), down(profit))

    def _links(self, balances: Balances | None) -> list[Link]:
        links: list[Link] = []
        for book, side in self.legs:
            rules = book.market.instrument
            least = steps_up(max(rules.min_quantity, least_unwindable(book, side)), rules.lot) * rules.lot
            free = None if balances is None else spendable(balances, book, side)
            fed = bool(links) and links[-1].book.feed is book.feed
            links.append(Link(book, side, book.ladder(side), rules.lot, least, free, fed))
        return links


def _notional(first: Link, quantity: Decimal) -> Decimal:
    return first.ladder.value_of(quantity) if first.side is Side.BUY else quantity


def _bound(links: list[Link], enter: float, max_notional: float) -> Bound | None:
    """Walk all ladders at once without lots, up to where depth, notional, a balance or the average edge ends it."""
    legs = range(len(links))
    levels = [0 for _ in legs]
    left = [float(link.ladder.depth[1]) for link in links]
    done = [0.0 for _ in legs]
    profit, notional = 0.0, 0.0
    bound = Bound([0.0], [[0.0] for _ in legs])
    while True:
        # Base units of each leg for one of the first.
        ratios = [1.0]
        for before, link in enumerate(links[1:]):
            got = float(links[before].ladder.get_rate[levels[before]])
            ratios.append(ratios[before] * got / float(link.ladder.pay_rate[levels[before + 1]]))
        gain = ratios[-1] * float(links[-1].ladder.get_rate[levels[-1]]) - float(links[0].ladder.pay_rate[levels[0]])
        price = float(links[0].ladder.prices[levels[0]]) if links[0].side is Side.BUY else 1.0
        step = (max_notional - notional) / price
        for leg, link in enumerate(links):
            step = min(step, left[leg] / ratios[leg])
            if link.free is not None and not link.fed:
                rate = float(lock_rate(link.book, link.side, link.ladder.prices[levels[leg]]))
                step = min(step, (float(link.free) / rate - done[leg]) / ratios[leg])
        if step <= 0.0:
            break
        profit += gain * step
        notional += price * step
        bound.profit.append(profit)
        for leg in legs:
            done[leg] += ratios[leg] * step
            left[leg] -= ratios[leg] * step
            bound.quantities[leg].append(done[leg])
        if profit < enter * notional:
            break
        ended = [leg for leg in legs if left[leg] <= _SLACK * done[leg]]
        if not ended:
            break
        for leg in ended:
            levels[leg] += 1
        if any(levels[leg] == len(links[leg].ladder.prices) for leg in ended):
            break
        for leg in ended:
            depth = links[leg].ladder.depth
            left[leg] = float(depth[levels[leg] + 1] - depth[levels[leg]])
    return bound if len(bound.profit) > 1 and max(bound.profit) > 0.0 else None


def _best(links: list[Link], bound: Bound, enter: Decimal, max_notional: Decimal) -> tuple[list[Decimal] | None, bool]:
    """The best quantities found, and whether any were orderable at all."""
    pivot = max(range(len(links)), key=lambda leg: float(links[leg].lot) / bound.quantities[leg][-1])
    lot = links[pivot].lot
    peak = bound.quantities[pivot][bound.profit.index(max(bound.profit))]
    # A later leg's depth may end the walk between two lots: buying a whole lot and wasting the rest can still be worth it.
    last = int(bound.quantities[pivot][-1] / float(lot)) + len(links)
    first = int(links[pivot].least / lot)
    lower = min(last, int(peak / float(lot)))
    upper = max(first, lower + 1)
    best: list[Decimal] | None = None
    best_profit = ZERO
    orderable = False
    for _ in range(MAX_TRIES):
        below = bound.at(pivot, lower * float(lot)) if lower >= first else 0.0
        above = bound.at(pivot, upper * float(lot)) if upper <= last else 0.0
        if max(below, above) <= float(best_profit) * _CLOSE_ENOUGH:
            break
        steps = lower if below >= above else upper
        lower, upper = (lower - 1, upper) if below >= above else (lower, upper + 1)
        quantities = _fitted(links, pivot, steps * lot)
        if quantities is None:
            continue
        notional = _notional(links[0], quantities[0])
        if notional > max_notional:
            continue
        orderable = True
        profit = links[-1].ladder.get(quantities[-1]) - links[0].ladder.pay(quantities[0])
        if profit > best_profit and profit >= enter * notional:
            best, best_profit = quantities, profit
    return best, orderable


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
    have = ZERO
    for leg, link in enumerate(links):
        funds = link.free
        if funds is not None and link.fed:
            funds += have
        if leg <= pivot:
            if funds is not None and link.locks(quantities[leg]) > funds:
                return None
        else:
            most = link.orderable_to(link.ladder.most(have, link.lot), funds)
            if most is None:
                return None
            quantities.append(most)
        have = link.ladder.get(quantities[leg])
    return quantities
