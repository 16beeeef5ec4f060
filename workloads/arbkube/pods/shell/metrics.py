"""Every metric of the pods, in base units, with bounded labels.

For: one page that says what is measured; `docs/reference/metrics.md` is made from it. May not: cost anything on the hot path
that a scrape could pay: counts that a book or detector keeps anyway are read when scraped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from arbkube.control.freshness import Doubt
from arbkube.market.frames import FrameBatch
from arbkube.market.verified import BookCounts
from arbkube.pods.shell.status import ConfigStatus
from arbkube.venues.session import Session

STAGES = (
    "exchange_to_receive",
    "receive_to_publish",
    "publish_to_detect",
    "receive_to_detect",
    "detect_to_intent",
    "intent_to_ack",
    "ack_to_fill",
)
_BUCKETS = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 5.0)


def stage_histogram(registry: CollectorRegistry) -> Histogram:
    """Latency between two stages of a frame's way to a fill."""
    return Histogram(
        "arbkube_stage_seconds", "Time between two stages, frame to fill.", ["stage"], registry=registry, buckets=_BUCKETS
    )


class _Scraped(Collector):
    """Metrics computed when they are asked for."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


class FeedMetrics:
    """What a feed pod measures."""

    def __init__(
        self,
        registry: CollectorRegistry,
        feed: str,
        sessions: Callable[[], Sequence[Session]],
        age_s: Callable[[], float],
    ) -> None:
        self._feed = feed
        self._sessions = sessions
        self._age_s = age_s
        stages = stage_histogram(registry)
        self._receive_to_publish = stages.labels("receive_to_publish")
        self._exchange_to_receive = stages.labels("exchange_to_receive")
        self._frames = Counter("arbkube_feed_frames", "Book frames published.", registry=registry)
        registry.register(_Scraped(self._families))

    def published(self, batch: FrameBatch, now_ns: int) -> None:
        """Count one batch that goes out."""
        self._frames.inc(len(batch.frames))
        frame = batch.frames[-1]
        if not frame.withheld:
            self._receive_to_publish.observe((now_ns - frame.recv_ns) / 1e9)
            self._exchange_to_receive.observe(batch.excess_transit_ns[frame.symbol] / 1e9)

    def _families(self) -> Iterable[Metric]:
        labels = ["feed", "symbol"]
        books = [book for session in self._sessions() for book in session.books.values()]
        for field in BookCounts.__struct_fields__:
            family = CounterMetricFamily(f"arbkube_feed_{field}", f"Book {field.replace('_', ' ')}.", labels=labels)
            for book in books:
                family.add_metric([self._feed, book.symbol], getattr(book.counts, field))
            yield family
        withheld = GaugeMetricFamily("arbkube_feed_book_withheld", "1 while a book is withheld.", labels=labels)
        for book in books:
            withheld.add_metric([self._feed, book.symbol], book.withheld is not None)
        yield withheld
        age = GaugeMetricFamily(
            "arbkube_feed_age_seconds", "Time since the least lively connection proved to be alive.", labels=["feed"]
        )
        age.add_metric([self._feed], self._age_s())
        yield age


class DetectorMetrics:
    """What a detector pod measures."""

    def __init__(self, registry: CollectorRegistry, strategy: str, counts: Callable[[], Mapping[str, int]]) -> None:
        self._strategy = strategy
        self._counts = counts
        stages = stage_histogram(registry)
        self.publish_to_detect = stages.labels("publish_to_detect")
        self.receive_to_detect = stages.labels("receive_to_detect")
        self.tick_seconds = Histogram(
            "arbkube_detector_tick_seconds", "Time to score one batch.", registry=registry, buckets=_BUCKETS
        )
        self.opportunities = Counter("arbkube_detector_opportunities", "Opportunities published.", registry=registry)
        registry.register(_Scraped(self._families))

    def _families(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "arbkube_detector_evaluations", "Evaluations by their outcome's reason.", labels=["strategy", "reason"]
        )
        for reason, count in self._counts().items():
            family.add_metric([self._strategy, reason], count)
        yield family


class ExecutorMetrics:
    """What an executor pod measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        stages = stage_histogram(registry)
        self.detect_to_intent = stages.labels("detect_to_intent")
        self.intent_to_ack = stages.labels("intent_to_ack")
        self.ack_to_fill = stages.labels("ack_to_fill")
        self.intents = Counter("arbkube_executor_intents", "Intents by outcome.", ["outcome"], registry=registry)
        self.refusals = Counter("arbkube_executor_refusals", "Opportunities refused, by reason.", ["reason"], registry=registry)
        self.reports = Counter("arbkube_executor_order_reports", "What brokers said of orders.", ["kind"], registry=registry)
        self.fills = Counter("arbkube_executor_fills", "Fills booked.", ["feed"], registry=registry)
        self._pnl = Gauge("arbkube_executor_arb_pnl", "ArbPnL since the journal began.", ["asset"], registry=registry)

    def pnl(self, asset: str, amount: Decimal) -> None:
        """Show ArbPnL; a gauge is a float, the journal has the exact figure."""
        self._pnl.labels(asset).set(float(amount))


def recorder_rows(registry: CollectorRegistry) -> tuple[Counter, Counter]:
    """What a recorder pod measures: rows written by table, and rows that could not be written."""
    written = Counter("arbkube_recorder_rows", "Rows written.", ["table"], registry=registry)
    dropped = Counter("arbkube_recorder_dropped", "Rows that could not be written.", registry=registry)
    return written, dropped


def config_metrics(registry: CollectorRegistry, status: Callable[[], ConfigStatus], answer_age_s: Callable[[], float]) -> None:
    """What every pod measures of its configuration. An order is two gauges, for it counts anew with every term."""

    def families() -> Iterable[Metric]:
        now = status()
        orders = {"revision": now.running.order if now.running is not None else None, "limits": now.limits}
        for word in ("term", "serial"):
            family = GaugeMetricFamily(
                f"arbkube_config_applied_{word}", f"The {word} of what is applied; 0 where nothing is.", labels=["what"]
            )
            for what, order in orders.items():
                family.add_metric([what], getattr(order, word) if order is not None else 0)
            yield family
        yield GaugeMetricFamily("arbkube_halts_active", "Halts in force that an executor knows of.", value=len(now.halts))
        doubted = GaugeMetricFamily(
            "arbkube_control_doubt", "1 where an executor does not believe the control server, by why.", labels=["doubt"]
        )
        for doubt in Doubt:
            doubted.add_metric([doubt.value], now.doubt == doubt)
        yield doubted
        yield GaugeMetricFamily(
            "arbkube_control_answer_age_seconds", "Time since the control server's last answer was asked.", value=answer_age_s()
        )

    registry.register(_Scraped(families))
