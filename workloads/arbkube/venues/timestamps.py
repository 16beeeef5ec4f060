"""Venue times in RFC 3339 to integer nanoseconds.

For: venues that write their time as text. May not: read a clock. Fractions finer than a microsecond are dropped: that is what a
`datetime` holds, and transit is judged in milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def epoch_ns(moment: datetime | None) -> int:
    """Nanoseconds UTC since 1970, or 0 where the venue gave no time. Raises TypeError for a time without zone."""
    return 0 if moment is None else (moment - _EPOCH) // _MICROSECOND * 1000
