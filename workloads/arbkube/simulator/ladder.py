"""One instrument's order book, moving level by level as its price moves.

For: `Ladder`: `LEVELS` prices a side, dense near the top and thin far out, sizes log-normal and growing with distance. A step
follows the price (levels traded through or joined) and adds, cancels and resizes a few others. Never crossed, unless a fault
asks for it. Prices are whole ticks and sizes whole lots. May not: do I/O or read a clock.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from math import ceil, floor
from random import Random

LEVELS = 120
_SPACING = 0.4e-4
"""Typical distance of neighbouring levels, relative to the price, averaged over the book."""
_TYPICAL_NOTIONAL = 1500.0
"""Median worth of a level near the top, in USDT."""
_DEEP_FACTOR = 4.0
"""How much larger the furthest levels are."""
_EVENTS = (1, 4)
"""Fewest and most random events a side and step."""

Changes = dict[int, int]
"""Ticks to lots; 0 lots means that the level is gone."""


class Side:
    """One side's levels. `sign` is +1 for bids and -1 for asks: keys are sign × ticks, ascending, the best last."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.lots: dict[int, int] = {}
        self.keys: list[int] = []

    def set(self, key: int, lots: int, changes: Changes) -> None:
        if lots:
            if key not in self.lots:
                insort(self.keys, key)
            self.lots[key] = lots
        elif self.lots.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]
        changes[key * self.sign] = lots

    def top(self, depth: int) -> list[tuple[int, int]]:
        """The best `depth` levels as (ticks, lots), best first."""
        return [(key * self.sign, self.lots[key]) for key in self.keys[: -depth - 1 : -1]]


class Ladder:
    """Both sides of one instrument. `tick` in quote units; `lot_value` is the worth of a lot in USDT."""

    def __init__(self, rng: Random, *, tick: float, lot_value: float, mid: float, half_spread: float) -> None:
        self._rng = rng
        self._tick = tick
        self._median_lots = max(1.0, _TYPICAL_NOTIONAL / lot_value)
        self._reach = max(2 * LEVELS, round(mid * _SPACING * LEVELS / tick))
        self.bids = Side(+1)
        self.asks = Side(-1)
        self.step(mid, half_spread)

    def step(self, mid: float, half_spread: float) -> tuple[Changes, Changes]:
        """Move the book to `mid` with relative `half_spread`; returns the levels of each side that changed."""
        bid = max(1, floor(mid * (1.0 - half_spread) / self._tick))
        ask = max(bid + 1, ceil(mid * (1.0 + half_spread) / self._tick))
        return self._follow(self.bids, bid), self._follow(self.asks, -ask)

    def cross(self) -> tuple[Changes, Changes]:
        """Put a bid above the best ask, as a broken venue would; the next step takes it away."""
        changes: Changes = {}
        self.bids.set(-self.asks.keys[-1] + 1, self._size(0), changes)
        return changes, {}

    def refine(self, factor: int) -> None:
        """Let the tick be `factor` times smaller. Prices stay what they are."""
        self._tick /= factor
        self._reach *= factor
        for side in (self.bids, self.asks):
            side.keys = [key * factor for key in side.keys]
            side.lots = {key * factor: lots for key, lots in side.lots.items()}

    def _follow(self, side: Side, best: int) -> Changes:
        rng, changes = self._rng, Changes()
        while side.keys and side.keys[-1] > best:
            side.set(side.keys[-1], 0, changes)
        if not side.keys or side.keys[-1] < best:
            side.set(best, self._size(0), changes)
        else:
            # Somebody trades against the best level, or joins it.
            side.set(best, max(1, min(self._size(0), side.lots[best] * rng.randint(1, 3))), changes)
        for _ in range(rng.randint(*_EVENTS)):
            self._event(side, best, changes)
        while len(side.keys) > LEVELS:
            side.set(side.keys[0], 0, changes)
        while len(side.keys) < LEVELS:
            self._add(side, best, changes)
        return changes

    def _event(self, side: Side, best: int, changes: Changes) -> None:
        choice = self._rng.random()
        if choice < 0.4:
            self._add(side, best, changes)
            return
        # Squared: most of what happens, happens near the top.
        key = side.keys[-1 - int(self._rng.random() ** 2 * len(side.keys))]
        if choice < 0.6 and key != best:
            side.set(key, 0, changes)
        else:
            side.set(key, self._size(best - key), changes)

    def _add(self, side: Side, best: int, changes: Changes) -> None:
        distance = 1 + int(self._rng.random() ** 2 * self._reach)
        key = best - distance
        if key * side.sign > 0:
            side.set(key, self._size(distance), changes)

    def _size(self, distance: int) -> int:
        grown = 1.0 + (_DEEP_FACTOR - 1.0) * min(1.0, distance / self._reach)
        return max(1, round(self._rng.lognormvariate(0.0, 1.0) * self._median_lots * grown))
