"""Edits, halts and a failing control server under a running `arb up`, seen as its user sees them.

One run for all: each test leaves it trading, with nothing halted, on manifests that are as they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import QUICKSTART, Up, arb, eventually, rows

SECOND = 10**9


class Desk:
    """A running `arb up` and the manifests it watches."""

    def __init__(self, up: Up, manifests: Path) -> None:
        self.up = up
        self._manifests = manifests
        self._original = {path.name: path.read_text() for path in manifests.glob("*.yaml")}

    def edit(self, *changes: tuple[str, str], file: str = "strategies.yaml") -> None:
        """Replace the first of each text by the other, as an editor saves: whole and at once."""
        path = self._manifests / file
        text = path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)

    def restore(self) -> None:
        """The manifests as they were, in force everywhere."""
        for name, text in self._original.items():
            if (self._manifests / name).read_text() != text:
                (self._manifests / name).write_text(text)
        eventually(self.settled, "as it was")

    def configuration(self) -> dict[str, Any]:
        result = arb("config", "status", "--state", self.up.state, "-o", "json")
        assert result.returncode == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def document(self, name: str) -> dict[str, Any]:
        return next(row for row in self.configuration()["documents"] if row["document"] == name)

    def settled(self) -> bool:
        """Everything that is wanted is promoted and run by every pod."""
        found = self.configuration()
        return not found["refused"] and all(
            row["phase"] == "Synced" and row["pods"] and row["agreed"] == len(row["pods"]) for row in found["documents"]
        )

    def pids(self) -> dict[str, int]:
        return {name: pod["pid"] for name, pod in self.up.pods().items() if pod}

    def opened_ns(self, since_ns: int, strategy: str = "cross") -> list[int]:
        """When intents were decided since then."""
        found = rows(
            self.up.journal(strategy),
            "SELECT created_ns FROM intents WHERE outcome IS NOT 'Refused' AND created_ns > ? ORDER BY 1",
            since_ns,
        )
        return [row["created_ns"] for row in found]

    def trades_again(self, within: float = 45.0, strategy: str = "cross") -> None:
        since_ns = time.time_ns()
        eventually(lambda: self.opened_ns(since_ns, strategy), f"{strategy} trades again", within)

    @contextlib.contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """A process that hangs."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def limits(self, strategy: str = "cross") -> dict[str, Any]:
        """Its limits in force, and how long they took to reach every pod."""
        state: dict[str, Any] = json.loads((self.up.state / "rollouts.json").read_bytes())["limits"][strategy]
        return state

    def put_back(self, older: Path) -> None:
        """Replace the control server by one that starts on an older copy of its file."""
        control = self.up.state / "control"
        with self.stopped(self.up.process.pid):
            os.kill(self.up.run_file()["servers"]["control"], signal.SIGKILL)
            gone_ns = time.time_ns()
            time.sleep(3)
            assert self.opened_ns(gone_ns + int(1.2 * SECOND)) == []
            shutil.rmtree(control)
            shutil.copytree(older, control)

    def history(self, document: str) -> list[dict[str, Any]]:
        result = arb("config", "history", document, "--state", self.up.state, "-o", "json")
        assert result.returncode == 0, result.stderr
        found: list[dict[str, Any]] = json.loads(result.stdout)
        return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    manifests = folder / "manifests"
    manifests.mkdir()
    for path in QUICKSTART.glob("*.yaml"):
        # A short bake, and limits that hundreds of trades do not meet.
        text = path.read_text().replace('maxPosition: "2000"', 'maxPosition: "40000"').replace('"5000"', '"40000"')
        text = text.replace('maxDailyLoss: "', 'maxDailyLoss: "1000')
        text = text.replace("  profitAsset: USDT\n", "  profitAsset: USDT\n  rollout: {bake: 3s, progressDeadline: 20s}\n")
        (manifests / path.name).write_text(text)
    with Up(folder, manifests) as up:
        up.wait_ready()
        desk = Desk(up, manifests)
        eventually(desk.settled, "everything synced")
        desk.trades_again()
        yield desk
        up.stop()


@pytest.fixture
def desk(running: Desk) -> Iterator[Desk]:
    pids = running.pids()
    yield running
    running.restore()
    running.trades_again()
    assert running.pids().keys() == pids.keys()


def test_an_edge_reaches_every_pod_without_a_restart(desk: Desk) -> None:
    before, pids = desk.document("strategy-cross"), desk.pids()
    desk.edit(("exitEdge: 0bps", "exitEdge: 0.2bps"))
    row = eventually(lambda: (r := desk.document("strategy-cross"))["run"] != before["run"] and r, "another revision")
    assert row["agreed"] == len(row["pods"]) == 2 or eventually(lambda: desk.document("strategy-cross")["agreed"] == 2, "acks")
    eventually(desk.settled, "promoted after the bake")
    assert desk.pids() == pids
    row = desk.document("strategy-cross")
    assert row["reason"] in {"Healthy", "Inconclusive"}
    assert row["propagationMs"] is not None
    changes = json.loads(arb("config", "diff", "strategy-cross", "--state", desk.up.state, "-o", "json").stdout)["changes"]
    assert {"path": "spec.detection.exitEdge", "from": "0bps", "to": "0.2bps"} in changes
    shown = arb("status", "--state", desk.up.state).stdout
    assert row["run"] in shown
    assert "2/2" in shown


def test_every_intent_carries_the_one_revision_it_was_decided_under(desk: Desk) -> None:
    desk.trades_again()
    since_ns = time.time_ns()
    desk.trades_again()
    desk.edit(("exitEdge: 0bps", "exitEdge: 0.3bps"))
    eventually(lambda: desk.document("strategy-cross")["phase"] == "Baking", "baking")
    desk.trades_again()
    eventually(desk.settled, "promoted")
    found = rows(
        desk.up.journal("cross"),
        "SELECT revision FROM intents WHERE outcome IS NOT 'Refused' AND created_ns > ? "
        "GROUP BY revision ORDER BY min(created_ns)",
        since_ns,
    )
    assert len(found) == 2, [tuple(row) for row in found]
    held = eventually(lambda: desk.up.pods()["executor-cross"]["detail"]["revision"], "its status")
    assert found[1]["revision"] == held != found[0]["revision"]


def test_instruments_come_and_go_without_a_restart(desk: Desk) -> None:
    pids = desk.pids()
    books = desk.up.pods()["feed-binance"]["detail"]["books"]
    desk.edit(("instruments: [BTC-USDT, ETH-USDT, ETH-BTC]", "instruments: [BTC-USDT, ETH-USDT]"), file="feeds.yaml")
    eventually(lambda: desk.up.pods()["feed-binance"]["detail"]["books"] == books - 1, "a book less")
    eventually(desk.settled, "promoted")
    desk.restore()
    eventually(lambda: desk.up.pods()["feed-binance"]["detail"]["books"] == books, "the book again")
    assert desk.pids() == pids


def test_a_tightened_limit_is_everywhere_at_once_and_makes_no_rollout(desk: Desk) -> None:
    before, pids = desk.document("strategy-cross"), desk.pids()
    orders = desk.up.pods()["executor-cross"]["config"]["limits"]
    desk.edit(('maxNotional: "500"', 'maxNotional: "60"'))
    eventually(lambda: desk.up.pods()["executor-cross"]["config"]["limits"] > orders, "newer limits")
    assert desk.document("strategy-cross")["run"] == before["run"]
    time.sleep(0.5)
    since_ns = time.time_ns()
    desk.trades_again()
    found = rows(
        desk.up.journal("cross"),
        "SELECT quantity, limit_price, symbol FROM orders WHERE purpose = 'Open' AND created_ns > ?",
        since_ns,
    )
    dollars = [float(row["quantity"]) * float(row["limit_price"]) for row in found if row["symbol"].endswith("USDT")]
    assert all(worth <= 60 for worth in dollars)
    assert desk.pids() == pids


def test_an_invalid_edit_is_refused_with_its_path_and_the_old_one_trades_on(desk: Desk) -> None:
    before, pids = desk.document("strategy-cross"), desk.pids()
    desk.edit(("exitEdge: 0bps", "exitEdge: 7bps"))
    refused = eventually(lambda: desk.configuration()["refused"], "a refusal")
    assert any("spec.detection" in reason for reason in refused["reasons"]), refused
    desk.trades_again()
    assert desk.document("strategy-cross")["run"] == before["run"]
    assert desk.pids() == pids
    assert "edit refused" in arb("status", "--state", desk.up.state).stdout


def test_what_doubles_rejects_is_taken_back_once_and_the_tightening_stays(desk: Desk, tmp_path: Path) -> None:
    """Not even a control server that forgot everything makes it be tried again."""
    empty = tmp_path / "empty"
    empty.mkdir()
    pids = desk.pids()
    desk.edit(("latency: 20ms", 'latency: 20ms\n      rejectRate: "1"'), ("maxOpenIntents: 2", "maxOpenIntents: 1"))
    row = eventually(lambda: (r := desk.document("strategy-cross"))["phase"] == "RolledBack" and r, "taken back")
    assert row["reason"] == "RejectsRose"
    desk.trades_again()
    eventually(lambda: desk.document("strategy-cross")["agreed"] == 2, "every pod went back")
    tightened = desk.limits()
    assert tightened["record"]["limits"]["maxOpenIntents"] == 1
    told = next(step for step in desk.history("strategy-cross") if step["event"] == "Unhealthy")
    assert tightened["wanted_ns"] + tightened["propagation_ns"] < told["at_ns"], "everywhere before anything was taken back"
    rolled_back = [step for step in desk.history("strategy-cross") if step["event"] == "Unhealthy"]
    assert len(rolled_back) == 1
    desk.put_back(empty)
    desk.trades_again()
    time.sleep(4)
    assert desk.document("strategy-cross")["phase"] == "RolledBack"
    assert [step for step in desk.history("strategy-cross") if step["event"] == "Unhealthy"] == rolled_back
    assert desk.limits()["record"]["limits"]["maxOpenIntents"] == 1
    assert desk.pids() == pids


def test_a_pod_that_dies_in_the_bake_takes_the_document_back(desk: Desk) -> None:
    desk.edit(("exitEdge: 0bps", "exitEdge: 0.4bps"), ("bake: 3s", "bake: 60s"))
    eventually(lambda: desk.document("strategy-cross")["phase"] == "Baking", "baking")
    os.kill(desk.pids()["executor-cross"], signal.SIGKILL)
    row = eventually(lambda: (r := desk.document("strategy-cross"))["phase"] == "RolledBack" and r, "taken back")
    assert row["reason"] == "PodRestarted"
    desk.trades_again()
    result = arb("config", "retry", "strategy-cross", "--state", desk.up.state)
    assert result.returncode == 0, result.stderr
    eventually(lambda: desk.document("strategy-cross")["phase"] == "Baking", "tried again by name")


def test_a_halt_stops_opens_until_it_is_cleared(desk: Desk) -> None:
    for scope in ([], ["--strategy", "cross"], ["--venue", "binance"]):
        result = arb("halt", *scope, "--state", desk.up.state, "-o", "json")
        halted_ns = time.time_ns()
        assert result.returncode == 0, result.stderr
        time.sleep(1.5)
        assert desk.opened_ns(halted_ns) == [], scope
        assert "HALTED" in arb("status", "--state", desk.up.state).stdout
        result = arb("resume", *scope, "--state", desk.up.state)
        assert result.returncode == 0, result.stderr
        desk.trades_again()


def test_a_halt_that_means_nothing_is_refused(desk: Desk) -> None:
    for arguments in (["halt", "--strategy", "nobody"], ["halt", "--venue", "nowhere"], ["resume", "--strategy", "cross"]):
        result = arb(*arguments, "--state", desk.up.state)
        assert result.returncode == 3, result.stdout
    assert arb("halt", "--strategy", "cross", "--venue", "binance", "--state", desk.up.state).returncode == 2


def test_the_spec_halts_and_clears(desk: Desk) -> None:
    desk.edit(("  profitAsset: USDT\n", "  profitAsset: USDT\n  halt: true\n"))
    halts = eventually(lambda: desk.configuration()["halts"], "halted by its spec")
    assert [(halt["subject"], halt["reason"]) for halt in halts] == [("cross", "Spec")]
    eventually(lambda: desk.up.pods()["executor-cross"]["config"]["halts"], "held by its executor")
    halted_ns = time.time_ns()
    time.sleep(1.5)
    assert desk.opened_ns(halted_ns) == []
    assert arb("resume", "--strategy", "cross", "--state", desk.up.state).returncode == 3
    desk.restore()
    eventually(lambda: not desk.configuration()["halts"], "cleared by its spec")


def test_a_silent_control_server_stops_opens_within_a_second(desk: Desk) -> None:
    with desk.stopped(desk.up.run_file()["servers"]["control"]):
        silent_ns = time.time_ns()
        time.sleep(4)
        back_ns = time.time_ns()
    late = [ns for ns in desk.opened_ns(silent_ns + int(1.2 * SECOND)) if ns < back_ns]
    assert late == []
    desk.trades_again()


def test_a_killed_flushed_or_older_control_server_loses_no_halt(desk: Desk) -> None:
    older = desk.up.folder / "older"
    shutil.copytree(desk.up.state / "control", older)
    assert arb("halt", "--strategy", "triangle", "--state", desk.up.state).returncode == 0
    os.kill(desk.up.run_file()["servers"]["control"], signal.SIGKILL)
    desk.trades_again()
    desk.put_back(older)
    desk.trades_again()
    halts = desk.configuration()["halts"]
    assert [halt["subject"] for halt in halts] == ["triangle"]
    assert desk.up.pods()["executor-triangle"]["config"]["halts"] == [halts[0]["id"]]
    assert arb("resume", "--strategy", "triangle", "--state", desk.up.state).returncode == 0


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.soak)])
def test_with_the_supervisor_hanging_trading_goes_on_and_halts_work(desk: Desk, seconds: int) -> None:
    with desk.stopped(desk.up.process.pid):
        time.sleep(seconds)
        desk.trades_again()
        assert arb("halt", "--strategy", "cross", "--state", desk.up.state).returncode == 0
        halted_ns = time.time_ns()
        time.sleep(1.5)
        assert desk.opened_ns(halted_ns) == []
        assert arb("resume", "--strategy", "cross", "--state", desk.up.state).returncode == 0
        desk.trades_again()
