"""A detector whose strategy gets another feed: it looks at the ones it knows, and at the new one as soon as that has spoken."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

from arbkube.detection.model import Balances, Sighting
from arbkube.market.announcement import MarketsAnnouncement, encode_markets
from arbkube.market.bus import InProcessBus
from arbkube.market.frames import encode
from arbkube.plan.documents import StrategyDocument
from arbkube.pods.detector import DetectorPod
from arbkube.pods.shell.runtime import PodArguments
from arbkube.resources.kinds import FeedRef
from tests.detection.world import Tape, levels, market
from tests.pods.publisher import quickstart

BOOKS = {"binance": (("99.9", 5), ("100", 5)), "kraken": (("101", 5), ("101.1", 5)), "okx": (("103", 5), ("103.1", 5))}


async def test_another_feed(tmp_path: Path) -> None:
    document = quickstart().documents["strategy-cross"]
    assert isinstance(document, StrategyDocument)
    arguments = PodArguments(
        name="detector-cross",
        role="detector",
        workload="detector-cross",
        shape="",
        document="strategy-cross",
        bus="redis://127.0.0.1:1",
        control="redis://127.0.0.1:1",
        credentials=tmp_path,
        state=tmp_path,
        port=0,
    )
    pod = DetectorPod(arguments)
    bus = pod.pod.bus = InProcessBus()
    pod.pod._clock_offset_ns = 0
    said: list[Sighting] = []
    tape = Tape()

    def announce(feed: str) -> None:
        markets = (market(feed, "BTC-USDT", lot="0.001"),)
        bus.publish(
            f"markets:{feed}", encode_markets(MarketsAnnouncement(feed=feed, venue=feed, at_ns=time.time_ns(), markets=markets))
        )

    def speak(feed: str) -> None:
        bid, ask = BOOKS[feed]
        bus.publish(f"frames:{feed}", encode(tape.book(feed, "BTC-USDT", levels(bid), levels(ask), at=time.time_ns())))

    async def listen() -> None:
        async for messages in bus.read(["sightings:cross"]):
            said.extend(msgspec.msgpack.decode(payload, type=Sighting) for _, payload in messages)

    def taken() -> list[str]:
        return [sighting.identity for sighting in said if sighting.opportunity is not None]

    async def turn() -> None:
        await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(listen()), asyncio.create_task(pod._read())]
    await pod.apply(document)
    pod.pod.config.booted.set()
    await turn()
    announce("binance")
    announce("kraken")
    available = {feed: {"USDT": "9999", "BTC": "99"} for feed in BOOKS}
    bus.publish(
        "balances:cross",
        msgspec.msgpack.encode(msgspec.convert({"strategy": "cross", "at_ns": 0, "available": available}, Balances)),
    )
    await turn()
    speak("binance")
    speak("kraken")
    await turn()
    first = "cross:buy BTC-USDT@binance>sell BTC-USDT@kraken"
    assert taken() == [first]

    limits = replace(
        document.limits,
        max_age={**document.limits.max_age, "okx": document.limits.max_age["kraken"]},
        max_transit={**document.limits.max_transit, "okx": document.limits.max_transit["kraken"]},
    )
    wider = replace(
        document,
        spec=replace(document.spec, feeds=(*document.spec.feeds, FeedRef(name="okx"))),
        feeds={**document.feeds, "okx": document.feeds["kraken"]},
        limits=limits,
        revision="wider",
    )
    await pod.apply(wider)
    assert pod.pod.reasons["start"] == "waiting for the markets of okx"
    speak("kraken")
    await turn()
    assert taken() == [first], "the episode goes on: it was taken"
    announce("okx")
    await asyncio.sleep(1.1)  # within a second the new topics are read
    announce("okx")
    await turn()
    assert "start" not in pod.pod.reasons
    for feed in BOOKS:
        speak(feed)
    await turn()
    assert sorted(taken()[1:]) == [
        "cross:buy BTC-USDT@binance>sell BTC-USDT@okx",
        "cross:buy BTC-USDT@kraken>sell BTC-USDT@okx",
    ]
    assert {s.opportunity.revision for s in said if s.opportunity is not None} == {document.revision, "wider"}

    await pod.apply(document)
    await turn()
    ended = [sighting for sighting in said if "okx" in sighting.identity and sighting.opportunity is None]
    assert {sighting.reason for sighting in ended} >= {"NoBook"}, "their episodes end with the feed"
    assert taken().count(first) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
