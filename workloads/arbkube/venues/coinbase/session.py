"""Coinbase's level2 channel: in-band snapshot and updates, proven by a number that counts the connection's messages.

For: one connection's frames to verified books. May not: do I/O.
Protocol (docs.cdp.coinbase.com, "Advanced Trade WebSocket Channels" and "WebSocket Overview", read 2026-11; public market data
needs no key): `sequence_num` grows by one with every message of a connection, over all channels, heartbeats and answers to
subscriptions included. A message missed may have been an update of any product: a gap voids every book and the connection is
opened anew. An older number is a message already counted. Sizes are absolute, 0 removes a level. Heartbeats, one a second, keep
quiet subscriptions open and show within a second that the last update was lost. Each subscription names one channel.

A product quoted in USDC is sent under its USD name, since both share one book; USDT-USDC and EURC-USDC keep their own.

The `ticker` channel speaks at matches only, and nothing ties its top to a book update, so that no comparison would be sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from random import Random

import msgspec

from arbkube import kernel
from arbkube.market.book import Level
from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.venues.session import Reconnect, Send, Session, SessionOptions, WireLimits
from arbkube.venues.timestamps import epoch_ns

_OWN_USDC_BOOK = frozenset({"USDT-USDC", "EURC-USDC"})
_WITHOUT_BOOKS = frozenset({"heartbeats", "subscriptions"})


class _Change(msgspec.Struct, gc=False):
    side: str
    price_level: str
    new_quantity: str


class _Event(msgspec.Struct, gc=False):
    """A product's changes; other channels' events lack these fields and are not looked at."""

    type: str = ""
    product_id: str = ""
    updates: list[_Change] | None = None


class _Message(msgspec.Struct, gc=False):
    channel: str = ""
    timestamp: datetime | None = None
    sequence_num: int = -1
    events: list[_Event] = []
    type: str = ""
    message: str = ""


_decode = msgspec.json.Decoder(_Message).decode


def wire_product(native: str) -> str:
    """The product under which the market data of `native` is sent."""
    return native[:-1] if native.endswith("-USDC") and native not in _OWN_USDC_BOOK else native


class _Chain:
    """Where the connection stands in its chain of messages."""

    __slots__ = ("broken", "last", "sent_ns")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.last = -1
        """`sequence_num` of the last message; -1 before the first."""
        self.sent_ns = 0
        """The venue's time of that message."""
        self.broken = False
        """Whether the connection is to be opened anew, and says nothing more that counts."""


class CoinbaseSession(Session):
    """One connection carrying level2 and heartbeats."""

    def __init__(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random, limits: WireLimits) -> None:
        super().__init__(instruments, options, rng, options.endpoint.websocket)
        self._limits = limits
        self._by_product: dict[str, list[VerifiedBook]] = {}
        for instrument in instruments:
            self._by_product.setdefault(wire_product(instrument.native), []).append(self.books[instrument.symbol])
        self._chain = _Chain()
        self._without_snapshot: set[str] = set()
        if kernel.form is kernel.Form.COMPILED:
            from arbkube.kernel._compiled import CoinbaseScanner

            self._scan = CoinbaseScanner(self, self._by_product, self._chain, self._without_snapshot).take

    def opened(self, now_ns: int) -> None:
        self._chain.reset()
        super().opened(now_ns)

    def _subscribe(self, now_ns: int) -> None:
        self.actions.append(Send('{"type":"subscribe","channel":"heartbeats"}'))
        products = list(self._by_product)
        step = self._limits.arguments_per_message
        for start in range(0, len(products), step):
            self._request("subscribe", products[start : start + step])
        for symbol in self.books:
            self._without_snapshot.add(symbol)
            self.expect_snapshot(symbol, now_ns)

    def _resync(self, symbol: str, now_ns: int) -> None:
        product = wire_product(self.instruments[symbol].native)
        self._request("unsubscribe", [product])
        self._request("subscribe", [product])
        self._without_snapshot.add(symbol)
        self.expect_snapshot(symbol, now_ns)

    def _request(self, kind: str, products: list[str]) -> None:
        request = {"type": kind, "product_ids": products, "channel": "level2"}
        self.actions.append(Send(msgspec.json.encode(request).decode()))

    def _frame(self, frame: bytes, now_ns: int) -> None:
        chain = self._chain
        if chain.broken:
            return
        message = _decode(frame)
        if message.type == "error":
            # Without its subscription a book would wait for ever; a new connection, with backoff, asks for all of them again.
            self._break(f"refused: {message.message}", WithheldReason.NO_SNAPSHOT)
            return
        sequence = message.sequence_num
        if sequence < 0:
            raise ValueError("a message without its number")
        venue_ns = epoch_ns(message.timestamp)
        if chain.last >= 0 and sequence != chain.last + 1:
            # A lower number on a later message is no repetition: the numbering has begun anew.
            if sequence > chain.last or venue_ns > chain.sent_ns:
                for book in self.books.values():
                    book.counts.gaps += 1
                self._break(f"sequence_num {sequence} after {chain.last}", WithheldReason.GAP)
            elif message.channel == "l2_data":
                for event in message.events:
                    for book in self._by_product.get(event.product_id, ()):
                        book.counts.duplicates += 1
            return
        chain.last = sequence
        chain.sent_ns = venue_ns
        if message.channel == "l2_data":
            if not message.events:
                raise ValueError("an update of nothing")
            for event in message.events:
                self._event(event, venue_ns, now_ns)
        elif message.channel not in _WITHOUT_BOOKS:
            raise ValueError(f"a channel nobody asked for: {message.channel}")

    def _event(self, event: _Event, venue_ns: int, now_ns: int) -> None:
        if event.updates is None or event.type not in {"snapshot", "update"}:
            raise ValueError(f"neither a snapshot nor an update: {event.type}")
        bids: list[Level] = []
        asks: list[Level] = []
        sides = {"bid": bids, "offer": asks}
        for change in event.updates:
            sides[change.side].append((change.price_level, change.new_quantity))
        for book in self._by_product[event.product_id]:
            book.counts.messages += 1
            if event.type == "snapshot":
                self.got_snapshot(book.symbol)
                self._without_snapshot.discard(book.symbol)
                book.book.replace(bids, asks)
            elif book.symbol in self._without_snapshot:
                continue
            else:
                book.book.apply(bids, asks)
            book.counts.updates += 1
            self.prove(book, venue_ns, now_ns)
            if book.withheld is not None:
                self._without_snapshot.add(book.symbol)

    def _break(self, why: str, reason: WithheldReason) -> None:
        """Void every book and ask for a new connection."""
        self._chain.broken = True
        self._resync_at.clear()
        for book in self.books.values():
            self.withhold(book, reason)
        self.actions.append(Reconnect(why))

    def _malformed(self, now_ns: int) -> None:
        for book in self.books.values():
            book.counts.malformed += 1
        self._break("a message that cannot be read", WithheldReason.MALFORMED)
