"""Halts and their clears: a log that only grows, and what it comes to.

For: who may trade. A halt refuses risk-increasing orders only. Absence is never a clear: a clear names one halt, and counts
only when it comes from that halt's owner or from a person. Two logs are joined by their union, whatever is missing in either:
the result never lifts a halt that one of them holds and neither clears. May not: do I/O or read a clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from arbkube.resources.kinds import HaltMode

PERSON = "Person"
"""Owner of what somebody commanded; a person may clear every halt."""


class Level(StrEnum):
    """What a halt covers."""

    ALL = "All"
    VENUE = "Venue"
    STRATEGY = "Strategy"


class HaltReason(StrEnum):
    """Why a halt was set; the same words stand in log, status, metrics and docs."""

    COMMANDED = "Commanded"
    """A person said so (`arb halt`)."""
    SPEC = "Spec"
    """`spec.halt` of the strategy."""
    DAILY_LOSS = "DailyLoss"
    """A strategy lost `maxDailyLoss` since the risk day began; cleared by its owner when the next one begins."""
    STUCK_INTENT = "StuckIntent"
    """An intent could not be unwound: a person has to look."""
    STATE_LOST = "StateLost"
    """The control server's past could not be reconciled with what an executor knows; a person has to look."""


class Halt(msgspec.Struct, frozen=True, kw_only=True, tag="Halt", tag_field="kind"):
    """Stop, from now until somebody who may clears this very halt."""

    id: str
    level: Level
    subject: str
    """The venue or strategy; empty for All."""
    mode: HaltMode
    owner: str
    """`Person`, or what set it and may clear it, e.g. `Breaker/DailyLoss/cross`."""
    reason: HaltReason
    detail: str = ""
    at_ns: int


class Clear(msgspec.Struct, frozen=True, kw_only=True, tag="Clear", tag_field="kind"):
    """The end of one halt."""

    id: str
    halt: str
    owner: str
    detail: str = ""
    at_ns: int


Entry = Halt | Clear


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy and the venues its feeds stand for, by feed."""

    strategy: str
    venue_of: Mapping[str, str]


class Log:
    """A set of entries. Order and repetition mean nothing; only adding is possible."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, Entry] = {}
        self.add(entries)

    def add(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Take entries in; those that were new, in the order given."""
        new = []
        for entry in entries:
            if entry.id not in self._entries:
                self._entries[entry.id] = entry
                new.append(entry)
        return tuple(new)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All of them, by time and id."""
        return tuple(sorted(self._entries.values(), key=lambda entry: (entry.at_ns, entry.id)))

    def active(self) -> tuple[Halt, ...]:
        """The halts that nobody who may has cleared, by time and id."""
        cleared = {
            entry.halt
            for entry in self._entries.values()
            if isinstance(entry, Clear) and isinstance(halt := self._entries.get(entry.halt), Halt) and may_clear(entry, halt)
        }
        return tuple(entry for entry in self.entries if isinstance(entry, Halt) and entry.id not in cleared)


def may_clear(clear: Clear, halt: Halt) -> bool:
    """Whether the clear comes from a person or from the halt's own owner."""
    return clear.owner in (PERSON, halt.owner)


def covers(halt: Halt, scope: Scope, feeds: Iterable[str] | None = None) -> bool:
    """Whether the halt concerns an order on any of `feeds` (default: all of the strategy's)."""
    match halt.level:
        case Level.ALL:
            return True
        case Level.STRATEGY:
            return halt.subject == scope.strategy
    touched = scope.venue_of if feeds is None else feeds
    return any(scope.venue_of.get(feed) == halt.subject for feed in touched)


def entry_id(*parts: object) -> str:
    """An id that two tellings of the same event share: 16 hexadecimal digits of what makes it that event."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def encode_entry(entry: Entry) -> bytes:
    """One entry as JSON."""
    return _encoder.encode(entry)


def decode_entry(data: bytes | str) -> Entry:
    """An entry from its JSON. Raises msgspec.MsgspecError."""
    return _decoder.decode(data)


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)
