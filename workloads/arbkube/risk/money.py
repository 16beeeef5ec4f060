"""Exact sums of money.

For: running a function in the one context where sums and products of prices, quantities and fees are exact; rounding a cost.
May not: do I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from arbkube.detection.ladder import EXACT, FEE_UNIT

P = ParamSpec("P")
R = TypeVar("R")


def exactly(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` in the exact context, whatever the caller's is."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with localcontext(EXACT):
            return function(*args, **kwargs)

    return inner


def cost_up(amount: Decimal) -> Decimal:
    """A cost, rounded up to what venues charge fees in."""
    return amount.quantize(FEE_UNIT, ROUND_CEILING)
