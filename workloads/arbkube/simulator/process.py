"""The prices that all simulated venues follow, and how each venue differs from them.

For: `CommonPrices`, one geometric Brownian path an asset in USDT, from which every pair is a quotient, so that ETH-BTC always
agrees with ETH-USDT and BTC-USDT; and `Deviation`, a venue's own mean-reverting (Ornstein-Uhlenbeck) distance from it, in its
exact discretisation x' = x·e^(−dt/τ) + σ·√(1 − e^(−2dt/τ))·N(0, 1). No gap between venues is planted: edges come from lag and
noise alone. May not: do I/O or read a clock; time is nanoseconds since the simulation began.
"""

from __future__ import annotations

from collections import deque
from math import exp, sqrt
from random import Random

GRID_NS = 10 * 10**6
"""The common price changes at this interval."""
RELAXATION_NS = 2 * 10**9
"""τ: a venue's deviation loses 63 % of itself in this time."""
_STEP_SECONDS = GRID_NS / 10**9
_SLACK_STEPS = 200
"""Two seconds of past beyond the longest lag, for venues that are stepped a little apart."""

_START: dict[str, tuple[float, float]] = {
    # asset: (USDT for one at the beginning, volatility relative to the process's)
    "USDT": (1.0, 0.0),
    "USDC": (1.0, 0.01),
    "USD": (1.0, 0.01),
    "EUR": (1.1, 0.1),
    "BTC": (60_000.0, 1.0),
    "ETH": (2_500.0, 1.0),
    "SOL": (150.0, 1.2),
    "BNB": (550.0, 1.0),
    "XRP": (0.6, 1.2),
    "ADA": (0.4, 1.2),
    "DOGE": (0.12, 1.3),
    "LTC": (70.0, 1.0),
}


def starting_price(asset: str) -> float:
    """USDT for one `asset` when the simulation begins; arbitrary but fixed for an asset that is not in the table."""
    known = _START.get(asset)
    return known[0] if known else round(Random(asset).uniform(1.0, 100.0), 2)


class CommonPrices:
    """Every asset's price in USDT over time. `volatility` is the standard deviation of the relative change over a second."""

    def __init__(self, seed: int, *, volatility: float, longest_lag_ns: int) -> None:
        self._seed = seed
        self._step = volatility * sqrt(_STEP_SECONDS)
        self._kept = longest_lag_ns // GRID_NS + _SLACK_STEPS
        self._paths: dict[str, _Path] = {}

    def price(self, base: str, quote: str, at_ns: int) -> float:
        """Units of `quote` for one `base` at `at_ns`; the beginning's price before it."""
        index = max(0, at_ns // GRID_NS)
        return self._usdt(base, index) / self._usdt(quote, index)

    def _usdt(self, asset: str, index: int) -> float:
        path = self._paths.get(asset)
        if path is None:
            scale = self._step * _START.get(asset, (0.0, 1.0))[1]
            path = self._paths[asset] = _Path(Random(f"{self._seed}/price/{asset}"), starting_price(asset), scale, self._kept)
        return path.at(index)


class _Path:
    """One asset's path on the grid: computed forwards, the last `kept` values remembered."""

    def __init__(self, rng: Random, start: float, scale: float, kept: int) -> None:
        self._rng = rng
        self._scale = scale
        self._last = 0
        self._values: deque[float] = deque([start], maxlen=kept)

    def at(self, index: int) -> float:
        values, scale = self._values, self._scale
        while self._last < index:
            values.append(values[-1] * exp(self._rng.gauss(-scale * scale / 2, scale)))
            self._last += 1
        return values[max(0, len(values) - 1 - (self._last - index))]


class Deviation:
    """A venue's own relative distance from the common price, with standard deviation `noise`, advanced `dt_ns` a step."""

    def __init__(self, rng: Random, *, noise: float, dt_ns: int) -> None:
        self._rng = rng
        self._keep = exp(-dt_ns / RELAXATION_NS)
        self._kick = noise * sqrt(1.0 - self._keep**2)
        self._value = rng.gauss(0.0, noise) if noise > 0.0 else 0.0

    def step(self) -> float:
        if self._kick > 0.0:
            self._value = self._value * self._keep + self._rng.gauss(0.0, self._kick)
        return self._value
