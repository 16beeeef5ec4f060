"""One set of a feed's connections, from opening to closing: what is replaced as a whole when the configuration asks for it.

For: having two of them beside each other for a moment. May not: publish anything by itself: nothing of a supply that is not in
use reaches its callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from msgspec.structs import replace

from arbkube.market.instruments import Fees, Instrument
from arbkube.market.verified import BookCounts, VerifiedBook
from arbkube.pods.shell.runtime import end
from arbkube.resources.kinds import VenueFeedSpec
from arbkube.venues.rest import VenueHttpError
from arbkube.venues.session import Session
from arbkube.venues.sources import FeedSource, fees_of, open_source
from arbkube.venues.transport import OnChange


class Supply:
    """`spec` is what it was opened for, `instruments` what it carries, `in_use` whether its changes are passed on."""

    def __init__(self, name: str, spec: VenueFeedSpec, *, simulator: str, rng: Random, on_change: OnChange) -> None:
        """Raises ValueError, and ImportError with the remedy when ccxt is wanted and not installed."""
        self.spec = spec
        self.instruments: Sequence[Instrument] = ()
        self.in_use = False
        self._on_change = on_change
        # Fees are not the connections': they change without them.
        self._source: FeedSource = open_source(
            name, replace(spec, fees=None), simulator=simulator, rng=rng, on_change=self._changed
        )
        self._running: asyncio.Task[None] | None = None

    def serves(self, spec: VenueFeedSpec) -> bool:
        """Whether these connections bring what `spec` asks for. Fewer levels can always be published, more may never come."""
        own = self.spec
        return (
            set(own.instruments) == set(spec.instruments)
            and set(own.channels) == set(spec.channels)
            and set(own.integrity.require) == set(spec.integrity.require)
            and own.depth >= spec.depth
        )

    async def listed(self, symbols: Sequence[str]) -> list[Instrument]:
        """The venue's rules of `symbols`, asked for anew. Raises one of UNAVAILABLE."""
        return await self._source.instruments(symbols)

    def fees(self, spec: VenueFeedSpec) -> Fees:
        """What `spec` states, or else the source. Call after `listed`. Raises ValueError where nobody states any."""
        return fees_of(spec) or self._source.fees(spec.instruments)

    def begin(self, instruments: Sequence[Instrument]) -> None:
        """Connect."""
        self.instruments = instruments
        self._running = asyncio.create_task(self._source.run(instruments))

    async def wait(self) -> None:
        """Return when it was closed. Raises what ended it otherwise."""
        if self._running is not None:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.result()

    async def close(self) -> None:
        """Let go of every connection; nothing more is passed on."""
        self.in_use = False
        if self._running is not None:
            await end([self._running])
        await self._source.close()

    @property
    def sessions(self) -> list[Session]:
        return self._source.sessions

    @property
    def books(self) -> list[VerifiedBook]:
        return [book for session in self.sessions for book in session.books.values()]

    @property
    def counts(self) -> list[BookCounts]:
        return [book.counts for book in self.books]

    @property
    def reconnects(self) -> int:
        return self._source.reconnects

    def unverified(self) -> set[str]:
        """Instruments without a verified book now."""
        return {instrument.symbol for instrument in self.instruments} - {
            book.symbol for book in self.books if book.withheld is None
        }

    def _changed(self, session: Session, changed: Sequence[VerifiedBook]) -> None:
        if self.in_use:
            self._on_change(session, changed)


def not_listed(error: Exception) -> bool:
    """Whether a venue's answer says that it does not know an instrument, rather than that it cannot answer now."""
    return isinstance(error, ValueError) or (isinstance(error, VenueHttpError) and error.status in (400, 404))
