"""How an `arb up` ends: by Ctrl-C, by SIGTERM, by SIGKILL; and what a reset deletes."""

from __future__ import annotations

import re
import signal
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.running import QUICKSTART, Up, arb, eventually, rows, runs

KEPT = r"(?s)---\n# Round a ring.*"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The quickstart without its second strategy: six pods."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    for file in QUICKSTART.glob("*.yaml"):
        (folder / file.name).write_text(re.sub(KEPT, "", file.read_text()))
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_report(tmp_path: Path, small: Path, number: signal.Signals) -> None:
    with Up(tmp_path, small) as up:
        up.wait_ready()
        eventually(lambda: up.trades("cross") >= 2, "two fills")
        sockets = Path(up.run_file()["bus"].removeprefix("unix://")).parent
        report = up.stop(number, within=20)
        assert report["fills"] >= 2
        assert report["pnl"]["USDT"] is not None
        assert not sockets.exists()
        [lease] = rows(up.journal("cross"), "SELECT expires_ns FROM leases")
        assert lease["expires_ns"] == 0, "released"
        states = {row["state"] for row in rows(up.journal("cross"), "SELECT state FROM intents")}
        assert states <= {"Done", "Stuck"}, "settled"


def test_a_killed_supervisor_leaves_nothing_that_the_next_cannot_take_over(tmp_path: Path, small: Path) -> None:
    with Up(tmp_path, small) as first:
        pods = first.wait_ready()
        eventually(lambda: first.trades("cross") >= 2, "two fills")
        run = first.run_file()
        first.process.kill()
        first.process.wait()
        nothing = arb("status", "--state", first.state)
        assert nothing.returncode == 5, "what is left is no `arb up`"
        eventually(lambda: not any(runs(pod["pid"]) for pod in pods.values()), "pods end by themselves", 30)
        assert all(runs(pid) for pid in run["servers"].values()), "the servers cannot know"
        before = rows(first.journal("cross"), "SELECT trade_id FROM fills")
    with Up(tmp_path, small) as second:
        second.wait_ready()
        assert not any(runs(pid) for pid in run["servers"].values()), "two writers of one file would destroy it"
        assert not Path(run["control"].removeprefix("unix://")).parent.exists()
        eventually(lambda: second.trades("cross") > len(before), "it trades on")
        started_ns = second.run_file()["started_ns"]
        report = second.stop()
    after = {row["trade_id"] for row in rows(second.journal("cross"), "SELECT trade_id FROM fills")}
    assert {row["trade_id"] for row in before} < after
    points = rows(second.journal("cross"), "SELECT * FROM equity WHERE residual IS NOT NULL ORDER BY at_ns DESC")
    marked = next(point for point in points if point["at_ns"] < started_ns)
    booked = rows(second.journal("cross"), "SELECT trade_id FROM fills WHERE at_ns > ?", marked["at_ns"])
    assert report["fills"] == len(booked) >= len(after) - len(before), "and what the killed run could not report"
    pnl = report["strategies"]["cross"]["execution"]["pnl"]
    if set(pnl["flows"]) != {"USDT"}:
        gained = [Decimal(points[0][part]) - Decimal(marked[part]) for part in ("cash", "residual")]
        assert [Decimal(pnl[part]) for part in ("cash", "residual")] == gained
    states = {row["state"] for row in rows(second.journal("cross"), "SELECT state FROM intents")}
    assert states <= {"Done", "Stuck"}


@pytest.mark.parametrize("answer", ["n\n", "", "y\n"])
def test_reset_asks(tmp_path: Path, answer: str) -> None:
    state = tmp_path / "state"
    (state / "journal").mkdir(parents=True)
    (state / "journal" / "cross.sqlite").write_bytes(b"money")
    result = arb("reset", "--state", state, stdin=answer)
    assert "Delete" in result.stdout
    assert "Traceback" not in result.stderr
    assert state.exists() is (answer != "y\n")
    assert result.returncode == (0 if answer else 1)


def test_reset_refuses_strangers(tmp_path: Path) -> None:
    """The wrong directory, and a link to one."""
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "journal").mkdir()
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    file = tmp_path / "thesis.tex"
    for state in (tmp_path, link, file):
        result = arb("reset", "--yes", "--state", state)
        assert result.returncode == 4, result
        assert "remedy: " in result.stderr
        assert "Traceback" not in result.stderr
    assert file.read_text() == "years of work"
    assert arb("reset", "--yes", "--state", tmp_path / "none").returncode == 0
    link.unlink()
