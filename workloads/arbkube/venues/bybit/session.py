"""Bybit's book stream: an in-band snapshot and deltas, proven by consecutive update ids.

For: one connection's frames to verified books. May not: do I/O.
Protocol (bybit-exchange.github.io/docs/v5, "WebSocket Stream → Public → Orderbook", "Connect", read 2026-11): the topic
`orderbook.DEPTH.SYMBOL` sends a snapshot of DEPTH levels a side and then deltas with absolute sizes; `u` grows by one from
message to message of a topic. Any later snapshot replaces the book; one with `u` 1 says that the service began anew. `seq`
orders the messages of all depths of a symbol by when they were made. There is no checksum.

`orderbook.1` is a stream of snapshots of the top alone, sent again after three quiet seconds. Its `u` is its own; a top of the
very `seq` of a delta comes from the same state of the book and is held against it.

A snapshot older, by `seq`, than what has been seen was late on its way: it is not built on, another is asked for, and that one
is taken as it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random

import msgspec

from arbkube import kernel
from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel
from arbkube.venues.session import SECOND, Reconnect, Send, Session, SessionOptions, WireLimits

WINDOWS = (50, 200, 1000)
"""Levels a side that a topic may keep up to date, the quickest first: every 20 ms, 100 ms (spot 200 ms), 200 ms."""

_MILLISECOND = 10**6
_HEARTBEAT_NS = 20 * SECOND
"""The venue asks for a ping that often, however much it sends."""
_PING = Send('{"op":"ping"}')
_TOP = "orderbook.1."


class _Data(msgspec.Struct, gc=False):
    """A snapshot or a delta."""

    s: str
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    u: int
    seq: int


class _Message(msgspec.Struct, gc=False):
    """A push (`topic`), or an answer to a request (`op`). `data` is read once the topic is known to be ours."""

    topic: str = ""
    type: str = ""
    ts: int = 0
    data: msgspec.Raw = msgspec.Raw()
    op: str = ""
    success: bool = True
    ret_msg: str = ""


_decode = msgspec.json.Decoder(_Message).decode
_decode_data = msgspec.json.Decoder(_Data).decode


class _Chain:
    """Where one book stands in its chain of update ids."""

    __slots__ = ("last", "newest", "seq", "tops")

    def __init__(self) -> None:
        self.last = -1
        """`u` of the last message applied; -1 without a snapshot to build on."""
        self.seq = -1
        """Its `seq`."""
        self.newest = -1
        """The highest `seq` seen: a snapshot below it is old."""
        self.tops: deque[_Data] = deque(maxlen=256)

    def unbase(self) -> None:
        self.last = self.seq = -1
        self.tops.clear()


class BybitSession(Session):
    """One public connection of one category, `spot` or `linear`."""

    def __init__(
        self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random, limits: WireLimits, category: str
    ) -> None:
        self.window = next((window for window in WINDOWS if window >= options.depth), WINDOWS[-1])
        super().__init__(instruments, options, rng, f"{options.endpoint.websocket}/v5/public/{category}")
        self._limits = limits
        self._chains = {symbol: _Chain() for symbol in self.books}
        self._prefix = f"orderbook.{self.window}."
        if kernel.form is kernel.Form.COMPILED:
            from arbkube.kernel._compiled import BybitScanner

            self._scan = BybitScanner(self, self._chains, self._prefix).take
        self._heartbeat_ns = 0

    def covered_depth(self) -> int:
        return self.window

    def closed(self, now_ns: int) -> None:
        super().closed(now_ns)
        for chain in self._chains.values():
            chain.unbase()
            chain.newest = -1

    def tick(self, now_ns: int) -> None:
        super().tick(now_ns)
        if self.connected and now_ns - max(self._last_ping_ns, self._heartbeat_ns) >= _HEARTBEAT_NS:
            self._heartbeat_ns = now_ns
            self._ping()

    def _ping(self) -> None:
        self.actions.append(_PING)

    def _subscribe(self, now_ns: int) -> None:
        prefixes = [_TOP, self._prefix] if Channel.TICKER in self.options.channels else [self._prefix]
        topics = [prefix + i.native for i in self.instruments.values() for prefix in prefixes]
        step = self._limits.arguments_per_message
        for start in range(0, len(topics), step):
            self._request("subscribe", topics[start : start + step])
        for symbol in self.books:
            self.expect_snapshot(symbol, now_ns)

    def _resync(self, symbol: str, now_ns: int) -> None:
        self._chains[symbol].unbase()
        topics = [self._prefix + self.instruments[symbol].native]
        self._request("unsubscribe", topics)
        self._request("subscribe", topics)
        self.expect_snapshot(symbol, now_ns)

    def _request(self, operation: str, topics: Sequence[str]) -> None:
        self.actions.append(Send(msgspec.json.encode({"op": operation, "args": topics}).decode()))

    def _frame(self, frame: bytes, now_ns: int) -> None:
        message = _decode(frame)
        topic = message.topic
        if not topic:
            if not message.op:
                raise ValueError("neither a push nor an answer")
            if not message.success:
                # Without its topic a book would wait for ever; a new connection, with backoff, asks for all of them again.
                self.actions.append(Reconnect(f"{message.op} refused: {message.ret_msg}"))
            return
        is_book = topic.startswith(self._prefix)
        if not (is_book or topic.startswith(_TOP)):
            return
        book = self._by_native.get(topic.rpartition(".")[2])
        if book is None:
            return
        data = _decode_data(message.data)
        if not topic.endswith("." + data.s) or data.u < 1 or data.seq < 0:
            raise ValueError("not an update of its topic")
        book.counts.messages += 1
        chain = self._chains[book.symbol]
        if not is_book:
            if message.type == "snapshot":
                chain.tops.append(data)
        elif message.type == "delta":
            self._delta(book, chain, data, message.ts, now_ns)
        elif message.type == "snapshot":
            self._base(book, chain, data, message.ts, now_ns)
        else:
            raise ValueError(f"neither snapshot nor delta: {message.type}")

    def _base(self, book: VerifiedBook, chain: _Chain, data: _Data, ms: int, now_ns: int) -> None:
        if data.seq < chain.newest:
            chain.newest = -1
            self._gap(book, chain, now_ns)
            return
        chain.last = -1
        book.forget()
        self._apply(book, chain, data, ms, now_ns)

    def _delta(self, book: VerifiedBook, chain: _Chain, data: _Data, ms: int, now_ns: int) -> None:
        if chain.last < 0:
            return
        if data.u == chain.last + 1:
            self._apply(book, chain, data, ms, now_ns)
        elif (data.u, data.seq) == (chain.last, chain.seq):
            book.counts.duplicates += 1
        else:
            # Not even an older one may be passed over: a snapshot that began the ids anew could have been missed.
            self._gap(book, chain, now_ns)

    def _gap(self, book: VerifiedBook, chain: _Chain, now_ns: int) -> None:
        book.counts.gaps += 1
        self._break(book, chain, WithheldReason.GAP, now_ns)

    def _break(self, book: VerifiedBook, chain: _Chain, reason: WithheldReason, now_ns: int) -> None:
        """What the book holds is worth nothing any more: only a new snapshot helps."""
        chain.unbase()
        self.lose(book, reason, now_ns)

    def _apply(self, book: VerifiedBook, chain: _Chain, data: _Data, ms: int, now_ns: int) -> None:
        try:
            book.book.apply(data.b, data.a)
        except ValueError:
            book.counts.malformed += 1
            self._break(book, chain, WithheldReason.MALFORMED, now_ns)
            raise
        book.counts.updates += 1
        chain.last, chain.seq = data.u, data.seq
        chain.newest = max(chain.newest, data.seq)
        self.judge(book, chain, ms, now_ns)

    def judge(self, book: VerifiedBook, chain: _Chain, ms: int, now_ns: int) -> None:
        """Hold the book as it stands against the venue's own top."""
        if not self._top_agrees(book, chain):
            self._break(book, chain, WithheldReason.TOP_MISMATCH, now_ns)
            return
        if book.withheld is not None:
            # The snapshot has come, or what could not be read or crossed for a moment has not broken the chain.
            self.got_snapshot(book.symbol)
        self.prove(book, ms * _MILLISECOND, now_ns)

    def _top_agrees(self, book: VerifiedBook, chain: _Chain) -> bool:
        """Hold the book's top against the venue's own of the same `seq`, where there is one."""
        top: _Data | None = None
        while chain.tops and chain.tops[0].seq <= chain.seq:
            top = chain.tops.popleft()
        if top is None or top.seq != chain.seq:
            return True
        book.counts.tops_checked += 1
        if _numbers(top.b) == _numbers(book.book.bids(1)) and _numbers(top.a) == _numbers(book.book.asks(1)):
            return True
        book.counts.tops_mismatched += 1
        return False


def _numbers(levels: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
    return [(float(price), float(size)) for price, size in levels]
