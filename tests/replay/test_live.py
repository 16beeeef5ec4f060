"""What was heard live replays to the same books; timers fire at their own virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbkube.cli.common.inputs import load_valid
from arbkube.market.book import Level
from arbkube.market.instruments import MarketType
from arbkube.market.verified import VerifiedBook
from arbkube.replay.build import build_feeds, build_strategies, set_up_feeds
from arbkube.replay.run import Replay, VirtualClock
from arbkube.replay.source import Source
from arbkube.resources.kinds import Channel
from arbkube.simulator.faults import Fault, FaultRequest
from arbkube.storage.reading import SqliteExecutorReader
from arbkube.venues.recording import FORMAT, Event, Header, Recording, Writer
from arbkube.venues.registry import adapter
from arbkube.venues.session import SessionOptions
from tests.replay.support import FOLDER, PERPETUAL, SPOT, manifests, replay
from tests.simulator.support import feed, running, until, watching

DEPTH = 20
Seen = dict[tuple[str, int], tuple[tuple[Level, ...], tuple[Level, ...]]]


@pytest.mark.parametrize("venue", ["binance", "coinbase", "kraken", "okx", "bybit"])
async def test_a_recording_of_a_troubled_hour_replays_to_the_books_that_live_had(venue: str, tmp_path: Path) -> None:
    one = feed(venue, MarketType.SPOT, rate=50, name=venue)
    events: list[Event] = []
    live: Seen = {}

    def on_book(book: VerifiedBook) -> None:
        if book.withheld is None:
            live[book.symbol, book.recv_ns] = book.levels(DEPTH)[:2]

    async with running(one) as simulator, watching(simulator, one, on_book=on_book, tap=events.append) as transport:
        (session,) = transport.sessions
        await until(lambda: len(live) > 60, what="books")
        simulator.inject(FaultRequest(feed=venue, fault=Fault.GAP))
        before = len(live)
        await until(lambda: len(live) > before + 60, what="books after the gap")
        simulator.inject(FaultRequest(feed=venue, fault=Fault.DISCONNECT, duration_ms=200))
        await until(lambda: not session.connected)
        before = len(live)
        await until(lambda: len(live) > before + 60, what="books after the reconnect", seconds=30)
        instruments = tuple(session.instruments.values())

    path = tmp_path / "own.gz"
    header = Header(
        format=FORMAT,
        feed=venue,
        venue=venue,
        market=one.market,
        natives=tuple(i.native for i in instruments),
        channels=(Channel.BOOK, Channel.TICKER),
        instruments=instruments,
    )
    writer = Writer(path, header)
    for event in events:
        writer.write(event)
    writer.close()

    recording = Recording(path)
    ours = adapter(venue, one.market)
    options = SessionOptions(endpoint=ours.endpoint, depth=DEPTH, channels=frozenset(header.channels))
    source = Source(recording, ours, instruments, options, seed=1)
    replayed: Seen = {}
    for event in source.events():
        at = source.apply(event, event.ns)
        source.answer(at, event.ns)
        for book in at.take_changed():
            if book.withheld is None:
                replayed[book.symbol, book.recv_ns] = book.levels(DEPTH)[:2]
    missing = [key for key in live if key not in replayed]
    assert not missing, (len(missing), len(live))
    assert not [key for key, levels in live.items() if replayed[key] != levels]

    report = replay([path], tmp_path)["feeds"][venue]
    assert report["rules"] == "recording"
    assert report["withheld"] == {}, "a stop is not a disconnection"
    assert report["resyncs"] >= len(instruments)
    assert report["snapshotsRebuilt"] == 0


@pytest.mark.parametrize("latency_ms", [20, 400])
def test_orders_arrive_and_expire_in_recorded_time(recordings: Path, tmp_path: Path, latency_ms: int) -> None:
    files = [Recording(recordings / FOLDER / name) for name in (SPOT, PERPETUAL)]
    resources = load_valid(manifests(tmp_path, latency=f"{latency_ms}ms"))
    setups = set_up_feeds(files, resources, None)
    clock = VirtualClock()
    feeds = build_feeds(setups)
    strategies, _ = build_strategies(setups, resources, clock)
    run = Replay(feeds, clock)
    run.run(strategies)
    trades = SqliteExecutorReader(strategies[0].store.database).trades_in_order()
    fills = 0
    for trade in trades:
        sent = {order.id: order.created_ns for order in trade.orders}
        for fill in trade.fills:
            fills += 1
            # To the nanosecond: a timer fires at its own time, not at that of the next event.
            assert fill.at_ns == sent[fill.order_id] + latency_ms * 10**6
    assert fills > 0
