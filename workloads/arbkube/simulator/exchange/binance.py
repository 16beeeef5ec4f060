"""Binance's side of the wire: spot and USD-M futures.

For: combined and raw streams with `@depth` diffs and `@bookTicker`, and the REST endpoints that a book needs. Every simulated
update is one diff, whatever speed a stream's name asks for. Sources: developers.binance.com, spot "WebSocket Streams", "Market
Data endpoints", "General endpoints" and "Error codes"; USDⓈ-M "Websocket Market Streams" (routed paths /public and /market
since 2026-04), "Order Book", "Exchange Information".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from arbkube.simulator.exchange.base import Answer, Connection, Exchange, Kind, Market, json, milliseconds
from arbkube.simulator.listings import Grid, Listing, plain

_FAR_FUTURE_MS = 4133404800000
"""The delivery date that the venue writes for what is never delivered."""


class _Connection(Connection):
    combined = False


class _Binance(Exchange):
    """What both markets share."""

    venue = "binance"
    api: str
    """Prefix of the REST endpoints."""
    depth_suffixes: frozenset[str]

    def native(self, listing: Listing) -> str:
        return f"{listing.base}{listing.quote}"

    def connection(self, path: str, query: Mapping[str, str]) -> _Connection:
        return _Connection(path, query)

    def opened(self, connection: Connection, now_ns: int) -> None:
        assert isinstance(connection, _Connection)
        route, _, stream = connection.path.removeprefix("/public").removeprefix("/market").removeprefix("/").partition("/")
        connection.combined = route == "stream"
        for name in (stream, *connection.query.get("streams", "").split("/")):
            if name:
                self.join(connection, name)

    def received(self, connection: Connection, text: str, now_ns: int) -> None:
        assert isinstance(connection, _Connection)
        try:
            request: Any = msgspec.json.decode(text)
        except msgspec.DecodeError:
            _refuse(connection, 3, "Invalid JSON: expected value at line 1 column 1", None)
            return
        method = request.get("method") if isinstance(request, dict) else None
        number = request.get("id") if isinstance(request, dict) else None
        params = request.get("params", []) if isinstance(request, dict) else []
        result: object = None
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
                _refuse(connection, 2, "Invalid request: request ID must be an unsigned integer, params an array", number)
                return
            for name in params:
                # A stream that does not exist is accepted, and stays silent.
                if method == "SUBSCRIBE":
                    self.join(connection, name)
                else:
                    self.leave(connection, name)
        elif method == "LIST_SUBSCRIPTIONS":
            result = self.topics_of(connection)
        elif method == "GET_PROPERTY" and params == ["combined"]:
            result = connection.combined
        elif method == "SET_PROPERTY" and isinstance(params, list) and len(params) == 2 and isinstance(params[1], bool):
            connection.combined = params[1]
        else:
            _refuse(connection, 2, f"Invalid request: unknown variant `{method}`", number)
            return
        connection.send(json({"result": result, "id": number}), Kind.REPLY)

    def publish(self, market: Market, now_ns: int) -> None:
        lower = self.native(market.listing).lower()
        ticker, depth = f"{lower}@bookTicker", None
        if self.members(ticker):
            self._stream(market, ticker, json(self._ticker(market)).decode(), Kind.TICKER)
        for suffix in self.depth_suffixes:
            stream = lower + suffix
            if self.members(stream):
                depth = depth or json(self._diff(market)).decode()
                self._stream(market, stream, depth, Kind.BOOK)

    def _stream(self, market: Market, stream: str, payload: str, kind: Kind) -> None:
        wrapped = f'{{"stream":"{stream}","data":{payload}}}'
        for connection in self.members(stream):
            assert isinstance(connection, _Connection)
            connection.send(wrapped if connection.combined else payload, kind, market.symbol)

    def get(self, path: str, query: Mapping[str, str], now_ns: int) -> Answer:
        match path.removeprefix(self.api):
            case "/ping":
                return Answer(b"{}")
            case "/time":
                return Answer(json({"serverTime": milliseconds(now_ns)}))
            case "/exchangeInfo":
                return self._exchange_info(query, now_ns)
            case "/depth":
                return self._depth(query)
            case "/ticker/bookTicker":
                return self._book_ticker(query)
        return Answer(json({"code": -5000, "msg": f"Path {path}, Method GET is invalid"}), 404)

    def _depth(self, query: Mapping[str, str]) -> Answer:
        if not query.get("symbol"):
            return _error(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        market = self.natives.get(query["symbol"])
        if market is None:
            return _error(-1121, "Invalid symbol.")
        limit = query.get("limit", str(self.default_limit))
        if not limit.isdecimal() or not self._limit_allowed(int(limit)):
            return _error(
                self.limit_error, f"Illegal characters or value in parameter 'limit': {limit} is not valid depth limit."
            )
        bids, asks = market.top(min(int(limit), 5000))
        return Answer(json({"lastUpdateId": market.sequence, **self._snapshot_times(market), "bids": bids, "asks": asks}))

    def _book_ticker(self, query: Mapping[str, str]) -> Answer:
        if "symbol" in query and query["symbol"] not in self.natives:
            return _error(-1121, "Invalid symbol.")
        rows = []
        for native, market in self.natives.items():
            if query.get("symbol", native) == native:
                (bid, bid_size), (ask, ask_size) = (side[0] for side in market.top(1))
                rows.append({"symbol": native, "bidPrice": bid, "bidQty": bid_size, "askPrice": ask, "askQty": ask_size})
        return Answer(json(rows[0] if "symbol" in query else rows))

    def _exchange_info(self, query: Mapping[str, str], now_ns: int) -> Answer:
        wanted = list(self.natives)
        try:
            if "symbols" in query:
                wanted = msgspec.json.decode(query["symbols"], type=list[str])
        except msgspec.MsgspecError:
            return _error(-1100, "Illegal characters found in parameter 'symbols'.")
        if "symbol" in query:
            wanted = [query["symbol"]]
        if any(native not in self.natives for native in wanted):
            return _error(-1121, "Invalid symbol.")
        rows = [self._rules(native, self.natives[native].listing) for native in wanted]
        body = {"timezone": "UTC", "serverTime": milliseconds(now_ns), "rateLimits": [], "exchangeFilters": [], "symbols": rows}
        return Answer(json(body))

    default_limit: int
    limit_error: int

    def _limit_allowed(self, limit: int) -> bool:
        raise NotImplementedError

    def _diff(self, market: Market) -> dict[str, object]:
        raise NotImplementedError

    def _ticker(self, market: Market) -> dict[str, object]:
        raise NotImplementedError

    def _snapshot_times(self, market: Market) -> dict[str, int]:
        raise NotImplementedError

    def _rules(self, native: str, listing: Listing) -> dict[str, object]:
        raise NotImplementedError


class SpotExchange(_Binance):
    api = "/api/v3"
    websocket_paths = frozenset({"/ws", "/stream"})
    depth_suffixes = frozenset({"@depth", "@depth@100ms"})
    default_limit = 100
    limit_error = -1100

    def grids(self, listing: Listing) -> tuple[Grid, Grid]:
        return Grid(listing.tick, pad=8), Grid(listing.lot, pad=8)

    def _limit_allowed(self, limit: int) -> bool:
        return limit >= 1

    def _diff(self, market: Market) -> dict[str, object]:
        return {
            "e": "depthUpdate",
            "E": milliseconds(market.venue_ns),
            "s": self.native(market.listing),
            "U": market.previous + 1,
            "u": market.sequence,
            "b": market.levels(sorted(market.bids.items(), reverse=True)),
            "a": market.levels(sorted(market.asks.items())),
        }

    def _ticker(self, market: Market) -> dict[str, object]:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in market.top(1))
        native = self.native(market.listing)
        return {"u": market.sequence, "s": native, "b": bid, "B": bid_size, "a": ask, "A": ask_size}

    def _snapshot_times(self, market: Market) -> dict[str, int]:
        return {}

    def _rules(self, native: str, listing: Listing) -> dict[str, object]:
        tick, lot, smallest = (f"{step:.8f}" for step in (listing.tick, listing.lot, listing.min_quantity))
        return {
            "symbol": native,
            "status": "HALT" if listing.halted else "TRADING",
            "baseAsset": listing.base,
            "baseAssetPrecision": 8,
            "quoteAsset": listing.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
            "icebergAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
                {"filterType": "LOT_SIZE", "minQty": smallest, "maxQty": "9000.00000000", "stepSize": lot},
                {
                    "filterType": "NOTIONAL",
                    "minNotional": f"{listing.min_notional:.8f}",
                    "applyMinToMarket": True,
                    "maxNotional": "9000000.00000000",
                    "applyMaxToMarket": False,
                    "avgPriceMins": 5,
                },
            ],
            "permissions": [],
            "permissionSets": [["SPOT"]],
        }


class UsdMExchange(_Binance):
    api = "/fapi/v1"
    websocket_paths = frozenset({"/public/ws", "/public/stream", "/market/ws", "/market/stream", "/ws", "/stream"})
    depth_suffixes = frozenset({"@depth", "@depth@100ms", "@depth@500ms"})
    default_limit = 500
    limit_error = -4021

    def _limit_allowed(self, limit: int) -> bool:
        return limit in {5, 10, 20, 50, 100, 500, 1000}

    def _diff(self, market: Market) -> dict[str, object]:
        return {
            "e": "depthUpdate",
            **self._times(market),
            "s": self.native(market.listing),
            "U": market.previous + 1,
            "u": market.sequence,
            "pu": market.previous,
            "b": market.levels(sorted(market.bids.items())),
            "a": market.levels(sorted(market.asks.items())),
        }

    def _ticker(self, market: Market) -> dict[str, object]:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in market.top(1))
        top = {"s": self.native(market.listing), "b": bid, "B": bid_size, "a": ask, "A": ask_size}
        return {"e": "bookTicker", "u": market.sequence, **top, **self._times(market)}

    def _snapshot_times(self, market: Market) -> dict[str, int]:
        return self._times(market)

    @staticmethod
    def _times(market: Market) -> dict[str, int]:
        return {"E": milliseconds(market.venue_ns) + 1, "T": milliseconds(market.venue_ns)}

    def _rules(self, native: str, listing: Listing) -> dict[str, object]:
        tick, lot, smallest = plain(listing.tick), plain(listing.lot), plain(listing.min_quantity)
        price_grid, size_grid = self.grids(listing)
        return {
            "symbol": native,
            "pair": native,
            "contractType": "PERPETUAL",
            "deliveryDate": _FAR_FUTURE_MS,
            "onboardDate": 1569398400000,
            "status": "SETTLING" if listing.halted else "TRADING",
            "baseAsset": listing.base,
            "quoteAsset": listing.quote,
            "marginAsset": listing.quote,
            "pricePrecision": price_grid.decimals,
            "quantityPrecision": size_grid.decimals,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
                {"filterType": "LOT_SIZE", "minQty": smallest, "maxQty": "1000", "stepSize": lot},
                {"filterType": "MARKET_LOT_SIZE", "minQty": smallest, "maxQty": "120", "stepSize": lot},
                {"filterType": "MIN_NOTIONAL", "notional": plain(listing.min_notional)},
            ],
            "orderTypes": ["LIMIT", "MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        }


def _refuse(connection: Connection, code: int, message: str, number: object) -> None:
    connection.send(json({"error": {"code": code, "msg": message}, "id": number}), Kind.REPLY)


def _error(code: int, message: str) -> Answer:
    return Answer(json({"code": code, "msg": message}), 400)
