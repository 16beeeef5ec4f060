"""An executor that does not know how far its clock is from the bus's judges no age: it does not begin to read."""

from __future__ import annotations

import asyncio

import pytest

from arbkube.market.announcement import MarketsAnnouncement, encode_markets
from arbkube.market.bus import InProcessBus
from arbkube.plan.documents import StrategyDocument
from arbkube.pods.detector import DetectorPod
from arbkube.pods.executor import ExecutorPod
from arbkube.pods.shell.runtime import PodArguments
from tests.pods.publisher import quickstart


@pytest.mark.parametrize("pod_kind", [ExecutorPod, DetectorPod])
def test_nothing_is_read_before_the_clock_is_known(tmp_path, pod_kind) -> None:
    documents = quickstart().documents.values()
    document = next(found for found in documents if isinstance(found, StrategyDocument) and len(found.feeds) > 1)
    arguments = PodArguments(
        name="x",
        role="x",
        workload="x",
        shape="",
        document=f"strategy-{document.strategy}",
        bus="redis://127.0.0.1:1",
        control="redis://127.0.0.1:1",
        credentials=tmp_path,
        state=tmp_path,
        port=0,
    )

    async def missing() -> tuple[list[str], list[str]]:
        pod = pod_kind(arguments)
        pod.pod.bus = InProcessBus()
        await pod.apply(document)
        pod.pod.config.booted.set()
        feed = next(iter(document.feeds))
        pod.pod.bus.publish(f"markets:{feed}", encode_markets(MarketsAnnouncement(feed=feed, venue="okx", at_ns=0, markets=())))
        reading = asyncio.create_task(pod._read())
        await asyncio.sleep(0.2)
        before = pod._markets.missing
        pod.pod._clock_offset_ns = 0
        await asyncio.sleep(0.2)
        reading.cancel()
        return before, pod._markets.missing

    before, after = asyncio.run(missing())
    assert before == list(document.feeds)
    assert after == list(document.feeds)[1:]
