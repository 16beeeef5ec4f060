"""Which markets a strategy's pods know: what the feeds have announced so far.

For: waiting for the announcements of a strategy's feeds, and noticing when a venue changes a rule. May not: do I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

from arbkube.market.announcement import MarketsAnnouncement
from arbkube.market.instruments import Market


class KnownMarkets:
    """The announcements of `feeds`."""

    def __init__(self, feeds: Sequence[str]) -> None:
        self._feeds = tuple(feeds)
        self._announced: dict[str, MarketsAnnouncement] = {}

    def heard(self, announcement: MarketsAnnouncement) -> bool:
        """Take an announcement; whether it changes what is known."""
        before = self._announced.get(announcement.feed)
        self._announced[announcement.feed] = announcement
        return before is None or before.markets != announcement.markets

    @property
    def missing(self) -> list[str]:
        """Feeds that have announced nothing yet."""
        return [feed for feed in self._feeds if feed not in self._announced]

    @property
    def all(self) -> tuple[Market, ...]:
        """Every market known, in the order of the feeds."""
        return tuple(market for feed in self._feeds if feed in self._announced for market in self._announced[feed].markets)
