"""What a feed tells its readers of the instruments it carries.

For: the trading rules and fees that detectors and executors work with, from the venue's own endpoint by way of the feed.
May not: do I/O.
"""

from __future__ import annotations

import msgspec

from arbkube.market.instruments import Market


class MarketsAnnouncement(msgspec.Struct, frozen=True, kw_only=True):
    """All markets of one feed. Said when the feed begins and whenever the venue changes a rule."""

    feed: str
    venue: str
    at_ns: int
    markets: tuple[Market, ...]


def encode_markets(announcement: MarketsAnnouncement) -> bytes:
    """The announcement's wire form."""
    return msgspec.msgpack.encode(announcement)


def decode_markets(data: bytes) -> MarketsAnnouncement:
    """An announcement from its wire form. Raises msgspec.DecodeError or msgspec.ValidationError."""
    return msgspec.msgpack.decode(data, type=MarketsAnnouncement)
