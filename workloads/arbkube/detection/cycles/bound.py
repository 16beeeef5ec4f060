"""What a cycle could bring at best, in floats: quick, never below what is exact, and so fit to say what need not be computed.

For: the walk without lots, whose profit is a concave function of any leg's quantity, and a quick estimate with lots. May
not: decide.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from arbkube import kernel
from arbkube.detection.cycles.links import Floats

_SLACK = 1e-9


class Bound(NamedTuple):
    """The walk without lots: entry i of each list is the sum up to the i-th point where the marginal rate changes."""

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


def walk(links: list[Floats], enter: float, max_notional: float) -> Bound | None:
    """Walk all ladders at once without lots, up to where depth, notional, a balance or the average edge ends it.

    `max_notional` and profit are in the start asset. None where nothing can be gained.
    """
    if kernel.form is kernel.Form.PURE:
        return pure_walk(links, enter, max_notional)
    from arbkube.kernel import _compiled

    found = _compiled.walk(links, enter, max_notional, _SLACK)
    return None if found is None else Bound(*found)


def pure_walk(links: list[Floats], enter: float, max_notional: float) -> Bound | None:
    """The pure form of `walk`."""
    legs = range(len(links))
    levels = [0 for _ in legs]
    left = [link.depth[1] for link in links]
    done = [0.0 for _ in legs]
    profit = notional = 0.0
    bound = Bound([0.0], [[0.0] for _ in legs])
    while True:
        # Base units of each leg for one of the first.
        ratios = [1.0]
        for leg in legs[1:]:
            ratios.append(ratios[-1] * links[leg - 1].get_rate[levels[leg - 1]] / links[leg].pay_rate[levels[leg]])
        gain = ratios[-1] * links[-1].get_rate[levels[-1]] - links[0].pay_rate[levels[0]]
        value = links[0].values[levels[0]]
        step = (max_notional - notional) / value
        for leg, link in enumerate(links):
            step = min(step, left[leg] / ratios[leg])
            if link.locks is not None:
                step = min(step, (link.locks[levels[leg]] - done[leg]) / ratios[leg])
        if step <= 0.0:
            break
        profit += gain * step
        notional += value * step
        bound.profit.append(profit)
        for leg in legs:
            done[leg] += ratios[leg] * step
            left[leg] -= ratios[leg] * step
            bound.quantities[leg].append(done[leg])
        ended = [leg for leg in legs if left[leg] <= _SLACK * done[leg]]
        if not ended or profit < enter * notional:
            break
        for leg in ended:
            levels[leg] += 1
        if any(levels[leg] == len(links[leg].pay_at) for leg in ended):
            break
        for leg in ended:
            left[leg] = links[leg].depth[levels[leg] + 1] - links[leg].depth[levels[leg]]
    return bound if max(bound.profit) > 0.0 else None


def estimate(links: list[Floats], pivot: int, quantity: float) -> tuple[float, float] | None:
    """Profit and notional with lots and minima, the pivot's quantity given; None where they forbid it. Knows no balances."""
    if quantity < links[pivot].least * (1.0 - 1e-12) or quantity > links[pivot].depth[-1] * (1.0 + 1e-12):
        return None
    first = quantity
    spent = links[pivot].pay(quantity)
    for link in reversed(links[:pivot]):
        enough = link.least_for(spent)
        if enough is None:
            return None
        first, spent = enough, link.pay(enough)
    have = links[pivot].get(quantity)
    for link in links[pivot + 1 :]:
        most = link.most_for(have)
        if most is None:
            return None
        have = link.get(most)
    return have - spent, first * links[0].values[0]
