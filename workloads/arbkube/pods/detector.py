"""The detector pod: books of one strategy's feeds in, sightings out.

For: feeding the pure detector from the bus and publishing what it says. May not: size, judge or remember anything itself.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from arbkube.control.protocol import Health
from arbkube.detection.detector import Detector
from arbkube.detection.model import Balances, Sighting
from arbkube.market.announcement import decode_markets
from arbkube.market.bus import Message
from arbkube.market.frames import FrameBatch, conflate, decode
from arbkube.plan.documents import StrategyDocument
from arbkube.pods.assembly import detector_config
from arbkube.pods.markets import KnownMarkets, LastHeard, topics_of
from arbkube.pods.shell.metrics import DetectorMetrics
from arbkube.pods.shell.runtime import Pod, PodArguments, Role

log = structlog.get_logger(__name__)

_TIME_S = 0.1
_BEHIND = 8
"""Batches waiting at once from which on they are conflated first."""

_sighting_encoder = msgspec.msgpack.Encoder()
_balances_decoder = msgspec.msgpack.Decoder(Balances)


async def main(arguments: PodArguments) -> None:
    """Run the detector described by the document until told to stop."""
    detector = DetectorPod(arguments)
    await detector.pod.run(detector.work)


class DetectorPod(Role[StrategyDocument]):
    """The detector's surroundings; `work` is its life."""

    def __init__(self, arguments: PodArguments) -> None:
        self.pod = Pod(arguments, kind=StrategyDocument, role=self, starting="waiting for the feeds' markets")
        self._strategy = arguments.strategy
        self._document: StrategyDocument | None = None
        """With the limits in force."""
        self._topics = [f"balances:{self._strategy}"]
        self._markets = KnownMarkets()
        self._detector: Detector | None = None
        self._balances: Balances | None = None
        self._heard = LastHeard()
        self._unreadable = 0
        self._retired: dict[str, int] = {}
        self._retired_opportunities = 0
        self._metrics = DetectorMetrics(self.pod.registry, self._strategy, self._counts)

    async def apply(self, document: StrategyDocument) -> None:
        """Go on under `document` with the books, balances and episodes there are."""
        self._document = document
        self._markets.follow(document.feeds)
        self._heard.follow(document.feeds)
        self._topics[:] = topics_of(document.feeds, f"balances:{self._strategy}")
        self._rebuild()

    def health(self) -> Health:
        return Health(attempts=sum(self._counts().values()), errors=self._unreadable, data_age_ns=self._heard.age_ns())

    def _counts(self) -> dict[str, int]:
        """Evaluations by reason since the pod began, also over a change of trading rules."""
        counts = dict(self._retired)
        if self._detector is not None:
            for reason, count in self._detector.counts.items():
                counts[reason] = counts.get(reason, 0) + count
        return counts

    def _opportunities(self) -> int:
        return self._retired_opportunities + (self._detector.opportunities if self._detector is not None else 0)

    async def work(self) -> None:
        await self.pod.until(self.pod.stopping.wait(), self._read(), self._keep_time())

    async def _keep_time(self) -> None:
        """End episodes whose books go stale in silence; coarse, since nothing is traded on a stale book anyway."""
        while True:
            await asyncio.sleep(_TIME_S)
            if self._detector is not None:
                now_ns = self.pod.now_ns()
                deadline = self._detector.next_deadline()
                if deadline is not None and deadline <= now_ns:
                    self._publish(self._detector.on_time(now_ns))

    async def _read(self) -> None:
        await self.pod.clock_known()
        await self.pod.config.booted.wait()
        async for messages in self.pod.bus.read(self._topics):
            self._take(messages)

    def _take(self, messages: list[Message]) -> None:
        batches: list[FrameBatch] = []
        for topic, payload in messages:
            kind = topic.split(":", 1)[0]
            try:
                if kind == "frames":
                    batches.append(decode(payload))
                elif kind == "markets":
                    if self._markets.heard(decode_markets(payload)):
                        self._rebuild()
                else:
                    self._balances = _balances_decoder.decode(payload)
                    if self._detector is not None:
                        self._publish(self._detector.on_balances(self._balances, self.pod.now_ns()))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                self._unreadable += 1
                log.warning("unreadable message", topic=topic, error=str(error))
        self._heard.note(batches)
        if self._detector is None:
            return
        for batch in conflate(batches) if len(batches) > _BEHIND else batches:
            now_ns = self.pod.now_ns()
            self._publish(self._detector.on_batch(batch, now_ns))
            self._metrics.tick_seconds.observe((self.pod.now_ns() - now_ns) / 1e9)
            if batch.frames:
                self._metrics.publish_to_detect.observe(max(0, now_ns - batch.sent_ns) / 1e9)

    def _rebuild(self) -> None:
        """Begin once all markets are known; later, go on at once with those that are."""
        if self._document is None:
            return
        missing = self._markets.missing
        if missing:
            self.pod.reasons["start"] = f"waiting for the markets of {', '.join(missing)}"
            if self._detector is None:
                return
        else:
            self.pod.reasons.pop("start", None)
        config = detector_config(self._document, self._document.limits, self._markets.all)
        before, self._retired, self._retired_opportunities = self._detector, self._counts(), self._opportunities()
        self._detector = Detector(config)
        if before is not None:
            self._publish(self._detector.succeed(before, self.pod.now_ns()))
        elif self._balances is not None:
            self._publish(self._detector.on_balances(self._balances, self.pod.now_ns()))

    def _publish(self, sightings: list[Sighting]) -> None:
        for sighting in sightings:
            if sighting.opportunity is not None:
                self._metrics.opportunities.inc()
                self._metrics.receive_to_detect.observe((sighting.at_ns - sighting.opportunity.recv_ns) / 1e9)
            self.pod.bus.publish(f"sightings:{self._strategy}", _sighting_encoder.encode(sighting))

    def detail(self) -> dict[str, object]:
        """Evaluations by reason, opportunities, and the closest each identity came."""
        closest = self._detector.closest if self._detector is not None else {}
        best = sorted(closest.items(), key=lambda item: item[1], reverse=True)[:5]
        return {
            "strategy": self._strategy,
            "revision": self._document.revision if self._document is not None else "",
            "evaluations": self._counts(),
            "opportunities": self._opportunities(),
            "closest_bps": {identity: str(edge) for identity, edge in best},
        }
