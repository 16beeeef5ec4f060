"""A file that cannot be used says which, why and what to do; a file that can keeps what it was given, exactly."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from arbkube.storage import database as module
from arbkube.storage.database import Database, StorageError, migrations
from arbkube.storage.executor import SqliteExecutorStore
from arbkube.storage.reading import SqliteExecutorReader

KINDS = ["executor", "recorder"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_migration_is_applied_once_in_wal_mode(tmp_path, kind):
    for _ in range(2):
        database = Database(tmp_path / "x.db", kind)
        assert [row["name"] for row in database.read("SELECT name FROM schema_version ORDER BY version")] == [
            name for name, _ in migrations(kind)
        ]
        assert database.read("PRAGMA journal_mode")[0][0] == "wal"
        database.close()


def test_a_file_of_another_kind_is_refused(tmp_path):
    Database(tmp_path / "x.db", "executor").close()
    with pytest.raises(StorageError, match=r"x\.db: this is not a file of the recorder"):
        Database(tmp_path / "x.db", "recorder")


def test_somebody_elses_sqlite_file_is_not_touched(tmp_path):
    other = sqlite3.connect(tmp_path / "x.db")
    other.execute("CREATE TABLE notes (x)")
    other.commit()
    with pytest.raises(StorageError, match="not a file of the executor"):
        Database(tmp_path / "x.db", "executor")
    assert [row[0] for row in other.execute("SELECT name FROM sqlite_master")] == ["notes"]
    other.close()


def test_a_newer_schema_is_refused(tmp_path):
    database = Database(tmp_path / "x.db", "executor")
    database.connection.execute("INSERT INTO schema_version VALUES (99, '0099_later.sql', 'x')")
    database.close()
    with pytest.raises(StorageError, match=r"newer than this version.*upgrade arbkube"):
        Database(tmp_path / "x.db", "executor")


def test_a_changed_migration_is_refused(tmp_path):
    database = Database(tmp_path / "x.db", "executor")
    database.connection.execute("UPDATE schema_version SET checksum = 'other'")
    database.close()
    with pytest.raises(StorageError, match=r"0001_journal\.sql was changed after it was applied"):
        Database(tmp_path / "x.db", "executor")


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    released = migrations("executor")
    broken = [*released, ("0002_broken.sql", "CREATE TABLE later (x) STRICT;")]
    monkeypatch.setattr(module, "migrations", lambda kind: broken)
    with pytest.raises(StorageError):
        Database(tmp_path / "x.db", "executor")
    monkeypatch.setattr(module, "migrations", lambda kind: released)
    database = Database(tmp_path / "x.db", "executor")
    assert len(database.read("SELECT * FROM schema_version")) == len(released)
    assert not database.read("SELECT * FROM sqlite_master WHERE name = 'later'")


@pytest.mark.parametrize("content", [b"this is a text, not a database" * 40, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_damaged_file_names_itself_and_a_remedy(tmp_path, content):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(StorageError, match=r"x\.db: .*\(.*(move it away|backup).*\)"):
        Database(tmp_path / "x.db", "executor")


def test_damage_in_the_middle_is_reported_when_it_is_read(tmp_path):
    store = SqliteExecutorStore(tmp_path / "x.db")
    with store.database.transaction(durable=True) as connection:
        for number in range(2000):
            connection.execute("INSERT INTO equity VALUES (?, '1', NULL, NULL)", (number,))
    store.close()
    data = bytearray((tmp_path / "x.db").read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    (tmp_path / "x.db").write_bytes(data)
    with pytest.raises(StorageError, match=r"x\.db: .*damaged"):
        Database(tmp_path / "x.db", "executor").read("SELECT * FROM equity")


def test_a_directory_that_is_not_there_or_not_ours(tmp_path):
    with pytest.raises(StorageError, match="directory must exist"):
        Database(tmp_path / "no" / "x.db", "executor")
    with pytest.raises(StorageError, match="directory must exist"):
        SqliteExecutorReader(tmp_path / "no.db")
    assert not (tmp_path / "no.db").exists()


def test_a_reader_may_not_write(tmp_path):
    store = SqliteExecutorStore(tmp_path / "x.db")
    reader = Database(tmp_path / "x.db", "executor", read_only=True)
    with pytest.raises(StorageError, match="read-only"), reader.transaction(durable=False) as connection:
        connection.execute("INSERT INTO equity VALUES (1, '1', NULL, NULL)")
    store.close()


def test_a_transaction_is_all_or_nothing(tmp_path):
    database = Database(tmp_path / "x.db", "executor")
    with pytest.raises(sqlite3.IntegrityError), database.transaction(durable=False) as connection:
        connection.executemany("INSERT INTO equity VALUES (?, '1', NULL, NULL)", [(1,), (2,), (1,)])
    assert database.read("SELECT * FROM equity") == []


def test_durable_transactions_sync_and_others_do_not(tmp_path):
    database = Database(tmp_path / "x.db", "executor")
    seen = []
    for durable in (True, False, True):
        with database.transaction(durable=durable) as connection:
            seen.append(connection.execute("PRAGMA synchronous").fetchone()[0])
    assert seen == [2, 1, 2]


def test_retention_deletes_in_bounded_chunks(tmp_path):
    database = Database(tmp_path / "x.db", "executor")
    with database.transaction(durable=False) as connection:
        connection.executemany("INSERT INTO equity VALUES (?, '1', NULL, NULL)", [(number,) for number in range(1200)])
    deleted = []
    while chunk := database.prune("equity", "at_ns < ?", 1100):
        deleted.append(chunk)
    assert deleted == [500, 500, 100]
    assert database.read("SELECT min(at_ns), count(*) FROM equity")[0][:] == (1100, 100)


def test_migrations_ship_with_the_package():
    assert [name for kind in KINDS for name, _ in migrations(kind)] == [
        "0001_journal.sql",
        "0002_control.sql",
        "0001_sightings.sql",
    ]
    assert Path(module.__file__).parent.joinpath("migrations").is_dir()
