"""The executor pod: opportunities in, paper orders out, journal first.

For: the clockwork around the engine's driver: bus, timers, balances, graceful stop. May not: decide anything about trading.

Stopping means: take no more opportunities, let the intents under way settle, give up the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import partial

import msgspec
import structlog

from arbkube.control.halts import Entry
from arbkube.control.protocol import Health
from arbkube.control.reservations.blocks import Reservations
from arbkube.control.reservations.demand import Levels
from arbkube.control.reservations.keeper import ReservationKeeper
from arbkube.control.reservations.pools import terms_of
from arbkube.detection.model import Balances, Sighting
from arbkube.execution.config import ExecutorConfig
from arbkube.execution.driver import Driver, Outcome
from arbkube.execution.engine import Engine
from arbkube.execution.model import IntentState
from arbkube.execution.protocols import Announce, Closed, JournalUnavailable, LeaseLost, Raise, Refused
from arbkube.market.announcement import decode_markets
from arbkube.market.bus import Message
from arbkube.market.frames import conflate, decode
from arbkube.plan.documents import StrategyDocument
from arbkube.pods.assembly import executor_config, paper_broker
from arbkube.pods.markets import KnownMarkets, LastHeard, topics_of
from arbkube.pods.shell.config import NotAppliedError
from arbkube.pods.shell.guard import ExecutorGuard
from arbkube.pods.shell.metering import MeteredBroker
from arbkube.pods.shell.metrics import ExecutorMetrics
from arbkube.pods.shell.runtime import Pod, PodArguments, Role, in_chunks
from arbkube.risk.gates import RefusalReason
from arbkube.storage.database import StorageError
from arbkube.storage.executor import SqliteExecutorStore

log = structlog.get_logger(__name__)

_ANNOUNCE_S = 1.0
_SETTLE_S = 20.0
_BEHIND = 8
_RETRY_S = 0.5
_PRUNE_S = 3600.0
_TELEMETRY_KEPT_NS = 30 * 86400 * 10**9
"""How long refusals, events and the equity curve are kept. Intents that traded, their orders and fills are kept for ever."""

_sighting_decoder = msgspec.msgpack.Decoder(Sighting)
_balances_encoder = msgspec.msgpack.Encoder()


async def main(arguments: PodArguments) -> None:
    """Run the executor described by the document until told to stop."""
    executor = ExecutorPod(arguments)
    await executor.pod.run(executor.work)


class ExecutorPod(Role[StrategyDocument]):
    """The executor's surroundings; `work` is its life."""

    def __init__(self, arguments: PodArguments) -> None:
        self.guard = ExecutorGuard(append=self._append, perform=self._perform, now_ns=self._now_ns)
        self.pod = Pod(arguments, kind=StrategyDocument, role=self, starting="waiting for the feeds' markets", guard=self.guard)
        self._strategy = arguments.strategy
        self._document: StrategyDocument | None = None
        """With the limits in force."""
        self._topics = [f"sightings:{self._strategy}"]
        self._markets = KnownMarkets()
        self._heard = LastHeard()
        self._metrics = ExecutorMetrics(self.pod.registry)
        self._journal: SqliteExecutorStore | None = None
        self._engine: Engine | None = None
        self._broker: MeteredBroker | None = None
        self._driver: Driver | None = None
        self._reservations: Reservations | None = None
        self._keeper: ReservationKeeper | None = None
        self._balances: Balances | None = None
        self._wake = asyncio.Event()
        self._complete = asyncio.Event()
        """Set when all markets of the document are known."""
        self._unreadable = 0
        self._intents: dict[str, int] = {}
        self._refusals: dict[str, int] = {}

    # ---- configuration -------------------------------------------------------------------------------------------

    async def apply(self, document: StrategyDocument) -> None:
        """Go on under `document` between two events; what is under way goes on as well. Raises NotAppliedError."""
        before, self._document = self._document, document
        self._markets.follow(document.feeds)
        try:
            self._reconfigure()
        except ValueError as error:
            self._document = before
            raise NotAppliedError(str(error)) from error
        if self._reservations is not None:
            self._reservations.terms = terms_of(document, document.limits)
        self._heard.follow(document.feeds)
        self._topics[:] = topics_of(document.feeds, f"sightings:{self._strategy}")

    def _reconfigure(self) -> None:
        """Tell the driver of document and markets. Raises ValueError for a change that needs another pod."""
        missing = self._markets.missing
        if missing:
            self.pod.reasons["start"] = f"waiting for the markets of {', '.join(missing)}"
        else:
            self._complete.set()
        if self._driver is not None:
            if not missing:
                self.pod.reasons.pop("start", None)
            self._perform(self._driver.reconfigure(self._config(), self.pod.now_ns()))

    def _config(self) -> ExecutorConfig:
        assert self._document is not None
        return executor_config(self._document, self._document.limits, self._markets.all)

    def health(self) -> Health:
        broker = self._broker
        return Health(
            attempts=broker.sent if broker is not None else 0,
            rejects=broker.rejected if broker is not None else 0,
            errors=self._unreadable + self._intents.get(IntentState.STUCK.value, 0),
            data_age_ns=self._heard.age_ns(),
        )

    async def _append(self, entries: Sequence[Entry]) -> None:
        await self.pod.link.append(entries)

    def _now_ns(self) -> int:
        return self.pod.now_ns()

    # ---- life ----------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        try:
            await self.pod.until(
                self._settled(),
                self._read(),
                self._begin(),
                self._keep_time(),
                self._announce(),
                self._prune(),
                self.guard.run(),
            )
        finally:
            if self._driver is not None:
                with contextlib.suppress(JournalUnavailable, LeaseLost):
                    self._driver.stop(self.pod.now_ns())
            if self._journal is not None:
                self._journal.close()

    async def _settled(self) -> None:
        """Told to stop, and nothing is under way any more (or it takes too long: the next start settles it)."""
        await self.pod.stopping.wait()
        await self._settle()

    async def _settle(self) -> None:
        """Wait, bounded, until nothing is under way."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            await asyncio.sleep(0.05)
            if self._engine is None or not self._engine.live_intents or time.monotonic() > deadline:
                return

    async def _read(self) -> None:
        await self.pod.clock_known()
        await self.pod.config.booted.wait()
        async for messages in self.pod.bus.read(self._topics):
            self._take(messages)

    def _take(self, messages: list[Message]) -> None:
        """Books first, then what was decided on them."""
        batches = []
        sightings = []
        for topic, payload in messages:
            kind = topic.split(":", 1)[0]
            try:
                if kind == "frames":
                    batches.append(decode(payload))
                elif kind == "sightings":
                    sightings.append(_sighting_decoder.decode(payload))
                elif self._markets.heard(decode_markets(payload)):
                    self._reconfigure()
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                self._unreadable += 1
                log.warning("unreadable message", topic=topic, error=str(error))
        self._heard.note(batches)
        if self._driver is None:
            return
        for batch in conflate(batches) if len(batches) > _BEHIND else batches:
            self._perform(self._driver.on_batch(batch, self.pod.now_ns()))
        for sighting in sightings:
            if sighting.opportunity is not None and not self.pod.stopping.is_set():
                now_ns = self.pod.now_ns()
                self._metrics.detect_to_intent.observe(max(0, now_ns - sighting.opportunity.detected_ns) / 1e9)
                self._perform(self._driver.on_opportunity(sighting.opportunity, now_ns))

    async def _begin(self) -> None:
        """Begin once the markets are known: open the journal, take the lease and settle what was left open."""
        await self._complete.wait()
        self._journal = await self._open()
        assert self._document is not None
        self._reservations = reservations = Reservations(self._strategy, terms=terms_of(self._document, self._document.limits))
        driver, outcomes = await self._start(self._journal, reservations)
        reservations.token = self._journal.token
        self._perform(outcomes)
        self.guard.attach(driver)
        self._driver = driver
        self.pod.reasons.pop("start", None)
        self._keeper = ReservationKeeper(
            self.pod.arguments.control,
            credentials=self.pod.arguments.credentials,
            user=self.pod.arguments.role,
            reservations=reservations,
            levels=self._in_use,
            believed=lambda: self.guard.epoch,
        )
        await self._keeper.run()

    def _in_use(self) -> Levels:
        return {} if self._engine is None else self._engine.in_use(self.pod.now_ns())

    async def _open(self) -> SqliteExecutorStore:
        """The journal, tried until it opens."""
        while True:
            try:
                return SqliteExecutorStore(self.pod.arguments.state / f"{self._strategy}.sqlite")
            except StorageError as error:
                self.pod.reasons["start"] = str(error)
                await asyncio.sleep(_RETRY_S)

    async def _start(self, journal: SqliteExecutorStore, reservations: Reservations) -> tuple[Driver, list[Outcome]]:
        """Take the lease and settle what the journal left open; wait where a killed predecessor's lease has not run out.

        Each attempt begins with nothing in memory: an engine that had taken in half of the journal would count that twice.
        """
        while True:
            config = self._config()
            self._engine = Engine(config, reservations)
            self._broker = MeteredBroker(paper_broker(config, journal), self._metrics, self.pod.now_ns)
            driver = Driver(
                engine=self._engine,
                journal=journal,
                broker=self._broker,
                holder=f"{self.pod.arguments.name}:{os.getpid()}:{time.time_ns()}",
                monotonic_ns=time.monotonic_ns,
                doubt=self.guard.freshness.doubt,
            )
            try:
                return driver, driver.start(self.pod.now_ns())
            except (LeaseLost, JournalUnavailable) as error:
                self.pod.reasons["start"] = str(error)
                with contextlib.suppress(JournalUnavailable):
                    journal.release_lease()
                await asyncio.sleep(_RETRY_S)

    async def _keep_time(self) -> None:
        """Call the driver when its next deadline comes; whatever moves the deadline wakes us."""
        while True:
            pause = 0.2
            if self._driver is not None:
                now_ns = self.pod.now_ns()
                if self._driver.next_deadline() <= now_ns:
                    self._perform(self._driver.on_time(now_ns))
                pause = min(pause, max(0.0, (self._driver.next_deadline() - self.pod.now_ns()) / 1e9))
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _announce(self) -> None:
        """Say the balances again and again: a bus without memory is told anew."""
        while True:
            await asyncio.sleep(_ANNOUNCE_S)
            if self._balances is not None:
                self._publish_balances(self._balances)
            if self._driver is not None and self._driver.fault:
                self.pod.reasons["journal"] = self._driver.fault
            else:
                self.pod.reasons.pop("journal", None)

    async def _prune(self) -> None:
        """Delete old telemetry, soon after the start and then every hour."""
        while True:
            await asyncio.sleep(_RETRY_S)
            if self._driver is None or self._journal is None:
                continue
            try:
                await in_chunks(partial(self._journal.prune, self.pod.now_ns() - _TELEMETRY_KEPT_NS))
            except StorageError as error:
                log.warning("old rows not deleted", error=str(error))
            await asyncio.sleep(_PRUNE_S)

    def _publish_balances(self, balances: Balances) -> None:
        self.pod.bus.publish(f"balances:{self._strategy}", _balances_encoder.encode(balances))

    def _perform(self, outcomes: Iterable[Outcome]) -> None:
        self._wake.set()  # whatever was done may have moved the next deadline
        if self._broker is not None:
            self._broker.booked()
        for outcome in outcomes:
            if isinstance(outcome, Announce):
                self._balances = outcome.balances
                self._publish_balances(outcome.balances)
            elif isinstance(outcome, Refused):
                reason = outcome.intent.reason
                self._refusals[reason] = self._refusals.get(reason, 0) + 1
                self._metrics.refusals.labels(reason).inc()
                if reason == RefusalReason.NOT_RESERVED and self._keeper is not None:
                    self._keeper.hurry()
            elif isinstance(outcome, Raise):
                log.warning("halt raised or cleared", entry=outcome.entry.id, detail=outcome.entry.detail)
                self.guard.raised(outcome.entry)
            elif isinstance(outcome, Closed):
                intent = outcome.intent
                name = intent.outcome.value if intent.outcome is not None else IntentState.STUCK.value
                self._intents[name] = self._intents.get(name, 0) + 1
                self._metrics.intents.labels(name).inc()
                log.info("intent closed", intent=intent.id, opportunity=intent.opportunity_id, outcome=name, mode="PAPER")

    def detail(self) -> dict[str, object]:
        """Intents by outcome, refusals by reason, PnL: since this process began; the journal has the whole."""
        document = self._document
        pnl = self._engine.pnl(self.pod.now_ns()) if self._engine is not None else None
        total: Decimal | None = pnl.arb if pnl is not None else None
        if total is not None and document is not None:
            self._metrics.pnl(document.spec.profit_asset, total)
        return {
            "strategy": self._strategy,
            "revision": document.revision if document is not None else "",
            "intents": dict(self._intents),
            "refusals": dict(self._refusals),
            "reservations": self._reservations.state if self._reservations is not None else None,
            "undeclared": list(self._reservations.undeclared) if self._reservations is not None else [],
            "open": len(self._engine.live_intents) if self._engine is not None else 0,
            "pnl": str(total) if total is not None else None,
            "profit_asset": document.spec.profit_asset if document is not None else "",
        }
