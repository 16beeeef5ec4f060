"""Reading an executor's file: what `arb trades`, `arb status` and reports show.

For: queries over intents, orders, fills, events and equity, from a connection of the reader's own. May not: write.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import msgspec

from arbkube.execution.model import Fill, Intent, IntentOutcome, Order
from arbkube.execution.protocols import EquityPoint, Event
from arbkube.execution.report import Trade
from arbkube.storage.database import Database
from arbkube.storage.executor import KIND
from arbkube.storage.rows import struct


class StoredBalance(msgspec.Struct, frozen=True, kw_only=True):
    feed: str
    asset: str
    available: Decimal
    at_ns: int


class ExecutorReader(Protocol):
    """What can be asked of an executor's store. Raises StorageError."""

    def trades(self, *, limit: int) -> list[Trade]:
        """Intents that were not refused, with their orders and fills, the newest first."""

    def refused(self, *, limit: int) -> list[Intent]:
        """Refused ones, the newest first."""

    def trades_in_order(self) -> Iterator[Trade]:
        """Every intent that was not refused, oldest first, one at a time."""

    def refusals(self, *, since_ns: int = 0) -> dict[str, int]:
        """How many were refused, by reason."""

    def equity(self, *, limit: int) -> list[EquityPoint]:
        """The newest points first."""

    def last_valued_equity(self, *, before_ns: int) -> EquityPoint | None:
        """The newest point before `before_ns` at which everything could be valued."""

    def first_equity(self, *, since_ns: int = 0) -> EquityPoint | None:
        """The oldest point that values the inventory: what InventoryPnL is counted from."""

    def events(self, *, limit: int) -> list[Event]:
        """The newest first."""

    def balances(self) -> list[StoredBalance]:
        """What was last announced as available, by feed and asset."""


class SqliteExecutorReader:
    """`ExecutorReader` on SQLite, read-only: it may run beside the executor."""

    def __init__(self, source: Path | str | Database) -> None:
        """Open the file, or read an open database. Raises StorageError when it is missing, damaged or too new."""
        self._database = source if isinstance(source, Database) else Database(source, KIND, read_only=True)

    def close(self) -> None:
        self._database.close()

    def trades(self, *, limit: int) -> list[Trade]:
        rows = self._database.read(
            "SELECT * FROM intents WHERE outcome IS NOT ? ORDER BY created_ns DESC, id LIMIT ?", _REFUSED, limit
        )
        return [self._trade(struct(row, Intent, nested=("legs",))) for row in rows]

    def refused(self, *, limit: int) -> list[Intent]:
        rows = self._database.read(
            "SELECT * FROM intents WHERE outcome = ? ORDER BY created_ns DESC, id LIMIT ?", _REFUSED, limit
        )
        return [struct(row, Intent, nested=("legs",)) for row in rows]

    def trades_in_order(self) -> Iterator[Trade]:
        rows = self._database.read("SELECT id FROM intents WHERE outcome IS NOT ? ORDER BY created_ns, id", _REFUSED)
        for row in rows:
            intent = self._database.read("SELECT * FROM intents WHERE id = ?", row["id"])[0]
            yield self._trade(struct(intent, Intent, nested=("legs",)))

    def refusals(self, *, since_ns: int = 0) -> dict[str, int]:
        rows = self._database.read(
            "SELECT reason, count(*) AS number FROM intents WHERE outcome = ? AND created_ns >= ? "
            "GROUP BY reason ORDER BY reason",
            _REFUSED,
            since_ns,
        )
        return {row["reason"]: row["number"] for row in rows}

    def equity(self, *, limit: int) -> list[EquityPoint]:
        return [
            struct(row, EquityPoint) for row in self._database.read("SELECT * FROM equity ORDER BY at_ns DESC LIMIT ?", limit)
        ]

    def last_valued_equity(self, *, before_ns: int) -> EquityPoint | None:
        rows = self._database.read(
            "SELECT * FROM equity WHERE residual IS NOT NULL AND at_ns < ? ORDER BY at_ns DESC LIMIT 1", before_ns
        )
        return struct(rows[0], EquityPoint) if rows else None

    def first_equity(self, *, since_ns: int = 0) -> EquityPoint | None:
        rows = self._database.read(
            "SELECT * FROM equity WHERE inventory IS NOT NULL AND at_ns >= ? ORDER BY at_ns LIMIT 1", since_ns
        )
        return struct(rows[0], EquityPoint) if rows else None

    def events(self, *, limit: int) -> list[Event]:
        return [struct(row, Event) for row in self._database.read("SELECT * FROM events ORDER BY number DESC LIMIT ?", limit)]

    def balances(self) -> list[StoredBalance]:
        return [struct(row, StoredBalance) for row in self._database.read("SELECT * FROM balances ORDER BY feed, asset")]

    def _trade(self, intent: Intent) -> Trade:
        orders = self._database.read("SELECT * FROM orders WHERE intent_id = ? ORDER BY created_ns, leg, rowid", intent.id)
        fills = self._database.read("SELECT * FROM fills WHERE intent_id = ? ORDER BY number", intent.id)
        return Trade(
            intent=intent,
            orders=tuple(struct(row, Order) for row in orders),
            fills=tuple(struct(row, Fill) for row in fills),
        )


_REFUSED = IntentOutcome.REFUSED.value
