"""The venues' own examples, and what they answer to bad requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.market.instruments import MarketType
from arbkube.simulator.exchange import kraken, okx
from arbkube.simulator.exchange.base import Exchange, Kind
from arbkube.simulator.exchange.okx import OkxExchange
from arbkube.simulator.model import venues
from tests.simulator.support import SEED, VENUES, feed

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
NOW = 1_795_000_000 * 10**9


def exchange(venue: str, market: MarketType = MarketType.SPOT) -> Exchange:
    one = venues([feed(venue, market)], seed=SEED)["feed"]
    one.step(elapsed_ns=0, venue_ns=NOW)
    return one.exchange


def test_krakens_own_worked_example_of_a_checksum() -> None:
    """docs.kraken.com, "Book checksum (WebSocket v2)"."""
    bids = "45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586 "
    bids += "45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238"
    asks = "45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660 "
    asks += "45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827"
    sides = [list(zip(text.split()[::2], text.split()[1::2], strict=True)) for text in (bids, asks)]
    assert kraken.checksum(*sides) == 3310070434


def test_okx_checksums_are_those_of_recorded_traffic() -> None:
    path = DATA / "okx" / "books.ws.txt"
    if not path.exists():
        pytest.skip("the shared OKX recording is not here")
    books: dict[str, list[dict[str, str]]] = {}
    checked = 0
    for line in path.read_text().splitlines():
        if '"channel":"books"' not in line or '"data"' not in line:
            continue
        message = msgspec.json.decode(line.split(": ", 1)[1])
        (row,) = message["data"]
        sides = books.setdefault(message["arg"]["instId"], [{}, {}])
        if message["action"] == "snapshot":
            sides[0], sides[1] = {}, {}
        for side, levels in zip(sides, (row["bids"], row["asks"]), strict=True):
            for price, size, *_ in levels:
                side[price] = size
                if float(size) == 0:
                    del side[price]
        best = [
            sorted(side.items(), key=lambda level: float(level[0]) * sign) for side, sign in zip(sides, (-1, 1), strict=True)
        ]
        assert okx.checksum(best[0][:25], best[1][:25]) == row["checksum"]
        checked += 1
    assert checked == 290


def test_okx_checksums_can_be_turned_on() -> None:
    one = exchange("okx")
    assert isinstance(one, OkxExchange)
    for on in (False, True):
        one.checksums = on
        connection = one.connect("/ws/v5/public", {}, NOW)
        one.received(connection, '{"op":"subscribe","args":[{"channel":"books","instId":"BTC-USDT"}]}', NOW)
        (row,) = msgspec.json.decode(connection.out[-1].text)["data"]
        rows: Any = [[(price, size) for price, size, *_ in row[side]] for side in ("bids", "asks")]
        assert row["checksum"] == (okx.checksum(*rows) if on else 0)
        assert row["prevSeqId"] == -1


@pytest.mark.parametrize(("venue", "market"), VENUES)
@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "7", '"x"', "{}", '{"op":"subscribe"}', '{"method":"subscribe","params":7}']
)
def test_a_bad_message_gets_an_answer_and_breaks_nothing(venue: str, market: MarketType, text: str) -> None:
    one = exchange(venue, market)
    connection = one.connect("/", {}, NOW)
    connection.out.clear()
    one.received(connection, text, NOW)
    assert [message.kind for message in connection.out] == [Kind.REPLY]
    assert any(word in connection.out[0].text.lower() for word in ("error", "invalid", "false", "unknown"))
    assert not one.topics_of(connection)


WORDS = [
    "subscribe",
    "SUBSCRIBE",
    "unsubscribe",
    "ping",
    "book",
    "books",
    "level2",
    "tickers",
    "BTC-USDT",
    "BTC/USDT",
    "instrument",
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2000) | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["channel", "symbol", "depth", "instId"]), inner)
    ),
    max_leaves=5,
)
REQUESTS = {
    "binance": st.fixed_dictionaries(
        {"method": st.sampled_from(["SUBSCRIBE", "UNSUBSCRIBE", "SET_PROPERTY"]) | values, "params": values}
    ),
    "coinbase": st.fixed_dictionaries(
        {"type": st.just("subscribe") | values, "channel": st.just("level2") | values, "product_ids": values}
    ),
    "kraken": st.fixed_dictionaries(
        {
            "method": st.just("subscribe") | values,
            "params": st.fixed_dictionaries(
                {"channel": st.just("book") | values, "symbol": st.just(["BTC/USDT"]) | values, "depth": values}
            )
            | values,
        }
    ),
    "okx": st.fixed_dictionaries(
        {
            "op": st.just("subscribe") | values,
            "args": st.lists(st.fixed_dictionaries({"channel": values, "instId": values})) | values,
        }
    ),
    "bybit": st.fixed_dictionaries({"op": st.just("subscribe") | values, "args": values}),
}


@pytest.mark.parametrize("venue", REQUESTS)
def test_no_request_however_odd_raises(venue: str) -> None:
    one = exchange(venue)

    @given(REQUESTS[venue])
    @settings(max_examples=150, deadline=None, database=None)
    def check(request_: dict[str, object]) -> None:
        connection = one.connect("/", {}, NOW)
        one.received(connection, msgspec.json.encode(request_).decode(), NOW)
        one.disconnect(connection)

    check()


@pytest.mark.parametrize(
    ("venue", "request_", "answer"),
    [
        ("binance", '{"method":"FLY","id":1}', '"error"'),
        ("binance", '{"method":"SUBSCRIBE","params":"btcusdt@depth","id":1}', '"error"'),
        ("binance", '{"method":"SUBSCRIBE","params":["nobody@depth"],"id":1}', '{"result":null,"id":1}'),
        ("coinbase", '{"type":"subscribe","channel":"level2","product_ids":["NO-BODY"]}', "invalid product ids: NO-BODY"),
        ("coinbase", '{"type":"subscribe","channel":"gossip"}', "unknown channel"),
        (
            "kraken",
            '{"method":"subscribe","params":{"channel":"book","symbol":["NO/BODY"]}}',
            "Currency pair not supported NO/BODY",
        ),
        (
            "kraken",
            '{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"],"depth":11}}',
            "depth not supported",
        ),
        ("kraken", '{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USDT"]}}', "Subscription Not Found"),
        ("kraken", '{"method":"ping","req_id":101}', '"method":"pong","req_id":101'),
        ("okx", "ping", "pong"),
        ("okx", '{"op":"subscribe","args":[{"channel":"books","instId":"NO-BODY"}]}', '"code":"60018"'),
        ("okx", '{"op":"fly","args":[]}', '"code":"60012"'),
        ("bybit", '{"op":"ping","req_id":"7"}', '"ret_msg":"pong"'),
        ("bybit", '{"op":"subscribe","args":["orderbook.50.NOBODY"]}', "handler not found,topic:orderbook.50.NOBODY"),
        ("bybit", '{"op":"subscribe","args":["orderbook.3.BTCUSDT"]}', "handler not found"),
    ],
)
def test_what_venues_answer(venue: str, request_: str, answer: str) -> None:
    one = exchange(venue)
    connection = one.connect("/", {}, NOW)
    connection.out.clear()
    one.received(connection, request_, NOW)
    assert answer in connection.out[0].text


@pytest.mark.parametrize(
    ("venue", "market", "path", "status", "answer"),
    [
        ("binance", MarketType.SPOT, "/api/v3/depth", 400, '"code":-1102'),
        ("binance", MarketType.SPOT, "/api/v3/depth?symbol=NOBODY", 400, '"code":-1121'),
        ("binance", MarketType.SPOT, "/api/v3/depth?symbol=BTCUSDT&limit=x", 400, '"code":-1100'),
        ("binance", MarketType.SPOT, "/api/v3/exchangeInfo?symbol=NOBODY", 400, '"code":-1121'),
        ("binance", MarketType.SPOT, "/api/v9/depth", 404, '"code":-5000'),
        ("binance", MarketType.PERPETUAL, "/fapi/v1/depth?symbol=BTCUSDT&limit=7", 400, '"code":-4021'),
        ("binance", MarketType.SPOT, "/api/v3/time", 200, '"serverTime":1795000000000'),
        ("coinbase", MarketType.SPOT, "/api/v3/brokerage/market/products/NO-BODY", 404, "NOT_FOUND"),
        ("coinbase", MarketType.SPOT, "/api/v3/brokerage/market/product_book?product_id=NO-BODY", 404, "NOT_FOUND"),
        ("coinbase", MarketType.SPOT, "/api/v3/brokerage/time", 200, '"epochMillis":"1795000000000"'),
        ("kraken", MarketType.SPOT, "/0/public/AssetPairs?pair=NOBODY", 200, "EQuery:Unknown asset pair"),
        ("kraken", MarketType.SPOT, "/0/public/Depth?pair=XBTUSDT&count=0", 200, "EGeneral:Invalid arguments"),
        ("kraken", MarketType.SPOT, "/0/public/Depth?pair=XBTUSDT&count=3", 200, '"XXBTUSDT":{"asks"'),
        ("kraken", MarketType.SPOT, "/0/public/Time", 200, '"unixtime":1795000000'),
        ("okx", MarketType.SPOT, "/api/v5/market/books?instId=NO-BODY", 200, '"code":"51001"'),
        ("okx", MarketType.SPOT, "/api/v5/public/instruments?instType=CHEESE", 200, '"code":"51000"'),
        ("okx", MarketType.SPOT, "/api/v5/public/time", 200, '"ts":"1795000000000"'),
        ("okx", MarketType.PERPETUAL, "/api/v5/public/instruments?instType=SWAP", 200, '"instId":"BTC-USDT-SWAP"'),
        ("bybit", MarketType.SPOT, "/v5/market/orderbook?category=spot&symbol=NOBODY", 200, '"retCode":10001'),
        ("bybit", MarketType.SPOT, "/v5/market/orderbook?category=cheese&symbol=BTCUSDT", 200, '"retCode":10001'),
        ("bybit", MarketType.SPOT, "/v5/market/time", 200, '"timeNano":"1795000000000000000"'),
        ("bybit", MarketType.PERPETUAL, "/v5/market/instruments-info?category=linear", 200, '"contractType":"LinearPerpetual"'),
    ],
)
def test_what_rest_answers(venue: str, market: MarketType, path: str, status: int, answer: str) -> None:
    path, _, query = path.partition("?")
    got = exchange(venue, market).get(path, dict(pair.split("=") for pair in query.split("&") if pair), NOW)
    assert got.status == status
    assert answer in got.body.decode()


def test_a_bybit_window_says_when_a_level_leaves_it() -> None:
    """Applying only what is sent keeps exactly the window, with no cutting at the client."""
    one = venues([feed("bybit", MarketType.SPOT)], seed=SEED)["feed"]
    connection = one.exchange.connect("/v5/public/spot", {}, NOW)
    one.exchange.received(connection, '{"op":"subscribe","args":["orderbook.50.BTCUSDT"]}', NOW)
    book: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    last = 0
    for step in range(1, 300):
        one.step(elapsed_ns=step * one.step_ns, venue_ns=NOW + step * one.step_ns)
        while connection.out:
            message = msgspec.json.decode(connection.out.popleft().text)
            if "topic" not in message:
                continue
            assert last == 0 or message["data"]["u"] == last + 1
            last = message["data"]["u"]
            for side, levels in book.items():
                for price, size in message["data"][side]:
                    levels[price] = size
                    if size == "0":
                        del levels[price]
        bids, asks = one.exchange.markets["BTC-USDT"].top(50)
        assert book == {"b": dict(bids), "a": dict(asks)}
