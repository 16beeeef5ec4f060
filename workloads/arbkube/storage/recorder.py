"""The recorder's file: what detectors saw, and the tops of the books.

For: writing both in batches off the hot path, and reading them for `arb opportunities`. May not: decide what is worth storing.
All of it is telemetry: it survives a killed process, a power cut may take the last batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import msgspec

from arbkube.detection.model import Sighting
from arbkube.storage.database import Database
from arbkube.storage.rows import insert, struct

KIND = "recorder"


class Top(msgspec.Struct, frozen=True, kw_only=True):
    """Best bid and ask of one verified book at a moment."""

    at_ns: int
    feed: str
    symbol: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    recv_ns: int


class RecorderStore(Protocol):
    """Where the recorder writes. Raises StorageError when it cannot; nothing of that batch is stored then."""

    def record(self, sightings: Iterable[Sighting], tops: Iterable[Top]) -> None:
        """Store a batch."""

    def prune_sightings(self, before_ns: int) -> int:
        """Delete one chunk of sightings older than `before_ns`; returns how many, 0 when none is left."""

    def prune_tops(self, feed: str, before_ns: int) -> int:
        """The same for the tops of one feed, whose retention is its own."""

    def sightings(self, *, limit: int, strategy: str | None = None) -> list[Sighting]:
        """The newest ones first."""

    def tops(self, *, feed: str, symbol: str, limit: int) -> list[Top]:
        """The newest ones first."""


class SqliteRecorderStore:
    """`RecorderStore` on SQLite."""

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        """Open or create the file; read-only beside the recorder that writes it. Raises StorageError."""
        self.database = Database(path, KIND, read_only=read_only)

    def close(self) -> None:
        self.database.close()

    def record(self, sightings: Iterable[Sighting], tops: Iterable[Top]) -> None:
        with self.database.transaction(durable=False) as connection:
            for sighting in sightings:
                insert(connection, "sightings", sighting)
            for top in tops:
                insert(connection, "tops", top)
        self.database.checkpoint()

    def prune_sightings(self, before_ns: int) -> int:
        return self.database.prune("sightings", "at_ns < ?", before_ns)

    def prune_tops(self, feed: str, before_ns: int) -> int:
        return self.database.prune("tops", "feed = ? AND at_ns < ?", feed, before_ns)

    def sightings(self, *, limit: int, strategy: str | None = None) -> list[Sighting]:
        rows = self.database.read(
            "SELECT * FROM sightings WHERE ?1 IS NULL OR strategy = ?1 ORDER BY number DESC LIMIT ?2", strategy, limit
        )
        return [struct(row, Sighting, nested=("legs", "opportunity")) for row in rows]

    def tops(self, *, feed: str, symbol: str, limit: int) -> list[Top]:
        rows = self.database.read(
            "SELECT * FROM tops WHERE feed = ? AND symbol = ? ORDER BY at_ns DESC, number DESC LIMIT ?", feed, symbol, limit
        )
        return [struct(row, Top) for row in rows]
