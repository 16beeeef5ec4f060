"""Coinbase's side of the wire: Advanced Trade, spot.

For: the channels level2 (answered as `l2_data`), ticker, heartbeats, status and subscriptions, and the public REST endpoints
that a book needs. Every message of a connection, whatever its channel, takes the next `sequence_num`. Sources:
docs.cdp.coinbase.com, "Advanced Trade WebSocket": Overview, Channels and its AsyncAPI description; "Advanced Trade REST":
Public products, Public product book, Server time.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from arbkube.simulator.exchange.base import Answer, Connection, Exchange, Kind, Market, json, milliseconds, rfc3339
from arbkube.simulator.ladder import Changes
from arbkube.simulator.listings import Grid, Listing, plain
from arbkube.simulator.process import starting_price

_CHANNELS = frozenset({"level2", "ticker", "ticker_batch", "status"})
_STATUS_BEATS = 5


class _Request(msgspec.Struct, frozen=True):
    type: str
    channel: str
    product_ids: list[str] | None = None
    """None or nothing means every product."""


class _Connection(Connection):
    number = 0
    """The next `sequence_num`."""
    heartbeats = 0

    def envelope(self, channel: str, events: str, ns: int, kind: Kind, symbol: str = "") -> None:
        """Send `events`, a JSON array, under the connection's next number."""
        time = rfc3339(ns, 9)
        head = f'{{"channel":"{channel}","client_id":"","timestamp":"{time}","sequence_num":{self.number},"events":'
        self.number += 1
        self.send(f"{head}{events}}}", kind, symbol)


class CoinbaseExchange(Exchange):
    venue = "coinbase"
    websocket_paths = frozenset({"/"})
    _beats = 0

    def native(self, listing: Listing) -> str:
        return f"{listing.base}-{listing.quote}"

    def grids(self, listing: Listing) -> tuple[Grid, Grid]:
        return Grid(listing.tick, trim=True), Grid(listing.lot, trim=True)

    def connection(self, path: str, query: Mapping[str, str]) -> _Connection:
        return _Connection(path, query)

    def received(self, connection: Connection, text: str, now_ns: int) -> None:
        assert isinstance(connection, _Connection)
        try:
            request = msgspec.json.decode(text, type=_Request)
        except msgspec.DecodeError:
            _refuse(connection, "failed to parse message")
            return
        action, channel, products = request.type, request.channel, request.product_ids or list(self.natives)
        if action not in ("subscribe", "unsubscribe"):
            _refuse(connection, f"unknown type: {action}")
        elif channel not in _CHANNELS and channel != "heartbeats":
            _refuse(connection, f"unknown channel: {channel}")
        elif unknown := [product for product in products if product not in self.natives]:
            _refuse(connection, f"invalid product ids: {', '.join(unknown)}")
        else:
            topics = [("heartbeats", "")] if channel == "heartbeats" else [(channel, product) for product in products]
            for topic in topics:
                if action == "subscribe":
                    self.join(connection, topic)
                else:
                    self.leave(connection, topic)
            connection.envelope("subscriptions", self._subscriptions(connection), now_ns, Kind.REPLY)
            if action == "subscribe":
                self._greet(connection, channel, topics, now_ns)

    def _subscriptions(self, connection: Connection) -> str:
        channels: dict[str, list[str]] = {}
        for topic in self.topics_of(connection):
            assert isinstance(topic, tuple)
            channels.setdefault(topic[0], []).append(topic[1] or "heartbeats")
        return json([{"subscriptions": channels}]).decode()

    def _greet(self, connection: _Connection, channel: str, topics: list[tuple[str, str]], now_ns: int) -> None:
        if channel == "status":
            connection.envelope("status", self._status("snapshot"), now_ns, Kind.REPLY)
            return
        for _, product in topics:
            if channel == "level2":
                market = self.natives[product]
                bids, asks = dict(market.ladder.bids.top(10**6)), dict(market.ladder.asks.top(10**6))
                events = self._level2(market, "snapshot", bids, asks, "1970-01-01T00:00:00Z")
                connection.envelope("l2_data", events, market.venue_ns or now_ns, Kind.BOOK, market.symbol)
            elif channel in ("ticker", "ticker_batch"):
                market = self.natives[product]
                connection.envelope(channel, self._ticker(market, "snapshot"), now_ns, Kind.TICKER, market.symbol)

    def publish(self, market: Market, now_ns: int) -> None:
        product = self.native(market.listing)
        if members := self.members(("level2", product)):
            events = self._level2(market, "update", market.bids, market.asks, rfc3339(market.venue_ns, 6))
            for connection in members:
                assert isinstance(connection, _Connection)
                connection.envelope("l2_data", events, market.venue_ns, Kind.BOOK, market.symbol)
        if members := self.members(("ticker", product)):
            events = self._ticker(market, "update")
            for connection in members:
                assert isinstance(connection, _Connection)
                connection.envelope("ticker", events, market.venue_ns, Kind.TICKER, market.symbol)

    def skip(self, market: Market) -> None:
        for connection in self.members(("level2", self.native(market.listing))):
            assert isinstance(connection, _Connection)
            connection.number += 1

    def reset_sequence(self, market: Market, now_ns: int) -> None:
        for connection in self.members(("level2", self.native(market.listing))):
            assert isinstance(connection, _Connection)
            connection.number = 0

    def beat(self, now_ns: int) -> None:
        self._beats += 1
        for connection in self.members(("heartbeats", "")):
            assert isinstance(connection, _Connection)
            connection.heartbeats += 1
            time = f"{rfc3339(now_ns, 9)[:-1].replace('T', ' ')} +0000 UTC m=+{self._beats}.0"
            event = {"current_time": time, "heartbeat_counter": connection.heartbeats}
            connection.envelope("heartbeats", json([event]).decode(), now_ns, Kind.HEARTBEAT)
        if self._beats % _STATUS_BEATS == 0:
            subscribed = {connection for product in self.natives for connection in self.members(("status", product))}
            for connection in subscribed:
                assert isinstance(connection, _Connection)
                connection.envelope("status", self._status("update"), now_ns, Kind.REPLY)

    def _level2(self, market: Market, kind: str, bids: Changes, asks: Changes, time: str) -> str:
        updates = [
            {"side": name, "event_time": time, "price_level": price, "new_quantity": size}
            for name, levels in (("bid", bids), ("offer", asks))
            for price, size in market.levels(list(levels.items()))
        ]
        return json([{"type": kind, "product_id": self.native(market.listing), "updates": updates}]).decode()

    def _ticker(self, market: Market, kind: str) -> str:
        (bid, bid_size), (ask, ask_size) = (side[0] for side in market.top(1))
        ticker = {
            "type": "ticker",
            "product_id": self.native(market.listing),
            "price": bid,
            "volume_24_h": "1000",
            "low_24_h": bid,
            "high_24_h": ask,
            "low_52_w": bid,
            "high_52_w": ask,
            "price_percent_chg_24_h": "0",
            "best_bid": bid,
            "best_bid_quantity": bid_size,
            "best_ask": ask,
            "best_ask_quantity": ask_size,
        }
        return json([{"type": kind, "tickers": [ticker]}]).decode()

    def _status(self, kind: str) -> str:
        products = [
            {
                "product_type": "SPOT",
                "id": product,
                "base_currency": market.listing.base,
                "quote_currency": market.listing.quote,
                "base_increment": plain(market.listing.lot),
                "quote_increment": plain(market.listing.tick),
                "display_name": product.replace("-", "/"),
                "status": "offline" if market.listing.halted else "online",
                "status_message": "",
                "min_market_funds": plain(market.listing.min_notional),
            }
            for product, market in self.natives.items()
        ]
        return json([{"type": kind, "products": products}]).decode()

    # REST

    def get(self, path: str, query: Mapping[str, str], now_ns: int) -> Answer:
        path = path.removeprefix("/api/v3/brokerage")
        if path == "/time":
            iso, millis = rfc3339(now_ns, 3), milliseconds(now_ns)
            return Answer(json({"iso": iso, "epochSeconds": str(millis // 1000), "epochMillis": str(millis)}))
        if path == "/market/products":
            # A query for several products repeats its key, of which only one is seen here: everything is listed then.
            rows = [self._product(product) for product in self.natives if query.get("product_type", "SPOT") == "SPOT"]
            return Answer(json({"products": rows, "num_products": len(rows)}))
        if path.startswith("/market/products/"):
            product = path.removeprefix("/market/products/")
            return Answer(json(self._product(product))) if product in self.natives else _missing()
        if path == "/market/product_book":
            return self._product_book(query)
        if path.startswith("/v2/"):
            return self._assets(path)
        return Answer(json({"error": "unknown", "message": "Not Found"}), 404)

    def _product_book(self, query: Mapping[str, str]) -> Answer:
        market = self.natives.get(query.get("product_id", ""))
        if market is None:
            return _missing()
        limit = query.get("limit", "1000")
        if not limit.isdecimal():
            return Answer(json({"error": "INVALID_ARGUMENT", "message": "limit must be a whole number"}), 400)
        bids, asks = ([{"price": p, "size": s} for p, s in side] for side in market.top(int(limit) or 1000))
        time = rfc3339(market.venue_ns, 6)
        book = {"product_id": self.native(market.listing), "bids": bids, "asks": asks, "time": time}
        return Answer(json({"pricebook": book}))

    def _assets(self, path: str) -> Answer:
        """The older API's lists of what there is, which general clients read before anything else."""
        assets = sorted({asset for m in self.natives.values() for asset in (m.listing.base, m.listing.quote)})
        match path:
            case "/v2/currencies":
                return Answer(json({"data": [{"id": "USD", "name": "US Dollar", "min_size": "0.01000000"}]}))
            case "/v2/currencies/crypto":
                rows = [{"code": a, "name": a, "exponent": 8, "type": "crypto", "asset_id": a} for a in assets if a != "USD"]
                return Answer(json({"data": rows}))
            case "/v2/exchange-rates":
                rates = {asset: f"{starting_price('USD') / starting_price(asset):.10f}" for asset in assets}
                return Answer(json({"data": {"currency": "USD", "rates": rates}}))
        return Answer(json({"errors": [{"id": "not_found", "message": "Not found"}]}), 404)

    def _product(self, product: str) -> dict[str, object]:
        market = self.natives[product]
        listing = market.listing
        return {
            "product_id": product,
            "price": market.top(1)[0][0][0],
            "base_increment": plain(listing.lot),
            "quote_increment": plain(listing.tick),
            "quote_min_size": plain(listing.min_notional),
            "quote_max_size": "150000000",
            "base_min_size": plain(listing.min_quantity),
            "base_max_size": "3400",
            "base_name": listing.base,
            "quote_name": listing.quote,
            "is_disabled": False,
            "status": "offline" if listing.halted else "online",
            "cancel_only": False,
            "limit_only": False,
            "post_only": False,
            "trading_disabled": listing.halted,
            "auction_mode": False,
            "product_type": "SPOT",
            "quote_currency_id": listing.quote,
            "base_currency_id": listing.base,
            "alias": "",
            "alias_to": [],
            "base_display_symbol": listing.base,
            "quote_display_symbol": listing.quote,
            "view_only": False,
            "price_increment": plain(listing.tick),
            "display_name": product,
            "product_venue": "CBE",
        }


def _refuse(connection: Connection, message: str) -> None:
    connection.send(json({"type": "error", "message": message}), Kind.REPLY)


def _missing() -> Answer:
    return Answer(json({"error": "NOT_FOUND", "error_details": "valid product_id is required", "message": "not found"}), 404)
