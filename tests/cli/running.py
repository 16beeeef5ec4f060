"""The real console script as a user's shell runs it, and one running `arb up`.

For: tests of the command line and of the pods. May not: reach into a process: everything is seen through commands, endpoints,
files and signals, as a user sees it.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "manifests" / "quickstart"
ARB = Path(sys.executable).with_name("arb")
READY_S = 45.0
"""Patience on a busy machine; an idle one takes three seconds."""


def environment() -> dict[str, str]:
    """No PATH, so that no program of this machine can be used, and nothing else but what guards the tests."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "ARBKUBE_TESTS_RECORD") if name in os.environ}
    return {**kept, "PATH": "", "COLUMNS": "250", "LANG": "C.UTF-8"}


def arb(*arguments: object, stdin: str = "", timeout: float = 60, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [str(ARB), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
        cwd=cwd,
        check=False,
    )


def eventually(seen: Callable[[], Any], what: str, within: float = READY_S) -> Any:
    """What `seen` returns as soon as it is true."""
    deadline = time.monotonic() + within
    while True:
        found = seen()
        if found:
            return found
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and body of one of a pod's pages."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def rows(path: Path, statement: str, *parameters: object) -> list[sqlite3.Row]:
    """Rows of a store, read beside whoever writes it."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(statement, parameters).fetchall()
    finally:
        connection.close()


class Up:
    """A running `arb up`, ended by `stop`, or killed when a test forgets it."""

    def __init__(self, folder: Path, manifests: Path = QUICKSTART, *arguments: object) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.report = folder / "report.json"
        self._output = (folder / "output").open("w+")
        self.process = subprocess.Popen(
            [
                str(ARB),
                "up",
                "-f",
                str(manifests),
                "--state",
                str(self.state),
                "--report",
                str(self.report),
                *map(str, arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=environment(),
        )

    def __enter__(self) -> Up:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(timeout=90)
        finally:
            self.process.kill()
            self.process.wait()
            self._output.close()

    @property
    def output(self) -> str:
        """What it has written so far."""
        return (self.folder / "output").read_text()

    def run_file(self) -> dict[str, Any]:
        """How other commands find it; empty until it is there."""
        try:
            found: dict[str, Any] = json.loads((self.state / "run.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def status(self) -> dict[str, Any]:
        """`arb status -o json`."""
        result = arb("status", "--state", self.state, "-o", "json")
        assert result.returncode == 0, result.stderr
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def pods(self) -> dict[str, dict[str, Any]]:
        """The newest heartbeat of each pod, empty where there is none."""
        return {name: pod or {} for name, pod in self.status()["pods"].items()}

    def wait_ready(self, within: float = READY_S) -> dict[str, dict[str, Any]]:
        """The pods, once all are ready."""
        eventually(
            lambda: self.run_file().get("pid") == self.process.pid or self.process.poll() is not None, "run.json", within
        )

        def ready() -> dict[str, dict[str, Any]] | None:
            assert self.process.poll() is None, self.output
            pods = self.pods()
            return pods if all(pod.get("ready") for pod in pods.values()) else None

        found: dict[str, dict[str, Any]] = eventually(ready, "all pods ready", within)
        return found

    def journal(self, strategy: str) -> Path:
        return self.state / "journal" / f"{strategy}.sqlite"

    def trades(self, strategy: str) -> int:
        """Fills booked so far."""
        path = self.journal(strategy)
        return int(rows(path, "SELECT count(*) AS n FROM fills")[0]["n"]) if path.exists() else 0

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 60) -> dict[str, Any]:
        """End it as a person would; its report. The exit code must be 0 and nothing may be left running."""
        run = self.run_file()
        pids = [*run.get("servers", {}).values(), *(pod["pid"] for pod in self.pods().values() if pod)]
        self.process.send_signal(number)
        return self.finish(pids, within)

    def finish(self, pids: list[int] | None = None, within: float = 60) -> dict[str, Any]:
        """Wait for its end; its report."""
        assert self.process.wait(timeout=within) == 0, self.output
        assert "Traceback" not in self.output
        for pid in pids or []:
            assert not runs(pid), f"process {pid} was left behind"
        found: dict[str, Any] = json.loads(self.report.read_bytes())
        return found


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
