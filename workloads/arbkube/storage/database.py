"""One SQLite file: opening, migrating, transactions, and errors a reader can act on.

For: WAL mode with one writer and any number of readers; numbered migrations with checksums; `durable` transactions that are on
the disk when they return (synchronous=FULL) and others that survive a killed process but may be lost with the power (NORMAL).
May not: know what is stored.

In WAL mode a commit under FULL syncs the whole log, so it makes every earlier NORMAL commit of the file durable as well
(https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import hashlib
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

MEMORY = ":memory:"
"""A path that keeps everything in memory: for replays."""
BUSY_SECONDS = 0.1
"""How long a statement waits for another process's lock. Writes are made on an event loop, so not long."""
PRUNE_ROWS = 500
"""How many rows retention deletes in one transaction."""

_REMEDIES = {
    "SQLITE_FULL": "the disk is full: free space or move the state directory",
    "SQLITE_READONLY": "the file or its directory is read-only: allow this user to write there",
    "SQLITE_CANTOPEN": "the file cannot be opened: the directory must exist and this user may write there",
    "SQLITE_PERM": "the file cannot be opened: this user may not write there",
    "SQLITE_BUSY": "another process holds the file: end it, one process writes a file",
    "SQLITE_LOCKED": "another connection holds a table: end it, one process writes a file",
    "SQLITE_IOERR": "the disk reports an error: check it, then restore the file from a backup",
    "SQLITE_CORRUPT": "the file is damaged: move it away (with its -wal and -shm) and restore a backup",
    "SQLITE_NOTADB": "this is not a SQLite file: move it away, a new one will be made",
}


class StorageError(Exception):
    """A file cannot be used. The message names the file, what is wrong and what to do."""


class Database:
    """A connection for one thread. `kind` names the folder of migrations, and so what the file is for."""

    def __init__(self, path: Path | str, kind: str, *, read_only: bool = False) -> None:
        """Open and migrate (or, read-only, just open). Raises StorageError."""
        self.path = str(path)
        self._synchronous = ""
        with self.errors():
            if read_only:
                uri = Path(path).absolute().as_uri() + "?mode=ro"
                self.connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
            else:
                self.connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_SECONDS)
            self.connection.row_factory = sqlite3.Row
            # The connection ends with its last user at the latest, as a file does.
            self._end = weakref.finalize(self, self.connection.close)
            try:
                self._prepare(kind, read_only)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        self._end()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the file or the disk did wrong into StorageError. Broken constraints and bugs stay as they are."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "") or ""
            remedy = next(
                (text for start, text in _REMEDIES.items() if name.startswith(start)), "restore the file from a backup"
            )
            raise StorageError(f"{self.path}: {error} ({remedy})") from error

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """All or nothing; with `durable` on the disk on return. Raises StorageError, or sqlite3.IntegrityError as it is."""
        with self.errors():
            mode = "FULL" if durable else "NORMAL"
            if mode != self._synchronous:
                self.connection.execute(f"PRAGMA synchronous = {mode}")
                self._synchronous = mode
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def read(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        with self.errors():
            return self.connection.execute(sql, parameters).fetchall()

    def rows(self, sql: str, *parameters: object) -> Iterator[sqlite3.Row]:
        """Like `read`, a row at a time: for what may be long. Raises StorageError while it is iterated."""
        with self.errors():
            yield from self.connection.execute(sql, parameters)

    def checkpoint(self) -> None:
        """Move what the log holds into the file.

        SQLite would do that within whichever commit reaches 1000 pages, and take 20 ms of somebody's order. Whoever writes
        telemetry calls this instead after every batch, while there is little to move.
        """
        with self.errors():
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def prune(self, table: str, where: str, *parameters: object) -> int:
        """Delete at most `PRUNE_ROWS` rows; returns how many, so that a caller goes on until there are fewer."""
        with self.transaction(durable=False) as connection:
            chunk = f"SELECT rowid FROM {table} WHERE {where} LIMIT {PRUNE_ROWS}"  # noqa: S608 - from the code
            return connection.execute(f"DELETE FROM {table} WHERE rowid IN ({chunk})", parameters).rowcount  # noqa: S608

    def _prepare(self, kind: str, read_only: bool) -> None:
        known = migrations(kind)
        application_id = int.from_bytes(hashlib.sha256(f"arbkube {kind}".encode()).digest()[:4], "big") & 0x7FFFFFFF
        found_id = self.connection.execute("PRAGMA application_id").fetchone()[0]
        if found_id not in (0, application_id) or (found_id == 0 and (read_only or self._tables())):
            raise StorageError(f"{self.path}: this is not a file of the {kind} (choose another path or move it away)")
        applied = self._applied() if found_id else {}
        if len(applied) > len(known):
            raise StorageError(
                f"{self.path}: its schema {len(applied)} is newer than this version's {len(known)} "
                "(upgrade arbkube, or use another state directory)"
            )
        for version, (name, script) in enumerate(known, start=1):
            if version in applied and applied[version] != _checksum(script):
                raise StorageError(f"{self.path}: migration {name} was changed after it was applied (reinstall arbkube)")
        if read_only:
            return
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA wal_autocheckpoint = 0")  # see `checkpoint`
        self.connection.execute("PRAGMA foreign_keys = ON")
        for version, (name, script) in enumerate(known, start=1):
            if version not in applied:
                self._migrate(version, name, script, application_id)

    def _tables(self) -> int:
        return int(self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    def _applied(self) -> dict[int, str]:
        return {row["version"]: row["checksum"] for row in self.connection.execute("SELECT * FROM schema_version")}

    def _migrate(self, version: int, name: str, script: str, application_id: int) -> None:
        first = "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT;"
        row = f"INSERT INTO schema_version VALUES ({version}, '{name}', '{_checksum(script)}');"  # noqa: S608 - own files
        try:
            self.connection.executescript(
                f"BEGIN IMMEDIATE; {first if version == 1 else ''} {script}\n{row} "
                f"PRAGMA application_id = {application_id}; COMMIT;"
            )
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise


def migrations(kind: str) -> list[tuple[str, str]]:
    """(name, script) of each migration of `kind`, in order: `0001_….sql` and on."""
    folder = resources.files(__package__).joinpath("migrations", kind)
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [(entry.name, entry.read_text(encoding="utf-8")) for entry in files]


def _checksum(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
