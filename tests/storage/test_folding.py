"""Sums kept beside the fills are the fills' own, wherever a process dies; and a file of an earlier version goes on."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from arbkube.control.freshness import KnownEpoch
from arbkube.control.halts import PERSON, Clear
from arbkube.execution.model import Fill
from arbkube.execution.paper import Fate, PaperOrder
from arbkube.execution.protocols import Record
from arbkube.market.instruments import Side
from arbkube.risk.accounts import Positions
from arbkube.risk.inventory import trade_flows
from arbkube.risk.money import exactly
from arbkube.storage.database import migrations
from arbkube.storage.executor import SqliteExecutorStore
from arbkube.storage.folding import CHUNK
from tests.execution.test_halts import halt
from tests.execution.world import SECOND, START, booked, ledger_fills
from tests.storage.test_stores import fill, intent, order


@exactly
def added_up(fills: list[Fill]) -> Positions:
    """Every fill, one after the other."""
    moved: dict[tuple[str, str], Decimal] = {}
    times: dict[tuple[str, str], int] = {}
    for one in fills:
        key = (one.feed, one.symbol)
        for flow in trade_flows(key, one.side, one.price, one.quantity, one.fee, one.fee_asset):
            moved[(flow.feed, flow.asset)] = moved.get((flow.feed, flow.asset), Decimal(0)) + flow.amount
        times[key] = max(one.at_ns, times.get(key, 0))
    return Positions(moved=moved, last_fill_ns=times)


def folded_to(store: SqliteExecutorStore) -> dict[str, int]:
    return {row["source"]: row["last"] for row in store.database.read("SELECT * FROM folds")}


def opened(path: Path | str = ":memory:") -> SqliteExecutorStore:
    store = SqliteExecutorStore(path)
    store.acquire_lease("one", SECOND, START)
    return store


prices = st.decimals(min_value="0.00000001", max_value=10**9, allow_nan=False, places=8)


@given(
    rounds=st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(Side), prices, prices), max_size=CHUNK),
        min_size=1,
        max_size=6,
    ),
    data=st.data(),
)
@settings(max_examples=40, deadline=None)
def test_the_sums_are_those_of_all_fills(rounds, data):
    store = opened()
    store.write(Record(new_intent=intent(1), orders=(order(1),)))
    number = 0
    for trades in rounds:
        fills = []
        for feed, side, price, quantity in trades:
            number += 1
            fills.append(
                replace(fill(1, f"t{number}"), feed=feed, side=side, price=price, quantity=quantity, at_ns=START - number)
            )
        store.write(Record(fills=tuple(fills)))
        paper = PaperOrder(order=replace(order(1), id=f"p{number}"), arrives_ns=START, fate=Fate.ANSWERED)
        if fills:
            store.accept(paper)
            store.settle(replace(paper, fills=tuple(fills)))
        for _ in range(data.draw(st.integers(0, 2))):
            store.note(())
        assert store.load(0).positions == added_up(booked(store))
        assert store.moved() == added_up(ledger_fills(store)).moved
    store.close()


def test_folding_happens_a_chunk_at_a_time_and_both_tables_apart():
    store = opened()
    store.write(Record(new_intent=intent(1), orders=(order(1),)))
    store.write(Record(fills=tuple(fill(1, f"t{number}") for number in range(2 * CHUNK + 1))))
    assert folded_to(store) == {}
    for expected in (CHUNK, 2 * CHUNK, 2 * CHUNK):
        store.note(())
        assert folded_to(store) == {"fills": expected}
    store.write(Record(fills=tuple(fill(1, f"u{number}") for number in range(CHUNK - 1))))
    store.note(())
    assert folded_to(store) == {"fills": 3 * CHUNK}


def test_a_fold_is_all_or_nothing(tmp_path):
    store = opened(tmp_path / "x.db")
    store.write(Record(new_intent=intent(1), orders=(order(1),)))
    store.write(Record(fills=tuple(fill(1, f"t{number}") for number in range(CHUNK))))
    store.database.connection.execute(
        "CREATE TEMP TRIGGER broken BEFORE INSERT ON folds BEGIN SELECT RAISE(ABORT, 'died here'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="died here"):
        store.note(())
    assert store.database.read("SELECT * FROM folded_amounts") == []
    store.database.connection.execute("DROP TRIGGER broken")
    store.note(())
    assert store.load(0).positions == added_up(booked(store))


def test_the_halt_log_is_a_union_and_the_epoch_the_newest(tmp_path):
    store = opened(tmp_path / "x.db")
    one, two, clear = halt(1), halt(2), Clear(id="c", halt="h1", owner=PERSON, at_ns=START + 5)
    store.note_halts([two])
    store.note_halts([one, clear, replace(two, detail="told otherwise")])
    assert store.halts() == (one, two, clear)
    assert store.known_epoch() is None
    for number in (3, 5):
        store.note_epoch(KnownEpoch(incarnation="i", number=number))
    store.release_lease()
    store.close()
    again = SqliteExecutorStore(tmp_path / "x.db")
    assert again.halts() == (one, two, clear)
    assert again.known_epoch() == KnownEpoch(incarnation="i", number=5)
    assert again.load(0).halts == again.halts()
    assert again.load(0).epoch == again.known_epoch()


def test_a_file_of_the_version_before_goes_on_with_all_it_had(tmp_path):
    path = tmp_path / "x.db"
    store = opened(path)
    store.write(Record(new_intent=intent(1), orders=(order(1),), fills=(fill(1, "t"),)))
    store.release_lease()
    before, found = store.load(0), booked(store)
    [_, (name, _)] = migrations("executor")
    assert name == "0002_control.sql"
    database = store.database.connection
    for table in ("halts", "epoch", "folds", "folded_amounts", "folded_times"):
        database.execute(f"DROP TABLE {table}")
    database.execute("DROP INDEX intents_unsettled")
    database.execute("ALTER TABLE risk_days DROP COLUMN profit_asset")
    database.execute("ALTER TABLE orders DROP COLUMN budget")
    database.execute("INSERT INTO risk_days VALUES ('2026-09-21', '12.5')")
    database.execute("DELETE FROM schema_version WHERE version = 2")
    store.close()
    after = SqliteExecutorStore(path)
    state = after.load(0)
    assert booked(after) == found
    assert (state.positions, state.unsettled, state.orders) == (before.positions, before.unsettled, before.orders)
    assert state.risk_day is not None
    assert (state.risk_day.start, state.risk_day.profit_asset) == (Decimal("12.5"), "USDT")


def test_unsettled_intents_are_found_without_reading_the_others():
    store = opened()
    [plan] = store.database.read(
        "EXPLAIN QUERY PLAN SELECT * FROM intents WHERE state NOT IN ('Done', 'Stuck') ORDER BY created_ns, id"
    )
    assert "intents_unsettled" in plan["detail"]
