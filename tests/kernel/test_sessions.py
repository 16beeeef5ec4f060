"""Sessions in both forms are the same at every event: over spoiled frames, over every recording, over frames made odd."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arbkube.kernel import Form
from arbkube.market.instruments import Instrument, MarketType
from arbkube.resources.kinds import Channel
from arbkube.venues.recording import EventKind, Recording
from arbkube.venues.registry import adapter
from arbkube.venues.session import SECOND, Session, SessionOptions
from tests.kernel.both import BothSessions, Differs, making, needs_compiled
from tests.venues.campaign.engine import Campaign, Genuine, Report, Venue
from tests.venues.campaign.engine import _Wire as Wire
from tests.venues.campaign.generated import CoinbaseVenue
from tests.venues.campaign.recorded import FILES, recorded_instrument
from tests.venues.campaign.test_campaign import VENUES

pytestmark = needs_compiled

NOW = 1_700_000_000 * SECOND
SPOT, USDM = MarketType.SPOT, MarketType.PERPETUAL


def in_both(make: Callable[[], Session]) -> Any:
    with making(Form.COMPILED):
        compiled = make()
    with making(Form.PURE):
        pure = make()
    return BothSessions(compiled, pure)


class Lockstep(Campaign):
    """A campaign whose session is both forms, and whose oracle is that they are alike: the books themselves may be wrong."""

    def __init__(self, venue: Venue, *, seed: int, rate: float) -> None:
        super().__init__(venue, seed=seed, rate=rate)
        self.session: Any = in_both(lambda: venue.session(Random(seed + 1)))
        self.wire = Wire(self.rng, rate, content=True)

    def _check(self, origin: Genuine | None) -> None:
        self.session.take_changed()

    def deliver(self, frames: int) -> Report:
        """So many messages through the faults."""
        while self.report.frames < frames:
            self._turn()
        return self.report

    @property
    def taken(self) -> int:
        """Frames that the compiled form has dealt with by itself."""
        taken: int = self.session.compiled._scan.__self__.taken
        return taken


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize(("rate", "frames", "taken"), [(0.003, 500, 130), (0.2, 500, 15)])
def test_spoiled_frames_leave_both_alike(name: str, rate: float, frames: int, taken: int, recordings: Path) -> None:
    both = Lockstep(VENUES[name](recordings, 7), seed=23, rate=rate)
    both.deliver(frames)
    assert both.taken > taken


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", VENUES)
def test_a_hundred_thousand_spoiled_frames_leave_both_alike(name: str, recordings: Path, record_property: Any) -> None:
    both = Lockstep(VENUES[name](recordings, 7), seed=29, rate=0.2)
    report = both.deliver(100_000)
    record_property("frames", report.frames)
    record_property("mutated", both.wire.counts.total())
    record_property("taken by the compiled form", both.taken)
    record_property("differing", 0)


def binance(market: MarketType, names: tuple[str, ...]) -> Any:
    def make() -> Session:
        served = adapter("binance", market)
        options = SessionOptions(endpoint=served.endpoint, depth=20, channels=frozenset(Channel))
        return served.session([recorded_instrument(market, name) for name in names], options, Random(1))

    return in_both(make)


@pytest.mark.parametrize("market", [SPOT, USDM])
def test_every_recording_of_binance_leaves_both_alike(market: MarketType, recordings: Path) -> None:
    session = binance(market, FILES[market])
    symbols = list(session.books)
    session.opened(NOW)
    events = [
        (event.ns, event.kind, symbol, event.data)
        for symbol, name in zip(symbols, FILES[market], strict=True)
        for event in Recording(recordings / "binance-2024-08-08" / f"{name}.jsonl.gz").events()
    ]
    scanner = session.compiled._scan.__self__
    for number, (ns, kind, symbol, data) in enumerate(sorted(events, key=lambda event: event[0])):
        if kind is EventKind.FETCHED:
            session.fetched(symbol, data, ns)
        elif kind is EventKind.RECEIVED:
            if number % 64:  # comparing takes longer than working
                session.compiled.received(data, ns)
                session.pure.received(data, ns)
            else:
                session.received(data, ns)
    assert all(book.withheld is None for book in session.books.values())
    assert scanner.passed < 20
    assert scanner.taken > 100_000 if market is USDM else 60_000


def test_the_recording_of_okx_leaves_both_alike(recordings: Path) -> None:
    """Proven by the checksum, as in that year; the other channels' frames among it."""
    served = adapter("okx", SPOT)
    rules = Instrument(
        venue="okx",
        market=SPOT,
        symbol="BTC-USDT",
        native="BTC-USDT",
        base="BTC",
        quote="USDT",
        tick=Decimal("0.1"),
        lot=Decimal("0.00000001"),
        min_quantity=Decimal("0.00001"),
        min_notional=Decimal(0),
    )
    options = SessionOptions(endpoint=served.endpoint, depth=20, channels=frozenset(Channel))
    session = in_both(lambda: served.session([rules], options, Random(1)))
    session.opened(NOW)
    for event in Recording(recordings / "okx" / "books.ws.txt").events():
        if event.kind is EventKind.RECEIVED:
            session.received(event.data, event.ns)
    assert session.books["BTC-USDT"].withheld is None
    assert session.compiled._scan.__self__.taken > 50


def binance_verified(market: MarketType) -> Any:
    session = binance(market, FILES[market][:1])
    session.opened(NOW)
    (symbol,) = session.books
    session.received(binance_diff(market, 95, 110), NOW)
    session.fetched(symbol, SNAPSHOT, NOW)
    assert next(iter(session.books.values())).withheld is None
    return session


SNAPSHOT = json.dumps(
    {"lastUpdateId": 100, "bids": [["99.00", "1.0"], ["98.00", "1.0"]], "asks": [["101.00", "1.0"], ["102.00", "1.0"]]}
).encode()


def compact(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def binance_diff(market: MarketType, first: int, last: int, *, bids: Any = (), asks: Any = (), ms: int = 5) -> bytes:
    data: dict[str, Any] = {"e": "depthUpdate", "E": ms}
    if market is USDM:
        data["T"] = ms
    data |= {"s": "BTCUSDT", "U": first, "u": last}
    if market is USDM:
        data["pu"] = first - 1
    return compact({"stream": "btcusdt@depth@100ms", "data": data | {"b": bids, "a": asks}})


def binance_top(market: MarketType, update: int, bid: Any, bid_size: Any, ask: Any, ask_size: Any) -> bytes:
    data: dict[str, Any] = {"e": "bookTicker"} if market is USDM else {}
    data |= {"u": update, "s": "BTCUSDT", "b": bid, "B": bid_size, "a": ask, "A": ask_size}
    if market is USDM:
        data |= {"T": 5, "E": 6}
    return compact({"stream": "btcusdt@bookTicker", "data": data})


prices = st.sampled_from(
    ["97.00", "98.00", "99.00", "99.5", "100", "101.00", "101.01", "102.00", "1e2", "0", "12345678901.1234567"]
)
sizes = st.sampled_from(["0", "0.00", "1.0", "1.00", "2.5", "12345678901.00000000", "1e1", "-1", "x"])
usual = st.tuples(st.sampled_from(["97.00", "98.00", "99.00", "99.01"]), st.sampled_from(["0.0", "1.0", "2.0"]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("diff"), st.integers(0, 3), st.integers(0, 3), st.lists(usual, max_size=4)),
        st.tuples(st.just("diff"), st.just(1), st.just(1), st.lists(usual, max_size=4)),
        st.tuples(st.just("diff"), st.just(1), st.just(1), st.lists(st.tuples(prices, sizes), max_size=4)),
        st.tuples(st.just("top"), st.integers(-1, 2), prices, sizes),
        st.tuples(st.just("top"), st.integers(0, 1), st.just("right"), st.just("right")),
        st.tuples(st.just("snapshot"), st.integers(-2, 2), st.just(0), st.just(0)),
        st.tuples(st.just("close"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=70)
@given(market=st.sampled_from([SPOT, USDM]), steps=steps)
def test_any_course_of_diffs_and_tops_leaves_both_alike(market: MarketType, steps: list[Any]) -> None:
    session = binance_verified(market)
    (symbol,) = session.books
    last, now = 110, NOW
    for kind, one, two, three in steps:
        now += SECOND // 10
        session.tick(now)
        if kind == "diff":
            bids = [level for level in three if level[0] < "1"] or three
            session.received(binance_diff(market, last + one, last + one + two, bids=bids, ms=now // 10**6), now)
            last = max(last, last + one + two)
        elif kind == "top":
            bid, ask = session.books[symbol].top()
            if two == "right" and bid and ask:
                session.received(binance_top(market, last + one, *bid, *ask), now)
            else:
                session.received(binance_top(market, last + one, two, three, "101.00", "1.0"), now)
        elif kind == "snapshot":
            session.fetched(symbol, SNAPSHOT.replace(b"100", str(last + one).encode()), now)
        else:
            session.closed(now)
            session.opened(now)


WHOLE = [
    binance_diff(SPOT, 111, 112, bids=[("99.00", "2.0")], asks=[("101.00", "0.0"), ("101.50", "3")]),
    binance_diff(USDM, 111, 112, bids=[("99.00", "2.0")]),
    binance_top(SPOT, 111, "99.00", "1.0", "101.00", "1.0"),
    binance_top(USDM, 111, "99.00", "1.0", "101.00", "1.0"),
    compact(
        {"stream": "btcusdt@trade", "data": {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 1, "p": "1", "m": True, "M": False}}
    ),
]
EDIT = st.tuples(st.integers(0, 400), st.sampled_from([*b'"\\,:{}[]0129.-eEuUbBs @t\x00\xff']), st.integers(0, 2))
"""Where, which byte, and whether it overwrites, goes in between, or nothing takes the place."""


@settings(max_examples=150)
@given(frame=st.sampled_from(WHOLE), edits=st.lists(EDIT, max_size=3), cut=st.one_of(st.none(), st.integers(0, 400)))
@pytest.mark.parametrize("market", [SPOT, USDM])
def test_a_frame_with_any_bytes_changed_is_judged_alike(market: MarketType, frame: bytes, edits: Any, cut: int | None) -> None:
    spoiled = bytearray(frame)
    for at, byte, how in edits:
        if at < len(spoiled):
            spoiled[at : at + (how != 1)] = b"" if how == 2 else bytes([byte])
    session = binance_verified(market)
    session.received(bytes(spoiled[:cut]), NOW + 1)
    session.received(binance_diff(market, 113, 114), NOW + 2)


@pytest.mark.parametrize("market", [SPOT, USDM])
@pytest.mark.parametrize("number", [10**17, 10**18, 2**63 - 1, 2**63, 10**30])
def test_numbers_without_end_are_judged_alike(market: MarketType, number: int) -> None:
    session = binance_verified(market)
    session.received(binance_diff(market, 111, number), NOW + 1)
    session.received(binance_diff(market, 111, 112, ms=number), NOW + 2)
    session.received(binance_top(market, number, "1.0", "1.0", "2.0", "1.0"), NOW + 3)
    session.received(binance_diff(market, number + 1, number + 2), NOW + 4)
    session.fetched(next(iter(session.books)), SNAPSHOT.replace(b"100", str(number).encode()), NOW + 5)
    session.received(binance_diff(market, number + 1, number + 2), NOW + 6)


def coinbase_frame(sequence: int, kind: str, time: str, updates: list[dict[str, str]]) -> bytes:
    event = {"type": kind, "product_id": "BTC-USD", "updates": updates}
    return compact({"channel": "l2_data", "client_id": "", "timestamp": time, "sequence_num": sequence, "events": [event]})


TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2300, 1, 1)).map(lambda time: f"{time:%Y-%m-%dT%H:%M:%S}")  # noqa: DTZ001
FRACTIONS = st.one_of(
    st.just(""), st.from_regex(r"\.[0-9]{0,11}", fullmatch=True), st.sampled_from([".9999995", ".999999499", ".5"])
)


@settings(max_examples=80)
@given(time=TIMES, fraction=FRACTIONS, zone=st.sampled_from(["Z", "Z", "Z", "z", "+00:00", "-01:00", ""]))
@example(time="2026-09-21T14:15:48", fraction=".5", zone="Z")
@example(time="2024-02-29T23:59:59", fraction=".9999995", zone="Z")
@example(time="2023-02-29T00:00:00", fraction="", zone="Z")
def test_times_are_read_alike(time: str, fraction: str, zone: str) -> None:
    venue = CoinbaseVenue(3)
    session = in_both(lambda: venue.session(Random(1)))
    session.opened(NOW)
    ask = {"side": "offer", "event_time": "", "price_level": "9.0", "new_quantity": "1"}
    session.received(coinbase_frame(0, "snapshot", "2026-01-01T00:00:00Z", [ask]), NOW)
    bid = {"side": "bid", "event_time": "", "price_level": "7.0", "new_quantity": "1"}
    session.received(coinbase_frame(1, "update", time + fraction + zone, [bid]), NOW)
    if fraction == ".5" and zone == "Z" and time[8:10] < "29" and time < "2200":
        assert session.compiled._scan.__self__.taken == 1
    session.received(coinbase_frame(2, "update", time[:17] + "60" + zone, [bid]), NOW)


def test_a_compiled_form_that_differs_is_found_out() -> None:
    session = binance_verified(SPOT)
    session.compiled.books["BTC-USDT"].book.apply([("98.50", "1.0")], [])
    with pytest.raises(Differs):
        session.received(binance_diff(SPOT, 111, 112), NOW)
