"""From sessions to the frames that leave a feed.

For: the same batches and pulses whether a socket, a recording or the simulator drives the sessions. May not: do I/O or read a
clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbkube.market.clock import TransitGauge
from arbkube.market.frames import FrameBatch
from arbkube.market.verified import VerifiedBook
from arbkube.venues.session import SECOND, Session

PULSE_NS = SECOND // 4
KEYFRAME_NS = SECOND
"""How often every book is said again, so that a reader that comes late is complete within this time."""


class Framer:
    """Builds the batches of one feed. `epoch` distinguishes this numbering from that of an earlier process."""

    def __init__(self, *, feed: str, epoch: int, depth: int) -> None:
        self.feed = feed
        self.epoch = epoch
        self.depth = depth
        self._gauges: dict[Session, TransitGauge] = {}
        self._excess: dict[str, int] = {}
        self._keyframe_ns = 0

    def renew(self, sessions: Sequence[Session], *, epoch: int, depth: int) -> None:
        """Number anew, for these sessions only: the next pulse says every book, in one batch, so that no reader sees a gap."""
        self.epoch = epoch
        self.depth = depth
        self._gauges = {session: gauge for session, gauge in self._gauges.items() if session in sessions}
        if not self._gauges:
            self._excess.clear()
        self._keyframe_ns = 0

    def batch(
        self, session: Session, changed: Sequence[VerifiedBook], *, now_ns: int, clock_offset_ns: int | None
    ) -> FrameBatch:
        """What `changed` books of one session look like now."""
        gauge = self._gauges.setdefault(session, TransitGauge())
        alive: dict[str, int] = {}
        excess: dict[str, int] = {}
        for book in changed:
            symbol = book.symbol
            alive[symbol] = session.alive_ns
            excess[symbol] = self._excess[symbol] = gauge.excess(book.venue_ns, book.recv_ns)
        return FrameBatch(
            feed=self.feed,
            epoch=self.epoch,
            sent_ns=now_ns,
            clock_offset_ns=clock_offset_ns,
            alive_ns=alive,
            excess_transit_ns=excess,
            frames=tuple([book.frame(feed=self.feed, epoch=self.epoch, depth=self.depth) for book in changed]),
        )

    def pulse(self, sessions: Sequence[Session], *, now_ns: int, clock_offset_ns: int | None) -> FrameBatch:
        """That the feed lives, for every book; once a second with every book's frame."""
        frames = []
        if now_ns - self._keyframe_ns >= KEYFRAME_NS:
            self._keyframe_ns = now_ns
            frames = [
                book.frame(feed=self.feed, epoch=self.epoch, depth=self.depth)
                for session in sessions
                for book in session.books.values()
            ]
        return FrameBatch(
            feed=self.feed,
            epoch=self.epoch,
            sent_ns=now_ns,
            clock_offset_ns=clock_offset_ns,
            alive_ns={symbol: session.alive_ns for session in sessions for symbol in session.books},
            excess_transit_ns=dict(self._excess),
            frames=tuple(frames),
        )
