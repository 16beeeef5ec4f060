"""A recording played through a real socket gives the same books as the same recording read from its file."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import aiohttp
import pytest

from arbkube.market.book import Level
from arbkube.market.instruments import MarketType
from arbkube.replay.source import Source
from arbkube.resources.kinds import Channel
from arbkube.simulator.faults import Fault, FaultRequest
from arbkube.simulator.player import Player
from arbkube.venues.defaults import default_instruments
from arbkube.venues.recording import FORMAT, Event, EventKind, Header, Recording, Writer
from arbkube.venues.registry import adapter
from arbkube.venues.rest import fetch_instruments
from arbkube.venues.session import Session, SessionOptions
from arbkube.venues.transport import FeedTransport
from tests.simulator.support import SEED, feed, running, until, watching

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DEPTH = 20

Books = list[dict[str, tuple[tuple[Level, ...], tuple[Level, ...]]]]
"""After each book frame, the verified books by symbol."""


def is_book_frame(frame: bytes) -> bool:
    marks = (b'"depthUpdate"', b'"channel":"books",', b'"channel":"book"', b'"channel":"l2_data"', b'"topic":"orderbook.')
    return any(mark in frame for mark in marks) and b'"event"' not in frame and b'"method"' not in frame


def books(session: Session) -> dict[str, tuple[tuple[Level, ...], tuple[Level, ...]]]:
    return {symbol: book.levels(DEPTH)[:2] for symbol, book in session.books.items() if book.withheld is None}


def options(recording: Recording, player: Player | None = None) -> SessionOptions:
    header = recording.header
    endpoint = player.endpoint() if player else adapter(header.venue, header.market).endpoint
    return SessionOptions(endpoint=endpoint, depth=DEPTH, channels=frozenset(header.channels))


def from_file(recording: Recording) -> Books:
    header = recording.header
    ours = adapter(header.venue, header.market)
    instruments = header.instruments or default_instruments(header.venue, header.market, header.natives)
    source = Source(recording, ours, instruments, options(recording), seed=SEED)
    seen: Books = []
    for event in source.events():
        session = source.apply(event, event.ns)
        source.answer(session, event.ns)
        if event.kind is EventKind.RECEIVED and is_book_frame(event.data):
            seen.append(books(session))
    return seen


async def through_socket(recording: Recording, *, speed: float) -> Books:
    header = recording.header
    ours = adapter(header.venue, header.market)
    player = Player(recording, speed=speed)
    await player.start()
    seen: Books = []
    try:
        async with aiohttp.ClientSession() as http:
            symbols = [i.symbol for i in header.instruments or default_instruments(header.venue, header.market, header.natives)]
            instruments = await fetch_instruments(http, ours, symbols, player.endpoint())
            transport = FeedTransport(
                http, ours, instruments, options(recording, player), rng=Random(SEED), on_change=lambda _session, _changed: None
            )
            (session,) = transport.sessions
            received = session.received

            def observed(frame: bytes, now_ns: int) -> None:
                received(frame, now_ns)
                if is_book_frame(frame):
                    seen.append(books(session))

            session.received = observed  # type: ignore[method-assign]
            task = asyncio.create_task(transport.run())
            await asyncio.wait_for(player.finished.wait(), 90)
            count = -1
            while count != len(seen):
                count = len(seen)
                await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await player.stop()
    return seen


def assert_same(file: Books, socket: Books, *, expected: int) -> None:
    assert len(file) == len(socket)
    assert sum(1 for books in file if books) >= expected, "the file itself gave too few verified books"
    different = [index for index, (one, other) in enumerate(zip(file, socket, strict=True)) if one != other]
    assert not different, (len(different), different[:5])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("binance-2024-08-08/spot-btcusdt.jsonl.gz", 3448),
        ("okx/books.ws.txt", 90),
        pytest.param("binance-2024-08-08/spot-ethusdt.jsonl.gz", 3430, marks=pytest.mark.soak),
        ("binance-2024-08-08/usdm-btcusdt.jsonl.gz", 6500),
        pytest.param("binance-2024-08-08/usdm-ethusdt.jsonl.gz", 6500, marks=pytest.mark.soak),
    ],
)
async def test_the_shared_recordings_give_the_same_books_through_the_socket(name: str, expected: int) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"the shared recording {name} is not here")
    recording = Recording(DATA / name)
    assert_same(from_file(recording), await through_socket(recording, speed=float("inf")), expected=expected)


async def recorded(path: Path, venue: str, *, events: int, disconnect: bool = False) -> Recording:
    """A recording of simulated traffic, in our own format."""
    one = feed(venue, MarketType.SPOT, rate=50)
    heard: list[Event] = []
    async with running(one) as simulator, watching(simulator, one, tap=heard.append) as transport:
        if disconnect:
            await until(lambda: len(heard) >= events // 2, what="half of the events")
            simulator.inject(FaultRequest(feed=one.name, fault=Fault.DISCONNECT))
        await until(lambda: len(heard) >= events, what=f"{events} events")
        instruments = tuple(transport.sessions[0].instruments.values())
        kept = list(heard)
    header = Header(
        format=FORMAT,
        feed=one.name,
        venue=venue,
        market=one.market,
        natives=tuple(i.native for i in instruments),
        channels=(Channel.BOOK, Channel.TICKER),
        instruments=instruments,
    )
    writer = Writer(path, header)
    for event in kept:
        writer.write(event)
    writer.close()
    return Recording(path)


@pytest.mark.parametrize("venue", ["binance", "coinbase", "kraken", "okx", "bybit"])
async def test_what_we_record_ourselves_plays_alike(venue: str, tmp_path: Path) -> None:
    recording = await recorded(tmp_path / "own.jsonl.gz", venue, events=250)
    began = time.monotonic()
    assert_same(from_file(recording), await through_socket(recording, speed=4.0), expected=50)
    times = [event.ns for event in recording.events()]
    assert time.monotonic() - began > (times[-1] - times[0]) / 4e9, "no faster than asked for"


@pytest.mark.parametrize("venue", ["binance", "kraken"])
async def test_a_recorded_reconnect_is_played_too(venue: str, tmp_path: Path) -> None:
    recording = await recorded(tmp_path / "own.jsonl.gz", venue, events=300, disconnect=True)
    assert [event.kind for event in recording.events()].count(EventKind.CLOSED) == 1
    assert_same(from_file(recording), await through_socket(recording, speed=4.0), expected=50)


async def test_what_the_recording_does_not_hold_is_not_made_up(tmp_path: Path) -> None:
    recording = await recorded(tmp_path / "own.jsonl.gz", "kraken", events=100)
    player = Player(recording)
    await player.start()
    try:
        async with aiohttp.ClientSession() as http:
            for path, status in [("/0/public/Depth?pair=XBTUSDT", 503), ("/0/public/AssetPairs?pair=XBTUSDT", 200)]:
                async with http.get(player.endpoint().rest + path) as response:
                    assert response.status == status
    finally:
        await player.stop()
