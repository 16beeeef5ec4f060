"""OKX's side of the wire: spot and USDT-margined swaps, API v5.

For: the channels books (400 levels, chained by seqId), books5, bbo-tbt, tickers and instruments, and the REST endpoints that
a book needs. Swaps count contracts: sizes are in hundredths of a contract of a hundred lots. `checksums` makes the books
channel carry the CRC32 over its 25 best levels that it had until the venue began to send 0. Sources: okx.com/docs-v5: "WS /
Order book channel", "WS / Tickers channel", "WS / Instruments channel", "Get instruments", "Get order book", "Get system
time", WebSocket overview and error codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from zlib import crc32

import msgspec

from arbkube.market.book import Level
from arbkube.market.instruments import MarketType
from arbkube.simulator.exchange.base import Answer, Connection, Exchange, Kind, Market, Window, json, milliseconds
from arbkube.simulator.listings import Grid, Listing, plain

_DEPTH = 400
_CONTRACT_LOTS = 100
_CONTRACT_STEP = Decimal("0.01")
_TOPS = {"books5": 5, "bbo-tbt": 1}
_QUIET_BEATS = 60
"""After so many seconds without a change, an empty message says that the chain still stands."""


class _Argument(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    channel: str
    inst_id: str = ""
    inst_type: str = ""


class _Request(msgspec.Struct, frozen=True):
    op: str
    args: list[_Argument]


class OkxExchange(Exchange):
    venue = "okx"
    websocket_paths = frozenset({"/ws/v5/public"})
    checksums = False

    def __init__(self, *args: Any) -> None:
        self._windows: dict[str, Window] = {}
        self._quiet: dict[str, int] = {}
        super().__init__(*args)

    @property
    def _type(self) -> str:
        return "SPOT" if self.market_type is MarketType.SPOT else "SWAP"

    def native(self, listing: Listing) -> str:
        pair = f"{listing.base}-{listing.quote}"
        return pair if self.market_type is MarketType.SPOT else f"{pair}-SWAP"

    def grids(self, listing: Listing) -> tuple[Grid, Grid]:
        lot = listing.lot if self.market_type is MarketType.SPOT else _CONTRACT_STEP
        return Grid(listing.tick, trim=True), Grid(lot, trim=True)

    def received(self, connection: Connection, text: str, now_ns: int) -> None:
        if text == "ping":
            connection.send("pong", Kind.REPLY)
            return
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError:
            _refuse(connection, "60012", f"Invalid request: {text[:200]}")
            return
        if request.op not in ("subscribe", "unsubscribe"):
            _refuse(connection, "60012", f"Invalid request: {text[:200]}")
            return
        for argument in request.args:
            channel, native = argument.channel, argument.inst_id
            known = native in self.natives if channel != "instruments" else argument.inst_type == self._type
            if channel not in {"books", "tickers", "instruments", *_TOPS} or not known:
                where = f"Wrong URL or channel:{channel},instId:{native} doesn't exist."
                _refuse(
                    connection,
                    "60018",
                    f"{where} Please use the correct URL, channel and parameters referring to API document.",
                )
            elif request.op == "subscribe":
                self.join(connection, (channel, native))
                connection.send(json({"event": "subscribe", "arg": argument, "connId": f"{id(connection):x}"}), Kind.REPLY)
                self._greet(connection, channel, native)
            else:
                self.leave(connection, (channel, native))
                connection.send(json({"event": "unsubscribe", "arg": argument, "connId": f"{id(connection):x}"}), Kind.REPLY)

    def _greet(self, connection: Connection, channel: str, native: str) -> None:
        if channel == "instruments":
            connection.send(self._instruments(list(self.markets.values())), Kind.REPLY)
            return
        market = self.natives[native]
        if channel == "books":
            window = self._windows.setdefault(native, Window(market, _DEPTH, announce_exits=True))
            bids, asks = window.pairs()
            message = self._book(market, "snapshot", market.levels(bids), market.levels(asks), -1, window.sequence)
            connection.send(message, Kind.BOOK, market.symbol)
        else:
            kind = Kind.TICKER if channel in ("tickers", "bbo-tbt") else Kind.BOOK
            connection.send(self._ticker(market) if channel == "tickers" else self._top(market, channel), kind, market.symbol)

    def abandoned(self, topic: object) -> None:
        if isinstance(topic, tuple) and topic[0] == "books":
            self._windows.pop(topic[1], None)

    def relist(self, market: Market) -> None:
        super().relist(market)
        for connection in self.members(("instruments", "")):
            connection.send(self._instruments([market]), Kind.REPLY)

    def publish(self, market: Market, now_ns: int) -> None:
        native = self.native(market.listing)
        # The tops come tick by tick, before the batched book.
        for channel in _TOPS:
            if self.members((channel, native)):
                self._tell(channel, native, self._top(market, channel), Kind.TICKER if channel == "bbo-tbt" else Kind.BOOK)
        if self.members(("tickers", native)):
            self._tell("tickers", native, self._ticker(market), Kind.TICKER)
        window = self._windows.get(native)
        if window is not None:
            previous = window.sequence
            change = window.advance()
            if change is not None:
                self._quiet[native] = 0
                bids, asks = (market.levels(side) for side in change)
                self._tell("books", native, self._book(market, "update", bids, asks, previous, window.sequence), Kind.BOOK)

    def _tell(self, channel: str, native: str, message: bytes, kind: Kind) -> None:
        text = message.decode()
        for connection in self.members((channel, native)):
            connection.send(text, kind, self.natives[native].symbol)

    def skip(self, market: Market) -> None:
        window = self._windows.get(self.native(market.listing))
        if window is not None:
            window.advance()

    def reset_sequence(self, market: Market, now_ns: int) -> None:
        # The window keeps the old number: the next message says prevSeqId above its seqId, as documented for maintenance.
        super().reset_sequence(market, now_ns)

    def beat(self, now_ns: int) -> None:
        for native, window in self._windows.items():
            self._quiet[native] = self._quiet.get(native, 0) + 1
            if self._quiet[native] >= _QUIET_BEATS:
                self._quiet[native] = 0
                message = self._book(self.natives[native], "update", [], [], window.sequence, window.sequence)
                self._tell("books", native, message, Kind.HEARTBEAT)

    def _book(
        self, market: Market, action: str, bids: Sequence[Level], asks: Sequence[Level], previous: int, sequence: int
    ) -> bytes:
        row = {
            "asks": _rows(asks),
            "bids": _rows(bids),
            "ts": str(milliseconds(market.venue_ns)),
            "checksum": checksum(*market.top(25)) if self.checksums else 0,
            "seqId": sequence,
            "prevSeqId": previous,
        }
        return json({"arg": {"channel": "books", "instId": self.native(market.listing)}, "action": action, "data": [row]})

    def _top(self, market: Market, channel: str) -> bytes:
        native = self.native(market.listing)
        bids, asks = market.top(_TOPS[channel])
        row: dict[str, object] = {"asks": _rows(asks), "bids": _rows(bids), "ts": str(milliseconds(market.venue_ns))}
        row |= {"seqId": market.sequence} | ({"instId": native} if channel == "books5" else {})
        return json({"arg": {"channel": channel, "instId": native}, "data": [row]})

    def _ticker_row(self, market: Market) -> dict[str, str]:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in market.top(1))
        return {
            "instType": self._type,
            "instId": self.native(market.listing),
            "last": bid,
            "lastSz": bid_size,
            "askPx": ask,
            "askSz": ask_size,
            "bidPx": bid,
            "bidSz": bid_size,
            "open24h": bid,
            "high24h": ask,
            "low24h": bid,
            "volCcy24h": "1000000",
            "vol24h": "1000",
            "sodUtc0": bid,
            "sodUtc8": bid,
            "ts": str(milliseconds(market.venue_ns)),
        }

    def _ticker(self, market: Market) -> bytes:
        native = self.native(market.listing)
        return json({"arg": {"channel": "tickers", "instId": native}, "data": [self._ticker_row(market)]})

    def _instruments(self, markets: Sequence[Market]) -> bytes:
        rows = [self._rules(market.listing) for market in markets]
        return json({"arg": {"channel": "instruments", "instType": self._type}, "data": rows})

    # REST

    def get(self, path: str, query: Mapping[str, str], now_ns: int) -> Answer:
        match path:
            case "/api/v5/public/time":
                return _result([{"ts": str(milliseconds(now_ns))}])
            case "/api/v5/public/instruments":
                return self._get_instruments(query)
            case "/api/v5/market/books":
                return self._get_books(query)
            case "/api/v5/market/ticker":
                market = self.natives.get(query.get("instId", ""))
                return _result([self._ticker_row(market)]) if market else _missing()
        return Answer(json({"code": "404", "data": [], "msg": f"Not Found: {path}"}), 404)

    def _get_instruments(self, query: Mapping[str, str]) -> Answer:
        if query.get("instType") not in ("SPOT", "SWAP", "FUTURES", "OPTION", "MARGIN"):
            return _fail("51000", "Parameter instType error")
        if "instId" in query and query["instId"] not in self.natives:
            return _missing()
        rows = [self._rules(m.listing) for native, m in self.natives.items() if query.get("instId", native) == native]
        return _result(rows if query["instType"] == self._type else [])

    def _get_books(self, query: Mapping[str, str]) -> Answer:
        market = self.natives.get(query.get("instId", ""))
        size = query.get("sz", "1")
        if market is None:
            return _missing()
        if not size.isdecimal() or not 1 <= int(size) <= _DEPTH:
            return _fail("51000", "Parameter sz error")
        bids, asks = market.top(int(size))
        time = str(milliseconds(market.venue_ns))
        return _result([{"asks": _rows(asks), "bids": _rows(bids), "ts": time, "seqId": market.sequence}])

    def _rules(self, listing: Listing) -> dict[str, str]:
        swap = self._type == "SWAP"
        pair = f"{listing.base}-{listing.quote}"
        return {
            "alias": "",
            "baseCcy": "" if swap else listing.base,
            "category": "1",
            "ctMult": "1" if swap else "",
            "ctType": "linear" if swap else "",
            "ctVal": plain(listing.lot * _CONTRACT_LOTS) if swap else "",
            "ctValCcy": listing.base if swap else "",
            "expTime": "",
            "instFamily": pair if swap else "",
            "instId": self.native(listing),
            "instType": self._type,
            "lever": "10",
            "listTime": "1548133413000",
            "lotSz": plain(_CONTRACT_STEP if swap else listing.lot),
            "maxLmtSz": "9999999999",
            "minSz": plain(_CONTRACT_STEP if swap else listing.min_quantity),
            "optType": "",
            "quoteCcy": "" if swap else listing.quote,
            "settleCcy": listing.quote if swap else "",
            "state": "suspend" if listing.halted else "live",
            "stk": "",
            "tickSz": plain(listing.tick),
            "uly": pair if swap else "",
        }


def checksum(bids: list[Level], asks: list[Level]) -> int:
    """CRC32, as a signed 32-bit number, over the 25 best levels: bid, ask, bid, ask …, `price:size` joined by colons."""
    parts: list[str] = []
    for index in range(25):
        for side in (bids, asks):
            parts.extend(side[index] if index < len(side) else ())
    value = crc32(":".join(parts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


def _rows(levels: Sequence[Level]) -> list[list[str]]:
    """Price, size, a field that is always 0, number of orders."""
    return [[price, size, "0", "1" if size != "0" else "0"] for price, size in levels]


def _refuse(connection: Connection, code: str, message: str) -> None:
    connection.send(json({"event": "error", "code": code, "msg": message, "connId": f"{id(connection):x}"}), Kind.REPLY)


def _result(rows: Sequence[Mapping[str, object]]) -> Answer:
    return Answer(json({"code": "0", "msg": "", "data": rows}))


def _fail(code: str, message: str) -> Answer:
    """The venue answers such errors with status 200."""
    return Answer(json({"code": code, "msg": message, "data": []}))


def _missing() -> Answer:
    return _fail("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
