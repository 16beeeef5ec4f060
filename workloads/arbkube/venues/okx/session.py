"""OKX's book stream: an in-band snapshot and updates, proven by a chain of sequence ids or by a checksum.

For: one connection's frames to verified books. May not: do I/O.
Protocol (okx.com/docs-v5, "WS / Order book channel", "Overview → WebSocket → Connect", read 2026-11): `books` sends a snapshot
of 400 levels a side, then every 100 ms what changed; a level that leaves the 400 is sent as a size of zero. Each update's
`prevSeqId` is the `seqId` of the message before it (−1 on a snapshot). Two cases look odd and are in order: an update without
levels whose two ids are equal (nothing changed for a minute), and one whose `seqId` is below its `prevSeqId` (a reset after
maintenance). `checksum` is the CRC32, as a signed number, of the best 25 levels in the wire's text, bid and ask by turns,
joined by colons. Since 2026-06-23 it is always 0 and proves nothing; recordings of 2022 have it and no ids. A frame with
neither proves nothing, and the book is withheld. The checksum speaks for 25 levels, the chain for the 400.

`bbo-tbt` pushes the top with the `seqId` of the book it was taken from. Not every id is pushed on both channels, so that only a
top of the very id of an update is held against the book.

A snapshot older than what has been seen was late on its way, or the ids were reset: it is not built on, another is asked for,
and that one is taken as it comes.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Sequence
from random import Random

import msgspec

from arbkube import kernel
from arbkube.market.book import Book, Level
from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel, Proof
from arbkube.venues.okx.contracts import ContractBook
from arbkube.venues.session import Reconnect, Send, Session, SessionOptions, WireLimits

WINDOW = 400
"""Levels a side that the venue keeps up to date."""
CHECKSUM_DEPTH = 25

_MILLISECOND = 10**6
_BOOK = "books"
_TOP = "bbo-tbt"


class _Channel(msgspec.Struct, rename="camel", gc=False):
    channel: str
    inst_id: str = ""


class _Message(msgspec.Struct, gc=False):
    """A push (`arg`, `data`), or an answer or notice (`event`). `data` is read once the channel is known to be ours."""

    arg: _Channel | None = None
    action: str = ""
    data: msgspec.Raw = msgspec.Raw()
    event: str = ""
    msg: str = ""


class _Update(msgspec.Struct, rename="camel", gc=False):
    """A snapshot, an update or a top. A level is price, size and two numbers that do not matter here."""

    asks: list[tuple[str, ...]]
    bids: list[tuple[str, ...]]
    ts: str
    checksum: int = 0
    prev_seq_id: int | None = None
    seq_id: int = -1


_decode = msgspec.json.Decoder(_Message).decode
_decode_updates = msgspec.json.Decoder(list[_Update]).decode


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """The venue's checksum of the best levels, best first, sizes in the wire's own unit and text."""
    parts: list[str] = []
    for place in range(CHECKSUM_DEPTH):
        if place < len(bids):
            parts += bids[place]
        if place < len(asks):
            parts += asks[place]
    unsigned = zlib.crc32(":".join(parts).encode())
    return unsigned - (1 << 32) if unsigned >= 1 << 31 else unsigned


class _Chain:
    """Where one book stands in its chain of sequence ids."""

    __slots__ = ("based", "last", "linked", "newest", "newest_ms", "previous", "tops", "wire")

    def __init__(self, wire: Book) -> None:
        self.wire = wire
        """The book in the wire's own units."""
        self.based = False
        """Whether there is a snapshot to build on."""
        self.linked = False
        """Whether every message since the snapshot named the one before it."""
        self.previous = -1
        self.last = -1
        """`prevSeqId` and `seqId` of the last message applied; -1 where it had none."""
        self.newest = self.newest_ms = -1
        """The highest `seqId` since the last reset, and the latest time: a snapshot from before is old."""
        self.tops: deque[_Update] = deque(maxlen=256)

    def unbase(self) -> None:
        self.based = self.linked = False
        self.previous = self.last = -1
        self.tops.clear()


class OkxSession(Session):
    """One public connection carrying spot pairs or linear perpetuals."""

    def __init__(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random, limits: WireLimits) -> None:
        super().__init__(instruments, options, rng, f"{options.endpoint.websocket}/ws/v5/public")
        self._limits = limits
        self._chains: dict[str, _Chain] = {}
        for instrument in instruments:
            book = self.books[instrument.symbol]
            if instrument.contract_size != 1:
                book.book = contracts = ContractBook(instrument.contract_size)
                self._chains[instrument.symbol] = _Chain(contracts.wire)
            else:
                self._chains[instrument.symbol] = _Chain(book.book)
        if kernel.form is kernel.Form.COMPILED:
            from arbkube.kernel._compiled import OkxScanner

            needs = {"needs_chain": Proof.CHAIN in options.require, "needs_checksum": Proof.CHECKSUM in options.require}
            self._scan = OkxScanner(self, self._chains, window=WINDOW, **needs).take

    def covered_depth(self) -> int:
        return WINDOW

    def closed(self, now_ns: int) -> None:
        super().closed(now_ns)
        for chain in self._chains.values():
            chain.unbase()
            chain.newest = chain.newest_ms = -1

    def _subscribe(self, now_ns: int) -> None:
        channels = [_TOP, _BOOK] if Channel.TICKER in self.options.channels else [_BOOK]
        arguments = [(channel, i.native) for i in self.instruments.values() for channel in channels]
        step = self._limits.arguments_per_message
        for start in range(0, len(arguments), step):
            self._request("subscribe", arguments[start : start + step])
        for symbol in self.books:
            self.expect_snapshot(symbol, now_ns)

    def _resync(self, symbol: str, now_ns: int) -> None:
        self._chains[symbol].unbase()
        argument = [(_BOOK, self.instruments[symbol].native)]
        self._request("unsubscribe", argument)
        self._request("subscribe", argument)
        self.expect_snapshot(symbol, now_ns)

    def _request(self, operation: str, arguments: Sequence[tuple[str, str]]) -> None:
        message = {"op": operation, "args": [{"channel": channel, "instId": native} for channel, native in arguments]}
        self.actions.append(Send(msgspec.json.encode(message).decode()))

    def _ping(self) -> None:
        self.actions.append(Send("ping"))

    def _frame(self, frame: bytes, now_ns: int) -> None:
        if frame == b"pong":
            return
        message = _decode(frame)
        if message.event:
            if message.event in {"error", "notice"}:
                # Refused, or about to be closed for an upgrade of the venue's: either way a new connection is the remedy.
                self.actions.append(Reconnect(f"{message.event} from the venue: {message.msg}"))
            return
        if message.arg is None:
            raise ValueError("neither a push nor an event")
        channel = message.arg.channel
        if channel not in {_BOOK, _TOP}:
            return
        book = self._by_native.get(message.arg.inst_id)
        if book is None:
            return
        updates = _decode_updates(message.data)
        book.counts.messages += 1
        chain = self._chains[book.symbol]
        if channel == _TOP:
            chain.tops.extend(updates)
            return
        for update in updates:
            if message.action == "update":
                self._update(book, chain, update, now_ns)
            elif message.action == "snapshot":
                self._base(book, chain, update, now_ns)
            else:
                raise ValueError(f"neither snapshot nor update: {message.action}")

    def _base(self, book: VerifiedBook, chain: _Chain, update: _Update, now_ns: int) -> None:
        ms = int(update.ts)
        if update.seq_id < chain.newest if update.seq_id >= 0 else ms < chain.newest_ms:
            chain.newest = chain.newest_ms = -1
            book.counts.gaps += 1
            self._break(book, chain, WithheldReason.GAP, now_ns)
            return
        chain.unbase()
        book.forget()
        self._apply(book, chain, update, now_ns)
        chain.based = True
        chain.linked = update.seq_id >= 0
        chain.last = chain.newest = update.seq_id
        chain.newest_ms = ms
        self.got_snapshot(book.symbol)
        self.judge(book, chain, update.checksum, int(update.ts), now_ns)

    def _update(self, book: VerifiedBook, chain: _Chain, update: _Update, now_ns: int) -> None:
        if not chain.based:
            return
        previous, number = update.prev_seq_id, update.seq_id
        if previous is not None and previous != chain.last and chain.last >= 0:
            if (previous, number) == (chain.previous, chain.last):
                book.counts.duplicates += 1
            else:
                book.counts.gaps += 1
                self._break(book, chain, WithheldReason.GAP, now_ns)
            return
        if previous is None or number < 0:
            if chain.linked and update.checksum == 0:
                self._break(book, chain, WithheldReason.NO_PROOF, now_ns)
                return
            chain.linked = False
        elif number < previous:
            chain.newest = number
            chain.tops.clear()
        self._apply(book, chain, update, now_ns)
        chain.newest = max(chain.newest, number)
        chain.newest_ms = max(chain.newest_ms, int(update.ts))
        chain.previous, chain.last = chain.last, number
        self.judge(book, chain, update.checksum, int(update.ts), now_ns)

    def _apply(self, book: VerifiedBook, chain: _Chain, update: _Update, now_ns: int) -> None:
        try:
            chain.wire.apply([level[:2] for level in update.bids], [level[:2] for level in update.asks])  # type: ignore[misc]
        except (ValueError, IndexError):
            book.counts.malformed += 1
            self._break(book, chain, WithheldReason.MALFORMED, now_ns)
            raise
        book.counts.updates += 1

    def _break(self, book: VerifiedBook, chain: _Chain, reason: WithheldReason, now_ns: int) -> None:
        """What the book holds is worth nothing any more: only a new snapshot helps."""
        chain.unbase()
        self.lose(book, reason, now_ns)

    def judge(self, book: VerifiedBook, chain: _Chain, said: int, ms: int, now_ns: int) -> None:
        """Hold the book as it stands against whatever proof the update carried: `said` is its checksum, `ms` its time."""
        proofs: set[Proof] = set()
        if said != 0:
            wire = chain.wire
            if checksum(wire.bids(CHECKSUM_DEPTH), wire.asks(CHECKSUM_DEPTH)) != said:
                book.counts.checksums_mismatched += 1
                self._break(book, chain, WithheldReason.CHECKSUM, now_ns)
                return
            book.counts.checksums_matched += 1
            proofs.add(Proof.CHECKSUM)
        if chain.linked:
            proofs.add(Proof.CHAIN)
        if not proofs or not self.options.require <= proofs:
            # Another snapshot would prove no more.
            self.withhold(book, WithheldReason.NO_PROOF)
            return
        if not self._top_agrees(book, chain):
            self._break(book, chain, WithheldReason.TOP_MISMATCH, now_ns)
            return
        book.covered_depth = WINDOW if chain.linked else CHECKSUM_DEPTH
        if book.withheld is not None:
            # A frame that could not be read, or one crossed moment, has not broken the chain: no snapshot is needed.
            self._resync_at.pop(book.symbol, None)
        self.prove(book, ms * _MILLISECOND, now_ns)

    def _top_agrees(self, book: VerifiedBook, chain: _Chain) -> bool:
        """Hold the book's top against the venue's own of the same id, where there is one."""
        top: _Update | None = None
        while chain.tops and chain.tops[0].seq_id <= chain.last:
            top = chain.tops.popleft()
        if top is None or top.seq_id != chain.last or chain.last < 0:
            return True
        book.counts.tops_checked += 1
        if _numbers(top.bids) == _numbers(chain.wire.bids(1)) and _numbers(top.asks) == _numbers(chain.wire.asks(1)):
            return True
        book.counts.tops_mismatched += 1
        return False


def _numbers(levels: Sequence[Sequence[str]]) -> list[tuple[float, float]]:
    return [(float(level[0]), float(level[1])) for level in levels]
