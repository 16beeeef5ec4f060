"""An executor's file: journal, lease, telemetry, and the paper venues' memory.

For: `Journal` and `PaperLedger` on SQLite. May not: decide anything.

Journal writes and paper fills are durable on return (one sync, about a millisecond on a laptop's disk), made inline on the
event loop. A paper order's acceptance and telemetry survive a killed process; a power cut may take them, and an order that its
venue then does not know was never executed, because its fills would have been synced after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec

from arbkube.control.freshness import KnownEpoch
from arbkube.control.halts import Entry, decode_entry, encode_entry
from arbkube.execution.model import Fill, Intent, Order, OrderState
from arbkube.execution.paper import PaperOrder
from arbkube.execution.protocols import (
    Announce,
    DuplicateIntent,
    JournalState,
    JournalUnavailable,
    LeaseLost,
    Record,
    Refused,
    Snapshot,
)
from arbkube.risk.daily import RiskDay
from arbkube.risk.inventory import Holding
from arbkube.storage import folding
from arbkube.storage.database import Database, StorageError
from arbkube.storage.rows import insert, struct, upsert

KIND = "executor"
_LEASE = "executor"


class SqliteExecutorStore:
    """Journal and paper ledger in one file. Every write asserts the lease this store acquired."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file. Raises StorageError."""
        self.database = Database(path, KIND)
        self._token = 0

    def close(self) -> None:
        self.database.close()

    # ---- lease ---------------------------------------------------------------------------------------------------

    def acquire_lease(self, holder: str, ttl_ns: int, now_ns: int) -> None:
        with self._write(durable=True) as connection:
            row = connection.execute("SELECT * FROM leases WHERE name = ?", (_LEASE,)).fetchone()
            token = 1 if row is None else row["token"]
            if row is not None and row["token"] != self._token:
                if self._token:
                    raise self._overtaken()
                if row["expires_ns"] > now_ns:
                    left = (row["expires_ns"] - now_ns) / 1e9
                    raise LeaseLost(f"{self.database.path}: {row['holder']} holds the lease for another {left:.1f} s")
                token += 1
            connection.execute(
                "INSERT INTO leases VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "holder = excluded.holder, token = excluded.token, expires_ns = excluded.expires_ns",
                (_LEASE, holder, token, now_ns + ttl_ns),
            )
        self._token = token

    @property
    def token(self) -> int:
        """Of the lease that is held: each holder's is above its predecessor's. 0 while none is."""
        return self._token

    def release_lease(self) -> None:
        if not self._token:
            return
        with self._write(durable=True) as connection:
            connection.execute("UPDATE leases SET expires_ns = 0 WHERE name = ? AND token = ?", (_LEASE, self._token))
        self._token = 0

    # ---- journal -------------------------------------------------------------------------------------------------

    def write(self, record: Record) -> None:
        with self._write(durable=True) as connection:
            self._assert_lease(connection)
            if record.new_intent is not None:
                try:
                    insert(connection, "intents", record.new_intent)
                except sqlite3.IntegrityError as error:
                    raise DuplicateIntent(f"intent {record.new_intent.id} exists") from error
            for intent in record.intents:
                upsert(connection, "intents", intent, "id")
            for order in record.orders:
                upsert(connection, "orders", order, "id")
            for fill in record.fills:
                insert(connection, "fills", fill, conflict="ON CONFLICT (feed, trade_id) DO NOTHING")
            for event in record.events:
                insert(connection, "events", event)
            if record.risk_day is not None:
                upsert(connection, "risk_days", record.risk_day, "day")
            for entry in record.halts:
                connection.execute(
                    "INSERT INTO halts VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
                    (entry.id, entry.at_ns, encode_entry(entry).decode()),
                )
            if record.epoch is not None:
                connection.execute(
                    "INSERT INTO epoch VALUES (1, ?, ?) ON CONFLICT (only) DO UPDATE SET "
                    "incarnation = excluded.incarnation, number = excluded.number",
                    (record.epoch.incarnation, record.epoch.number),
                )

    def load(self, recent_since_ns: int) -> JournalState:
        unsettled = self._intents("state NOT IN ('Done', 'Stuck')")
        recent = self._intents("state IN ('Done', 'Stuck') AND outcome != 'Refused' AND closed_ns >= ?", recent_since_ns)
        remembered = [intent.id for intent in (*unsettled, *recent)]
        days = self._read("SELECT * FROM risk_days ORDER BY day DESC LIMIT 1")
        with self._translated():
            positions = folding.positions(self.database, folding.FILLS)
        return JournalState(
            positions=positions,
            fills=tuple(fill for intent in remembered for fill in self._fills(intent)),
            unsettled=unsettled,
            recent=recent,
            orders={intent: self._orders(intent) for intent in remembered},
            risk_day=struct(days[0], RiskDay) if days else None,
            halts=self.halts(),
            epoch=self.known_epoch(),
        )

    def halts(self) -> tuple[Entry, ...]:
        """Every entry of the halt log ever seen, by time and id."""
        return tuple(decode_entry(row["document"]) for row in self._read("SELECT document FROM halts ORDER BY at_ns, id"))

    def note_halts(self, entries: Iterable[Entry]) -> None:
        """Remember entries, durably; those that are there already are left as they are."""
        self.write(Record(halts=tuple(entries)))

    def known_epoch(self) -> KnownEpoch | None:
        """The newest epoch of the control server that was trusted."""
        rows = self._read("SELECT * FROM epoch")
        return struct(rows[0], KnownEpoch) if rows else None

    def note_epoch(self, epoch: KnownEpoch) -> None:
        """Remember which epoch is trusted now, durably."""
        self.write(Record(epoch=epoch))

    def note(self, effects: Iterable[Refused | Snapshot | Announce]) -> None:
        """Telemetry, and with it the fold of positions: what a power cut takes of either is made again."""
        with self._write(durable=False) as connection:
            self._assert_lease(connection)
            for effect in effects:
                if isinstance(effect, Refused):
                    insert(connection, "intents", effect.intent, conflict="ON CONFLICT (id) DO NOTHING")
                elif isinstance(effect, Snapshot):
                    upsert(connection, "equity", effect.equity, "at_ns")
                else:
                    _note_balances(connection, effect)
            folding.fold(self.database, connection)
        with self._translated():
            self.database.checkpoint()

    def prune(self, before_ns: int) -> int:
        """Delete one chunk of telemetry older than `before_ns`; 0 when none is left. What was sent and filled stays."""
        return (
            self.database.prune("intents", "outcome = 'Refused' AND created_ns < ?", before_ns)
            + self.database.prune("equity", "at_ns < ?", before_ns)
            + self.database.prune("events", "at_ns < ?", before_ns)
        )

    # ---- paper ledger --------------------------------------------------------------------------------------------

    def accept(self, order: PaperOrder) -> None:
        with self._write(durable=False) as connection:
            self._assert_lease(connection)
            connection.execute(
                "INSERT INTO paper_orders VALUES (?, ?, ?, ?)",
                (order.order.id, order.arrives_ns, order.state.value, _json(order)),
            )

    def settle(self, order: PaperOrder) -> None:
        with self._write(durable=True) as connection:
            self._assert_lease(connection)
            connection.execute(
                "UPDATE paper_orders SET state = ?, document = ? WHERE id = ?",
                (order.state.value, _json(order), order.order.id),
            )
            for fill in order.fills:
                connection.execute("INSERT INTO paper_fills (trade_id, document) VALUES (?, ?)", (fill.trade_id, _json(fill)))

    def open_orders(self) -> tuple[PaperOrder, ...]:
        rows = self._read("SELECT document FROM paper_orders WHERE state = ? ORDER BY arrives_ns, rowid", OrderState.SENT.value)
        return tuple(msgspec.json.decode(row["document"], type=PaperOrder) for row in rows)

    def find(self, order_id: str) -> PaperOrder | None:
        rows = self._read("SELECT document FROM paper_orders WHERE id = ?", order_id)
        return msgspec.json.decode(rows[0]["document"], type=PaperOrder) if rows else None

    def moved(self) -> dict[Holding, Decimal]:
        with self._translated():
            return folding.positions(self.database, folding.PAPER_FILLS).moved

    # ---- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise JournalUnavailable(str(error)) from error

    @contextmanager
    def _write(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        with self._translated(), self.database.transaction(durable=durable) as connection:
            yield connection

    def _read(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        with self._translated():
            return self.database.read(sql, *parameters)

    def _assert_lease(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT token FROM leases WHERE name = ?", (_LEASE,)).fetchone()
        if row is None or row["token"] != self._token:
            raise self._overtaken()

    def _overtaken(self) -> LeaseLost:
        return LeaseLost(f"{self.database.path}: another executor has taken the lease")

    def _intents(self, where: str, *parameters: object) -> tuple[Intent, ...]:
        statement = f"SELECT * FROM intents WHERE {where} ORDER BY created_ns, id"  # noqa: S608 - from the code
        rows = self._read(statement, *parameters)
        return tuple(struct(row, Intent, nested=("legs",)) for row in rows)

    def _orders(self, intent: str) -> tuple[Order, ...]:
        rows = self._read("SELECT * FROM orders WHERE intent_id = ? ORDER BY created_ns, leg, rowid", intent)
        return tuple(struct(row, Order) for row in rows)

    def _fills(self, intent: str) -> tuple[Fill, ...]:
        return tuple(struct(row, Fill) for row in self._read("SELECT * FROM fills WHERE intent_id = ? ORDER BY number", intent))


def _note_balances(connection: sqlite3.Connection, effect: Announce) -> None:
    at_ns = effect.balances.at_ns
    for feed, assets in effect.balances.available.items():
        connection.executemany(
            "INSERT INTO balances VALUES (?, ?, ?, ?) ON CONFLICT (feed, asset) DO UPDATE SET "
            "available = excluded.available, at_ns = excluded.at_ns",
            [(feed, asset, str(amount), at_ns) for asset, amount in assets.items()],
        )


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
