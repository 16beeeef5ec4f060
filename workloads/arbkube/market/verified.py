"""A book together with what is proven of it.

For: one place that says whether a book may be traded on, how deep, and what has happened to it. A book without proof is
withheld: it gives frames without levels. May not: parse a venue's protocol, do I/O or read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from arbkube import kernel
from arbkube.market.book import Book, Level
from arbkube.market.frames import BookFrame


class WithheldReason(StrEnum):
    """Why there is no verified book."""

    NO_SNAPSHOT = "NoSnapshot"
    """Subscribed, and the venue has not sent the state to start from."""
    GAP = "Gap"
    """The venue's numbering shows that an update was missed."""
    CHECKSUM = "ChecksumMismatch"
    """The venue's checksum is not that of the book."""
    CROSSED = "CrossedBook"
    """The best bid is at or above the best ask."""
    TOP_MISMATCH = "TopMismatch"
    """The venue's own best price stream contradicts the book at the same update."""
    MALFORMED = "MalformedFrame"
    """A frame could not be read, so what it would have changed is unknown."""
    NO_PROOF = "NoProof"
    """The venue sent nothing that proves the book, or not the proof that the feed requires."""
    DISCONNECTED = "Disconnected"
    """The connection that carried it is gone."""
    NOT_TRADABLE = "NotTradable"
    """The venue says that the instrument is halted or delisted."""


class BookCounts(msgspec.Struct):
    """What has happened to a book since the feed began."""

    messages: int = 0
    updates: int = 0
    """Snapshots and diffs that were applied."""
    duplicates: int = 0
    """Updates older than the book, dropped."""
    gaps: int = 0
    resyncs: int = 0
    """Times the book became verified again after it had been."""
    checksums_matched: int = 0
    checksums_mismatched: int = 0
    tops_checked: int = 0
    tops_mismatched: int = 0
    malformed: int = 0
    crossed: int = 0


def total_counts(counts: Iterable[BookCounts]) -> BookCounts:
    """The sum over books."""
    total = BookCounts()
    for count in counts:
        for field in BookCounts.__struct_fields__:
            setattr(total, field, getattr(total, field) + getattr(count, field))
    return total


class VerifiedBook:
    """One instrument's book on one connection.

    `covered` bounds what the proof speaks for: `covered_depth` levels a side (None: all of them), and, where a snapshot was cut
    off at some depth, only prices from `bid_floor` up to `ask_cap`, since nothing is known beyond.
    """

    __slots__ = (
        "ask_cap",
        "bid_floor",
        "book",
        "counts",
        "covered_depth",
        "recv_ns",
        "seq",
        "symbol",
        "tradable",
        "venue_ns",
        "was_verified",
        "withheld",
    )

    def __init__(self, symbol: str, *, covered_depth: int | None) -> None:
        self.symbol = symbol
        self.book: Book = kernel.new_book()
        self.covered_depth = covered_depth
        self.bid_floor = 0.0
        self.ask_cap = float("inf")
        self.withheld: WithheldReason | None = WithheldReason.NO_SNAPSHOT
        self.was_verified = False
        self.tradable = True
        """What the venue's instrument endpoint last said; a halted instrument's book is shown to nobody."""
        self.seq = 0
        self.venue_ns = 0
        self.recv_ns = 0
        self.counts: BookCounts = kernel.new_counts() or BookCounts()

    def forget(self) -> None:
        """Empty the book and what bounds it, so that nothing of a former connection is left."""
        self.book.clear()
        self.bid_floor = 0.0
        self.ask_cap = float("inf")

    def withhold(self, reason: WithheldReason) -> bool:
        """Make the book void. Returns whether that changed what readers know of it."""
        changed = self.withheld is not reason
        self.withheld = reason
        if changed:
            self.seq += 1
        return changed

    def prove(self, venue_ns: int, recv_ns: int) -> None:
        """Say that the book as it stands is proven by the event just applied."""
        if self.withheld is not None:
            if self.was_verified:
                self.counts.resyncs += 1
            self.was_verified = True
            self.withheld = None
        self.seq += 1
        self.venue_ns = venue_ns
        self.recv_ns = recv_ns

    def top(self) -> tuple[Level | None, Level | None]:
        """The best bid and ask, whether verified or not."""
        return self.book.top()

    def levels(self, depth: int) -> tuple[tuple[Level, ...], tuple[Level, ...], bool]:
        """The best levels that the proof covers, at most `depth` a side, and whether the book goes on beyond them."""
        if self.covered_depth is not None and self.covered_depth < depth:
            depth = self.covered_depth
        bids, asks = self.book.bids(depth), self.book.asks(depth)
        while bids and float(bids[-1][0]) < self.bid_floor:
            bids.pop()
        while asks and float(asks[-1][0]) > self.ask_cap:
            asks.pop()
        bid_count, ask_count = self.book.sizes()
        cut = self.bid_floor > 0.0 or self.ask_cap != float("inf")
        if self.covered_depth is not None:
            # A venue that keeps so many levels up to date says nothing of the next one.
            cut = cut or max(bid_count, ask_count) >= self.covered_depth
        return tuple(bids), tuple(asks), cut or bid_count > len(bids) or ask_count > len(asks)

    def frame(self, *, feed: str, epoch: int, depth: int) -> BookFrame:
        """What readers may know of the book now."""
        bids: tuple[Level, ...] = ()
        asks: tuple[Level, ...] = ()
        truncated = True
        withheld = self.withheld if self.tradable else WithheldReason.NOT_TRADABLE
        if withheld is None:
            bids, asks, truncated = self.levels(depth)
        return BookFrame(
            feed=feed,
            symbol=self.symbol,
            epoch=epoch,
            seq=self.seq,
            bids=bids,
            asks=asks,
            truncated=truncated,
            venue_ns=self.venue_ns,
            recv_ns=self.recv_ns,
            withheld="" if withheld is None else withheld.value,
        )
