"""The scalar types of the kinds: written as strings, exact inside.

For: durations (`500ms`), edges (`5bps`), and the spellings of names, assets and instruments, as values that cannot be mixed up.
May not: do I/O. The patterns are written so that RE2 (the CRD's schema) and Python read them alike; Python callers must use
`fullmatch`, because its `$` also matches before a final newline.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import total_ordering
from typing import Annotated

import msgspec

_UNIT_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
DURATION_PATTERN = r"^(0|[1-9][0-9]{0,4})(ms|s|m|h|d)$"
BPS_PATTERN = r"^-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,6})?bps$"
DECIMAL_PATTERN = r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$"
DURATION_LENGTH = 7
BPS_LENGTH = 17
DECIMAL_LENGTH = 37

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$"
"""A resource's name: a DNS label short enough that a role's prefix still leaves one (`executor-NAME`)."""
NAME_LENGTH = 50
NAMESPACE_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
ASSET_PATTERN = r"^[A-Z0-9]{1,20}$"
SYMBOL_PATTERN = r"^[A-Z0-9]{1,20}-[A-Z0-9]{1,20}(-PERP)?$"
VENUE_PATTERN = r"^([a-z0-9]+|ccxt:[a-z0-9_]+)$"
VENUE_OR_ASSET_PATTERN = r"^([a-z0-9]+|ccxt:[a-z0-9_]+|[A-Z0-9]{1,20})$"
WEBSOCKET_PATTERN = r"^wss?://[^\s@/?#]+(/[^\s@?#]*)?$"
HTTP_PATTERN = r"^https?://[^\s@/?#]+(/[^\s@?#]*)?$"
QUANTITY_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,6})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"

SPELLINGS = {
    NAME_PATTERN: f"a name of at most {NAME_LENGTH} small letters, digits and hyphens",
    NAMESPACE_PATTERN: "a namespace of at most 63 small letters, digits and hyphens",
    ASSET_PATTERN: "an asset, e.g. USDT",
    SYMBOL_PATTERN: "an instrument, e.g. BTC-USDT or BTC-USDT-PERP",
    VENUE_PATTERN: "a venue, e.g. binance or ccxt:gate",
    VENUE_OR_ASSET_PATTERN: "a venue or an asset, e.g. binance or BTC",
    WEBSOCKET_PATTERN: "a ws:// or wss:// URL without user, password and query",
    HTTP_PATTERN: "an http:// or https:// URL without user, password and query",
    QUANTITY_PATTERN: "an amount as Kubernetes writes it, e.g. 250m or 128Mi",
    DECIMAL_PATTERN: 'a decimal as text, e.g. "1000"',
    DURATION_PATTERN: "a duration, e.g. 500ms",
    BPS_PATTERN: "a rate, e.g. 5bps",
}
"""What a text of each pattern is, for messages and pages. A URL carries no secret, so it has no place for one."""

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=NAME_LENGTH)]
Asset = Annotated[str, msgspec.Meta(pattern=ASSET_PATTERN, max_length=20)]
Symbol = Annotated[str, msgspec.Meta(pattern=SYMBOL_PATTERN, max_length=46)]
Venue = Annotated[str, msgspec.Meta(pattern=VENUE_PATTERN, max_length=45)]
VenueOrAsset = Annotated[str, msgspec.Meta(pattern=VENUE_OR_ASSET_PATTERN, max_length=45)]
WebSocketURL = Annotated[str, msgspec.Meta(pattern=WEBSOCKET_PATTERN, max_length=300)]
HttpURL = Annotated[str, msgspec.Meta(pattern=HTTP_PATTERN, max_length=300)]
Quantity = Annotated[str, msgspec.Meta(pattern=QUANTITY_PATTERN, max_length=22)]


@total_ordering
class Duration:
    """A length of time, written `500ms`, `2s`, `10m`, `24h` or `7d`. `ns` is integer nanoseconds."""

    __slots__ = ("ns", "text")

    def __init__(self, text: str) -> None:
        match = re.fullmatch(DURATION_PATTERN, text)
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
        if re.fullmatch(BPS_PATTERN, text) is None:
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
