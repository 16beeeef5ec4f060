"""SIGKILL at boundaries and at any time, of engine, paper broker and real SQLite in one process: nothing lost or doubled."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from arbkube.control.halts import Halt
from arbkube.execution.engine import is_flatten
from arbkube.market.instruments import Side
from arbkube.storage.executor import SqliteExecutorStore
from tests.execution.world import booked, ledger_fills

ROOT = Path(__file__).parents[2]


def run(path: Path, seed: int, kill_at: int, mode: str, after: float | None) -> tuple[list[str], int]:
    command = [sys.executable, "-m", "tests.execution.victim", str(path), str(seed), str(kill_at), mode]
    process = subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT / 'workloads'}:{ROOT}"}, stdout=subprocess.PIPE, text=True
    )
    if after is not None:
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=90)
    return output.splitlines(), process.returncode


def campaign(path: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill again and again, let it settle, check; returns what happened."""
    dice = random.Random(seed)
    said: list[str] = []
    for number in range(kills):
        at_boundary = number % 2 == 0
        lines, code = run(
            path,
            seed=dice.randrange(10**6),
            kill_at=dice.randrange(1, 300) if at_boundary else 0,
            mode="trade",
            after=None if at_boundary else 0.35 + dice.random() * 0.8,
        )
        assert code == -signal.SIGKILL, lines
        said += lines
    lines, code = run(path, seed=1, kill_at=0, mode="settle", after=None)
    assert code == 0
    said += lines
    return {"kills": kills, **check(path, said)}


def check(path: Path, said: list[str]) -> dict[str, int]:
    sends = Counter(line.split()[1] for line in said if line.startswith("sent "))
    assert sends
    assert set(sends.values()) == {1}, "an order was sent twice"
    store = SqliteExecutorStore(path)
    state = store.load(0)
    assert not state.unsettled
    journal = {fill.trade_id: fill for fill in booked(store)}
    assert {line.split()[1] for line in said if line.startswith("fill ")} <= journal.keys(), "an acknowledged fill was lost"
    assert journal == {fill.trade_id: fill for fill in ledger_fills(store)}, "journal and ledger differ"
    assert not store.open_orders()
    chances = Counter(intent.opportunity_id for intent in state.recent)
    assert set(chances.values()) <= {1}, "one opportunity made two intents"
    flattens = [intent for intent in state.recent if is_flatten(intent)]
    assert {intent.opportunity_id for intent in flattens} == {e.id for e in store.halts() if isinstance(e, Halt)}
    assert {intent.outcome for intent in flattens} <= {"Flattened", "Residual"}
    for (feed, asset), amount in state.positions.moved.items():
        assert asset == "USDT" or abs(amount) < Decimal("0.06"), f"{amount} {asset} on {feed} are off target"
    for intent in state.recent:
        if is_flatten(intent):
            continue
        fills = [fill for fill in journal.values() if fill.intent_id == intent.id]
        net = sum((fill.quantity if fill.side is Side.BUY else -fill.quantity for fill in fills), Decimal(0))
        assert intent.outcome == "Residual" or abs(net) < Decimal("0.002"), (intent.outcome, net)
        assert abs(net) < Decimal("0.06")
        assert intent.state == "Done"
    store.close()
    return {"intents": len(state.recent), "flattens": len(flattens), "orders": len(sends), "fills": len(journal)}


def test_ten_kills(tmp_path):
    figures = campaign(tmp_path / "executor.db", kills=10, seed=7)
    assert figures["fills"] > 20  # on a slow machine, too
    assert figures["flattens"] > 1


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_two_hundred_kills(tmp_path, record_property):
    for name, value in campaign(tmp_path / "executor.db", kills=200, seed=11).items():
        record_property(name, value)
