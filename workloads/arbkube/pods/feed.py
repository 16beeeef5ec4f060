"""The feed pod: one VenueFeed's connections, verified books out to the bus.

For: fetching the venue's trading rules, keeping its connections, publishing frames, pulses and announcements.
May not: decide anything about trading.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from random import Random

import msgspec
import structlog

from arbkube.market.announcement import MarketsAnnouncement, encode_markets
from arbkube.market.frames import encode
from arbkube.market.instruments import Fees, Instrument, Market
from arbkube.market.verified import VerifiedBook, total_counts
from arbkube.plan.documents import FeedDocument
from arbkube.pods.metrics import FeedMetrics
from arbkube.pods.runtime import Pod, PodArguments, read_document
from arbkube.venues.framing import PULSE_NS, Framer
from arbkube.venues.session import SECOND, Backoff, Session
from arbkube.venues.sources import UNAVAILABLE, FeedSource, open_source

log = structlog.get_logger(__name__)

_RULES_INTERVAL_S = 60.0


async def main(arguments: PodArguments) -> None:
    """Run the feed described by the document until told to stop."""
    feed = FeedPod(arguments, read_document(arguments, FeedDocument))
    await feed.pod.run(feed.work)


class FeedPod:
    """The feed's state; `work` is its life."""

    def __init__(self, arguments: PodArguments, document: FeedDocument) -> None:
        spec = document.spec
        self.pod = Pod(arguments, detail=self._detail, starting="waiting for the venue's instruments")
        self._name = document.name
        self._spec = spec
        self._framer = Framer(feed=document.name, epoch=time.time_ns(), depth=spec.depth)
        self._rng = Random()
        self._source: FeedSource | None = None
        self._fees: Fees | None = None
        self._last_words: dict[str, object] | None = None
        self._metrics = FeedMetrics(self.pod.registry, document.name, self._sessions, self._age_s)

    def _sessions(self) -> Sequence[Session]:
        return self._source.sessions if self._source is not None else ()

    def _age_s(self) -> float:
        """Seconds since the least lively connection last proved to be alive; a day before there is one."""
        sessions = self._sessions()
        if not sessions:
            return 86400.0
        return max(0.0, (time.time_ns() - min(session.alive_ns for session in sessions)) / SECOND)

    async def work(self) -> None:
        source = open_source(
            self._name, self._spec, simulator=self.pod.arguments.simulator, rng=self._rng, on_change=self._publish
        )
        try:
            instruments = await self._instruments(source)
            if instruments is None:
                return
            self._source = source
            self._announce(source, instruments)
            await self.pod.until(
                self._stopped(), source.run(instruments), self._pulse(), self._watch_rules(source, instruments)
            )
        finally:
            await source.close()

    async def _stopped(self) -> None:
        await self.pod.stopping.wait()
        # What the books were, not that they are void once we hang up.
        self._last_words = self._detail()

    async def _instruments(self, source: FeedSource) -> list[Instrument] | None:
        """The venue's rules, asked for until they come; None when told to stop first."""
        backoff = Backoff(self._rng, base_ns=SECOND // 2, cap_ns=30 * SECOND, floor_ns=SECOND // 10)
        while not self.pod.stopping.is_set():
            try:
                found = await source.instruments(self._spec.instruments)
                source.fees(self._spec.instruments)
            except UNAVAILABLE as error:
                reason = f"{type(error).__name__}: {error}"
                self.pod.reasons["start"] = f"no instruments from {self._spec.venue}: {reason}"
                log.warning("instruments not available", error=reason)
                await self.pod.pause(backoff.next_ns() / SECOND)
            else:
                self.pod.reasons["start"] = "waiting for the first verified book"
                return found
        return None

    def _announce(self, source: FeedSource, instruments: Sequence[Instrument]) -> None:
        self._fees = fees = source.fees(self._spec.instruments)
        markets = tuple(Market(feed=self._name, instrument=instrument, fees=fees) for instrument in instruments)
        announcement = MarketsAnnouncement(feed=self._name, venue=self._spec.venue, at_ns=time.time_ns(), markets=markets)
        self.pod.bus.publish(f"markets:{self._name}", encode_markets(announcement))

    def _publish(self, session: Session, changed: Sequence[VerifiedBook]) -> None:
        now_ns = time.time_ns()
        batch = self._framer.batch(session, changed, now_ns=now_ns, clock_offset_ns=self.pod.clock_offset_ns)
        self.pod.bus.publish(f"frames:{self._name}", encode(batch))
        self._metrics.published(batch, now_ns)
        if "start" in self.pod.reasons and all(b.was_verified for s in self._sessions() for b in s.books.values()):
            del self.pod.reasons["start"]

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(PULSE_NS / SECOND)
            batch = self._framer.pulse(self._sessions(), now_ns=time.time_ns(), clock_offset_ns=self.pod.clock_offset_ns)
            self.pod.bus.publish(f"frames:{self._name}", encode(batch))

    async def _watch_rules(self, source: FeedSource, known: list[Instrument]) -> None:
        """Ask for the rules again and again: ticks, lots and halts change while we run."""
        while True:
            await asyncio.sleep(_RULES_INTERVAL_S)
            try:
                found = await source.instruments(self._spec.instruments)
            except UNAVAILABLE as error:
                log.warning("instruments not refreshed", error=f"{type(error).__name__}: {error}")
                continue
            for session in self._sessions():
                for instrument in found:
                    book = session.books.get(instrument.symbol)
                    if book is not None and book.tradable != instrument.tradable:
                        book.tradable = instrument.tradable
                        book.seq += 1
                        session.changed[book.symbol] = book
            if found != known:
                log.info("trading rules changed", changed=[new.symbol for new in found if new not in known])
                known = found
            # Said again even when unchanged: a bus that lost its memory must learn the markets anew.
            self._announce(source, known)

    def _detail(self) -> dict[str, object]:
        """Per book counts and the sum of them, for `arb status` and reports."""
        if self._last_words is not None:
            return self._last_words
        books = [book for session in self._sessions() for book in session.books.values()]
        totals = total_counts(book.counts for book in books)
        return {
            "feed": self._name,
            "venue": self._spec.venue,
            "market": self._spec.market.value,
            "simulated": self._spec.simulated is not None,
            "fees": msgspec.to_builtins(self._fees) if self._fees is not None else None,
            "counts": msgspec.to_builtins(totals),
            "age_ms": round(self._age_s() * 1000),
            "withheld": {book.symbol: book.withheld.value for book in books if book.withheld is not None},
            "books": len(books),
            "reconnects": self._source.reconnects if self._source is not None else 0,
            "bus_dropped": self.pod.bus.dropped,
        }
