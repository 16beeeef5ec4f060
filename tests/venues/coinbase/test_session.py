"""Coinbase's level2 channel: what the connection's numbering proves, and what voids every book."""

from __future__ import annotations

import json
from random import Random

import pytest

from arbkube.market.verified import WithheldReason
from arbkube.venues.coinbase.adapter import CoinbaseAdapter
from arbkube.venues.coinbase.session import CoinbaseSession, wire_product
from arbkube.venues.session import SECOND, Reconnect, Send, SessionOptions
from tests.venues.campaign.generated import instrument

NOW = 1_700_000_000 * SECOND

# docs.cdp.coinbase.com, "Advanced Trade WebSocket Channels", heartbeats and level2 examples, read 2026-11-21 (but
# for the trailing comma of the first, which is no JSON, an offer added to the second, and numbers that follow each other).
HEARTBEAT = """{"channel":"heartbeats","client_id":"","timestamp":"2023-06-23T20:31:26.122969572Z","sequence_num":%d,
"events":[{"current_time":"2023-06-23 20:31:56.121961769 +0000 UTC m=+91717.525857105","heartbeat_counter":"3049"}]}"""
SNAPSHOT = """{"channel":"l2_data","client_id":"","timestamp":"2023-02-09T20:32:50.714964855Z","sequence_num":%d,
"events":[{"type":"snapshot","product_id":"BTC-USD","updates":[
{"side":"bid","event_time":"1970-01-01T00:00:00Z","price_level":"21921.73","new_quantity":"0.06317902"},
{"side":"bid","event_time":"1970-01-01T00:00:00Z","price_level":"21921.3","new_quantity":"0.02"},
{"side":"offer","event_time":"1970-01-01T00:00:00Z","price_level":"21921.74","new_quantity":"0.5"}]}]}"""
# A frame without `client_id`, as the venue's AsyncAPI document describes the production feed, and its answer to a subscription.
SUBSCRIBED = """{"channel":"subscriptions","timestamp":"2025-09-15T17:02:49.90120868Z","sequence_num":%d,
"events":[{"subscriptions":{"level2":["BTC-USD","ETH-USD"],"heartbeats":["heartbeats"]}}]}"""
ERROR = b'{"type":"error","message":"rate limit exceeded"}'


def update(number: int, *changes: tuple[str, str, str], product: str = "BTC-USD", kind: str = "update") -> bytes:
    updates = [
        {"side": side, "event_time": "2023-02-09T20:32:51Z", "price_level": price, "new_quantity": size}
        for side, price, size in changes
    ]
    event = {"type": kind, "product_id": product, "updates": updates}
    message = {"channel": "l2_data", "timestamp": "2023-02-09T20:32:51.5Z", "sequence_num": number, "events": [event]}
    return json.dumps(message).encode()


def made(*symbols: str) -> CoinbaseSession:
    adapter = CoinbaseAdapter()
    instruments = [instrument("coinbase", symbol, symbol) for symbol in symbols]
    session = adapter.session(instruments, SessionOptions(endpoint=adapter.endpoint, depth=20), Random(1))
    session.opened(NOW)
    return session


@pytest.fixture
def session() -> CoinbaseSession:
    """Two verified books, the next number 4."""
    session = made("BTC-USD", "ETH-USD")
    session.received((SUBSCRIBED % 0).encode(), NOW)
    session.received((SNAPSHOT % 1).encode(), NOW)
    session.received(update(2, ("bid", "3000", "1"), ("offer", "3001", "1"), product="ETH-USD", kind="snapshot"), NOW)
    session.received((HEARTBEAT % 3).encode(), NOW)
    session.take_actions()
    assert all(book.withheld is None for book in session.books.values())
    return session


def test_one_subscription_a_channel_without_a_key() -> None:
    sent = [json.loads(action.text) for action in made("BTC-USD", "ETH-USD").take_actions() if isinstance(action, Send)]
    assert sent == [
        {"type": "subscribe", "channel": "heartbeats"},
        {"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channel": "level2"},
    ]


def test_the_documented_snapshot_and_an_update(session: CoinbaseSession) -> None:
    book = session.books["BTC-USD"]
    assert book.top() == (("21921.73", "0.06317902"), ("21921.74", "0.5"))
    assert book.levels(20)[2] is False, "the channel carries the whole book"
    session.received(update(4, ("bid", "21921.73", "0"), ("offer", "21921.50", "1.5")), NOW)
    assert book.top() == (("21921.3", "0.02"), ("21921.50", "1.5"))
    assert book.withheld is None
    assert book.venue_ns == 1675974771500000000


@pytest.mark.parametrize("lost", ["l2_data", "heartbeats", "subscriptions"])
def test_a_gap_on_any_channel_voids_every_book(lost: str, session: CoinbaseSession) -> None:
    after = {"l2_data": update(5, ("bid", "21900", "1")), "heartbeats": (HEARTBEAT % 5).encode()}
    session.received(after.get(lost, (SUBSCRIBED % 5).encode()), NOW)
    assert {book.withheld for book in session.books.values()} == {WithheldReason.GAP}
    assert [book.counts.gaps for book in session.books.values()] == [1, 1]
    assert [type(action) for action in session.take_actions()] == [Reconnect]
    session.received(update(6, ("bid", "21900", "1")), NOW)
    session.tick(NOW + SECOND)
    assert {book.withheld for book in session.books.values()} == {WithheldReason.GAP}, "nothing more counts on it"
    assert not [action for action in session.take_actions() if isinstance(action, Reconnect)], "asked for once"


def test_a_new_connection_counts_anew(session: CoinbaseSession) -> None:
    session.received((HEARTBEAT % 9).encode(), NOW)
    session.closed(NOW)
    session.opened(NOW + SECOND)
    session.received((SNAPSHOT % 0).encode(), NOW + SECOND)
    assert session.books["BTC-USD"].withheld is None
    assert session.books["BTC-USD"].counts.resyncs == 1
    assert session.books["ETH-USD"].withheld is WithheldReason.NO_SNAPSHOT


def test_an_older_number_is_a_message_already_counted(session: CoinbaseSession) -> None:
    session.received(update(4, ("bid", "21900", "1")), NOW)
    session.received(update(4, ("bid", "21900", "1")), NOW)
    session.received(update(2, ("bid", "21900", "7")), NOW)
    book = session.books["BTC-USD"]
    assert book.withheld is None
    assert book.counts.duplicates == 2
    assert ("21900", "1") in book.book.bids(9)


@pytest.mark.parametrize(
    "frame",
    [
        update(4, ("buy", "1", "1")),
        update(4, ("bid", "x", "1")),
        update(4, ("bid", "1", "inf")),
        update(4, ("bid", "1", "1"), product="DOGE-USD"),
        update(4, ("bid", "1", "1"), kind="other"),
        b'{"channel":"l2_data","timestamp":"2023-02-09T20:32:51Z","sequence_num":4,"events":[]}',
        b'{"channel":"l2_data","timestamp":"2023-02-09T20:32:51Z","sequence_num":4,"events":[{"type":"update"}]}',
        b'{"channel":"l2_data","timestamp":"2023-02-09T20:32:51","sequence_num":4,"events":[]}',
        b'{"channel":"candles","timestamp":"2023-02-09T20:32:51Z","sequence_num":4,"events":[]}',
        b'{"channel":"heartbeats"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_message_that_cannot_be_read_voids_every_book(frame: bytes, session: CoinbaseSession) -> None:
    session.received(frame, NOW)
    assert {book.withheld for book in session.books.values()} == {WithheldReason.MALFORMED}
    assert [type(action) for action in session.take_actions()] == [Reconnect]


def test_a_refusal_starts_anew_with_its_reason(session: CoinbaseSession) -> None:
    session.received(ERROR, NOW)
    assert session.take_actions() == [Reconnect("refused: rate limit exceeded")]
    assert {book.withheld for book in session.books.values()} == {WithheldReason.NO_SNAPSHOT}


def test_a_crossed_book_alone_is_asked_for_again(session: CoinbaseSession) -> None:
    session.received(update(4, ("bid", "21921.74", "1")), NOW)
    assert session.books["BTC-USD"].withheld is WithheldReason.CROSSED
    assert session.books["ETH-USD"].withheld is None
    session.received(update(5, ("bid", "21921.74", "0")), NOW)
    assert session.books["BTC-USD"].withheld is WithheldReason.CROSSED, "only a snapshot brings it back"
    session.received((HEARTBEAT % 6).encode(), NOW + SECOND // 2)
    session.tick(NOW + SECOND // 2)
    sent = [json.loads(action.text)["type"] for action in session.take_actions() if isinstance(action, Send)]
    assert sent == ["unsubscribe", "subscribe"]
    session.received((SNAPSHOT % 7).encode(), NOW + SECOND)
    assert session.books["BTC-USD"].withheld is None


def test_usdc_products_come_under_their_usd_name() -> None:
    assert [wire_product(name) for name in ("BTC-USDC", "BTC-USD", "USDT-USDC", "EURC-USDC")] == [
        "BTC-USD",
        "BTC-USD",
        "USDT-USDC",
        "EURC-USDC",
    ]
    session = made("BTC-USD", "BTC-USDC")
    requests = [json.loads(action.text) for action in session.take_actions() if isinstance(action, Send)]
    assert requests[1]["product_ids"] == ["BTC-USD"]
    session.received((SNAPSHOT % 0).encode(), NOW)
    assert session.books["BTC-USDC"].top() == session.books["BTC-USD"].top()
    assert {book.withheld for book in session.books.values()} == {None}
