"""The feed pod: one VenueFeed's connections, verified books out to the bus.

For: fetching the venue's trading rules, keeping its connections, publishing frames, pulses and announcements.
May not: decide anything about trading.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from random import Random

import aiohttp
import msgspec
import structlog

from arbkube.market.announcement import MarketsAnnouncement, encode_markets
from arbkube.market.frames import encode
from arbkube.market.instruments import Fees, Instrument, Market
from arbkube.market.verified import VerifiedBook, total_counts
from arbkube.plan.documents import FeedDocument
from arbkube.pods.metrics import FeedMetrics
from arbkube.pods.runtime import Pod, PodArguments, read_document
from arbkube.resources.kinds import VenueFeedSpec
from arbkube.venues.framing import PULSE_NS, Framer
from arbkube.venues.registry import adapter as adapter_of
from arbkube.venues.session import SECOND, Adapter, Backoff, Endpoint, Session, SessionOptions
from arbkube.venues.transport import FeedTransport, VenueHttpError, fetch_instruments

log = structlog.get_logger(__name__)

_RULES_INTERVAL_S = 60.0


async def main(arguments: PodArguments) -> None:
    """Run the feed described by the document until told to stop."""
    feed = FeedPod(arguments, read_document(arguments, FeedDocument))
    await feed.pod.run(feed.work)


def fees_of(spec: VenueFeedSpec, adapter: Adapter) -> Fees:
    """The account's fees: the spec's where it states any, else the adapter's dated defaults."""
    if spec.fees is None:
        return adapter.default_fees
    return Fees(maker=spec.fees.maker.fraction, taker=spec.fees.taker.fraction, charged_in=spec.fees.charged_in, source="spec")


def endpoint_of(name: str, spec: VenueFeedSpec, adapter: Adapter, simulator: str) -> Endpoint:
    """Where the feed connects: the simulator if it asks for it, its override, or the venue's own addresses."""
    if spec.simulated is not None:
        if not simulator:
            raise ValueError(f"feed {name} is simulated, but no simulator was given: pass --simulator URL")
        return Endpoint(f"ws{simulator.removeprefix('http')}/{name}", f"{simulator}/{name}")
    override = spec.endpoint
    return Endpoint(
        (override and override.websocket) or adapter.endpoint.websocket, (override and override.rest) or adapter.endpoint.rest
    )


class FeedPod:
    """The feed's state; `work` is its life."""

    def __init__(self, arguments: PodArguments, document: FeedDocument) -> None:
        spec = document.spec
        self.pod = Pod(arguments, detail=self._detail, starting="waiting for the venue's instruments")
        self._name = document.name
        self._spec = spec
        self._adapter = adapter_of(spec.venue, spec.market)
        self._fees = fees_of(spec, self._adapter)
        self._options = SessionOptions(
            endpoint=endpoint_of(document.name, spec, self._adapter, arguments.simulator),
            depth=spec.depth,
            channels=frozenset(spec.channels),
            require=frozenset(spec.integrity.require),
        )
        self._framer = Framer(feed=document.name, epoch=time.time_ns(), depth=spec.depth)
        self._rng = Random()
        self._transport: FeedTransport | None = None
        self._last_words: dict[str, object] | None = None
        self._metrics = FeedMetrics(self.pod.registry, document.name, self._sessions, self._age_s)

    def _sessions(self) -> Sequence[Session]:
        return self._transport.sessions if self._transport is not None else ()

    def _age_s(self) -> float:
        """Seconds since the least lively connection last proved to be alive; a day before there is one."""
        sessions = self._sessions()
        if not sessions:
            return 86400.0
        return max(0.0, (time.time_ns() - min(session.alive_ns for session in sessions)) / SECOND)

    async def work(self) -> None:
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(connector=connector, headers={"User-Agent": "arbkube"}) as http:
            instruments = await self._instruments(http)
            if instruments is None:
                return
            self._announce(instruments)
            self._transport = FeedTransport(
                http, self._adapter, instruments, self._options, rng=self._rng, on_change=self._publish
            )
            tasks = [
                asyncio.create_task(self._transport.run()),
                asyncio.create_task(self._pulse()),
                asyncio.create_task(self._watch_rules(http, instruments)),
            ]
            stop = asyncio.create_task(self.pod.stopping.wait())
            try:
                done, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                # What the books were, not that they are void once we hang up.
                self._last_words = self._detail()
                for task in (*tasks, stop):
                    task.cancel()
                with contextlib.suppress(BaseException):
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def _instruments(self, http: aiohttp.ClientSession) -> list[Instrument] | None:
        """The venue's rules, asked for until they come; None when told to stop first."""
        backoff = Backoff(self._rng, base_ns=SECOND // 2, cap_ns=30 * SECOND, floor_ns=SECOND // 10)
        while not self.pod.stopping.is_set():
            try:
                found = await fetch_instruments(http, self._adapter, self._spec.instruments, self._options.endpoint)
            except (VenueHttpError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}"
                self.pod.reasons["start"] = f"no instruments from {self._spec.venue}: {reason}"
                log.warning("instruments not available", error=reason)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.pod.stopping.wait(), backoff.next_ns() / SECOND)
            else:
                self.pod.reasons["start"] = "waiting for the first verified book"
                return found
        return None

    def _announce(self, instruments: Sequence[Instrument]) -> None:
        markets = tuple(Market(feed=self._name, instrument=i, fees=self._fees) for i in instruments)
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

    async def _watch_rules(self, http: aiohttp.ClientSession, known: list[Instrument]) -> None:
        """Ask for the rules again and again: ticks, lots and halts change while we run."""
        while True:
            await asyncio.sleep(_RULES_INTERVAL_S)
            try:
                found = await fetch_instruments(http, self._adapter, self._spec.instruments, self._options.endpoint)
            except (VenueHttpError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
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
            self._announce(known)

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
            "fees": msgspec.to_builtins(self._fees),
            "counts": msgspec.to_builtins(totals),
            "age_ms": round(self._age_s() * 1000),
            "withheld": {book.symbol: book.withheld.value for book in books if book.withheld is not None},
            "books": len(books),
            "reconnects": sum(max(0, c.reconnects) for c in self._transport.connections) if self._transport else 0,
            "bus_dropped": self.pod.bus.dropped,
        }
