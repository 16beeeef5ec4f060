"""Structs as rows and back: a column is a field, a decimal is exact text, a nested value is JSON.

For: the one mapping that every table uses. May not: know a table or do I/O.
"""

from __future__ import annotations

import sqlite3
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def columns(struct: msgspec.Struct) -> dict[str, Any]:
    """Column values by name."""
    values: dict[str, Any] = msgspec.to_builtins(struct)
    return {name: msgspec.json.encode(v).decode() if isinstance(v, list | tuple | dict) else v for name, v in values.items()}


def struct(row: sqlite3.Row, kind: type[T], *, nested: tuple[str, ...] = ()) -> T:
    """The struct of a row; `nested` names its JSON columns. Columns that are no fields are left out."""
    values = {name: row[name] for name in row.keys() if name in kind.__struct_fields__}  # noqa: SIM118
    for name in nested:
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name])
    return msgspec.convert(values, kind)


def insert(connection: sqlite3.Connection, table: str, struct: msgspec.Struct, *, conflict: str = "") -> None:
    """Insert one row. `conflict` is the statement's ON CONFLICT clause, where a second row of the key is expected."""
    values = columns(struct)
    names, places = ", ".join(values), ", ".join("?" * len(values))
    statement = f"INSERT INTO {table} ({names}) VALUES ({places}) {conflict}"  # noqa: S608 - names come from the code
    connection.execute(statement, tuple(values.values()))


def upsert(connection: sqlite3.Connection, table: str, struct: msgspec.Struct, key: str) -> None:
    """Insert one row, or replace every other column of the row with that key."""
    changes = ", ".join(f"{name} = excluded.{name}" for name in struct.__struct_fields__ if name != key)
    insert(connection, table, struct, conflict=f"ON CONFLICT ({key}) DO UPDATE SET {changes}")
