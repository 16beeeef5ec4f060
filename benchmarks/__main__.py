"""`make bench`: run the benchmarks, print one table, name the machine.

For: finding every module of this folder that has `run()`, running each in a process of its own (so that none measures the
heap of another), and printing what they return: a list of dicts with the fields of `Row`. May not: measure anything but the
calibration loop. Usage: `python -m benchmarks [MODULE…] [-o table|json]`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One figure. `value`, `baseline` and `target` have the same unit."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    """The same work done by something well known, measured beside it in the same run."""
    against: str = ""
    """What the baseline is."""
    ratio: float | None = None
    """How `value` compares: `value / baseline`, or the other way round where `note` says so."""
    target: float | None = None
    """The most that `value` may be."""
    note: str = ""


class Machine(msgspec.Struct, frozen=True):
    """Where the figures come from. `calibration_ns` is one turn of a loop of plain Python: divide by it to compare machines."""

    cpu: str
    cores: int
    python: str
    system: str
    calibration_ns: float


class Results(msgspec.Struct, frozen=True):
    """What `-o json` prints."""

    machine: Machine
    benchmarks: dict[str, list[Row]]


def calibrate(turns: int = 2_000_000, rounds: int = 5) -> float:
    """Nanoseconds for one turn of an integer loop, the best of several rounds."""
    best = float("inf")
    for _ in range(rounds):
        total = 0
        began = time.perf_counter_ns()
        for number in range(turns):
            total += number & 7
        best = min(best, (time.perf_counter_ns() - began) / turns)
    return best


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def this_machine() -> Machine:
    """What runs the benchmarks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return Machine(_cpu(), cores, python, f"{platform.system()} {platform.machine()}", round(calibrate(), 2))


def available() -> list[str]:
    """The modules of this folder that hold benchmarks."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if not file.stem.startswith("_") and "\ndef run(" in file.read_text()]


def measure(modules: Iterable[str]) -> dict[str, list[Row]]:
    """Run the modules one after the other, each in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as pool:
        runs = {module: import_module(f"benchmarks.{module}").run for module in modules}
        return {module: msgspec.convert(pool.submit(run).result(), list[Row]) for module, run in runs.items()}


def verdict(row: Row) -> str:
    """Whether the target is met, and by how much it is missed."""
    if row.target is None:
        return ""
    if row.value <= row.target:
        return f"≤ {row.target:g} met"
    return f"≤ {row.target:g} missed by {(row.value / row.target - 1):.0%}"


def print_table(results: Results) -> None:
    """One table for people."""
    machine = results.machine
    table = Table(
        title=f"{machine.cpu}, {machine.cores} cores, {machine.python}, {machine.system}, loop {machine.calibration_ns:g} ns",
        title_justify="left",
    )
    for heading in ("benchmark", "value", "unit", "baseline", "ratio", "target", "note"):
        table.add_column(heading, justify="right" if heading in {"value", "baseline", "ratio"} else "left")
    for module, rows in results.benchmarks.items():
        table.add_section()
        for row in rows:
            baseline = "" if row.baseline is None else f"{row.baseline:.4g} {row.against}".rstrip()
            ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
            table.add_row(f"{module}: {row.name}", f"{row.value:.4g}", row.unit, baseline, ratio, verdict(row), row.note)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run the benchmarks beside their baselines.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"any of: {', '.join(available())} (default: all)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.modules) - set(available())):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(available())}")
    results = Results(this_machine(), measure(arguments.modules or available()))
    if arguments.output == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    else:
        print_table(results)


if __name__ == "__main__":
    main()
