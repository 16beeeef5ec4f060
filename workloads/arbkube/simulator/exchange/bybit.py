"""Bybit's side of the wire: spot and linear perpetuals, API v5.

For: the topics orderbook.{1,50,200,1000} and tickers, and the REST endpoints that a book needs. `u` counts the messages of
one topic; level 1 is always a snapshot; the others begin with one, and say when a level leaves the window. Sources: bybit-
exchange.github.io docs v5: "WebSocket Stream / Connect", "Orderbook", "Ticker"; "Get Instruments Info", "Get Orderbook", "Get
Bybit Server Time".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from arbkube.market.instruments import MarketType
from arbkube.simulator.exchange.base import Answer, Connection, Exchange, Kind, Market, Window, json, milliseconds
from arbkube.simulator.listings import Grid, Listing, plain

_DEPTHS = (1, 50, 200, 1000)


class _Request(msgspec.Struct, frozen=True):
    op: str
    args: list[str] | None = None
    req_id: str | int = ""


class BybitExchange(Exchange):
    venue = "bybit"
    websocket_paths = frozenset({"/v5/public/spot", "/v5/public/linear"})

    def __init__(self, *args: Any) -> None:
        self._windows: dict[str, Window] = {}
        super().__init__(*args)

    @property
    def _category(self) -> str:
        return "spot" if self.market_type is MarketType.SPOT else "linear"

    def native(self, listing: Listing) -> str:
        return f"{listing.base}{listing.quote}"

    def grids(self, listing: Listing) -> tuple[Grid, Grid]:
        return Grid(listing.tick), Grid(listing.lot, trim=True)

    def received(self, connection: Connection, text: str, now_ns: int) -> None:
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError:
            _reply(connection, _Request(""), success=False, message="error:bad request")
            return
        action, topics = request.op, request.args or []
        if action == "ping":
            _reply(connection, request, success=True, message="pong")
        elif action not in ("subscribe", "unsubscribe"):
            _reply(connection, request, success=False, message=f"error:unknown op {action}")
        elif not topics:
            _reply(connection, request, success=False, message="error:args is empty")
        elif wrong := [topic for topic in topics if self._find(topic) is None]:
            _reply(connection, request, success=False, message=f"error:handler not found,topic:{wrong[0]}")
        elif action == "unsubscribe":
            for topic in topics:
                self.leave(connection, topic)
            _reply(connection, request, success=True, message="")
        else:
            _reply(connection, request, success=True, message="subscribe" if self._category == "spot" else "")
            for topic in topics:
                self.join(connection, topic)
                self._greet(connection, topic)

    def _find(self, topic: str) -> tuple[Market, int] | None:
        """The market of a topic, and its depth, 0 for tickers."""
        match topic.split("."):
            case ["orderbook", depth, native] if native in self.natives and depth in {str(depth) for depth in _DEPTHS}:
                return self.natives[native], int(depth)
            case ["tickers", native] if native in self.natives:
                return self.natives[native], 0
        return None

    def _greet(self, connection: Connection, topic: str) -> None:
        found = self._find(topic)
        assert found is not None
        market, depth = found
        if not depth:
            connection.send(self._ticker(market), Kind.TICKER, market.symbol)
            return
        window = self._windows.setdefault(topic, Window(market, depth, announce_exits=True))
        connection.send(_snapshot(topic, market, window), Kind.BOOK if depth > 1 else Kind.TICKER, market.symbol)

    def abandoned(self, topic: object) -> None:
        if isinstance(topic, str):
            self._windows.pop(topic, None)

    def publish(self, market: Market, now_ns: int) -> None:
        native = self.native(market.listing)
        for depth in _DEPTHS:
            topic = f"orderbook.{depth}.{native}"
            window = self._windows.get(topic)
            change = window.advance() if window else None
            if window is None or change is None:
                continue
            if depth == 1:
                self._tell(topic, _snapshot(topic, market, window), Kind.TICKER, market)
            else:
                self._tell(topic, _orderbook(topic, "delta", market, window, *change), Kind.BOOK, market)
        if self.members(f"tickers.{native}"):
            self._tell(f"tickers.{native}", self._ticker(market), Kind.TICKER, market)

    def _tell(self, topic: str, message: bytes, kind: Kind, market: Market) -> None:
        text = message.decode()
        for connection in self.members(topic):
            connection.send(text, kind, market.symbol)

    def skip(self, market: Market) -> None:
        for window in self._windows.values():
            if window.market is market:
                window.advance()

    def reset_sequence(self, market: Market, now_ns: int) -> None:
        """After a restart of the service: a snapshot with u = 1 replaces every book."""
        super().reset_sequence(market, now_ns)
        for topic, window in self._windows.items():
            if window.market is market:
                window.number = 1
                window.sequence = market.sequence
                self._tell(topic, _snapshot(topic, market, window), Kind.BOOK if window.depth > 1 else Kind.TICKER, market)

    def _ticker(self, market: Market) -> bytes:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in market.top(1))
        native = self.native(market.listing)
        data = {"symbol": native, "lastPrice": bid, "highPrice24h": ask, "lowPrice24h": bid, "volume24h": "1000"}
        if self._category == "linear":
            data |= {"bid1Price": bid, "bid1Size": bid_size, "ask1Price": ask, "ask1Size": ask_size}
        millis = milliseconds(market.venue_ns)
        return json({"topic": f"tickers.{native}", "type": "snapshot", "ts": millis, "cs": market.sequence, "data": data})

    # REST

    def get(self, path: str, query: Mapping[str, str], now_ns: int) -> Answer:
        if path == "/v5/market/time":
            return _result({"timeSecond": str(now_ns // 10**9), "timeNano": str(now_ns)}, now_ns)
        if path not in ("/v5/market/instruments-info", "/v5/market/orderbook"):
            return Answer(json({"retCode": 404, "retMsg": f"Not Found: {path}"}), 404)
        if query.get("category") not in ("spot", "linear", "inverse", "option"):
            return _fail(10001, "Illegal category", now_ns)
        here = query["category"] == self._category
        market = self.natives.get(query.get("symbol", "")) if here else None
        if path == "/v5/market/orderbook":
            return self._get_orderbook(market, query, now_ns)
        if "symbol" in query and market is None:
            return _fail(10001, "params error: symbol invalid", now_ns)
        listed = [market] if market else list(self.natives.values())
        rows = [self._rules(each.listing) for each in listed] if here else []
        return _result({"category": query["category"], "list": rows, "nextPageCursor": ""}, now_ns)

    def _get_orderbook(self, market: Market | None, query: Mapping[str, str], now_ns: int) -> Answer:
        if market is None:
            return _fail(10001, "params error: symbol invalid", now_ns)
        most = 200 if self._category == "spot" else 500
        limit = query.get("limit", "1" if self._category == "spot" else "25")
        if not limit.isdecimal() or not 1 <= int(limit) <= most:
            return _fail(10001, f"params error: limit must be 1 to {most}", now_ns)
        native = self.native(market.listing)
        bids, asks = market.top(int(limit))
        # `u` is that of the 1000-level topic, which numbers messages only while somebody is subscribed.
        window = self._windows.get(f"orderbook.1000.{native}")
        numbers = {"u": window.number if window else 1, "seq": market.sequence}
        millis = milliseconds(market.venue_ns)
        return _result({"s": native, "a": asks, "b": bids, "ts": millis, **numbers, "cts": millis}, now_ns)

    def _rules(self, listing: Listing) -> dict[str, object]:
        row: dict[str, object] = {
            "symbol": self.native(listing),
            "baseCoin": listing.base,
            "quoteCoin": listing.quote,
            "status": "Closed" if listing.halted else "Trading",
        }
        tick, lot, smallest = plain(listing.tick), plain(listing.lot), plain(listing.min_quantity)
        if self._category == "spot":
            lots = {"basePrecision": lot, "quotePrecision": "0.00000001", "minOrderQty": smallest, "maxOrderQty": "10000"}
            lots |= {"minOrderAmt": plain(listing.min_notional), "maxOrderAmt": "4000000"}
            row |= {"innovation": "0", "marginTrading": "none", "stTag": "0", "lotSizeFilter": lots}
            return row | {"priceFilter": {"tickSize": tick}, "riskParameters": {"priceLimitRatioX": "0.01"}}
        lots = {
            "minOrderQty": smallest,
            "maxOrderQty": "10000",
            "qtyStep": lot,
            "minNotionalValue": plain(listing.min_notional),
        }
        return row | {
            "contractType": "LinearPerpetual",
            "launchTime": "1585526400000",
            "deliveryTime": "0",
            "deliveryFeeRate": "",
            "priceScale": str(Grid(listing.tick).decimals),
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": tick, "maxPrice": "1999999.80", "tickSize": tick},
            "lotSizeFilter": lots,
            "unifiedMarginTrade": True,
            "fundingInterval": 480,
            "settleCoin": listing.quote,
        }


def _snapshot(topic: str, market: Market, window: Window) -> bytes:
    return _orderbook(topic, "snapshot", market, window, *(list(side) for side in window.pairs()))


def _orderbook(
    topic: str, kind: str, market: Market, window: Window, bids: list[tuple[int, int]], asks: list[tuple[int, int]]
) -> bytes:
    native = topic.rsplit(".", 1)[1]
    millis = milliseconds(market.venue_ns)
    levels = {"b": market.levels(bids), "a": market.levels(asks)}
    data = {"s": native, **levels, "u": window.number, "seq": window.sequence}
    return json({"topic": topic, "type": kind, "ts": millis + 1, "data": data, "cts": millis})


def _reply(connection: Connection, request: _Request, *, success: bool, message: str) -> None:
    body = {
        "success": success,
        "ret_msg": message,
        "conn_id": f"{id(connection):x}",
        "req_id": request.req_id,
        "op": request.op,
    }
    connection.send(json(body), Kind.REPLY)


def _result(result: object, now_ns: int) -> Answer:
    return Answer(json({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": milliseconds(now_ns)}))


def _fail(code: int, message: str, now_ns: int) -> Answer:
    """The venue answers such errors with status 200."""
    body = {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}, "time": milliseconds(now_ns)}
    return Answer(json(body))
