"""The runner of the benchmarks: its verdicts, its errors, its two forms of output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import Machine, Results, Row, print_table, verdict

ROOT = Path(__file__).parent.parent.parent


def runner(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("value", "target", "said"), [(30, None, ""), (30, 30, "≤ 30 met"), (45, 30, "≤ 30 missed by 50%"), (10, 30, "≤ 30 met")]
)
def test_a_missed_target_says_by_how_much(value, target, said):
    assert verdict(Row(name="diff", value=value, unit="µs", target=target)) == said


def test_the_table_names_machine_and_baseline(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    row = Row(name="36-level diff", value=12.5, unit="µs", baseline=25, against="ccxt", ratio=0.5, target=30)
    print_table(Results(Machine("A CPU", 2, "CPython 3.11", "Linux", 30.5), {"books": [row]}))
    printed = capsys.readouterr().out
    for part in ("A CPU", "2 cores", "30.5 ns", "books: 36-level diff", "12.5", "25 ccxt", "0.5", "≤ 30 met"):
        assert part in printed


def test_an_unknown_benchmark_is_named():
    done = runner("no_such")
    assert done.returncode == 2
    assert "no such benchmark: no_such" in done.stderr


def test_json_has_the_calibration(tmp_path):
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "__main__.py").write_text((ROOT / "benchmarks" / "__main__.py").read_text())
    (package / "one.py").write_text("\ndef run():\n    return [dict(name='a', value=1, unit='s')]\n")
    command = [sys.executable, "-m", "benchmarks", "-o", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    results = json.loads(done.stdout)
    assert results["machine"]["calibration_ns"] > 0
    assert [row["name"] for row in results["benchmarks"]["one"]] == ["a"]
