"""Binance's chain by hand: what follows, what does not, and what a reader may see at each moment."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from arbkube.market.instruments import MarketType
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel, Proof
from arbkube.venues.binance.session import BinanceSession
from arbkube.venues.registry import adapter
from arbkube.venues.session import SECOND, Fetch, Reconnect, Send, SessionOptions, Snapshot
from tests.venues.campaign.engine import Campaign
from tests.venues.campaign.recorded import BinanceVenue, recorded_instrument

NOW = 1_700_000_000 * SECOND
SPOT, USDM = MarketType.SPOT, MarketType.PERPETUAL


def made(market: MarketType = SPOT, *, depth: int = 2, require: frozenset[Proof] = frozenset()) -> BinanceSession:
    binance = adapter("binance", market)
    name = "spot-btcusdt" if market is SPOT else "usdm-btcusdt"
    options = SessionOptions(endpoint=binance.endpoint, depth=depth, channels=frozenset(Channel), require=require)
    session = binance.session([recorded_instrument(market, name)], options, Random(1))
    assert isinstance(session, BinanceSession)
    session.opened(NOW)
    return session


def book_of(session: BinanceSession) -> VerifiedBook:
    (book,) = session.books.values()
    return book


def diff(first: int, last: int, *, pu: int | None = None, bids: object = (), asks: object = ()) -> bytes:
    data = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": last, "b": bids, "a": asks}
    if pu is not None:
        data["pu"] = pu
    return json.dumps({"stream": "btcusdt@depth@100ms", "data": data}).encode()


def ticker(number: int, bid: str, ask: str) -> bytes:
    data = {"u": number, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask, "A": "1"}
    return json.dumps({"stream": "btcusdt@bookTicker", "data": data}).encode()


def depth(last: int, bids: list[list[str]], asks: list[list[str]]) -> bytes:
    return json.dumps({"lastUpdateId": last, "bids": bids, "asks": asks}).encode()


BIDS, ASKS = [["99", "1"], ["98", "1"], ["97", "1"]], [["101", "1"], ["102", "1"], ["103", "1"]]


def verified(market: MarketType = SPOT) -> BinanceSession:
    """A session whose book is verified at update 110."""
    session = made(market)
    (symbol,) = session.books
    pu = None if market is SPOT else 90
    session.received(diff(95, 110, pu=pu), NOW)
    assert [action for action in session.take_actions() if isinstance(action, Fetch)]
    session.fetched(symbol, depth(100, BIDS, ASKS), NOW)
    assert book_of(session).withheld is None
    return session


def test_subscribes_to_diffs_and_tops_of_each_market() -> None:
    for market, url in ((SPOT, "wss://stream.binance.com:9443/stream"), (USDM, "wss://fstream.binance.com/public/stream")):
        session = made(market)
        assert session.url == url
        (sent,) = [json.loads(action.text) for action in session.take_actions() if isinstance(action, Send)]
        assert sent == {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms", "btcusdt@bookTicker"], "id": 1}


@pytest.mark.parametrize(
    ("market", "first", "follows"),
    [
        (SPOT, diff(90, 99), False),
        (SPOT, diff(90, 100), False),
        (SPOT, diff(101, 105), True),
        (SPOT, diff(95, 105), True),
        (SPOT, diff(102, 105), False),
        (USDM, diff(95, 105, pu=99), True),
        (USDM, diff(103, 105, pu=100), True),
        (USDM, diff(103, 105, pu=101), False),
    ],
)
def test_the_first_diff_spans_the_snapshot(market: MarketType, first: bytes, follows: bool) -> None:
    session = made(market)
    (symbol,) = session.books
    session.fetched(symbol, depth(100, BIDS, ASKS), NOW)
    session.received(first, NOW)
    assert (book_of(session).withheld is None) is follows


@pytest.mark.parametrize(
    ("market", "missing"), [(SPOT, b'"U"'), (SPOT, b'"u"'), (USDM, b'"pu"'), (SPOT, b'"b"'), (USDM, b'"a"')]
)
def test_a_diff_that_lacks_a_part_is_none(market: MarketType, missing: bytes) -> None:
    session = verified(market)
    session.received(diff(111, 112, pu=None if market is SPOT else 110).replace(missing, b'"other"'), NOW)
    assert book_of(session).withheld is WithheldReason.MALFORMED


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"[" * 100_000, b'{"data":{"s":"BTCUSDT","e":"depthUpdate","U":1,"u":1e99}}', b"\xff\xfe"]
)
def test_garbage_withholds_and_the_chain_proves_it_harmless(frame: bytes) -> None:
    session = verified()
    session.received(frame, NOW)
    book = book_of(session)
    assert book.withheld is WithheldReason.MALFORMED
    session.received(diff(111, 112, bids=[["99", "5"]]), NOW)
    assert book.withheld is None, "nothing was missing"
    session.tick(NOW + SECOND)
    assert not [action for action in session.take_actions() if isinstance(action, Fetch)], "so nothing is asked for"


def test_a_size_that_is_none_withholds() -> None:
    for size in ("inf", "nan", "-1", "x", "1e999"):
        session = verified()
        session.received(diff(111, 112, bids=[["99", size]]), NOW)
        assert book_of(session).withheld is WithheldReason.MALFORMED, size
        session.received(diff(113, 114), NOW)
        assert book_of(session).withheld is WithheldReason.MALFORMED, "the book is half changed: only a snapshot helps"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error":{"code":0,"msg":"Unknown property"},"id":1}',
        b'{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"}',
    ],
)
def test_a_refused_subscription_starts_anew(answer: bytes) -> None:
    # developers.binance.com, "WebSocket Streams: Error messages" (spot), "Live Subscribing/Unsubscribing to streams" (USD-M),
    # read 2026-11-21.
    session = made()
    session.take_actions()
    session.received(answer, NOW)
    (action,) = session.take_actions()
    assert isinstance(action, Reconnect)
    assert ("Unknown property" in action.reason) or ("request ID" in action.reason)
    session = made()
    session.take_actions()
    session.received(b'{"result":null,"id":1}', NOW)
    assert session.take_actions() == []


class TestRenewal:
    """A book whose range has become narrow is renewed without a moment in which it is unproven."""

    DEEPER = ([*BIDS, ["96", "1"]], [*ASKS, ["104", "1"]])

    @pytest.fixture
    def session(self) -> BinanceSession:
        """The best two bids are gone: one bid is left in the range of the snapshot, where two are asked for."""
        session = verified()
        session.received(diff(111, 120, bids=[["99", "0"], ["98", "0"]]), NOW)
        session.tick(NOW + SECOND // 10)
        session.tick(NOW + SECOND)
        session.tick(NOW + 2 * SECOND)
        assert [action for action in session.take_actions() if isinstance(action, Fetch)], "it asks for a new one"
        return session

    def test_what_is_shown_stays_proven_until_a_diff_spans_the_new_snapshot(self, session: BinanceSession) -> None:
        book = book_of(session)
        before = book.levels(5)
        session.fetched(book.symbol, depth(130, *self.DEEPER), NOW)
        assert book.levels(5) == before
        session.received(diff(121, 135, bids=[["95.5", "1"]]), NOW)
        assert book.withheld is None
        assert [price for price, _ in book.levels(5)[0]] == ["99", "98", "97", "96"], "95.5 is beyond what the snapshot covers"

    def test_a_gap_after_it_is_a_gap(self, session: BinanceSession) -> None:
        book = book_of(session)
        session.fetched(book.symbol, depth(130, *self.DEEPER), NOW)
        session.received(diff(140, 145), NOW)
        assert book.withheld is WithheldReason.GAP
        assert book.frame(feed="f", epoch=1, depth=5).bids == ()

    def test_an_older_snapshot_is_not_built_on(self, session: BinanceSession) -> None:
        book = book_of(session)
        session.fetched(book.symbol, depth(119, *self.DEEPER), NOW)
        session.received(diff(121, 125), NOW)
        assert book.withheld is None
        assert [price for price, _ in book.levels(5)[0]] == ["97"]


def test_a_late_top_contradicts_nothing() -> None:
    session = verified()
    for top in (ticker(112, "99", "101"), ticker(105, "95", "101")):
        session.received(top, NOW)
    session.received(diff(111, 112), NOW)
    book = book_of(session)
    assert book.withheld is None
    assert (book.counts.tops_checked, book.counts.tops_mismatched) == (1, 0)
    session.received(ticker(113, "98", "101"), NOW)
    session.received(diff(113, 113), NOW)
    assert book.withheld is WithheldReason.TOP_MISMATCH


def test_polled_books_end_when_the_socket_opens() -> None:
    session = verified()
    session.closed(NOW)
    book = book_of(session)
    session.polled(book.symbol, Snapshot((("99", "1"),), (("101", "1"),), 500, 0), NOW)
    assert book.withheld is None
    session.opened(NOW)
    assert book.withheld is WithheldReason.NO_SNAPSHOT
    assert book.book.sizes() == (0, 0)
    assert (book.bid_floor, book.ask_cap) == (0.0, float("inf"))


def test_polled_books_prove_nothing() -> None:
    session = made(require=frozenset({Proof.CHAIN}))
    session.closed(NOW)
    session.polled("BTC-USDT", Snapshot((("99", "1"),), (("101", "1"),), 500, 0), NOW)
    assert book_of(session).withheld is WithheldReason.NO_PROOF


def test_silence_is_no_sign_of_life() -> None:
    session = verified()
    session.take_actions()
    for second in range(11, 32):
        session.tick(NOW + second * SECOND)
    assert session.alive_ns == NOW
    asked = [action for action in session.take_actions() if isinstance(action, Reconnect)]
    assert len(asked) == 2, "asked for again each ten seconds"


def test_nothing_grows_while_a_snapshot_does_not_come() -> None:
    session = made()
    for number in range(20_000):
        session.received(diff(number, number), NOW)
        session.received(ticker(number, "1", "2"), NOW)
        session.take_actions()
    chain = session._chains["BTC-USDT"]
    assert chain.waiting is not None
    assert len(chain.waiting) <= 4096
    assert len(chain.tops) <= 256


def test_a_reader_never_sees_a_book_between_two_states(recordings: Path) -> None:
    """Keyframes show every book at any moment: with many renewals and spoiled frames, each must be a state once proven."""
    venue = BinanceVenue(recordings, USDM, 5, limit=4000)
    report = Campaign(venue, seed=5, rate=0.01).run(6_000)
    assert report.fetches > 20


def test_a_thin_book_is_not_asked_for_again_and_again() -> None:
    """A book with fewer levels than the feed publishes is whole as it is: a new snapshot would hold no more."""
    session = made(depth=20)
    (symbol,) = session.books
    session.received(diff(95, 110), NOW)
    session.take_actions()
    session.fetched(symbol, depth(100, BIDS, ASKS), NOW)
    assert book_of(session).withheld is None
    for second in range(1, 120):
        session.alive_ns = NOW + second * SECOND
        session.tick(NOW + second * SECOND)
    assert not [action for action in session.take_actions() if isinstance(action, Fetch)]
