"""The server side of Coinbase and Kraken for the campaign, in exact wire frames from random books.

For: venues of which there is no recording. The checksum is computed here a second time, from Kraken's document.
"""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from arbkube.market.book import Level
from arbkube.market.instruments import Instrument, MarketType
from arbkube.venues.coinbase.adapter import CoinbaseAdapter
from arbkube.venues.kraken.adapter import KrakenAdapter
from arbkube.venues.session import Session, SessionOptions
from tests.venues.campaign.books import RandomBook
from tests.venues.campaign.engine import DEPTH, Genuine, Ladders, Venue


def instrument(venue: str, symbol: str, native: str, *, tick: str = "0.1") -> Instrument:
    """A spot instrument; beyond their decimal places, its rules do not matter to a session."""
    base, quote = symbol.split("-")
    return Instrument(
        venue=venue,
        market=MarketType.SPOT,
        symbol=symbol,
        native=native,
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal("0.00000001"),
        min_quantity=Decimal("0.0001"),
        min_notional=Decimal(1),
    )


class _Generated(Venue):
    """Two random books and a clock."""

    symbols = ("BTC-USD", "ETH-USD")

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self._time = datetime(2026, 11, 1, tzinfo=UTC)
        self.books = {
            "BTC-USD": RandomBook(self.rng, mid=Decimal(60000), tick=Decimal("0.1"), lot=Decimal("0.00000001")),
            "ETH-USD": RandomBook(self.rng, mid=Decimal(3000), tick=Decimal("0.01"), lot=Decimal("0.00000001")),
        }
        self.subscribed: set[str] = set()

    def time(self) -> str:
        self._time += timedelta(milliseconds=20)
        return self._time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class CoinbaseVenue(_Generated):
    name = "coinbase spot"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._sequence = -1
        self._heartbeats = False

    def session(self, rng: Random) -> Session:
        adapter = CoinbaseAdapter()
        instruments = [instrument("coinbase", symbol, symbol) for symbol in self.symbols]
        return adapter.session(instruments, SessionOptions(endpoint=adapter.endpoint, depth=DEPTH), rng)

    def opened(self) -> None:
        self._sequence = -1
        self._heartbeats = False
        self.subscribed.clear()

    def _message(self, channel: str, events: list[object], symbol: str = "") -> Genuine:
        self._sequence += 1
        message = {
            "channel": channel,
            "client_id": "",
            "timestamp": self.time(),
            "sequence_num": self._sequence,
            "events": events,
        }
        truth = self.books[symbol].book.ladders() if symbol else None
        return Genuine(json.dumps(message, separators=(",", ":")).encode(), symbol, truth)

    def _l2(self, kind: str, symbol: str, bids: list[Level], asks: list[Level]) -> Genuine:
        changes = [("bid", level) for level in bids] + [("offer", level) for level in asks]
        updates = [
            {"side": side, "event_time": "1970-01-01T00:00:00Z", "price_level": price, "new_quantity": size}
            for side, (price, size) in changes
        ]
        return self._message("l2_data", [{"type": kind, "product_id": symbol, "updates": updates}], symbol)

    def sent(self, text: str) -> list[Genuine]:
        request = json.loads(text)
        if request["channel"] == "heartbeats":
            self._heartbeats = True
            return [self._message("subscriptions", [{"subscriptions": {"heartbeats": ["heartbeats"]}}])]
        assert request["channel"] == "level2"
        answer = []
        for product in request["product_ids"]:
            if request["type"] == "unsubscribe":
                self.subscribed.discard(product)
            elif product not in self.subscribed:
                self.subscribed.add(product)
                book = self.books[product].book
                bids, asks = (list(side.levels.values()) for side in (book.bids, book.asks))
                answer.append(self._l2("snapshot", product, bids, asks))
        return [*answer, self._message("subscriptions", [{"subscriptions": {"level2": sorted(self.subscribed)}}])]

    def step(self) -> list[Genuine]:
        pushed = []
        if self._heartbeats and self.rng.random() < 0.02:
            counter = {"current_time": "2026-11-01 00:00:00.0 +0000 UTC m=+1.0", "heartbeat_counter": "1"}
            pushed.append(self._message("heartbeats", [counter]))
        symbol = self.rng.choice(self.symbols)
        bids, asks = self.books[symbol].move()
        if symbol in self.subscribed and (bids or asks):
            pushed.append(self._l2("update", symbol, bids, asks))
        return pushed


def kraken_checksum(bids: tuple[Level, ...], asks: tuple[Level, ...]) -> int:
    """As in "Book checksum (WebSocket v2)": asks then bids, no point, no leading zeros."""
    text = ""
    for price, size in (*asks[:10], *bids[:10]):
        text += str(int(price.replace(".", ""))) + str(int(size.replace(".", "")))
    return zlib.crc32(text.encode())


class KrakenVenue(_Generated):
    name = "kraken spot"
    proves_content = True
    depth = 10

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._shown: dict[str, Ladders] = {}

    def session(self, rng: Random) -> Session:
        adapter = KrakenAdapter()
        instruments = [instrument("kraken", symbol, symbol.replace("-", "/")) for symbol in self.symbols]
        return adapter.session(instruments, SessionOptions(endpoint=adapter.endpoint, depth=DEPTH), rng)

    def opened(self) -> None:
        self._shown.clear()

    def _book(self, kind: str, symbol: str, bids: list[Level], asks: list[Level]) -> Genuine:
        shown = self._shown[symbol]

        def side(levels: list[Level]) -> str:
            # Numbers, not strings, with the trailing zeros that json would take away.
            return ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in levels)

        data = (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol.replace("-", "/")}","bids":[{side(bids)}],'
            f'"asks":[{side(asks)}],"checksum":{kraken_checksum(*shown)},"timestamp":"{self.time()}"}}]}}'
        )
        return Genuine(data.encode(), symbol, self.books[symbol].book.ladders())

    def sent(self, text: str) -> list[Genuine]:
        request = json.loads(text)
        if request["method"] == "ping":
            return [Genuine(b'{"method":"pong","time_in":"2026-11-01T00:00:00.0Z","time_out":"2026-11-01T00:00:00.0Z"}')]
        answer = []
        for native in request["params"]["symbol"]:
            symbol = native.replace("/", "-")
            success = (request["method"] == "subscribe") is not (symbol in self._shown)
            reply = {"method": request["method"], "success": success, "symbol": native}
            answer.append(Genuine(json.dumps(reply).encode()))
            if success and request["method"] == "subscribe":
                bids, asks = self._shown[symbol] = self.books[symbol].book.ladders(self.depth)
                answer.append(self._book("snapshot", symbol, list(bids), list(asks)))
            elif success:
                del self._shown[symbol]
        return answer

    def step(self) -> list[Genuine]:
        if self.rng.random() < 0.02:
            return [Genuine(b'{"channel":"heartbeat"}')]
        symbol = self.rng.choice(self.symbols)
        self.books[symbol].move()
        if symbol not in self._shown:
            return []
        before = self._shown[symbol]
        after = self._shown[symbol] = self.books[symbol].book.ladders(self.depth)
        if before == after:
            return []
        bids, asks = (
            self._difference(old, new, side.levels)
            for old, new, side in zip(before, after, (self.books[symbol].book.bids, self.books[symbol].book.asks), strict=True)
        )
        return [self._book("update", symbol, bids, asks)]

    @staticmethod
    def _difference(old: tuple[Level, ...], new: tuple[Level, ...], book: dict[Decimal, Level]) -> list[Level]:
        """What Kraken sends: removals of what no longer exists, nothing for what was pushed out of view, and what is new."""
        gone = [(price, "0") for price, _ in old if Decimal(price) not in book]
        return gone + [level for level in new if level not in old]
