"""Binance's book streams: REST snapshot plus diffs, proven by an unbroken chain of update ids.

For: one connection's frames to verified books. May not: do I/O.
Protocol (developers.binance.com, "How to manage a local order book correctly", spot and USDⓈ-M, read 2026-11): a diff covers
the ids after `pu` (USD-M) or `U` − 1 (spot) up to `u`. The first diff used must span the snapshot's lastUpdateId; from then
on each begins where the one before ended. Sizes are absolute. bookTicker carries the id of the update that made the top: on
spot every change of the top has one, so that the latest not newer than a diff must agree with the book; on USD-M they are
conflated, and only one of the very id of a diff speaks for it (held against recordings of both).

A diff that does not follow is kept: when the missing one still arrives, the chain closes without a new snapshot. A snapshot
that renews a whole book waits for the diff that spans it, so that the book is proven at every moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated

import msgspec

from arbkube import kernel
from arbkube.market.instruments import Instrument
from arbkube.market.verified import VerifiedBook, WithheldReason
from arbkube.resources.kinds import Channel
from arbkube.venues.binance.chain import Chain, Event, PureChain, Tops
from arbkube.venues.session import SECOND, Fetch, Reconnect, Send, Session, SessionOptions, Snapshot, WireLimits

_MILLISECOND = 10**6
_LAST_ID = 2**63 - 1
"""Update ids are 64-bit integers of the venue's."""
_BUFFER_LIMIT = 4096
"""Diffs kept while waiting for a snapshot: minutes of them, and a bound for memory."""


_MISSES_BEFORE_FORGETTING = 3
"""Snapshots in a row that the waiting diffs did not connect to."""


class _Error(msgspec.Struct, gc=False):
    msg: str = ""


class _Message(msgspec.Struct, gc=False):
    """A combined-stream message, or the answer to a subscription: an error is a field on spot, the whole answer on USD-M."""

    data: Event | None = None
    error: _Error | None = None
    code: int | None = None
    msg: str = ""


class _Depth(msgspec.Struct, rename="camel"):
    last_update_id: Annotated[int, msgspec.Meta(ge=0, le=_LAST_ID)]
    bids: tuple[tuple[str, str], ...]
    asks: tuple[tuple[str, str], ...]
    E: int = msgspec.field(default=0, name="E")


_decode = msgspec.json.Decoder(_Message).decode
_decode_depth = msgspec.json.Decoder(_Depth).decode


def parse_depth(body: bytes) -> Snapshot:
    """A REST depth response of either market."""
    depth = _decode_depth(body)
    return Snapshot(depth.bids, depth.asks, depth.last_update_id, depth.E * _MILLISECOND)


class BinanceSession(Session):
    """One combined-stream connection of either market."""

    def __init__(
        self,
        instruments: Sequence[Instrument],
        options: SessionOptions,
        rng: Random,
        snapshot_urls: Mapping[str, str],
        limits: WireLimits,
        *,
        spot: bool,
    ) -> None:
        super().__init__(instruments, options, rng, f"{options.endpoint.websocket}/stream")
        self._snapshot_urls = snapshot_urls
        self._limits = limits
        self._spot = spot
        self._chains = self._new_chains()
        self._fetching: set[str] = set()
        self._range_checked_ns = 0

    def _new_chains(self) -> dict[str, Chain]:
        if kernel.form is kernel.Form.PURE:
            return {symbol: PureChain(spot=self._spot) for symbol in self.books}
        from arbkube.kernel._compiled import BinanceChain, BinanceScanner

        chains: dict[str, Chain] = {symbol: BinanceChain(Tops, spot=self._spot) for symbol in self.books}
        self._scan = BinanceScanner(self, chains, spot=self._spot).take
        return chains

    def _subscribe(self, now_ns: int) -> None:
        streams = [f"{i.native.lower()}@depth@100ms" for i in self.instruments.values()]
        if Channel.TICKER in self.options.channels:
            streams += [f"{i.native.lower()}@bookTicker" for i in self.instruments.values()]
        step = self._limits.arguments_per_message
        for number, start in enumerate(range(0, len(streams), step), start=1):
            message = {"method": "SUBSCRIBE", "params": streams[start : start + step], "id": number}
            self.actions.append(Send(msgspec.json.encode(message).decode()))

    def closed(self, now_ns: int) -> None:
        super().closed(now_ns)
        for chain in self._chains.values():
            chain.reset()
        self._fetching.clear()

    def tick(self, now_ns: int) -> None:
        super().tick(now_ns)
        if self.connected and now_ns - self._range_checked_ns >= SECOND:
            self._range_checked_ns = now_ns
            self._renew_narrow_books(now_ns)

    def _renew_narrow_books(self, now_ns: int) -> None:
        """Fetch anew where the price has wandered so far that the snapshot's range no longer holds the depth asked for."""
        for symbol, book in self.books.items():
            depth = min(self.options.depth, self._chains[symbol].snapshot_depth)
            if book.withheld is None and symbol not in self._resync_at:
                bids, asks, truncated = book.levels(depth)
                if truncated and min(len(bids), len(asks)) < depth:
                    self._schedule_resync(symbol, now_ns)

    def _resync(self, symbol: str, now_ns: int) -> None:
        if symbol not in self._fetching:
            self._fetching.add(symbol)
            self.actions.append(Fetch(symbol, self._snapshot_urls[symbol]))

    def fetch_failed(self, symbol: str, now_ns: int) -> None:
        self._fetching.discard(symbol)
        super().fetch_failed(symbol, now_ns)

    def fetched(self, symbol: str, body: bytes, now_ns: int) -> None:
        self._fetching.discard(symbol)
        super().fetched(symbol, body, now_ns)

    def _frame(self, frame: bytes, now_ns: int) -> None:
        message = _decode(frame)
        event = message.data
        if event is None:
            if message.error is not None or message.code is not None:
                # Without its stream a book would wait for ever; a new connection, with backoff, asks for all of them again.
                self.actions.append(Reconnect(f"refused: {message.error.msg if message.error else message.msg}"))
            return
        book = self._by_native.get(event.s)
        if book is None:
            return
        if event.e == "depthUpdate":
            book.counts.messages += 1
            self._diff(book, self._chains[book.symbol], event, now_ns)
        elif event.B != "" and (event.e in {"", "bookTicker"}):
            book.counts.messages += 1
            self._chains[book.symbol].tops.note(event)

    def _diff(self, book: VerifiedBook, chain: Chain, event: Event, now_ns: int) -> None:
        if not (isinstance(event.b, list) and isinstance(event.a, list) and 0 <= event.U <= event.u <= _LAST_ID):
            raise ValueError("not a diff")
        if event.pu < 0:
            if not self._spot:
                raise ValueError("a diff that does not say what it follows")
            event.pu = event.U - 1
        if chain.waiting is None:
            if self._follows(chain, event):
                if chain.renewal is not None and event.u > chain.renewal.sequence:
                    self._rebase(book, chain, chain.renewal)
                self._apply(book, chain, event, now_ns)
                if book.withheld is not None:
                    # A frame that could not be read has not broken the chain: no snapshot is needed.
                    self._resync_at.pop(book.symbol, None)
                self._prove(book, chain, event.E * _MILLISECOND, now_ns)
                return
            if event.u <= chain.last:
                if event.E * _MILLISECOND <= book.venue_ns:
                    book.counts.duplicates += 1
                    return
                # An old number on a later event is no repetition: the numbering has begun anew, and nothing fits any more.
                chain.last, chain.started = -1, False
                chain.tops.clear()
            book.counts.gaps += 1
            chain.waiting = [event]
            chain.renewal = None
            self.lose(book, WithheldReason.GAP, now_ns)
            return
        if len(chain.waiting) == _BUFFER_LIMIT:
            del chain.waiting[: _BUFFER_LIMIT // 2]
        chain.waiting.append(event)
        if chain.last < 0:
            if book.symbol not in self._resync_at:
                self._resync(book.symbol, now_ns)
        else:
            self._catch_up(book, chain, now_ns)

    @staticmethod
    def _follows(chain: Chain, event: Event) -> bool:
        if chain.started:
            return event.pu == chain.last
        return event.pu <= chain.last < event.u

    def _apply(self, book: VerifiedBook, chain: Chain, event: Event, now_ns: int) -> None:
        try:
            book.book.apply(event.b, event.a)  # type: ignore[arg-type]
        except ValueError:
            chain.last, chain.started, chain.waiting = -1, False, []
            book.counts.malformed += 1
            self.lose(book, WithheldReason.MALFORMED, now_ns)
            raise
        chain.last = event.u
        chain.started = True
        book.counts.updates += 1

    def _catch_up(self, book: VerifiedBook, chain: Chain, now_ns: int) -> None:
        """Apply the waiting diffs that follow, in their order; whole again when none is left."""
        assert chain.waiting is not None
        waiting = sorted(chain.waiting, key=lambda event: event.u)
        taken = 0
        venue_ns = 0
        for event in waiting:
            if event.u > chain.last:
                if not self._follows(chain, event):
                    break
                self._apply(book, chain, event, now_ns)
                venue_ns = event.E * _MILLISECOND
            taken += 1
        chain.waiting = waiting[taken:]
        if not chain.waiting and chain.started:
            chain.waiting = None
            self._resync_at.pop(book.symbol, None)
            self._prove(book, chain, venue_ns or book.venue_ns, now_ns)
        elif chain.waiting and book.symbol not in self._resync_at:
            self._schedule_resync(book.symbol, now_ns)

    def _snapshot(self, symbol: str, body: bytes, now_ns: int) -> None:
        snapshot = parse_depth(body)
        book, chain = self.books[symbol], self._chains[symbol]
        if chain.waiting is None:
            # The diffs after a snapshot behind the book are gone already.
            if snapshot.sequence < chain.last:
                self._schedule_resync(symbol, now_ns)
            else:
                chain.renewal = snapshot
            return
        self._rebase(book, chain, snapshot)
        if chain.waiting:
            self._catch_up(book, chain, now_ns)
        if chain.waiting:
            chain.misses += 1
            if chain.misses == _MISSES_BEFORE_FORGETTING:
                # Diffs from before a new numbering would never fit any snapshot.
                chain.waiting, chain.misses = [], 0
        else:
            chain.misses = 0

    @staticmethod
    def _rebase(book: VerifiedBook, chain: Chain, snapshot: Snapshot) -> None:
        """Begin the chain anew from `snapshot`."""
        chain.last, chain.started, chain.renewal = -1, False, None
        book.book.replace(snapshot.bids, snapshot.asks)
        book.bid_floor = float(snapshot.bids[-1][0]) if snapshot.bids else 0.0
        book.ask_cap = float(snapshot.asks[-1][0]) if snapshot.asks else float("inf")
        book.counts.updates += 1
        chain.last = snapshot.sequence
        chain.snapshot_depth = min(len(snapshot.bids), len(snapshot.asks))

    def _prove(self, book: VerifiedBook, chain: Chain, venue_ns: int, now_ns: int) -> None:
        if chain.tops.agree(chain.last, book.book, book.counts):
            self.prove(book, venue_ns, now_ns)
        else:
            self.contradicted(book, chain, now_ns)

    def contradicted(self, book: VerifiedBook, chain: Chain, now_ns: int) -> None:
        """The venue's own top says that the book is wrong."""
        chain.last, chain.started, chain.waiting = -1, False, []
        self.lose(book, WithheldReason.TOP_MISMATCH, now_ns)
