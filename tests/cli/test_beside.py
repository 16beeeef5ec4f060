"""The commands beside a running `arb up`: what runs, what was seen and done, recordings, and what is refused meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import ARB, QUICKSTART, Up, arb, environment, eventually, rows


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("up")) as running:
        running.wait_ready()
        eventually(lambda: running.trades("cross") >= 8, "eight fills")
        yield running
        running.stop()


def test_status(up: Up) -> None:
    found = up.status()
    assert found["mode"] == "PAPER"
    assert found["pid"] == up.process.pid
    roles = {pod["role"] for pod in found["pods"].values()}
    assert roles == {"feed", "detector", "executor", "recorder", "simulator"}
    assert {pod["mode"] for pod in found["pods"].values()} == {"PAPER"}
    text = arb("status", "--state", up.state)
    assert text.returncode == 0
    assert "PAPER" in text.stdout
    for word in ("age", "gaps", "trades", "PnL", "binance", "kraken", "cross", "triangle"):
        assert word in text.stdout, word


def test_servers_are_those_of_the_environment(up: Up) -> None:
    """Nothing of the machine: the binaries that run lie inside the environment, and every socket is a file or loopback."""
    run = up.run_file()
    pids = [up.process.pid, *run["servers"].values(), *(pod["pid"] for pod in up.pods().values())]
    assert len(pids) == 1 + 2 + 8
    inside = Path(sys.prefix).resolve()
    for name, pid in run["servers"].items():
        binary = Path(f"/proc/{pid}/exe").readlink()
        assert binary.is_relative_to(inside), (name, binary)
    for pid in pids:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        assert Path(command).is_relative_to(Path(sys.prefix)), command
    assert run["bus"].startswith("unix://")
    assert run["control"].startswith("unix://")


def test_opportunities(up: Up) -> None:
    result = arb("opportunities", "--state", up.state, "-o", "json", "--limit", 500)
    assert result.returncode == 0, result.stderr
    sightings = json.loads(result.stdout)
    taken = [sighting for sighting in sightings if sighting["opportunity"] is not None]
    skipped = [sighting for sighting in sightings if sighting["opportunity"] is None]
    assert taken
    assert skipped
    assert all(float(sighting["net_edge_bps"]) >= 1 for sighting in taken)
    assert all(leg["age_ns"] is not None for sighting in taken for leg in sighting["legs"])
    assert all(sighting["reason"] for sighting in skipped)
    assert [sighting["at_ns"] for sighting in sightings] == sorted((s["at_ns"] for s in sightings), reverse=True)
    only = json.loads(arb("opportunities", "--state", up.state, "-o", "json", "--strategy", "triangle").stdout)
    assert {sighting["strategy"] for sighting in only} <= {"triangle"}
    assert "net edge" in arb("opportunities", "--state", up.state, "--limit", 5).stdout


def test_trades(up: Up) -> None:
    result = arb("trades", "--state", up.state, "-o", "json", "--limit", 3)
    assert result.returncode == 0, result.stderr
    trades = json.loads(result.stdout)
    assert len(trades) == 3
    for trade in trades:
        assert {order["intent_id"] for order in trade["orders"]} == {trade["intent"]["id"]}
        assert {fill["order_id"] for fill in trade["fills"]} <= {order["id"] for order in trade["orders"]}
    text = arb("trades", "--state", up.state, "--strategy", "cross")
    assert text.returncode == 0
    assert "PAPER" in text.stdout
    assert arb("trades", "--state", up.state, "--strategy", "nobody").returncode == 5


def test_a_closed_pipe_is_no_error(up: Up) -> None:
    with subprocess.Popen(
        [str(ARB), "opportunities", "--state", str(up.state), "--limit", "5000", "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


def test_plan_shows_what_a_change_would_do(up: Up, tmp_path: Path) -> None:
    for file in QUICKSTART.glob("*.yaml"):
        text = file.read_text()
        text = text.replace("enterEdge: 1bps # net", "enterEdge: 3bps # net").replace("lag: 300ms", "lag: 200ms")
        (tmp_path / file.name).write_text(text)
    for against in ([], ["--against", QUICKSTART]):
        result = arb("plan", "-f", tmp_path, "--state", up.state, "-o", "json", *against)
        assert result.returncode == 0, result.stderr
        changes = {change["path"]: change["effect"] for change in json.loads(result.stdout)["changes"]}
        assert changes == {"spec.detection.enterEdge": "Hot", "spec.simulated.lag": "Restart"}
    text = arb("plan", "-f", tmp_path, "--state", up.state).stdout
    assert "Hot" in text
    assert "Restart" in text
    same = arb("plan", "-f", QUICKSTART, "--state", up.state)
    assert same.returncode == 0
    assert "no change" in same.stdout


def test_doctor(up: Up) -> None:
    result = arb("doctor", "-f", QUICKSTART, "--state", up.state, "-o", "json")
    assert result.returncode == 0, result.stdout + result.stderr
    findings = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert findings["valkey"]["level"] == "ok"
    assert f"pid {up.process.pid}" in findings["arb up"]["message"]
    assert all(finding["remedy"] for finding in findings.values() if finding["level"] != "ok")


def test_a_second_up_is_refused(up: Up, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = arb("up", "-f", QUICKSTART, "--for", "1s", "--state", up.state, "--report", report)
    assert result.returncode == 4
    assert str(up.process.pid) in result.stderr
    assert "remedy: " in result.stderr
    assert not report.exists()
    assert up.status()["pid"] == up.process.pid


def test_reset_is_refused_while_it_runs(up: Up) -> None:
    result = arb("reset", "--yes", "--state", up.state)
    assert result.returncode == 4
    assert str(up.process.pid) in result.stderr
    assert up.journal("cross").exists()


def test_what_is_recorded_replays_the_same_twice(up: Up, tmp_path: Path) -> None:
    recordings = []
    for feed in ("binance", "kraken"):
        recordings.append(tmp_path / f"{feed}.arbrec.gz")
        result = arb("record", "-f", QUICKSTART, "--feed", feed, "--out", recordings[-1], "--for", "3s", "--state", up.state)
        assert result.returncode == 0, result.stderr
    refused = arb("record", "-f", QUICKSTART, "--feed", "kraken", "--out", recordings[1], "--for", "1s", "--state", up.state)
    assert refused.returncode == 2, "a recording is never written over"
    contents = []
    for number in range(2):
        report = tmp_path / f"report{number}.json"
        result = arb("replay", *recordings, "-f", QUICKSTART, "--report", report, timeout=120)
        assert result.returncode == 0, result.stderr
        contents.append(report.read_bytes())
    assert contents[0] == contents[1]
    found = json.loads(contents[0])
    for feed in found["feeds"].values():
        assert feed["messages"] > 50
        assert feed["gaps"] == feed["malformed"] == 0
        assert feed["rules"] == "recording"
    assert str(tmp_path) not in contents[0].decode()


def test_reading_disturbs_nothing(up: Up) -> None:
    """All those commands ran beside it: nothing was restarted, every pod is ready, and it still trades."""
    before = up.trades("cross")
    eventually(lambda: up.trades("cross") > before, "another fill")
    assert "restart" not in up.output
    assert all(pod["ready"] for pod in up.pods().values())
    [lease] = rows(up.journal("cross"), "SELECT token FROM leases")
    assert lease["token"] == 1
