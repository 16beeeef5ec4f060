"""The mutation campaign: a venue that is always right, a wire that is not, and a session that must never be fooled.

For: `run`, which plays a venue's true messages through faults into a session and holds every verified book against the truth.
A venue takes part by a `Venue` subclass: the server side of one connection, with the true book at every message.

Faults that every venue must see through: messages dropped, doubled, replayed late, reordered, cut short, with a byte
overwritten, replaced by garbage; snapshots that fail; connections that end. Where the venue's proof covers content
(`proves_content`, a checksum), also a digit changed and level lists emptied inside a well-formed message: a chain of numbers
cannot tell those.

What is checked at every event: nothing is raised; a verified book, within what its proof covers, is the truth at the message
just delivered, or, where a chain closed late, at one delivered since the book was last verified; between events a verified
book does not change; in the end, on a sound wire, every book is verified again.
"""

from __future__ import annotations

import gc
import re
from abc import ABC, abstractmethod
from collections import Counter, deque
from pathlib import Path
from random import Random

import msgspec

from arbkube.market.book import Level
from arbkube.venues.session import SECOND, Fetch, Ping, Reconnect, Send, Session

Ladders = tuple[tuple[Level, ...], tuple[Level, ...]]
"""Bids and asks, best first, in the wire's text."""

DEPTH = 20
"""Levels a side that are compared; `truth` has at least so many wherever the book has."""
_STEP_NS = SECOND // 50
_START_NS = 1_700_000_000 * SECOND


class Genuine(msgspec.Struct):
    """A message as the venue sent it. `truth` is the book of `symbol` after it; None for a message that touches no book."""

    data: bytes
    symbol: str = ""
    truth: Ladders | None = None
    index: int = -1


class Venue(ABC):
    """The server side of one connection, always right."""

    name: str
    proves_content = False
    """Whether the proof covers what a message says, not only that none is missing."""

    @abstractmethod
    def session(self, rng: Random) -> Session:
        """The session under test."""

    @abstractmethod
    def opened(self) -> None:
        """A new connection: numbering and subscriptions begin anew."""

    @abstractmethod
    def step(self) -> list[Genuine] | None:
        """What the venue pushes next to the connection's subscriptions; None where a recording is at its end, which closes the
        connection and starts over."""

    def sent(self, text: str) -> list[Genuine]:
        """What the venue answers to a message of ours, an in-band snapshot for instance."""
        return []

    def fetch(self, symbol: str) -> bytes:
        """The REST snapshot at this moment."""
        raise NotImplementedError


class Report(msgspec.Struct):
    """What a campaign did. `verified` counts the checks of a changed verified book, each of which agreed with the truth."""

    frames: int = 0
    mutations: Counter[str] = msgspec.field(default_factory=Counter)
    verified: int = 0
    withheld: int = 0
    """Deliveries after which at least one book was withheld."""
    connections: int = 0
    fetches: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    grown_bytes: int = 0
    """Resident memory gained in the campaign's last two thirds."""

    def figures(self) -> dict[str, object]:
        """A row of the table of long campaigns."""
        return {
            "frames": self.frames,
            "mutated": self.mutations.total(),
            "connections": self.connections,
            "snapshots fetched": self.fetches,
            "verified books checked": self.verified,
            "wrong": 0,
            "MiB grown": round(self.grown_bytes / 2**20, 1),
        }


class Wrong(AssertionError):
    """A verified book differs from the truth."""


GARBAGE = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b"0",
    b'"text"',
    b'{"a":',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"data":' + b"[" * 50_000,
    b'{"data":null,"events":null,"arg":null}',
    b'{"data":[null],"events":[null],"channel":"book","topic":"orderbook"}',
    b'{"data":{"b":{},"a":1},"stream":7,"channel":"l2_data","sequence_num":"x"}',
    b'{"data":1e999,"sequence_num":1e999,"u":99999999999999999999999999}',
)
_BREAKERS = b'#\xff{]"\x00'
"""Bytes that no number survives: an overwritten digit may not become another number."""
_LISTS = re.compile(rb"\[(?:\[[^\[\]]*\],?)+\]|\[(?:\{[^\[\]{}]*\},?)+\]")


class _Wire:
    """Turns one genuine message into what arrives, in order."""

    def __init__(self, rng: Random, rate: float, *, content: bool) -> None:
        self.rng = rng
        self.rate = rate
        self.counts: Counter[str] = Counter()
        self._held: list[tuple[int, Genuine]] = []
        self._sent: deque[Genuine] = deque(maxlen=64)
        self._kinds = [self._drop, self._double, self._replay, self._hold, self._truncate, self._garbage, self._garble]
        if content:
            self._kinds += [self._digit, self._emptied]

    def closed(self) -> None:
        self._held.clear()
        self._sent.clear()

    def carry(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        arrived = [(message.data, message)]
        if self.rng.random() < self.rate:
            kind = self.rng.choice(self._kinds)
            self.counts[kind.__name__.lstrip("_")] += 1
            arrived = kind(message)
        self._sent.append(message)
        late = [(left - 1, held) for left, held in self._held]
        self._held = [(left, held) for left, held in late if left > 0]
        return arrived + [(held.data, held) for left, held in late if left <= 0]

    def _drop(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        return []

    def _double(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        return [(message.data, message)] * 2

    def _replay(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        old = self.rng.choice(self._sent or [message])
        return [(message.data, message), (old.data, old)]

    def _hold(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        self._held.append((self.rng.randint(2, 5), message))
        return []

    def _truncate(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        return [(message.data[: self.rng.randrange(len(message.data))], message)]

    def _garbage(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        if self.rng.random() < 0.3:
            return [(self.rng.randbytes(self.rng.randrange(200)), message)]
        return [(self.rng.choice(GARBAGE), message)]

    def _garble(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        data = bytearray(message.data)
        data[self.rng.randrange(len(data))] = self.rng.choice(_BREAKERS)
        return [(bytes(data), message)]

    def _digit(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        data = bytearray(message.data)
        places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
        if places:
            at = self.rng.choice(places)
            data[at] = 48 + (data[at] - 48 + self.rng.randint(1, 9)) % 10
        return [(bytes(data), message)]

    def _emptied(self, message: Genuine) -> list[tuple[bytes, Genuine]]:
        lists = list(_LISTS.finditer(message.data))
        if not lists:
            return [(message.data, message)]
        found = self.rng.choice(lists)
        return [(message.data[: found.start()] + b"[]" + message.data[found.end() :], message)]


class Campaign:
    """One venue, one session, one faulty wire."""

    def __init__(self, venue: Venue, *, seed: int, rate: float) -> None:
        self.rng = Random(seed)
        self.venue = venue
        self.session = venue.session(Random(seed + 1))
        self.wire = _Wire(self.rng, rate, content=venue.proves_content)
        self.report = Report()
        self.now_ns = _START_NS
        self._inbox: deque[Genuine] = deque()
        self._fetches: list[tuple[int, str]] = []
        self._index = 0
        self._since: dict[str, deque[Genuine]] = {symbol: deque(maxlen=4096) for symbol in self.session.books}
        """What was delivered of each book since it was last verified."""
        self._seen: dict[str, tuple[int, Ladders]] = {}
        self._reopen_ns = 0

    def run(self, frames: int) -> Report:
        """Deliver so many messages through the faults, then make sure that all recovers on a sound wire."""
        at_third = 0
        while self.report.frames < frames:
            self._turn()
            if not at_third and self.report.frames > frames // 3:
                at_third = _resident_bytes()
        self.report.grown_bytes = _resident_bytes() - at_third
        self.wire.rate = 0.0
        sound = 0
        while any(book.withheld is not None for book in self.session.books.values()) or self.wire._held:
            self._turn()
            sound += 1
            if sound > 20_000:
                left = {symbol: book.withheld for symbol, book in self.session.books.items()}
                raise AssertionError(f"{self.venue.name}: not recovered after {sound} sound turns: {left}")
        self.report.mutations = self.wire.counts
        return self.report

    def _turn(self) -> None:
        self.now_ns += _STEP_NS
        if not self.session.connected:
            if self.now_ns < self._reopen_ns:
                return
            self.report.connections += 1
            self.venue.opened()
            self.session.opened(self.now_ns)
            self._perform()
        elif self.wire.rate and self.rng.random() < self.wire.rate / 50:
            self._close()
            return
        self.session.tick(self.now_ns)
        self._perform()
        self._check(None)
        self._answer_fetches()
        pushed = self.venue.step()
        if pushed is None:
            self._fetches.clear()
            self._close()
            return
        self._inbox.extend(pushed)
        while self._inbox and self.session.connected:
            message = self._inbox.popleft()
            self._index += 1
            message.index = self._index
            for data, origin in self.wire.carry(message):
                self._deliver(data, origin)
                if not self.session.connected:
                    break

    def _deliver(self, data: bytes, origin: Genuine) -> None:
        self.report.frames += 1
        if origin.truth is not None:
            self._since[origin.symbol].append(origin)
        self.session.received(data, self.now_ns)
        self._check(origin)
        self._perform()

    def _answer_fetches(self) -> None:
        due = [symbol for at, symbol in self._fetches if at <= self.now_ns]
        self._fetches = [(at, symbol) for at, symbol in self._fetches if at > self.now_ns]
        for symbol in due:
            self.report.fetches += 1
            if self.rng.random() < self.wire.rate:
                self.session.fetch_failed(symbol, self.now_ns)
            else:
                body = self.venue.fetch(symbol)
                if self.rng.random() < self.wire.rate:
                    body = body[: self.rng.randrange(len(body))]
                self.session.fetched(symbol, body, self.now_ns)
            self._check(None)
            self._perform()

    def _perform(self) -> None:
        for action in self.session.take_actions():
            match action:
                case Send(text):
                    self._inbox.extend(self.venue.sent(text))
                case Ping():
                    self.session.ponged(self.now_ns)
                case Fetch(symbol, _):
                    self._fetches.append((self.now_ns + self.rng.randint(1, 10) * _STEP_NS, symbol))
                case Reconnect():
                    self._close()

    def _close(self) -> None:
        if self.session.connected:
            self.session.closed(self.now_ns)
            self.session.take_actions()
        self.wire.closed()
        self._inbox.clear()
        for delivered in self._since.values():
            delivered.clear()
        self._seen.clear()
        self._reopen_ns = self.now_ns + self.rng.randint(1, 10) * _STEP_NS

    def _check(self, origin: Genuine | None) -> None:
        withheld = False
        for symbol, book in self.session.books.items():
            if book.withheld is not None:
                withheld = True
                self.report.reasons[book.withheld.value] += origin is not None
                self._seen.pop(symbol, None)
                continue
            bids, asks, truncated = book.levels(DEPTH)
            before = self._seen.get(symbol)
            if before is not None and before[0] == book.seq:
                if before[1] != (bids, asks):
                    raise Wrong(f"{self.venue.name} {symbol}: a verified book changed between events")
                continue
            self._seen[symbol] = (book.seq, (bids, asks))
            truths = [message.truth for message in reversed(self._since[symbol]) if message.truth is not None]
            self._since[symbol].clear()
            if not any(_agrees((bids, asks), truncated, truth) for truth in truths):
                raise Wrong(
                    f"{self.venue.name} {symbol}: after message {self._index} ({origin and origin.data[:300]!r}) the book is\n"
                    f"{bids[:5]}\n{asks[:5]}\nwhere the truth is one of\n{[(t[0][:5], t[1][:5]) for t in truths[:3]]}"
                )
            self.report.verified += 1
        self.report.withheld += withheld and origin is not None
        self.session.take_changed()


def _agrees(book: Ladders, truncated: bool, truth: Ladders) -> bool:
    """Whether each side is the truth's best levels, without a hole, and all of them unless `truncated` says otherwise."""
    for side, true in zip(book, truth, strict=True):
        if side != true[: len(side)] or (len(side) < min(DEPTH, len(true)) and not truncated):
            return False
    return True


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def run(venue: Venue, *, frames: int, seed: int, rate: float = 0.02) -> Report:
    """Play `frames` deliveries of `venue`, the share `rate` of them spoiled. Raises AssertionError when one goes wrong."""
    return Campaign(venue, seed=seed, rate=rate).run(frames)
