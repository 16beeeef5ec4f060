"""The scalar types of the kinds: written as strings, exact inside.

For: durations (`500ms`) and edges (`5bps`) as values that cannot be mixed up. May not: do I/O.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import total_ordering

_UNIT_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
DURATION_PATTERN = r"^(0|[1-9][0-9]{0,8})(ms|s|m|h|d)$"
BPS_PATTERN = r"^-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,6})?bps$"
DECIMAL_PATTERN = r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$"


@total_ordering
class Duration:
    """A length of time, written `500ms`, `2s`, `10m`, `24h` or `7d`. `ns` is integer nanoseconds."""

    __slots__ = ("ns", "text")

    def __init__(self, text: str) -> None:
        match = re.match(DURATION_PATTERN, text)
        if match is None:
            raise ValueError("not a duration: write a whole number and ms, s, m, h or d, e.g. 500ms")
        self.text = text
        self.ns = int(match[1]) * _UNIT_NS[match[2]]

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Duration({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.ns == other.ns

    def __lt__(self, other: Duration) -> bool:
        return self.ns < other.ns

    def __hash__(self) -> int:
        return hash(self.ns)


@total_ordering
class Bps:
    """A fraction in basis points, written `5bps` or `0.25bps`. `fraction` is the exact value: 5bps is 0.0005."""

    __slots__ = ("fraction", "text")

    def __init__(self, text: str) -> None:
        if re.match(BPS_PATTERN, text) is None:
            raise ValueError("not an edge or rate: write a number and bps, e.g. 5bps")
        self.text = text
        self.fraction = Decimal(text[:-3]) / 10000

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Bps({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bps) and self.fraction == other.fraction

    def __lt__(self, other: Bps) -> bool:
        return self.fraction < other.fraction

    def __hash__(self) -> int:
        return hash(self.fraction)
