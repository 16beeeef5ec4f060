"""The feed pod: one VenueFeed's connections, verified books out to the bus.

For: fetching the venue's trading rules, keeping its connections, publishing frames, pulses and announcements.
May not: decide anything about trading.

A change that needs other connections is made before it breaks: the new ones are opened beside the old, and only when their
books are verified are they published, all in one batch under a new epoch, and the old ones closed. Whoever reads sees no gap.
Where they do not get there in time, the feed runs on as it is and has not applied the change.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from random import Random

import msgspec
import structlog

from arbkube.control.follower import Problem
from arbkube.control.protocol import Health
from arbkube.market.announcement import MarketsAnnouncement, encode_markets
from arbkube.market.frames import encode
from arbkube.market.instruments import Fees, Market
from arbkube.market.verified import BookCounts, VerifiedBook, total_counts
from arbkube.plan.documents import FeedDocument
from arbkube.pods.shell.config import NotAppliedError
from arbkube.pods.shell.metrics import FeedMetrics
from arbkube.pods.shell.runtime import FEED_DOCUMENT, Pod, PodArguments, Role
from arbkube.pods.supply import Supply, not_listed
from arbkube.resources.kinds import VenueFeedSpec
from arbkube.venues.framing import PULSE_NS, Framer
from arbkube.venues.session import SECOND, Backoff, Session
from arbkube.venues.sources import UNAVAILABLE

log = structlog.get_logger(__name__)

NOT_LISTED = "NotListed"
"""The venue does not list an instrument that is new in the candidate."""
NO_FEES = "NoFees"
"""Neither the candidate nor the source states fees."""

_RULES_INTERVAL_S = 60.0
_VERIFIED_WITHIN_S = 10.0
"""How long new connections may take to verify their books, before the change counts as not applied."""
_LISTED_WITHIN_S = 3.0
"""How long a venue may take to list what a candidate asks for: a simulated one learns of it at the same time as its feed."""
_LOOK_S = 0.05


async def main(arguments: PodArguments) -> None:
    """Run the feed described by the document until told to stop."""
    feed = FeedPod(arguments)
    await feed.pod.run(feed.work)


class FeedPod(Role[FeedDocument]):
    """The feed's state; `work` is its life."""

    def __init__(self, arguments: PodArguments) -> None:
        self.pod = Pod(arguments, kind=FeedDocument, role=self, starting="waiting for the venue's instruments")
        self._name = arguments.document.removeprefix(FEED_DOCUMENT)
        self._spec: VenueFeedSpec | None = None
        self._rng = Random()
        self._framer = Framer(feed=self._name, epoch=time.time_ns(), depth=1)
        self._supply: Supply | None = None
        self._retired = BookCounts()
        """Of connections that were replaced."""
        self._retired_reconnects = 0
        self._fees: Fees | None = None
        self._last_words: dict[str, object] | None = None
        self._metrics = FeedMetrics(self.pod.registry, self._name, self._sessions, self._age_s)

    # ---- configuration -------------------------------------------------------------------------------------------

    async def check(self, document: FeedDocument) -> Problem | None:
        """Whether the venue lists what is new, where it can be asked, and whether somebody states the fees."""
        supply, spec = self._supply, document.spec
        if supply is None:
            return None
        deadline = time.monotonic() + _LISTED_WITHIN_S
        while not set(spec.instruments) <= {instrument.symbol for instrument in supply.instruments}:
            try:
                await supply.listed(spec.instruments)
            except UNAVAILABLE as error:
                if not not_listed(error):
                    break  # of a venue that is away nothing is known; applying will show
                if time.monotonic() > deadline:
                    return Problem(f"{NOT_LISTED}: {error}", "spec.instruments")
                await asyncio.sleep(_LOOK_S)
            else:
                break
        try:
            supply.fees(spec)
        except ValueError as error:
            return Problem(f"{NO_FEES}: {error}", "spec.fees")
        return None

    async def apply(self, document: FeedDocument) -> None:
        """Announce, frame or connect anew, whichever the change needs. Raises NotAppliedError."""
        supply, spec = self._supply, document.spec
        if supply is None:
            self._spec = spec
        elif not supply.serves(spec):
            await self._replace(supply, spec)
        else:
            reframed = self._framer.depth != spec.depth
            self._spec = spec
            self._announce(supply)
            if reframed:
                self._frame_anew(supply)

    async def _replace(self, old: Supply, spec: VenueFeedSpec) -> None:
        """Make the new connections, then break the old ones."""
        new = self._open(spec)
        try:
            new.begin(await new.listed(spec.instruments))
            deadline = time.monotonic() + _VERIFIED_WITHIN_S
            # A book that cannot be verified now must not keep the others from changing.
            while late := new.unverified() - old.unverified():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no verified book of {', '.join(sorted(late))}")
                await asyncio.sleep(_LOOK_S)
            new.fees(spec)
        except UNAVAILABLE as error:
            raise NotAppliedError(f"new connections to {spec.venue}: {type(error).__name__}: {error}") from error
        else:
            self._use(new, spec)
        finally:
            await (old if self._supply is new else new).close()

    def health(self) -> Health:
        counts = self._counts()
        wrong = counts.malformed + counts.gaps + counts.crossed + counts.checksums_mismatched + counts.tops_mismatched
        age_ns = round(self._age_s() * SECOND) if self._sessions() else None
        return Health(attempts=counts.messages, errors=wrong, data_age_ns=age_ns)

    # ---- connections ---------------------------------------------------------------------------------------------

    async def work(self) -> None:
        try:
            await self.pod.until(self._stopped(), self._keep(), self._pulse(), self._watch_rules())
        finally:
            if self._supply is not None:
                await self._supply.close()

    async def _stopped(self) -> None:
        await self.pod.stopping.wait()
        # What the books were, not that they are void once we hang up.
        self._last_words = self.detail()

    async def _keep(self) -> None:
        """Make the first connections, and watch that those in use live."""
        await self.pod.config.booted.wait()
        backoff = Backoff(self._rng, base_ns=SECOND // 2, cap_ns=30 * SECOND, floor_ns=SECOND // 10)
        while self._supply is None:
            await self._begin(backoff)
        while True:
            await self._supply.wait()

    async def _begin(self, backoff: Backoff) -> None:
        spec = self._spec
        assert spec is not None
        supply = self._open(spec)
        try:
            supply.begin(await supply.listed(spec.instruments))
            supply.fees(spec)
        except UNAVAILABLE as error:
            reason = f"{type(error).__name__}: {error}"
            self.pod.reasons["start"] = f"no instruments from {spec.venue}: {reason}"
            log.warning("instruments not available", error=reason)
            await supply.close()
            await self.pod.pause(backoff.next_ns() / SECOND)
        else:
            if spec is self._spec:
                self.pod.reasons["start"] = "waiting for the first verified book"
                self._use(supply, spec)
            else:
                await supply.close()  # another configuration came meanwhile

    def _open(self, spec: VenueFeedSpec) -> Supply:
        simulator = self.pod.arguments.simulator
        return Supply(self._name, spec, simulator=simulator, rng=self._rng, on_change=self._publish)

    def _use(self, new: Supply, spec: VenueFeedSpec) -> None:
        """From now on these connections are the feed's."""
        if self._supply is not None:
            self._supply.in_use = False
            self._retired = total_counts([self._retired, *self._supply.counts])
            self._retired_reconnects += self._supply.reconnects
        self._supply, self._spec = new, spec
        new.in_use = True
        self._announce(new)
        self._frame_anew(new)

    async def _watch_rules(self) -> None:
        """Ask for the rules again and again: ticks, lots and halts change while we run."""
        while True:
            await asyncio.sleep(_RULES_INTERVAL_S)
            supply = self._supply
            if supply is None:
                continue
            try:
                found = await supply.listed(supply.spec.instruments)
            except UNAVAILABLE as error:
                log.warning("instruments not refreshed", error=f"{type(error).__name__}: {error}")
                continue
            if supply is not self._supply:
                continue
            for session in supply.sessions:
                for instrument in found:
                    book = session.books.get(instrument.symbol)
                    if book is not None and book.tradable != instrument.tradable:
                        book.tradable = instrument.tradable
                        book.seq += 1
                        session.changed[book.symbol] = book
            if found != supply.instruments:
                log.info("trading rules changed", changed=[new.symbol for new in found if new not in supply.instruments])
                supply.instruments = found
            # Said again even when unchanged: a bus that lost its memory must learn the markets anew.
            self._announce(supply)

    # ---- what is said --------------------------------------------------------------------------------------------

    def _announce(self, supply: Supply) -> None:
        assert self._spec is not None
        self._fees = fees = supply.fees(self._spec)
        markets = tuple(Market(feed=self._name, instrument=instrument, fees=fees) for instrument in supply.instruments)
        announcement = MarketsAnnouncement(feed=self._name, venue=self._spec.venue, at_ns=time.time_ns(), markets=markets)
        self.pod.bus.publish(f"markets:{self._name}", encode_markets(announcement))

    def _frame_anew(self, supply: Supply) -> None:
        """Every book in one batch, under a new epoch: readers drop what they had and have the new ones at once."""
        assert self._spec is not None
        self._framer.renew(supply.sessions, epoch=time.time_ns(), depth=self._spec.depth)
        self._say_all()

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
            if self._supply is not None:
                self._say_all()

    def _say_all(self) -> None:
        batch = self._framer.pulse(self._sessions(), now_ns=time.time_ns(), clock_offset_ns=self.pod.clock_offset_ns)
        self.pod.bus.publish(f"frames:{self._name}", encode(batch))

    def _sessions(self) -> Sequence[Session]:
        return self._supply.sessions if self._supply is not None else ()

    def _age_s(self) -> float:
        """Seconds since the least lively connection last proved to be alive; a day before there is one."""
        sessions = self._sessions()
        if not sessions:
            return 86400.0
        return max(0.0, (time.time_ns() - min(session.alive_ns for session in sessions)) / SECOND)

    def _counts(self) -> BookCounts:
        """What has happened to all books since the pod began."""
        return total_counts([self._retired, *(self._supply.counts if self._supply is not None else ())])

    def detail(self) -> dict[str, object]:
        """Per book counts and the sum of them, for `arb status` and reports."""
        if self._last_words is not None:
            return self._last_words
        books = [book for session in self._sessions() for book in session.books.values()]
        spec = self._spec
        reconnects = self._supply.reconnects if self._supply is not None else 0
        return {
            "feed": self._name,
            "venue": spec.venue if spec is not None else "",
            "market": spec.market.value if spec is not None else "",
            "simulated": spec is not None and spec.simulated is not None,
            "fees": msgspec.to_builtins(self._fees) if self._fees is not None else None,
            "counts": msgspec.to_builtins(self._counts()),
            "age_ms": round(self._age_s() * 1000),
            "withheld": {book.symbol: book.withheld.value for book in books if book.withheld is not None},
            "books": len(books),
            "reconnects": self._retired_reconnects + reconnects,
            "bus_dropped": self.pod.bus.dropped,
        }
