"""A broker that is watched: counts and latencies of orders, taken where orders pass.

For: the executor's metrics, without the engine or a broker knowing of them. May not: change what passes.
"""

from __future__ import annotations

from collections.abc import Callable

from arbkube.execution.config import ExecutorConfig
from arbkube.execution.model import Order
from arbkube.execution.protocols import Broker, OrderReport, ReportKind
from arbkube.market.frames import FrameBatch
from arbkube.pods.shell.metrics import ExecutorMetrics


class MeteredBroker:
    """`broker` as it is, with its traffic counted. `booked` is called once what it reported has been journaled."""

    def __init__(self, broker: Broker, metrics: ExecutorMetrics, clock: Callable[[], int]) -> None:
        self._broker = broker
        self._metrics = metrics
        self._clock = clock
        self._created_ns: dict[str, int] = {}
        self._reported_ns: list[int] = []
        self.sent = 0
        """Orders sent since the pod began."""
        self.rejected = 0
        """Orders of them that a venue refused."""

    def resume(self) -> None:
        self._broker.resume()

    def reconfigure(self, config: ExecutorConfig) -> None:
        self._broker.reconfigure(config)

    def submit(self, order: Order, now_ns: int) -> None:
        self.sent += 1
        self._created_ns[order.id] = order.created_ns
        self._broker.submit(order, now_ns)

    def query(self, order_id: str, feed: str, now_ns: int) -> None:
        self._broker.query(order_id, feed, now_ns)

    def on_batch(self, batch: FrameBatch, now_ns: int) -> None:
        self._broker.on_batch(batch, now_ns)

    def due(self, now_ns: int) -> list[OrderReport]:
        reports = self._broker.due(now_ns)
        for report in reports:
            self._metrics.reports.labels(report.kind.value).inc()
            self.rejected += report.kind is ReportKind.REJECTED
            created_ns = self._created_ns.pop(report.order_id, None)
            if created_ns is not None:
                self._metrics.intent_to_ack.observe(max(0, report.at_ns - created_ns) / 1e9)
            if report.fills:
                self._metrics.fills.labels(report.feed).inc(len(report.fills))
                self._reported_ns.append(report.at_ns)
        return reports

    def next_deadline(self) -> int | None:
        return self._broker.next_deadline()

    def booked(self) -> None:
        """What was reported so far is in the journal now."""
        if self._reported_ns:
            now_ns = self._clock()
            for reported_ns in self._reported_ns:
                self._metrics.ack_to_fill.observe(max(0, now_ns - reported_ns) / 1e9)
            self._reported_ns.clear()
