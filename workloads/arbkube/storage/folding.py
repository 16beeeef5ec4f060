"""What fills come to, kept beside them: a start reads the sums and the few fills after them, not every fill ever booked.

For: the positions of an executor's journal and of its paper venues. May not: be the only place of anything. The fills stay;
the sums name the last fill that is in them and can be made again at any time.

    positions = sums up to fill `last` + fills after it
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from arbkube.execution.model import Fill
from arbkube.risk.accounts import Positions
from arbkube.risk.inventory import trade_flows
from arbkube.risk.money import exactly
from arbkube.storage.database import Database
from arbkube.storage.rows import struct

CHUNK = 100
"""Fills folded at once, as soon as there are so many: a millisecond or two of the event loop."""


class Source(msgspec.Struct, frozen=True):
    """A table of fills, numbered without end from 1."""

    table: str
    read: Callable[[sqlite3.Row], Fill]


FILLS = Source("fills", lambda row: struct(row, Fill))
PAPER_FILLS = Source("paper_fills", lambda row: msgspec.json.decode(row["document"], type=Fill))


def positions(database: Database, source: Source) -> Positions:
    """What all fills of a source come to. Raises StorageError."""
    found, last = _folded(database, source)
    _add(found, map(source.read, database.rows(f"SELECT * FROM {source.table} WHERE number > ? ORDER BY number", last)))  # noqa: S608
    return found


def fold(database: Database, connection: sqlite3.Connection) -> None:
    """Within a transaction: fold one chunk of each source that has one."""
    for source in (FILLS, PAPER_FILLS):
        newest = connection.execute(f"SELECT max(number) FROM {source.table}").fetchone()[0] or 0  # noqa: S608 - from the code
        if newest < _last(database, source) + CHUNK:
            continue
        found, last = _folded(database, source)
        rows = connection.execute(
            f"SELECT * FROM {source.table} WHERE number > ? ORDER BY number LIMIT ?",  # noqa: S608 - from the code
            (last, CHUNK),
        ).fetchall()
        _add(found, map(source.read, rows))
        _keep(connection, source, found, rows[-1]["number"])


def _folded(database: Database, source: Source) -> tuple[Positions, int]:
    amounts = database.read("SELECT * FROM folded_amounts WHERE source = ?", source.table)
    times = database.read("SELECT * FROM folded_times WHERE source = ?", source.table)
    found = Positions(
        moved={(row["feed"], row["asset"]): Decimal(row["amount"]) for row in amounts},
        last_fill_ns={(row["feed"], row["symbol"]): row["at_ns"] for row in times},
    )
    return found, _last(database, source)


def _last(database: Database, source: Source) -> int:
    rows = database.read("SELECT last FROM folds WHERE source = ?", source.table)
    return rows[0]["last"] if rows else 0


@exactly
def _add(found: Positions, fills: Iterable[Fill]) -> None:
    for fill in fills:
        key = (fill.feed, fill.symbol)
        for flow in trade_flows(key, fill.side, fill.price, fill.quantity, fill.fee, fill.fee_asset):
            holding = (flow.feed, flow.asset)
            found.moved[holding] = found.moved.get(holding, Decimal(0)) + flow.amount
        found.last_fill_ns[key] = max(fill.at_ns, found.last_fill_ns.get(key, 0))


def _keep(connection: sqlite3.Connection, source: Source, found: Positions, last: int) -> None:
    connection.executemany(
        "INSERT INTO folded_amounts VALUES (?, ?, ?, ?) "
        "ON CONFLICT (source, feed, asset) DO UPDATE SET amount = excluded.amount",
        [(source.table, feed, asset, str(amount)) for (feed, asset), amount in found.moved.items()],
    )
    connection.executemany(
        "INSERT INTO folded_times VALUES (?, ?, ?, ?) ON CONFLICT (source, feed, symbol) DO UPDATE SET at_ns = excluded.at_ns",
        [(source.table, feed, symbol, at_ns) for (feed, symbol), at_ns in found.last_fill_ns.items()],
    )
    connection.execute(
        "INSERT INTO folds VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET last = excluded.last", (source.table, last)
    )
