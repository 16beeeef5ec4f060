from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel, Proof
from arbkube.venues.bybit.adapter import PerpetualAdapter, SpotAdapter
from arbkube.venues.bybit.session import BybitSession
from arbkube.venues.session import SECOND, Reconnect, Send, SessionOptions
from tests.venues.bybit import documented
from tests.venues.campaign.bybit import BTC, ETH, BybitMarket, instrument
from tests.venues.campaign.window import Levels

NOW = 1_790_000_000 * SECOND


def opened(
    *instruments: Instrument, depth: int = 20, channels: frozenset[Channel] = frozenset({Channel.BOOK}), spot: bool = False
) -> BybitSession:
    adapter = SpotAdapter() if spot else PerpetualAdapter()
    options = SessionOptions(endpoint=adapter.endpoint, depth=depth, channels=channels)
    session = adapter.session(instruments or (BTC,), options, Random(1))
    session.opened(NOW)
    return session


def sent(session: BybitSession) -> list[dict[str, object]]:
    messages = [json.loads(action.text) for action in session.take_actions() if isinstance(action, Send)]
    return [message for message in messages if message["op"] != "ping"]


def shown(book: VerifiedBook) -> tuple[Levels, Levels]:
    bids, asks, _ = book.levels(1000)
    return bids, asks


def frame(kind: str, u: int, seq: int, bids: list[list[str]] | None = None, *, window: int = 50) -> bytes:
    levels = [["100", "1"], ["99", "2"]] if kind == "snapshot" else []
    data = {"s": "BTCUSDT", "b": bids or levels, "a": [], "u": u, "seq": seq}
    return json.dumps({"topic": f"orderbook.{window}.BTCUSDT", "type": kind, "ts": 1, "data": data}).encode()


# Documented frames


def test_the_documented_snapshot_and_a_delta_that_follows() -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    session.received(documented.SNAPSHOT, NOW)
    assert book.withheld is None
    assert shown(book) == ((("16493.50", "0.006"), ("16493.00", "0.100")), (("16611.00", "0.029"), ("16612.00", "0.213")))
    assert book.venue_ns == 1672304484978 * 10**6
    session.received(documented.DELTA, NOW)
    assert book.withheld is WithheldReason.GAP, "the document's two examples are of different days"


def test_the_documented_delta_applies_to_the_book_before_it() -> None:
    session = opened()
    base = json.loads(documented.DELTA)
    base["type"] = "snapshot"
    base["data"] |= {"b": [["30240.00", "1"]], "a": [["30248.70", "2"], ["30249.60", "3"]], "u": 177400506, "seq": 66544703300}
    session.received(json.dumps(base).encode(), NOW)
    session.received(documented.DELTA, NOW)
    book = session.books["BTC-USDT-PERP"]
    assert book.withheld is None
    bids, asks = shown(book)
    assert bids == (("30247.20", "30.028"), ("30245.40", "0.224"), ("30242.10", "1.593"), ("30240.30", "1.305"))
    assert [price for price, _ in asks] == ["30249.30", "30249.50", "30251.90", "30252.20", "30252.50"]


# Valid sequences


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_the_book_equals_the_oracle_after_every_frame(seed: int) -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    market = BybitMarket(Random(seed), "BTCUSDT")
    session.received(market.snapshot(), NOW)
    for _ in range(40):
        assert book.withheld is None
        assert shown(book) == (market.bids, market.asks)
        assert book.levels(20)[2]
        session.received(market.update(), NOW)
    assert len(session.take_actions()) == 1


def test_a_service_that_begins_anew_replaces_the_book() -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    for message in (
        frame("snapshot", 500, 10),
        frame("delta", 501, 11),
        frame("snapshot", 1, 12, [["90", "5"]]),
        frame("delta", 2, 13, [["91", "6"]]),
    ):
        session.received(message, NOW)
        assert book.withheld is None
    assert shown(book)[0] == (("91", "6"), ("90", "5"))
    assert book.counts.gaps == 0


@pytest.mark.parametrize(("depth", "window"), [(1, 50), (50, 50), (51, 200), (200, 200)])
def test_the_quickest_window_that_holds_the_depth(depth: int, window: int) -> None:
    session = opened(depth=depth)
    assert sent(session) == [{"op": "subscribe", "args": [f"orderbook.{window}.BTCUSDT"]}]
    session.received(frame("snapshot", 5, 5, [[str(100 + n), "1"] for n in range(window)], window=window), NOW)
    bids, _, truncated = session.books["BTC-USDT-PERP"].levels(depth)
    assert len(bids) == depth
    assert truncated, "a full window says nothing of what lies beyond"


# Breaks


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 8))
def test_a_missing_delta_is_noticed(seed: int, cut: int) -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    market = BybitMarket(Random(seed), "BTCUSDT")
    session.received(market.snapshot(), NOW)
    for step in range(10):
        message = market.update()
        if step != cut:
            session.received(message, NOW)
        if step > cut and book.withheld is None:
            assert shown(book) == (market.bids, market.asks)


@pytest.mark.parametrize(("u", "seq"), [(503, 12), (500, 10), (501, 12), (2, 12)])
def test_what_does_not_follow_is_a_gap(u: int, seq: int) -> None:
    """Ids below the last one too: a snapshot that began them anew could have been missed."""
    session = opened(BTC, ETH)
    book = session.books["BTC-USDT-PERP"]
    for message in (frame("snapshot", 500, 10), frame("delta", 501, 11)):
        session.received(message, NOW)
    session.take_actions()
    session.received(frame("delta", u, seq), NOW)
    assert book.withheld is WithheldReason.GAP
    session.tick(NOW + SECOND)
    topics = ["orderbook.50.BTCUSDT"]
    assert sent(session) == [{"op": "unsubscribe", "args": topics}, {"op": "subscribe", "args": topics}]
    session.received(frame("delta", 502, 12), NOW + SECOND)
    assert book.withheld is WithheldReason.GAP
    session.received(frame("snapshot", 700, 20), NOW + SECOND)
    assert book.withheld is None
    assert book.counts.resyncs == 1


def test_a_doubled_delta_is_dropped() -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    for message in (frame("snapshot", 500, 10), frame("delta", 501, 11), frame("delta", 501, 11)):
        session.received(message, NOW)
    assert (book.withheld, book.counts.duplicates) == (None, 1)


def test_an_old_snapshot_is_not_built_on_but_the_next_one_is() -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    for message in (frame("snapshot", 500, 10), frame("delta", 501, 11), frame("snapshot", 500, 10)):
        session.received(message, NOW)
    assert book.withheld is WithheldReason.GAP
    session.received(frame("snapshot", 500, 10), NOW)
    assert book.withheld is None


def test_a_snapshot_that_never_comes_is_asked_for_again() -> None:
    session = opened()
    session.take_actions()
    session.received(documented.PONGS[0], NOW + session.snapshot_limit_ns)
    session.tick(NOW + session.snapshot_limit_ns)
    assert [request["op"] for request in sent(session)] == ["unsubscribe", "subscribe"]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b"{}",
        b"7",
        documented.SNAPSHOT[:-30],
        documented.SNAPSHOT.replace(b"16493.00", b"inf"),
        documented.SNAPSHOT.replace(b"0.100", b"-1"),
        documented.SNAPSHOT.replace(b"0.100", b"1e999"),
        documented.SNAPSHOT.replace(b'"snapshot"', b'"other"'),
        documented.SNAPSHOT.replace(b'"s":"BTCUSDT"', b'"s":"ETHUSDT"'),
        documented.SNAPSHOT.replace(b"18521288", b"-1"),
        documented.SNAPSHOT.replace(b'"seq":7961638724', b'"seq":null'),
    ],
)
def test_what_cannot_be_read_withholds(message: bytes) -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    session.received(documented.SNAPSHOT, NOW)
    session.received(message, NOW)
    assert book.withheld is WithheldReason.MALFORMED
    session.tick(NOW + SECOND)
    session.received(documented.SNAPSHOT, NOW)
    assert book.withheld is None


def test_other_topics_are_passed_over() -> None:
    session = opened()
    session.received(documented.SNAPSHOT, NOW)
    for topic in (b"publicTrade.BTCUSDT", b"orderbook.200.BTCUSDT", b"orderbook.50.XXXUSDT"):
        session.received(documented.SNAPSHOT.replace(b"orderbook.50.BTCUSDT", topic), NOW)
    book = session.books["BTC-USDT-PERP"]
    assert (book.withheld, book.counts.messages) == (None, 1)


# The connection


def test_subscriptions_pings_and_pongs() -> None:
    session = opened(*(instrument(f"A{n}-USDT-PERP", f"A{n}USDT") for n in range(12)), spot=True)
    assert session.url == "wss://stream.bybit.com/v5/public/spot"
    assert [len(message["args"]) for message in sent(session)] == [10, 2]  # type: ignore[arg-type]
    for pong in documented.PONGS:
        session.received(pong, NOW + SECOND)
    assert session.alive_ns == NOW + SECOND
    assert not session.take_actions()


def test_a_ping_every_20_seconds_however_much_arrives() -> None:
    session = opened()
    session.take_actions()
    session.received(documented.SNAPSHOT, NOW)
    pings = []
    for step in range(1, 650):
        at = NOW + step * SECOND // 10
        session.received(b'{"topic":"publicTrade.BTCUSDT","data":[]}', at)
        session.tick(at)
        pings += [step for action in session.take_actions() if action == Send('{"op":"ping"}')]
    assert pings == [200, 400, 600]


def test_a_refused_subscription_asks_for_a_new_connection() -> None:
    session = opened()
    session.take_actions()
    session.received(b'{"success":false,"ret_msg":"error:handler not found","conn_id":"x","req_id":"","op":"subscribe"}', NOW)
    (action,) = session.take_actions()
    assert isinstance(action, Reconnect)


def test_a_reconnect_starts_from_an_empty_book() -> None:
    session = opened()
    book = session.books["BTC-USDT-PERP"]
    session.received(frame("snapshot", 500, 10), NOW)
    session.closed(NOW)
    assert book.withheld is WithheldReason.DISCONNECTED
    session.opened(NOW)
    session.received(frame("delta", 501, 11), NOW)
    assert (book.withheld, book.book.sizes()) == (WithheldReason.NO_SNAPSHOT, (0, 0))
    session.received(frame("snapshot", 3, 4), NOW)
    assert book.withheld is None


# The venue's own top


def test_tops_of_the_very_seq_are_checked() -> None:
    session = opened(channels=frozenset({Channel.BOOK, Channel.TICKER}))
    assert sent(session) == [{"op": "subscribe", "args": ["orderbook.1.BTCUSDT", "orderbook.50.BTCUSDT"]}]
    book = session.books["BTC-USDT-PERP"]
    market = BybitMarket(Random(5), "BTCUSDT")
    session.received(market.snapshot(), NOW)
    for _ in range(20):
        message = market.update()
        session.received(market.top(), NOW)
        session.received(message, NOW)
        assert book.withheld is None
    assert (book.counts.tops_checked, book.counts.tops_mismatched) == (20, 0)
    message = market.update()
    session.received(market.top().replace(market.asks[0][1].encode(), b"77777"), NOW)
    session.received(message, NOW)
    assert book.withheld is WithheldReason.TOP_MISMATCH


# Rules and REST


def test_documented_rules() -> None:
    spot, linear = SpotAdapter(), PerpetualAdapter()
    assert spot.proofs == {Proof.CHAIN}
    assert spot.instrument_urls(["BTC-USDT"], spot.endpoint) == [
        "https://api.bybit.com/v5/market/instruments-info?category=spot&symbol=BTCUSDT"
    ]
    assert [url.rpartition("=")[2] for url in linear.instrument_urls(["BTC-USDT-PERP", "ETH-USDC-PERP"], linear.endpoint)] == [
        "BTCUSDT",
        "ETHPERP",
    ]
    (btc,) = spot.parse_instruments([documented.SPOT_INSTRUMENT], ["BTC-USDT"])
    assert (btc.native, btc.tick, btc.lot, btc.min_notional) == ("BTCUSDT", Decimal("0.1"), Decimal("0.000001"), Decimal(5))
    assert btc.min_quantity == btc.lot, "minOrderQty is no longer checked on spot"
    bodies = [documented.LINEAR_INSTRUMENT, documented.PRE_MARKET_INSTRUMENT]
    btc, bio = linear.parse_instruments(bodies, ["BTC-USDT-PERP", "BIO-USDT-PERP"])
    assert (btc.tick, btc.lot, btc.min_quantity, btc.min_notional) == (
        Decimal("0.1"),
        Decimal("0.001"),
        Decimal("0.001"),
        Decimal(5),
    )
    assert (btc.contract_size, btc.tradable, bio.tradable) == (Decimal(1), True, False)


def test_every_symbol_that_is_not_listed_is_named() -> None:
    unknown = b'{"retCode":10001,"retMsg":"params error: symbol invalid","result":{},"retExtInfo":{},"time":1}'
    with pytest.raises(ValueError, match="does not list XXX-USDT, YYY-USDT"):
        SpotAdapter().parse_instruments([documented.SPOT_INSTRUMENT, unknown, unknown], ["BTC-USDT", "XXX-USDT", "YYY-USDT"])
    with pytest.raises(ValueError, match="10006"):
        SpotAdapter().parse_instruments([b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}'], ["BTC-USDT"])


def test_the_documented_rest_book() -> None:
    adapter = PerpetualAdapter()
    url = adapter.snapshot_url(BTC, 1000, adapter.endpoint)
    assert url == "https://api.bybit.com/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=200"
    snapshot = adapter.parse_snapshot(documented.ORDER_BOOK)
    assert (snapshot.bids, snapshot.asks) == ((("16638.27", "0.305749"),), (("16638.64", "0.008479"),))
    assert (snapshot.sequence, snapshot.venue_ns) == (5277055, 1672765737733 * 10**6)
    with pytest.raises(ValueError, match="10001"):
        adapter.parse_snapshot(b'{"retCode":10001,"retMsg":"Not supported symbols","result":{}}')
