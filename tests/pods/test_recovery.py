"""A running quickstart whose servers are killed and whose journal is locked: pods say so, refuse, and recover by themselves."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.running import Up, eventually, fetch


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("recovery")) as running:
        running.wait_ready()
        eventually(lambda: running.trades("cross") >= 2, "two fills")
        yield running
        report = running.stop()
        assert report["restarts"] == {}, "no pod was lost to any of this"
        assert report["pnl"]["USDT"] is not None


@pytest.mark.parametrize("name", ["bus", "control"])
def test_a_server_is_killed(up: Up, name: str) -> None:
    before, killed = up.pods(), up.run_file()["servers"][name]
    traded = up.trades("cross")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: up.run_file()["servers"][name] != killed, "another server")
    assert up.process.poll() is None
    eventually(lambda: up.trades("cross") > traded + 2, "it trades again", 30)
    after = up.wait_ready()
    assert {pod: found["pid"] for pod, found in after.items()} == {pod: found["pid"] for pod, found in before.items()}


def test_the_journal_cannot_be_written(up: Up) -> None:
    """Opens are refused for that reason, the pod says why it is not ready, and goes on as soon as it can."""
    port = up.pods()["executor-cross"]["port"]
    lock = sqlite3.connect(up.journal("cross"), isolation_level=None, timeout=5)
    try:
        lock.execute("BEGIN IMMEDIATE")
        code, reason = eventually(lambda: _unready(port), "not ready", 15)
        assert code == 503
        assert "cross.sqlite" in reason
        assert "another process holds the file" in reason

        def refused() -> int:
            detail: dict[str, Any] = json.loads(fetch(port, "/status")[1])["detail"]
            return int(detail["refusals"].get("JournalUnavailable", 0) + detail["refusals"].get("LeaseLost", 0))

        eventually(refused, "an Open refused", 20)
        fills = up.trades("cross")
        time.sleep(1)
        assert up.trades("cross") == fills
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    eventually(lambda: fetch(port, "/readyz")[0] == 200, "ready again", 15)
    eventually(lambda: up.trades("cross") > fills, "it trades again", 30)


def _unready(port: int) -> tuple[int, str] | None:
    code, reason = fetch(port, "/readyz")
    return (code, reason) if code == 503 and "sqlite" in reason else None
