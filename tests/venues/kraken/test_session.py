"""Kraken's book channel: the checksum of the venue's own worked example, and what breaks it."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbkube.market.verified import WithheldReason
from arbkube.venues.kraken.adapter import KrakenAdapter
from arbkube.venues.kraken.session import KrakenSession, checksum
from arbkube.venues.session import SECOND, Reconnect, Send, SessionOptions
from tests.venues.campaign.generated import instrument

NOW = 1_700_000_000 * SECOND

# docs.kraken.com, "Book checksum (WebSocket v2)", read 2026-11-21: the guide's input snapshot and the result it states.
SNAPSHOT = b"""{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD",
"bids":[{"price":45283.5,"qty":0.10000000},{"price":45283.4,"qty":1.54582015},{"price":45282.1,"qty":0.10000000},
{"price":45281.0,"qty":0.10000000},{"price":45280.3,"qty":1.54592586},{"price":45279.0,"qty":0.07990000},
{"price":45277.6,"qty":0.03310103},{"price":45277.5,"qty":0.30000000},{"price":45277.3,"qty":1.54602737},
{"price":45276.6,"qty":0.15445238}],
"asks":[{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":1.54571953},{"price":45286.6,"qty":1.54571109},
{"price":45289.6,"qty":1.54560911},{"price":45290.2,"qty":0.15890660},{"price":45291.8,"qty":1.54553491},
{"price":45294.7,"qty":0.04454749},{"price":45296.1,"qty":0.35380000},{"price":45297.5,"qty":0.09945542},
{"price":45299.5,"qty":0.18772827}],"checksum":3310070434}]}"""
# docs.kraken.com, "Book (Level 2)", example of a snapshot, read 2026-11-21. Its trailing zeros are gone (0.566, 18097.1547)
# and its checksum is right only with them.
ZEROLESS = b"""{"channel":"book","type":"snapshot","data":[{"symbol":"MATIC/USD",
"bids":[{"price":0.5666,"qty":4831.75496356},{"price":0.5665,"qty":6658.22734739},{"price":0.5664,"qty":18724.91513344},
{"price":0.5663,"qty":11563.92544914},{"price":0.5662,"qty":14006.65365711},{"price":0.5661,"qty":17454.85679807},
{"price":0.566,"qty":18097.1547},{"price":0.5659,"qty":33644.89175666},{"price":0.5658,"qty":148.3464},
{"price":0.5657,"qty":606.70854372}],
"asks":[{"price":0.5668,"qty":4410.79769741},{"price":0.5669,"qty":4655.40412487},{"price":0.567,"qty":49844.89424998},
{"price":0.5671,"qty":24306.41678},{"price":0.5672,"qty":29783.25223475},{"price":0.5673,"qty":57234.71239278},
{"price":0.5674,"qty":45065.04744},{"price":0.5675,"qty":5912.76380354},{"price":0.5676,"qty":42514.92434778},
{"price":0.5677,"qty":36304.0847022}],"checksum":2439117997}]}"""
# The same page, example of the update after it.
UPDATE = b"""{"channel":"book","type":"update","data":[{"symbol":"MATIC/USD","bids":[{"price":0.5657,"qty":1098.3947558}],
"asks":[],"checksum":2114181697,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"""
# The same page, acknowledgement of a subscription (here of BTC/USD); "Heartbeat" and "Status", read 2026-11-21; a pong in the
# documented form.
REPLIES = (
    b'{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD"},"success":true,'
    b'"time_in":"2023-10-06T17:35:55.219022Z","time_out":"2023-10-06T17:35:55.219067Z"}',
    b'{"channel":"heartbeat"}',
    b'{"channel":"status","data":[{"api_version":"v2","connection_id":13834774380200032777,"system":"online",'
    b'"version":"2.0.0"}],"type":"update"}',
    b'{"method":"pong","req_id":101,"time_in":"2023-09-24T14:10:23.799685Z","time_out":"2023-09-24T14:10:23.799703Z"}',
)
# A refusal in the documented form: `success` false, with `error` and the symbol.
REFUSED = (
    b'{"error":"Currency pair not supported BTC/USD","method":"subscribe","success":false,"symbol":"BTC/USD",'
    b'"time_in":"2022-06-13T08:09:10.123456Z","time_out":"2022-06-13T08:09:10.7890123"}'
)


@pytest.fixture
def session() -> KrakenSession:
    adapter = KrakenAdapter()
    options = SessionOptions(endpoint=adapter.endpoint, depth=20)
    made = adapter.session([instrument("kraken", "BTC-USD", "BTC/USD")], options, Random(1))
    made.opened(NOW)
    return made


def sent(session: KrakenSession) -> list[dict[str, object]]:
    return [json.loads(action.text) for action in session.take_actions() if isinstance(action, Send)]


def update(bids: str = "", asks: str = "", *, crc: int, stamp: str = "2023-10-06T17:35:55.440295Z") -> bytes:
    data = f'{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":{crc},"timestamp":"{stamp}"}}'
    return f'{{"channel":"book","type":"update","data":[{data}]}}'.encode()


def crc_after(session: KrakenSession, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> int:
    """What Kraken would send after setting these levels: worked out in a naive way beside the session."""
    book = session.books["BTC-USD"].book
    sides = []
    for levels, changes, best_high in ((book.bids(99), bids, True), (book.asks(99), asks, False)):
        side = {Decimal(price): (price, size) for price, size in [*levels, *changes]}
        kept = {key: level for key, level in side.items() if Decimal(level[1])}
        sides.append([kept[key] for key in sorted(kept, reverse=best_high)][:10])
    return checksum(sides[1], sides[0])


def test_the_documented_checksum_verifies_the_documented_book(session: KrakenSession) -> None:
    session.received(SNAPSHOT, NOW)
    book = session.books["BTC-USD"]
    assert book.withheld is None
    assert book.counts.checksums_matched == 1
    assert book.top() == (("45283.5", "0.10000000"), ("45285.2", "0.00100000"))
    bids, asks, truncated = book.levels(20)
    assert (len(bids), len(asks)) == (10, 10)
    assert truncated, "Kraken shows ten levels: nothing says that there is no eleventh"


def test_dropped_zeros_are_put_back_by_the_pairs_precisions() -> None:
    adapter = KrakenAdapter()
    rules = instrument("kraken", "MATIC-USD", "MATIC/USD", tick="0.0001")
    session = adapter.session([rules], SessionOptions(endpoint=adapter.endpoint, depth=10), Random(1))
    session.opened(NOW)
    session.received(ZEROLESS, NOW)
    book = session.books["MATIC-USD"]
    assert book.withheld is None
    assert ("0.5660", "18097.15470000") in book.book.bids(10)
    session.received(UPDATE, NOW)
    assert book.withheld is None
    assert book.counts.checksums_matched == 2


@pytest.mark.parametrize("place", [i for i, byte in enumerate(SNAPSHOT) if 48 <= byte <= 57])
def test_no_changed_digit_passes(place: int, session: KrakenSession) -> None:
    spoiled = bytearray(SNAPSHOT)
    spoiled[place] = 48 + (spoiled[place] - 48 + 1) % 10
    session.received(bytes(spoiled), NOW)
    assert session.books["BTC-USD"].withheld in {WithheldReason.CHECKSUM, WithheldReason.MALFORMED}


def test_subscribes_to_what_the_checksum_covers(session: KrakenSession) -> None:
    assert session.url == "wss://ws.kraken.com/v2"
    assert sent(session) == [
        {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 10}},
    ]
    for reply in REPLIES:
        session.received(reply, NOW)
    assert session.books["BTC-USD"].withheld is WithheldReason.NO_SNAPSHOT
    assert session.books["BTC-USD"].counts.malformed == 0
    assert not session.take_actions()


def test_updates_insert_remove_and_push_out(session: KrakenSession) -> None:
    session.received(SNAPSHOT, NOW)
    book = session.books["BTC-USD"]
    inserted = [("45284.0", "2.00000000")]
    session.received(update('{"price":45284.0,"qty":2.00000000}', crc=crc_after(session, inserted, [])), NOW)
    assert book.withheld is None
    assert book.book.sizes() == (10, 10), "the worst bid was pushed out without a message"
    assert ("45276.6", "0.15445238") not in book.book.bids(10)
    removed = [("45284.0", "0"), ("45276.6", "0.15445238")]
    message = update('{"price":45284.0,"qty":0},{"price":45276.6,"qty":0.15445238}', crc=crc_after(session, removed, []))
    session.received(message, NOW)
    assert book.withheld is None
    assert book.top()[0] == ("45283.5", "0.10000000")
    assert book.counts.checksums_matched == 3
    assert book.venue_ns == 1696613755440295000


def test_a_failed_checksum_resubscribes_that_symbol(session: KrakenSession) -> None:
    session.received(SNAPSHOT, NOW)
    session.take_actions()
    book = session.books["BTC-USD"]
    session.received(update('{"price":45283.5,"qty":9.00000000}', crc=1), NOW)
    assert book.withheld is WithheldReason.CHECKSUM
    assert book.counts.checksums_mismatched == 1
    session.received(update(crc=3310070434), NOW)
    assert book.withheld is WithheldReason.CHECKSUM, "what comes before the new snapshot means nothing"
    session.tick(NOW + SECOND)
    assert [request["method"] for request in sent(session)] == ["ping", "unsubscribe", "subscribe"]
    session.received(SNAPSHOT, NOW + SECOND)
    assert book.withheld is None
    assert book.counts.resyncs == 1


def test_an_update_of_nobodys_book_voids_all(session: KrakenSession) -> None:
    session.received(SNAPSHOT, NOW)
    session.received(UPDATE, NOW)
    assert session.books["BTC-USD"].withheld is WithheldReason.MALFORMED


def test_a_checksum_that_matches_settles_what_garbage_put_in_doubt(session: KrakenSession) -> None:
    session.received(SNAPSHOT, NOW)
    session.take_actions()
    session.received(b"garbage", NOW)
    assert session.books["BTC-USD"].withheld is WithheldReason.MALFORMED
    session.received(update(crc=3310070434), NOW)
    assert session.books["BTC-USD"].withheld is None
    for tenth in range(1, 20):
        session.received(b'{"channel":"heartbeat"}', NOW + tenth * SECOND // 10)
        session.tick(NOW + tenth * SECOND // 10)
    assert sent(session) == [], "a verified book is not taken away to be asked for again"


def test_a_refused_subscription_is_asked_for_again(session: KrakenSession) -> None:
    session.take_actions()
    session.received(REFUSED, NOW)
    assert session.books["BTC-USD"].withheld is WithheldReason.NO_SNAPSHOT
    session.tick(NOW + SECOND)
    assert "subscribe" in [request["method"] for request in sent(session)]


def test_a_snapshot_that_never_comes_is_asked_for_again(session: KrakenSession) -> None:
    session.take_actions()
    for tenth in range(1, 102):
        session.received(b'{"channel":"heartbeat"}', NOW + tenth * SECOND // 10)
        session.tick(NOW + tenth * SECOND // 10)
    assert [request["method"] for request in sent(session)] == ["unsubscribe", "subscribe"]


def test_quiet_is_answered_by_pings_and_silence_by_a_new_connection(session: KrakenSession) -> None:
    session.received(SNAPSHOT, NOW)
    session.take_actions()
    session.tick(NOW + SECOND)
    assert sent(session) == [{"method": "ping"}]
    session.received(REPLIES[3], NOW + SECOND)
    assert session.alive_ns == NOW + SECOND
    session.tick(NOW + 12 * SECOND)
    assert any(isinstance(action, Reconnect) for action in session.take_actions())
    assert session.alive_ns == NOW + SECOND, "asking for a new connection proves no life"


@pytest.mark.parametrize(
    "levels",
    [
        '{"price":45283.5}',
        '{"price":"x","qty":1}',
        '{"price":45283.5,"qty":-1}',
        '{"price":45283.5,"qty":1e999}',
        '{"price":0,"qty":1}',
        '{"price":null,"qty":1}',
        '{"price":45283.5,"qty":1e-999999999}',
        '{"price":1e999999999,"qty":0}',
        '{"price":"NaN","qty":1}',
        '{"price":45283.5,"qty":"Infinity"}',
    ],
)
def test_levels_that_are_none_withhold(levels: str, session: KrakenSession) -> None:
    session.received(SNAPSHOT, NOW)
    session.received(update(levels, crc=3310070434), NOW)
    assert session.books["BTC-USD"].withheld is WithheldReason.MALFORMED


digits = st.decimals(min_value="0.00000001", max_value="99999999", places=8)


@given(st.lists(st.tuples(digits, digits), max_size=10), st.lists(st.tuples(digits, digits), max_size=10))
def test_the_checksum_is_that_of_the_digits(asks: list[tuple[Decimal, Decimal]], bids: list[tuple[Decimal, Decimal]]) -> None:
    from zlib import crc32

    text = "".join(str(int(number.scaleb(8))) for level in (*asks, *bids) for number in level)
    ladders = [[(f"{price:.8f}", f"{size:.8f}") for price, size in side] for side in (asks, bids)]
    assert checksum(*ladders) == crc32(text.encode())
