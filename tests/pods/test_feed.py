"""A feed's change of configuration from the inside: new connections before old ones go, or no change at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from arbkube.control.protocol import Health
from arbkube.market.announcement import decode_markets
from arbkube.market.bus import InProcessBus
from arbkube.market.frames import FrameBatch, decode
from arbkube.plan.documents import FeedDocument
from arbkube.pods import feed as feed_module
from arbkube.pods.feed import NOT_LISTED, FeedPod
from arbkube.pods.shell.config import NotAppliedError
from arbkube.pods.shell.runtime import PodArguments
from arbkube.resources.kinds import FeeOverride
from arbkube.resources.scalars import Bps
from arbkube.simulator.faults import Fault, FaultRequest
from arbkube.simulator.model import SimulatedFeed
from arbkube.simulator.server import Simulator
from tests.pods.publisher import quickstart

OLD = {"BTC-USDT", "ETH-USDT", "ETH-BTC"}


class World:
    """A feed pod's insides on a simulated venue, with all that it says."""

    def __init__(self, pod: FeedPod, simulator: Simulator, document: FeedDocument) -> None:
        self.pod, self.simulator, self.document = pod, simulator, document
        self.said: list[FrameBatch | set[str]] = []
        """Batches, and the symbols of announcements, in the order in which they were published."""

    async def listen(self) -> None:
        name = self.document.name
        async for messages in self.pod.pod.bus.read([f"markets:{name}", f"frames:{name}"]):
            for topic, payload in messages:
                if topic.startswith("frames:"):
                    self.said.append(decode(payload))
                else:
                    self.said.append({market.instrument.symbol for market in decode_markets(payload).markets})

    def wanting(self, *symbols: str) -> FeedDocument:
        return replace(self.document, spec=replace(self.document.spec, instruments=symbols))

    @property
    def clients(self) -> int:
        return len(self.simulator._clients[self.document.name])

    async def ready(self) -> None:
        async with asyncio.timeout(15):
            while self.pod.pod.reasons.keys() - {"config"}:
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    document = quickstart().documents["feed-kraken"]
    assert isinstance(document, FeedDocument)
    spec = document.spec
    assert spec.simulated is not None
    served = SimulatedFeed(
        name="kraken",
        venue=spec.venue,
        market=spec.market,
        instruments=(*spec.instruments, "SOL-USDT"),
        simulated=spec.simulated,
    )
    simulator = Simulator([served], seed=1)
    port = await simulator.start()
    arguments = PodArguments(
        name="feed-kraken",
        role="feed",
        workload="feed-kraken",
        shape="",
        document="feed-kraken",
        bus="redis://127.0.0.1:1",
        control="redis://127.0.0.1:1",
        credentials=tmp_path,
        state=tmp_path,
        port=0,
        simulator=f"http://127.0.0.1:{port}",
    )
    pod = FeedPod(arguments)
    pod.pod.bus = InProcessBus()
    pod.pod._clock_offset_ns = 0
    made = World(pod, simulator, document)
    await pod.apply(document)
    pod.pod.config.booted.set()
    tasks = [asyncio.create_task(made.listen()), asyncio.create_task(pod.work())]
    await made.ready()
    yield made
    pod.pod.stopping.set()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(tasks[1], 5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await simulator.stop()


def grown(before: Health, after: Health) -> bool:
    return after.attempts > before.attempts and after.errors >= before.errors


async def test_new_connections_before_the_old_ones_go(world: World) -> None:
    """A reader that follows what is published never lacks a verified book that it had."""
    before = world.pod.health()
    world.said.clear()
    await world.pod.apply(world.wanting(*sorted(OLD), "SOL-USDT"))
    await asyncio.sleep(0.5)
    announced = next(number for number, said in enumerate(world.said) if isinstance(said, set) and "SOL-USDT" in said)
    batches = [(number, said) for number, said in enumerate(world.said) if isinstance(said, FrameBatch)]
    old, new = batches[0][1].epoch, batches[-1][1].epoch
    turn, first = next((number, batch) for number, batch in batches if batch.epoch == new)
    assert [batch.epoch for _, batch in batches] == [old if number < turn else new for number, _ in batches]
    assert announced < turn, "the rules before the books that they are for"
    assert {frame.symbol for frame in first.frames} == OLD | {"SOL-USDT"}, "all at once"
    assert not any(frame.withheld for _, batch in batches for frame in batch.frames), "never void"
    assert world.clients == 1, "and then the old ones are gone"
    assert grown(before, world.pod.health())
    detail = world.pod.detail()
    assert (detail["books"], detail["withheld"], detail["reconnects"]) == (4, {}, 0)


async def test_connections_that_do_not_get_there_change_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_VERIFIED_WITHIN_S", 0.7)
    world.simulator.inject(FaultRequest(feed="kraken", fault=Fault.DELAY, by_ms=60_000))
    supply = world.pod._supply
    with pytest.raises(NotAppliedError, match="SOL-USDT"):
        await world.pod.apply(world.wanting(*sorted(OLD), "SOL-USDT"))
    assert world.pod._supply is supply
    assert supply is not None
    assert {book.symbol for book in supply.books if book.withheld is None} == OLD
    async with asyncio.timeout(5):
        while world.clients > 1:
            await asyncio.sleep(0.01)
    world.simulator.venues["kraken"].faults.clear()
    await world.pod.apply(world.wanting(*sorted(OLD), "SOL-USDT"))
    assert world.pod._supply is not supply


async def test_fees_are_announced_and_nothing_else_happens(world: World) -> None:
    supply, said = world.pod._supply, len(world.said)
    fees = FeeOverride(maker=Bps("0bps"), taker=Bps("7bps"))
    await world.pod.apply(replace(world.document, spec=replace(world.document.spec, fees=fees)))
    await asyncio.sleep(0.05)
    assert any(isinstance(one, set) for one in world.said[said:])
    assert world.pod._supply is supply
    await world.pod.apply(replace(world.document, spec=replace(world.document.spec, fees=None)))
    assert "kraken" in str(world.pod.detail()["fees"]).lower(), "the adapter's own again"


async def test_fewer_levels_come_from_the_same_connection_and_more_from_another(world: World) -> None:
    supply = world.pod._supply
    await world.pod.apply(replace(world.document, spec=replace(world.document.spec, depth=3)))
    assert world.pod._supply is supply
    await asyncio.sleep(0.3)
    last = [said for said in world.said if isinstance(said, FrameBatch) and said.frames][-1]
    assert all(len(frame.bids) <= 3 for frame in last.frames)
    await world.pod.apply(replace(world.document, spec=replace(world.document.spec, depth=50)))
    assert world.pod._supply is not supply


async def test_a_candidate_is_held_against_the_venue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_LISTED_WITHIN_S", 0.2)
    assert await world.pod.check(world.wanting("BTC-USDT", "SOL-USDT")) is None
    problem = await world.pod.check(world.wanting("BTC-USDT", "XRP-USDT"))
    assert problem is not None
    assert (problem.reason.split(":")[0], problem.path) == (NOT_LISTED, "spec.instruments")
    await world.simulator.stop()
    assert await world.pod.check(world.wanting("BTC-USDT", "XRP-USDT")) is None, "of a venue that is away nothing is known"
