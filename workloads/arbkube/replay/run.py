"""The replay: recordings, sessions, detectors and executors on one clock that the recordings move.

For: running the very code of the pods deterministically, timers included. May not: read a clock, use unseeded randomness, or
do I/O other than reading the recordings and the journals it is given.

Between two recorded events every timer that falls due is fired at its own time: session ticks, pulses, order latencies,
expiries. What a bus would carry arrives at once; the latency that matters, to the venue, is the paper broker's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from arbkube.detection.detector import Detector
from arbkube.detection.model import Balances, Sighting
from arbkube.execution.driver import Driver, Outcome
from arbkube.execution.engine import Engine
from arbkube.execution.protocols import Announce, EquityPoint, Refused, Snapshot
from arbkube.market.frames import FrameBatch
from arbkube.market.verified import VerifiedBook
from arbkube.replay.source import Source
from arbkube.storage.executor import SqliteExecutorStore
from arbkube.venues.framing import PULSE_NS, Framer
from arbkube.venues.recording import LONGEST_GAP_NS, Event, RecordingError
from arbkube.venues.session import SECOND, Session

_TICK_NS = SECOND // 10
_SETTLE_NS = 30 * SECOND
"""How long after the last event open orders may still be settled."""

Progress = Callable[[int, int], None]
"""Called now and then with (events so far, recorded nanoseconds so far)."""
_PROGRESS_EVERY = 5000


class ReplayFeed:
    """One feed and the recordings that make it up."""

    def __init__(self, *, name: str, framer: Framer, sources: Sequence[Source]) -> None:
        self.name = name
        self.framer = framer
        self.sources = sources

    @property
    def sessions(self) -> list[Session]:
        return [session for source in self.sources for session in source.sessions]

    @property
    def books(self) -> list[VerifiedBook]:
        return [book for session in self.sessions for book in session.books.values()]


class ReplayStrategy:
    """One strategy's detector and executor, and what came of them."""

    def __init__(
        self,
        *,
        name: str,
        feeds: Sequence[str],
        detector: Detector,
        engine: Engine,
        driver: Driver,
        store: SqliteExecutorStore,
    ) -> None:
        self.name = name
        self.store = store
        self.engine = engine
        self.feeds = frozenset(feeds)
        self.detector = detector
        self.driver = driver
        self.equity: list[EquityPoint] = []
        self.refusals: dict[str, int] = {}


class Replay:
    """One replay. `run` takes it to its end; then feeds and strategies hold what is to be reported."""

    def __init__(self, feeds: Sequence[ReplayFeed], clock: VirtualClock) -> None:
        self.feeds = feeds
        self.strategies: list[ReplayStrategy] = []
        self.clock = clock
        self.first_ns = 0
        self.events = 0
        self.last_ns = 0
        self._next_tick_ns = 0
        self._next_pulse_ns = 0

    def run(self, strategies: Sequence[ReplayStrategy], progress: Progress | None = None) -> None:
        """Replay every event. Raises RecordingError at the first line that is none, and where time leaps."""
        self.strategies = list(strategies)
        for feed, source, event in self._merged():
            if not self.events:
                self._begin(event.ns)
            elif event.ns - self.clock.now_ns >= LONGEST_GAP_NS:
                raise RecordingError(
                    f"{source.recording.path.name}: begins or goes on a day or more after everything before it: replay apart "
                    "what was not recorded together"
                )
            self._advance(event.ns)
            session = source.apply(event, self.clock.now_ns)
            self._flush(feed, source, session)
            self.events += 1
            if progress is not None and self.events % _PROGRESS_EVERY == 0:
                progress(self.events, self.clock.now_ns - self.first_ns)
        self.last_ns = self.clock.now_ns
        self._settle()

    @property
    def duration_ns(self) -> int:
        """From the first event to the last."""
        return self.last_ns - self.first_ns

    def _merged(self) -> Iterator[tuple[ReplayFeed, Source, Event]]:
        sources = [(feed, source) for feed in self.feeds for source in feed.sources]
        streams = [_numbered(index, source) for index, (_, source) in enumerate(sources)]
        for _, index, event in heapq.merge(*streams, key=lambda item: item[:2]):
            feed, source = sources[index]
            yield feed, source, event

    def _begin(self, now_ns: int) -> None:
        self.first_ns = now_ns
        self.clock.now_ns = now_ns
        self._next_tick_ns = now_ns + _TICK_NS
        self._next_pulse_ns = now_ns + PULSE_NS
        for strategy in self.strategies:
            self._take(strategy, strategy.driver.start(now_ns))

    def _advance(self, until_ns: int) -> None:
        """Fire what falls due up to `until_ns`, each at its own time, then stand there."""
        while True:
            due_ns, strategy = self._next_deadline()
            if due_ns > until_ns:
                break
            self.clock.now_ns = max(self.clock.now_ns, due_ns)
            if strategy is not None:
                self._take(strategy, strategy.driver.on_time(self.clock.now_ns))
                self._see(strategy, strategy.detector.on_time(self.clock.now_ns))
            elif due_ns == self._next_tick_ns:
                self._next_tick_ns += _TICK_NS
                self._tick()
            else:
                self._next_pulse_ns += PULSE_NS
                self._pulse()
        self.clock.now_ns = max(self.clock.now_ns, until_ns)

    def _next_deadline(self) -> tuple[int, ReplayStrategy | None]:
        due_ns, owner = min(self._next_tick_ns, self._next_pulse_ns), None
        for strategy in self.strategies:
            deadline = strategy.driver.next_deadline()
            stale_ns = strategy.detector.next_deadline()
            if stale_ns is not None and stale_ns < deadline:
                deadline = stale_ns
            if deadline < due_ns:
                due_ns, owner = deadline, strategy
        return due_ns, owner

    def _tick(self) -> None:
        for feed in self.feeds:
            for source in feed.sources:
                for session in source.sessions:
                    session.tick(self.clock.now_ns)
                    self._flush(feed, source, session)

    def _pulse(self) -> None:
        for feed in self.feeds:
            self._deliver(feed.framer.pulse(feed.sessions, now_ns=self.clock.now_ns, clock_offset_ns=0))

    def _flush(self, feed: ReplayFeed, source: Source, session: Session) -> None:
        if session.actions:
            source.answer(session, self.clock.now_ns)
        if session.changed:
            changed = session.take_changed()
            self._deliver(feed.framer.batch(session, changed, now_ns=self.clock.now_ns, clock_offset_ns=0))

    def _deliver(self, batch: FrameBatch) -> None:
        now_ns = self.clock.now_ns
        for strategy in self.strategies:
            if batch.feed in strategy.feeds:
                self._take(strategy, strategy.driver.on_batch(batch, now_ns))
                self._see(strategy, strategy.detector.on_batch(batch, now_ns))

    def _see(self, strategy: ReplayStrategy, sightings: list[Sighting]) -> None:
        for sighting in sightings:
            if sighting.opportunity is not None:
                self._take(strategy, strategy.driver.on_opportunity(sighting.opportunity, self.clock.now_ns))

    def _take(self, strategy: ReplayStrategy, outcomes: list[Outcome]) -> None:
        balances: Balances | None = None
        for outcome in outcomes:
            if isinstance(outcome, Announce):
                balances = outcome.balances
            elif isinstance(outcome, Snapshot):
                strategy.equity.append(outcome.equity)
            elif isinstance(outcome, Refused):
                reason = outcome.intent.reason
                strategy.refusals[reason] = strategy.refusals.get(reason, 0) + 1
        if balances is not None:
            self._see(strategy, strategy.detector.on_balances(balances, self.clock.now_ns))

    def _settle(self) -> None:
        """Let orders that are under way come to their end, on the books as the recordings left them."""
        end_ns = self.last_ns + _SETTLE_NS
        while True:
            open_ones = [strategy for strategy in self.strategies if strategy.engine.live_intents]
            if not open_ones:
                break
            strategy = min(open_ones, key=lambda one: one.driver.next_deadline())
            if strategy.driver.next_deadline() > end_ns:
                break
            self.clock.now_ns = max(self.clock.now_ns, strategy.driver.next_deadline())
            self._take(strategy, strategy.driver.on_time(self.clock.now_ns))
        for strategy in self.strategies:
            strategy.driver.stop(self.clock.now_ns)


def _numbered(index: int, source: Source) -> Iterator[tuple[int, int, Event]]:
    for event in source.events():
        yield event.ns, index, event


class VirtualClock:
    """The replay's time, nanoseconds UTC; also monotonic."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns
