"""Where one Binance book stands in its chain of update ids, and the venue's own tops that it is held against.

For: what a session remembers of one book. May not: decide what follows from it. The pure form; the compiled one of the same
name and interface is in `arbkube.kernel`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

import msgspec

from arbkube.market.book import Book
from arbkube.market.verified import BookCounts
from arbkube.venues.session import Snapshot

MOST_TOPS = 256
"""Tops kept while no diff comes: the oldest give way."""

Levels = list[tuple[str, str]]


class Event(msgspec.Struct, gc=False):
    """A diff, a bookTicker, or any other event (whose fields are then not looked at)."""

    s: str = ""
    e: str = ""
    E: int = 0
    U: int = -1
    u: int = -1
    pu: int = -1
    b: Levels | str | int = 0
    B: str | int = ""
    a: Levels | str | int = 0
    A: str | int = ""


class Tops:
    """bookTickers, waiting for the diff that brings the book to where they were taken.

    `spot`: every change of the top has one, so that the latest not newer than a diff must agree. Otherwise they are conflated,
    and only one of the very id of a diff speaks for it.
    """

    __slots__ = ("latest", "spot", "waiting")

    def __init__(self, *, spot: bool) -> None:
        self.spot = spot
        self.waiting: deque[Event] = deque(maxlen=MOST_TOPS)
        self.latest: Event | None = None

    @classmethod
    def restored(
        cls, latest: tuple[int, str, str, str, str] | None, waiting: Iterable[tuple[int, str, str, str, str]], *, spot: bool
    ) -> Tops:
        """What the compiled form hands over, each as (id, bid, its size, ask, its size)."""
        tops = cls(spot=spot)
        tops.waiting.extend(Event(u=u, b=b, B=B, a=a, A=A) for u, b, B, a, A in waiting)
        if latest is not None:
            u, b, B, a, A = latest  # noqa: N806 - the venue's own words
            tops.latest = Event(u=u, b=b, B=B, a=a, A=A)
        return tops

    def __len__(self) -> int:
        return len(self.waiting)

    def clear(self) -> None:
        """Forget them all: the numbering has begun anew."""
        self.waiting.clear()
        self.latest = None

    def note(self, event: Event) -> None:
        """Keep a bookTicker."""
        self.waiting.append(event)

    def agree(self, last: int, book: Book, counts: BookCounts) -> bool:
        """Hold the top of `book`, which is at update `last`, against the venue's own, where one was said for this state."""
        waiting = self.waiting
        while waiting and waiting[0].u <= last:
            top = waiting.popleft()
            if self.latest is None or top.u >= self.latest.u:
                self.latest = top
        latest = self.latest
        if latest is None or not (self.spot or latest.u == last):
            return True
        counts.tops_checked += 1
        if book.bids(1) == [(latest.b, latest.B)] and book.asks(1) == [(latest.a, latest.A)]:
            return True
        counts.tops_mismatched += 1
        return False


class Chain(Protocol):
    """Where one book stands."""

    last: int
    """`u` of the last update applied, or lastUpdateId of the snapshot; -1 without a base to build on."""
    started: bool
    """Whether a diff has spanned the snapshot."""
    waiting: list[Event] | None
    """Diffs that cannot be applied yet; None while the chain is whole."""
    renewal: Snapshot | None
    """A snapshot ahead of a whole chain, to be built on once a diff spans it."""
    misses: int
    """Snapshots in a row that `waiting` did not connect to."""
    snapshot_depth: int
    """Levels of the thinner side of the last snapshot: a new one of a thin book would hold no more."""

    @property
    def tops(self) -> TopsLike:
        """The venue's own tops."""

    def reset(self) -> None:
        """A connection begins: nothing is known."""


class TopsLike(Protocol):
    """What a session asks of tops, in either form."""

    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def note(self, event: Event) -> None: ...
    def agree(self, last: int, book: Book, counts: BookCounts) -> bool: ...


class PureChain:
    """The pure form of a `Chain`."""

    __slots__ = ("last", "misses", "renewal", "snapshot_depth", "started", "tops", "waiting")

    def __init__(self, *, spot: bool) -> None:
        self.tops = Tops(spot=spot)
        self.reset()

    def reset(self) -> None:
        self.last = -1
        self.started = False
        self.waiting: list[Event] | None = []
        self.renewal: Snapshot | None = None
        self.misses = 0
        self.snapshot_depth = 0
        self.tops.clear()
