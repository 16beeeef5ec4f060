"""The detector pod: books of one strategy's feeds in, sightings out.

For: feeding the pure detector from the bus and publishing what it says. May not: size, judge or remember anything itself.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from arbkube.detection.detector import Detector
from arbkube.detection.model import Balances, Sighting
from arbkube.market.announcement import decode_markets
from arbkube.market.bus import Message
from arbkube.market.frames import FrameBatch, conflate, decode
from arbkube.plan.documents import StrategyDocument
from arbkube.pods.assembly import detector_config
from arbkube.pods.markets import KnownMarkets
from arbkube.pods.metrics import DetectorMetrics
from arbkube.pods.runtime import Pod, PodArguments, read_document

log = structlog.get_logger(__name__)

_TIME_S = 0.1
_BEHIND = 8
"""Batches waiting at once from which on they are conflated first."""

_sighting_encoder = msgspec.msgpack.Encoder()
_balances_decoder = msgspec.msgpack.Decoder(Balances)


async def main(arguments: PodArguments) -> None:
    """Run the detector described by the document until told to stop."""
    detector = DetectorPod(arguments, read_document(arguments, StrategyDocument))
    await detector.pod.run(detector.work)


class DetectorPod:
    """The detector's surroundings; `work` is its life."""

    def __init__(self, arguments: PodArguments, document: StrategyDocument) -> None:
        self.pod = Pod(arguments, detail=self._detail, starting="waiting for the feeds' markets")
        self._document = document
        self._feeds = list(document.feeds)
        self._markets = KnownMarkets(self._feeds)
        self._detector: Detector | None = None
        self._balances: Balances | None = None
        self._retired: dict[str, int] = {}
        self._retired_opportunities = 0
        self._metrics = DetectorMetrics(self.pod.registry, document.strategy, self._counts)

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
        topics = [f"{kind}:{feed}" for feed in self._feeds for kind in ("markets", "frames")]
        async for messages in self.pod.bus.read([*topics, f"balances:{self._document.strategy}"]):
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
                log.warning("unreadable message", topic=topic, error=str(error))
        if self._detector is None:
            return
        for batch in conflate(batches) if len(batches) > _BEHIND else batches:
            now_ns = self.pod.now_ns()
            self._publish(self._detector.on_batch(batch, now_ns))
            self._metrics.tick_seconds.observe((self.pod.now_ns() - now_ns) / 1e9)
            if batch.frames:
                self._metrics.publish_to_detect.observe(max(0, now_ns - batch.sent_ns) / 1e9)

    def _rebuild(self) -> None:
        """Begin anew with the markets known now; open episodes are forgotten with the rules they were sized by."""
        missing = self._markets.missing
        if missing:
            self.pod.reasons["start"] = f"waiting for the markets of {', '.join(missing)}"
            return
        self._retired, self._retired_opportunities = self._counts(), self._opportunities()
        self._detector = Detector(detector_config(self._document, self._document.limits, self._markets.all))
        if self._balances is not None:
            self._publish(self._detector.on_balances(self._balances, self.pod.now_ns()))
        self.pod.reasons.pop("start", None)

    def _publish(self, sightings: list[Sighting]) -> None:
        for sighting in sightings:
            if sighting.opportunity is not None:
                self._metrics.opportunities.inc()
                self._metrics.receive_to_detect.observe((sighting.at_ns - sighting.opportunity.recv_ns) / 1e9)
            self.pod.bus.publish(f"sightings:{self._document.strategy}", _sighting_encoder.encode(sighting))

    def _detail(self) -> dict[str, object]:
        """Evaluations by reason, opportunities, and the closest each identity came."""
        closest = self._detector.closest if self._detector is not None else {}
        best = sorted(closest.items(), key=lambda item: item[1], reverse=True)[:5]
        return {
            "strategy": self._document.strategy,
            "revision": self._document.revision,
            "evaluations": self._counts(),
            "opportunities": self._opportunities(),
            "closest_bps": {identity: str(edge) for identity, edge in best},
        }
