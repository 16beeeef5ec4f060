"""Kraken's side of the wire: spot, WebSocket API v2.

For: the channels status, heartbeat, book, ticker and instrument, and the REST endpoints that a book needs. The book's checksum
is the CRC32 of its ten best asks and bids, asks first, each price and size without its point and leading zeros; the window is
cut to the subscribed depth, and no message tells of a level that fell out of it. Sources: docs.kraken.com, "Spot WebSocket v2":
Book, Ticker, Instruments, Status, Heartbeat, Ping, "Book checksum (v2)"; "Spot REST": AssetPairs, Depth, Time, SystemStatus.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from zlib import crc32

import msgspec

from arbkube.market.book import Level
from arbkube.simulator.exchange.base import Answer, Connection, Exchange, Kind, Market, Window, json, rfc3339
from arbkube.simulator.listings import Grid, Listing

_DEPTHS = (10, 25, 100, 500, 1000)
_LEGACY = {"BTC": "XBT", "DOGE": "XDG"}
"""The names that REST still uses where WebSocket v2 says BTC and DOGE."""
_PREFIXED = {"XBT": "XXBT", "ETH": "XETH", "XDG": "XXDG", "LTC": "XLTC", "XRP": "XXRP", "USD": "ZUSD", "EUR": "ZEUR"}
"""Assets of the first years are listed under longer ids."""


class _Params(msgspec.Struct, frozen=True):
    channel: str = ""
    symbol: list[str] = []
    depth: int = 10
    snapshot: bool = True


class _Request(msgspec.Struct, frozen=True):
    method: str
    params: _Params = _Params()
    req_id: int | None = None

    def answer(self, **body: object) -> dict[str, object]:
        """`body`, with the id that the request had."""
        return body if self.req_id is None else {**body, "req_id": self.req_id}


class KrakenExchange(Exchange):
    venue = "kraken"
    websocket_paths = frozenset({"/v2"})
    has_sequence = False

    def __init__(self, *args: Any) -> None:
        self._windows: dict[tuple[str, int], Window] = {}
        super().__init__(*args)

    def native(self, listing: Listing) -> str:
        return f"{listing.base}/{listing.quote}"

    def grids(self, listing: Listing) -> tuple[Grid, Grid]:
        return Grid(listing.tick), Grid(listing.lot, pad=8)

    def opened(self, connection: Connection, now_ns: int) -> None:
        status = {"api_version": "v2", "connection_id": id(connection), "system": "online", "version": "2.0.10"}
        connection.send(json({"channel": "status", "type": "update", "data": [status]}), Kind.REPLY)

    def received(self, connection: Connection, text: str, now_ns: int) -> None:
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError:
            _reply(connection, {"error": "JSON Parse error or malformed request", "success": False}, now_ns)
            return
        method, channel = request.method, request.params.channel
        if method == "ping":
            _reply(connection, {"method": "pong"} | request.answer(), now_ns)
        elif method not in ("subscribe", "unsubscribe"):
            _reply(connection, request.answer(error=f"Method not found: {method}", success=False), now_ns)
        elif channel == "instrument":
            self._instrument(connection, request, now_ns)
        elif channel not in ("book", "ticker"):
            _reply(connection, request.answer(error=f"Channel not found: {channel}", method=method, success=False), now_ns)
        else:
            for symbol in request.params.symbol:
                self._subscription(connection, request, symbol, now_ns)

    def _subscription(self, connection: Connection, request: _Request, symbol: str, now_ns: int) -> None:
        method, channel, depth = request.method, request.params.channel, request.params.depth
        topic = (channel, symbol, depth) if channel == "book" else (channel, symbol)
        error = ""
        if symbol not in self.natives:
            error = f"Currency pair not supported {symbol}"
        elif channel == "book" and depth not in _DEPTHS:
            error = f"Subscription depth not supported: {depth}"
        elif method == "subscribe" and connection in self.members(topic):
            error = "Already subscribed"
        elif method == "unsubscribe" and not self.leave(connection, topic):
            error = "Subscription Not Found"
        if error:
            _reply(connection, request.answer(error=error, method=method, success=False, symbol=symbol), now_ns)
            return
        result: dict[str, object] = {"channel": channel, "symbol": symbol}
        if channel == "book":
            result |= {"depth": depth}
        if method == "subscribe":
            result |= {"snapshot": request.params.snapshot}
        _reply(connection, request.answer(method=method, result=result, success=True), now_ns)
        if method == "subscribe":
            self.join(connection, topic)
            self._greet(connection, channel, symbol, depth)

    def _greet(self, connection: Connection, channel: str, symbol: str, depth: int) -> None:
        market = self.natives[symbol]
        if channel == "ticker":
            connection.send(self._ticker(market, "snapshot"), Kind.TICKER, market.symbol)
            return
        window = self._windows.setdefault((symbol, depth), Window(market, depth, announce_exits=False))
        bids, asks = (market.levels(side) for side in window.pairs())
        connection.send(_book("snapshot", market, bids, asks), Kind.BOOK, market.symbol)

    def abandoned(self, topic: object) -> None:
        if isinstance(topic, tuple) and topic[0] == "book":
            self._windows.pop((topic[1], topic[2]), None)

    def _instrument(self, connection: Connection, request: _Request, now_ns: int) -> None:
        result = {"channel": "instrument", "snapshot": request.params.snapshot}
        _reply(connection, request.answer(method=request.method, result=result, success=True), now_ns)
        if request.method == "subscribe":
            self.join(connection, "instrument")
            connection.send(self._instruments("snapshot", list(self.markets.values())), Kind.REPLY)
        else:
            self.leave(connection, "instrument")

    def _instruments(self, kind: str, markets: list[Market]) -> bytes:
        assets = sorted({asset for market in markets for asset in (market.listing.base, market.listing.quote)})
        pairs = [
            {
                "symbol": self.native(market.listing),
                "base": market.listing.base,
                "quote": market.listing.quote,
                "status": _status(market.listing),
                "qty_precision": max(8, market.size_grid.decimals),
                "qty_increment": _Number(market.listing.lot),
                "price_precision": market.price_grid.decimals,
                "cost_precision": 5,
                "marginable": False,
                "has_index": True,
                "cost_min": _Number(market.listing.min_notional),
                "price_increment": _Number(market.listing.tick),
                "qty_min": _Number(market.listing.min_quantity),
            }
            for market in markets
        ]
        listed = [
            {
                "id": a,
                "status": "enabled",
                "precision": 10,
                "precision_display": 5,
                "borrowable": False,
                "collateral_value": 0.0,
            }
            for a in assets
        ]
        return json({"channel": "instrument", "type": kind, "data": {"assets": listed, "pairs": pairs}})

    def relist(self, market: Market) -> None:
        super().relist(market)
        for connection in self.members("instrument"):
            connection.send(self._instruments("update", [market]), Kind.REPLY)

    def publish(self, market: Market, now_ns: int) -> None:
        symbol = self.native(market.listing)
        for depth in _DEPTHS:
            window = self._windows.get((symbol, depth))
            change = window.advance() if window else None
            if change is not None:
                message = _book("update", market, market.levels(change[0]), market.levels(change[1])).decode()
                for connection in self.members(("book", symbol, depth)):
                    connection.send(message, Kind.BOOK, market.symbol)
        for connection in self.members(("ticker", symbol)):
            connection.send(self._ticker(market, "update"), Kind.TICKER, market.symbol)

    def skip(self, market: Market) -> None:
        for (symbol, _), window in self._windows.items():
            if symbol == self.native(market.listing):
                window.advance()

    def beat(self, now_ns: int) -> None:
        subscribed = {connection for members in self._topics.values() for connection in members}
        for connection in subscribed:
            connection.send('{"channel":"heartbeat"}', Kind.HEARTBEAT)

    def _ticker(self, market: Market, kind: str) -> bytes:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in market.top(1))
        numbers = {"bid": bid, "bid_qty": bid_size, "ask": ask, "ask_qty": ask_size, "last": bid, "volume": "1000.0"}
        numbers |= {"vwap": bid, "low": bid, "high": ask, "change": "0.0", "change_pct": "0.0"}
        row = {"symbol": self.native(market.listing), **{name: _Number(text) for name, text in numbers.items()}}
        return json({"channel": "ticker", "type": kind, "data": [row]})

    # REST

    def get(self, path: str, query: Mapping[str, str], now_ns: int) -> Answer:
        match path:
            case "/0/public/Time":
                seconds = now_ns // 10**9
                return _result({"unixtime": seconds, "rfc1123": formatdate(seconds, usegmt=True)})
            case "/0/public/SystemStatus":
                return _result({"status": "online", "timestamp": rfc3339(now_ns, 0).replace(".", "")})
            case "/0/public/Assets":
                return self._assets()
            case "/0/public/AssetPairs":
                return self._pairs(query)
            case "/0/public/Depth":
                return self._depth(query)
        return _fail("EGeneral:Unknown method")

    def _find(self, name: str) -> Market | None:
        for market in self.markets.values():
            base, quote = _asset(market.listing.base), _asset(market.listing.quote)
            if name.replace("/", "") in {base[0] + quote[0], base[1] + quote[1], market.listing.base + market.listing.quote}:
                return market
        return None

    def _assets(self) -> Answer:
        names = {asset for market in self.markets.values() for asset in (market.listing.base, market.listing.quote)}
        rows = {}
        for identity, alternative in map(_asset, sorted(names)):
            rows[identity] = {
                "aclass": "currency",
                "altname": alternative,
                "decimals": 10,
                "display_decimals": 5,
                "status": "enabled",
            }
        return _result(rows)

    def _pairs(self, query: Mapping[str, str]) -> Answer:
        markets: list[Market | None] = list(self.markets.values())
        if "pair" in query:
            markets = [self._find(name) for name in query["pair"].split(",")]
        rows = {}
        for market in markets:
            if market is None:
                return _fail("EQuery:Unknown asset pair")
            listing = market.listing
            base, quote = _asset(listing.base), _asset(listing.quote)
            rows[base[0] + quote[0]] = {
                "altname": base[1] + quote[1],
                "wsname": f"{base[1]}/{quote[1]}",
                "aclass_base": "currency",
                "base": base[0],
                "aclass_quote": "currency",
                "quote": quote[0],
                "lot": "unit",
                "cost_decimals": 5,
                "pair_decimals": market.price_grid.decimals,
                "lot_decimals": 8,
                "lot_multiplier": 1,
                "leverage_buy": [],
                "leverage_sell": [],
                "fees": [[0, 0.4]],
                "fees_maker": [[0, 0.25]],
                "fee_volume_currency": "ZUSD",
                "margin_call": 80,
                "margin_stop": 40,
                "ordermin": f"{listing.min_quantity:f}",
                "costmin": f"{listing.min_notional:f}",
                "tick_size": f"{listing.tick:f}",
                "status": _status(listing),
            }
        return _result(rows)

    def _depth(self, query: Mapping[str, str]) -> Answer:
        market = self._find(query.get("pair", ""))
        count = query.get("count", "100")
        if "pair" not in query or not count.isdecimal() or not 1 <= int(count) <= 500:
            return _fail("EGeneral:Invalid arguments")
        if market is None:
            return _fail("EQuery:Unknown asset pair")
        seconds = market.venue_ns // 10**9
        bids, asks = ([(*level, seconds) for level in side] for side in market.top(int(count)))
        name = _asset(market.listing.base)[0] + _asset(market.listing.quote)[0]
        return _result({name: {"asks": asks, "bids": bids}})


def checksum(bids: list[Level], asks: list[Level]) -> int:
    """CRC32 over the ten best levels a side, best first."""
    numbers = (text.replace(".", "").lstrip("0") for level in asks[:10] + bids[:10] for text in level)
    return crc32("".join(numbers).encode())


def _book(kind: str, market: Market, bids: list[Level], asks: list[Level]) -> bytes:
    row: dict[str, object] = {"symbol": f"{market.listing.base}/{market.listing.quote}"}
    for name, side in (("bids", bids), ("asks", asks)):
        row[name] = [{"price": _Number(price), "qty": _Number(size)} for price, size in side]
    row["checksum"] = checksum(*market.top(10))
    row["timestamp"] = rfc3339(market.venue_ns, 6)
    return json({"channel": "book", "type": kind, "data": [row]})


def _Number(text: object) -> msgspec.Raw:  # noqa: N802 — reads as the type it makes
    """A JSON number with exactly the digits of `text`."""
    return msgspec.Raw(f"{text:f}".encode() if not isinstance(text, str) else text.encode())


def _asset(name: str) -> tuple[str, str]:
    """REST's id and alternative name of an asset."""
    alternative = _LEGACY.get(name, name)
    return _PREFIXED.get(alternative, alternative), alternative


def _status(listing: Listing) -> str:
    return "cancel_only" if listing.halted else "online"


def _times(now_ns: int) -> dict[str, str]:
    return {"time_in": rfc3339(now_ns, 6), "time_out": rfc3339(now_ns + 20_000, 6)}


def _reply(connection: Connection, body: dict[str, object], now_ns: int) -> None:
    connection.send(json({**body, **_times(now_ns)}), Kind.REPLY)


def _result(result: object) -> Answer:
    return Answer(json({"error": [], "result": result}))


def _fail(error: str) -> Answer:
    """The venue answers errors with status 200."""
    return Answer(json({"error": [error]}))
