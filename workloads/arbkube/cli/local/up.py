"""`arb up`: a plan on one machine, watched and reported.

For: the run from the first server to the report. May not: decide what runs (`plan`) or how processes are kept (`supervisor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import structlog
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from arbkube.cli.durations import seconds
from arbkube.cli.errors import ArbError, ExitCode
from arbkube.cli.inputs import load_valid
from arbkube.cli.local.run_report import report_of_run
from arbkube.cli.local.runfile import StateLockedError, lock_state
from arbkube.cli.local.servers import ServerError
from arbkube.cli.local.supervisor import Supervisor, end_leftover_servers
from arbkube.cli.local.table import PAPER, render, summary
from arbkube.cli.outputs import check_writable, write_whole
from arbkube.cli.report import Report, encode_report
from arbkube.plan.planning import Plan
from arbkube.plan.planning import plan as plan_of
from arbkube.pods.status import PodStatus
from arbkube.resources.loading import Resources
from arbkube.venues.catalog import CCXT

_REFRESH_S = 0.5
_LINE_S = 5.0


def run_up(directory: Path, *, duration: str, report: Path | None, state: Path) -> None:
    """Run until the duration is over or a signal comes. Raises ArbError."""
    limit_s = seconds(duration, option="--for")
    if report is not None:
        check_writable(report, option="--report")
    resources = load_valid(directory)
    plan = plan_of(resources)
    _require_extras(resources)
    if not plan.workloads:
        raise ArbError(
            f"{directory}: there is nothing to run: no VenueFeed or ArbStrategy that is not suspended",
            remedy="begin with manifests/quickstart",
            code=ExitCode.INVALID,
        )
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        lock = lock_state(state)
    except StateLockedError as error:
        raise ArbError(str(error), remedy="stop it, or give this one --state DIR", code=ExitCode.ENVIRONMENT) from error
    except OSError as error:
        raise ArbError(
            f"{state} cannot be the state directory: {error.strerror}", remedy="give another --state", code=ExitCode.ENVIRONMENT
        ) from error
    with lock:
        end_leftover_servers(state.resolve())
        try:
            result = asyncio.run(_run(plan, directory=directory, limit_s=limit_s, state=state))
        except ServerError as error:
            raise ArbError(str(error), remedy="`arb doctor` checks the machine", code=ExitCode.ENVIRONMENT) from error
    _print_end(result, report)
    if report is not None:
        write_whole(report, encode_report(result))


def _require_extras(resources: Resources) -> None:
    """Say at once what a pod would only say in its log. Raises ArbError."""
    through_ccxt = [name for name, feed in resources.feeds.items() if feed.spec.venue.startswith(CCXT)]
    if through_ccxt and find_spec("ccxt") is None:
        raise ArbError(
            f"feed {through_ccxt[0]} needs ccxt, which is not installed",
            remedy="pip install 'arbkube[ccxt]'",
            code=ExitCode.ENVIRONMENT,
        )


async def _run(plan: Plan, *, directory: Path, limit_s: float | None, state: Path) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    console = Console(stderr=True)
    supervisor = Supervisor(plan, state=state, directory=directory)
    started_ns, started = time.time_ns(), time.monotonic()
    console.print(
        f"[bold yellow]{PAPER}[/]. {len(plan.workloads)} pods, state in {state}, logs in {state}/logs", soft_wrap=True
    )
    try:
        await supervisor.start()
        await _watch(supervisor, console, stop, started, limit_s)
    finally:
        # A second Ctrl-C while stopping must not leave processes behind.
        statuses = await asyncio.shield(asyncio.ensure_future(supervisor.stop()))
    return await asyncio.to_thread(
        report_of_run,
        plan,
        statuses=statuses,
        state=state,
        since_ns=started_ns,
        duration_ns=time.monotonic_ns() - int(started * 1e9),
        restarts={child.workload.name: child.restarts for child in supervisor.children if child.restarts},
    )


async def _watch(supervisor: Supervisor, console: Console, stop: asyncio.Event, started: float, limit_s: float | None) -> None:
    """Show how it goes until it is to end: a live table on a terminal, else a line now and then."""
    expected = {child.workload.name: child.workload.role.value.lower() for child in supervisor.children}
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    next_line = started
    statuses: dict[str, PodStatus] = {}
    if live is not None:
        live.start()
    try:
        while not stop.is_set():
            elapsed = time.monotonic() - started
            if limit_s is not None and elapsed >= limit_s:
                return
            with contextlib.suppress(RedisError, OSError, TimeoutError):  # the control server may be starting again
                statuses = await supervisor.statuses()
            if live is not None:
                restarts = {child.workload.name: child.restarts for child in supervisor.children}
                live.update(render(statuses, expected=expected, restarts=restarts, elapsed_s=elapsed), refresh=True)
            elif time.monotonic() >= next_line:
                next_line += _LINE_S
                console.print(summary(statuses, expected=len(expected), elapsed_s=elapsed), highlight=False, soft_wrap=True)
            pause = _REFRESH_S if limit_s is None else max(0.0, min(_REFRESH_S, limit_s - elapsed))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
    finally:
        if live is not None:
            live.stop()


def _print_end(report: Report, path: Path | None) -> None:
    console = Console()
    console.print(
        f"[bold yellow]PAPER[/] {report.duration_ns / 1e9:.1f} s: {report.round_trips} round trips, {report.fills} fills, "
        f"fees {_amounts(report.fees)}, PnL {_amounts(report.pnl)}",
        highlight=False,
        soft_wrap=True,
    )
    console.print("[dim]what was seen: arb opportunities · what was done: arb trades[/]")
    if path is not None:
        console.print(f"[dim]report: {path}[/]", soft_wrap=True)


def _amounts(amounts: object) -> str:
    pairs = amounts.items() if isinstance(amounts, dict) else ()
    return ", ".join(f"{amount if amount is not None else 'unknown'} {asset}" for asset, amount in pairs) or "none"
