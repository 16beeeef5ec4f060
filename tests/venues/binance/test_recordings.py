"""Binance's recordings: no gap, every top right, and the book of an independent oracle after every diff.

What is expected of BTC on spot was also found by a check that shares no code with this project.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from arbkube.market.instruments import MarketType
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel
from arbkube.venues.binance.session import BinanceSession
from arbkube.venues.recording import Event, EventKind, Recording
from arbkube.venues.registry import adapter
from arbkube.venues.session import SECOND, Fetch, SessionOptions
from tests.venues.campaign.books import TrueBook
from tests.venues.campaign.recorded import recorded_instrument

# Diffs applied, and of these with a top of the venue's own to hold against.
EXPECTED = {
    "spot-btcusdt": (3449, 3449),
    "spot-ethusdt": (3432, 3432),
    "usdm-btcusdt": (6547, 503),
    "usdm-ethusdt": (6580, 471),
}
DEPTH = 20


def market_of(name: str) -> MarketType:
    return MarketType.SPOT if name.startswith("spot") else MarketType.PERPETUAL


def session_of(name: str, *, channels: frozenset[Channel] = frozenset(Channel)) -> BinanceSession:
    binance = adapter("binance", market_of(name))
    options = SessionOptions(endpoint=binance.endpoint, depth=DEPTH, channels=channels)
    made = binance.session([recorded_instrument(market_of(name), name)], options, Random(1))
    assert isinstance(made, BinanceSession)
    return made


def events_of(folder: Path, name: str) -> list[Event]:
    return list(Recording(folder / "binance-2024-08-08" / f"{name}.jsonl.gz").events())


def feed(
    session: BinanceSession, events: list[Event], after: Callable[[Event, VerifiedBook], None] | None = None
) -> VerifiedBook:
    """Play `events` into `session`, its REST requests unanswered but by the recording."""
    (book,) = session.books.values()
    session.opened(events[0].ns)
    for event in events:
        if event.kind is EventKind.FETCHED:
            session.fetched(book.symbol, event.data, event.ns)
        else:
            session.received(event.data, event.ns)
        if after is not None:
            after(event, book)
    return book


@pytest.mark.parametrize("name", EXPECTED)
def test_no_gap_and_every_top_right(name: str, recordings: Path) -> None:
    book = feed(session_of(name), events_of(recordings, name))
    applied, checked = EXPECTED[name]
    assert book.withheld is None
    assert (book.counts.gaps, book.counts.resyncs, book.counts.malformed, book.counts.crossed) == (0, 0, 0, 0)
    assert book.counts.updates == applied + 1, "the diffs and the snapshot"
    assert (book.counts.tops_checked, book.counts.tops_mismatched) == (checked, 0)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_oracle_in_decimal_agrees_after_every_diff(name: str, recordings: Path) -> None:
    truth: TrueBook | None = None
    agreed = full = 0

    def check(event: Event, book: VerifiedBook) -> None:
        nonlocal truth, agreed, full
        if event.kind is EventKind.FETCHED:
            snapshot = json.loads(event.data)
            truth = TrueBook(snapshot["bids"], snapshot["asks"])
            check.last = snapshot["lastUpdateId"]  # type: ignore[attr-defined]
            for early in waiting:
                follow(early)
        elif b'"depthUpdate"' in event.data:
            diff = json.loads(event.data)["data"]
            if truth is None:
                waiting.append(diff)
                return
            follow(diff)
        else:
            return
        if book.withheld is None and truth is not None:
            # On USD-M the price leaves the 1000 levels of the snapshot within minutes; what lies beyond is not proven.
            bids, asks, truncated = book.levels(DEPTH)
            true_bids, true_asks = truth.ladders(DEPTH)
            assert bids == true_bids[: len(bids)]
            assert asks == true_asks[: len(asks)]
            assert truncated
            assert len(bids) == DEPTH or Decimal(true_bids[len(bids)][0]) < Decimal(repr(book.bid_floor))
            assert len(asks) == DEPTH or Decimal(true_asks[len(asks)][0]) > Decimal(repr(book.ask_cap))
            agreed += 1
            full += len(bids) == len(asks) == DEPTH

    def follow(diff: dict[str, object]) -> None:
        assert truth is not None
        if int(str(diff["u"])) > check.last:  # type: ignore[attr-defined]
            truth.apply(diff["b"], diff["a"])  # type: ignore[arg-type]

    waiting: list[dict[str, object]] = []
    check.last = -1  # type: ignore[attr-defined]
    feed(session_of(name, channels=frozenset({Channel.BOOK})), events_of(recordings, name), check)
    assert agreed >= EXPECTED[name][0] - 5, "the diffs that waited for the snapshot are applied at once"
    assert full > agreed // 2


def is_diff(event: Event) -> bool:
    return b'"depthUpdate"' in event.data


def played(folder: Path, change: Callable[[list[Event], int], None]) -> tuple[VerifiedBook, BinanceSession]:
    """The spot BTC recording with the 1000th diff after the snapshot changed by hand."""
    events = events_of(folder, "spot-btcusdt")
    start = next(at for at, event in enumerate(events) if event.kind is EventKind.FETCHED)
    diffs = [at for at, event in enumerate(events) if is_diff(event) and at > start]
    change(events, diffs[1000])
    session = session_of("spot-btcusdt")
    return feed(session, events), session


def next_diff(events: list[Event], at: int) -> int:
    return next(later for later in range(at + 1, len(events)) if is_diff(events[later]))


def test_a_frame_removed_is_a_gap_and_asks_for_a_snapshot(recordings: Path) -> None:
    def remove(events: list[Event], at: int) -> None:
        del events[at]

    book, session = played(recordings, remove)
    assert book.counts.gaps == 1
    assert book.withheld is WithheldReason.GAP
    session.take_actions()
    session.tick(session.alive_ns + SECOND)
    assert [action.symbol for action in session.take_actions() if isinstance(action, Fetch)] == ["BTC-USDT"]


def test_a_frame_doubled_changes_nothing(recordings: Path) -> None:
    book, _ = played(recordings, lambda events, at: events.insert(at, events[at]))
    assert book.withheld is None
    assert (book.counts.gaps, book.counts.duplicates, book.counts.tops_mismatched) == (0, 1, 0)


def test_frames_swapped_are_a_gap_that_closes_by_itself(recordings: Path) -> None:
    def swap(events: list[Event], at: int) -> None:
        other = next_diff(events, at)
        events[at], events[other] = events[other], events[at]

    book, session = played(recordings, swap)
    assert book.withheld is None
    assert (book.counts.gaps, book.counts.resyncs, book.counts.tops_mismatched) == (1, 1, 0)
    assert not [action for action in session.take_actions() if isinstance(action, Fetch)][1:], "the first is the initial one"


def test_a_top_that_contradicts_the_venues_own_is_withheld(recordings: Path) -> None:
    def spoil(events: list[Event], at: int) -> None:
        # A size of the best bid, changed inside a well-formed diff: only the venue's own top can tell.
        for later in range(at, len(events)):
            data = json.loads(events[later].data)["data"]
            if is_diff(events[later]) and data["b"] and data["b"][0][1] != "0.00000000":
                size = data["b"][0]
                spoiled = events[later].data.replace(f'["{size[0]}","{size[1]}"]'.encode(), f'["{size[0]}","9999.1"]'.encode())
                events[later] = Event(events[later].ns, 0, EventKind.RECEIVED, "", spoiled)
                if is_top(events, later, size[0]):
                    return

    def is_top(events: list[Event], at: int, price: str) -> bool:
        tickers = [e for e in events[:at] if b'"btcusdt@bookTicker"' in e.data][-1:]
        return any(json.loads(ticker.data)["data"]["b"] == price for ticker in tickers)

    book, _ = played(recordings, spoil)
    assert book.counts.tops_mismatched >= 1
