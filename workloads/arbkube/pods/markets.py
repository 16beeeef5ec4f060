"""What a strategy's pods have heard of its feeds: their markets, and when they last spoke.

For: waiting for the announcements of a strategy's feeds, noticing when a venue changes a rule, and the age of the data it works
on. May not: do I/O.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from arbkube.market.announcement import MarketsAnnouncement
from arbkube.market.frames import FrameBatch
from arbkube.market.instruments import Market


def topics_of(feeds: Iterable[str], *more: str) -> list[str]:
    """What the bus says of `feeds`, rules before the books that they are for, and `more`."""
    return [*(f"{kind}:{feed}" for feed in feeds for kind in ("markets", "frames")), *more]


class KnownMarkets:
    """The announcements of the feeds that it follows: none before `follow`."""

    def __init__(self) -> None:
        self._feeds: tuple[str, ...] = ()
        self._announced: dict[str, MarketsAnnouncement] = {}

    def follow(self, feeds: Iterable[str]) -> None:
        """Wait for these feeds, and forget every other."""
        self._feeds = tuple(feeds)
        self._announced = {feed: said for feed, said in self._announced.items() if feed in self._feeds}

    def heard(self, announcement: MarketsAnnouncement) -> bool:
        """Take an announcement; whether it changes what is known. One of a feed that is not followed is passed over."""
        if announcement.feed not in self._feeds:
            return False
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


class LastHeard:
    """When each feed last sent anything, on the monotonic clock."""

    def __init__(self) -> None:
        self._at_ns: dict[str, int] = {}

    def follow(self, feeds: Iterable[str]) -> None:
        """Watch these feeds, and forget every other."""
        now_ns = time.monotonic_ns()
        self._at_ns = {feed: self._at_ns.get(feed, now_ns) for feed in feeds}

    def note(self, batches: Iterable[FrameBatch]) -> None:
        """They came now."""
        now_ns = time.monotonic_ns()
        self._at_ns.update((batch.feed, now_ns) for batch in batches if batch.feed in self._at_ns)

    def age_ns(self) -> int | None:
        """How long ago the feed that has been silent longest spoke; None where there is no feed."""
        return time.monotonic_ns() - min(self._at_ns.values()) if self._at_ns else None
