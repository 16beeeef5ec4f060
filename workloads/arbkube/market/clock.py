"""Clocks that disagree: how late an event arrived, without knowing how far apart the clocks are.

For: transit time against its own rolling minimum. The difference between our receive time and the venue's event time contains
the unknown offset of the two clocks; the least of the last minute contains it too, so that what is above the least is real
delay. May not: read a clock.
"""

from __future__ import annotations

_BUCKET_NS = 10 * 10**9
_BUCKETS = 6


class TransitGauge:
    """Excess transit of one connection over a rolling minute, in nanoseconds."""

    __slots__ = ("_bucket", "_minima")

    def __init__(self) -> None:
        self._bucket = -1
        self._minima: list[int] = []

    def excess(self, venue_ns: int, recv_ns: int) -> int:
        """How much longer the event took than the quickest of the last minute; 0 where the venue gives no time."""
        if venue_ns == 0:
            return 0
        transit = recv_ns - venue_ns
        bucket = recv_ns // _BUCKET_NS
        minima = self._minima
        if bucket > self._bucket:
            # Quiet buckets age the older ones out as well.
            steps = min(_BUCKETS, bucket - self._bucket) if minima else 1
            minima.extend([transit] * steps)
            del minima[:-_BUCKETS]
            self._bucket = bucket
        elif transit < minima[-1]:
            minima[-1] = transit
        return transit - min(minima)
