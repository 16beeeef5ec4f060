"""`arb up`: what a directory of manifests says, on one machine, watched and reported.

For: the run from the first server to the report; edits of the manifests on their way to the supervisor. May not: decide what
runs (`plan`) or how processes are kept (`supervisor`).
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
from rich.console import Console, RenderableType
from rich.live import Live

from arbkube.cli.common.durations import seconds
from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.cli.common.inputs import load_valid
from arbkube.cli.common.outputs import check_writable, write_whole
from arbkube.cli.common.report import Report, encode_report
from arbkube.cli.local.configuration import read_configuration
from arbkube.cli.local.edits import Edits, Refusal
from arbkube.cli.local.run_report import report_of_run
from arbkube.cli.local.runfile import RETRIES, StateLockedError, lock_state
from arbkube.cli.local.servers import ServerError
from arbkube.cli.local.supervisor import Supervisor, end_leftover_servers
from arbkube.cli.local.table import PAPER, render, summary
from arbkube.control.store import StateTakenError, StateUnreadableError
from arbkube.control.writer import Superseded
from arbkube.plan.planning import plan as plan_of
from arbkube.pods.shell.status import PodStatus
from arbkube.resources.loading import Resources
from arbkube.venues.catalog import CCXT

_LOOK_S = 0.1
_REFRESH_S = 0.5
_LINE_S = 5.0


def run_up(directory: Path, *, duration: str, report: Path | None, state: Path) -> None:
    """Run until the duration is over or a signal comes. Raises ArbError."""
    limit_s = seconds(duration, option="--for")
    if report is not None:
        check_writable(report, option="--report")
    resources = load_valid(directory)
    _require_extras(resources)
    if not plan_of(resources).workloads:
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
            result = asyncio.run(_run(directory, limit_s=limit_s, state=state))
        except ServerError as error:
            raise ArbError(str(error), remedy="`arb doctor` checks the machine", code=ExitCode.ENVIRONMENT) from error
        except StateUnreadableError as error:
            raise ArbError(
                f"the state of rollouts cannot be read: {error}",
                remedy="restore it, or move it away: what was promoted or rejected is forgotten, and halts ask for a person",
                code=ExitCode.ENVIRONMENT,
            ) from error
        except (StateTakenError, Superseded) as error:
            raise ArbError(
                f"another writer is in charge of this state: {error}",
                remedy="let one `arb up` have a state directory",
                code=ExitCode.ENVIRONMENT,
            ) from error
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


async def _run(directory: Path, *, limit_s: float | None, state: Path) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    console = Console(stderr=True)
    edits = Edits(directory, state)
    supervisor = Supervisor(state=state, directory=directory)
    started_ns, started = time.time_ns(), time.monotonic()
    try:
        await supervisor.start()
        await _take(edits, supervisor, console)
        console.print(
            f"[bold yellow]{PAPER}[/]. {len(supervisor.children)} pods, state in {state}, logs in {state}/logs", soft_wrap=True
        )
        await _watch(edits, supervisor, console, stop, started, limit_s, state)
    finally:
        # A second Ctrl-C while stopping must not leave processes behind.
        statuses = await asyncio.shield(asyncio.ensure_future(supervisor.stop()))
    return await asyncio.to_thread(
        report_of_run,
        supervisor.plan,
        statuses=statuses,
        state=state,
        since_ns=started_ns,
        duration_ns=time.monotonic_ns() - int(started * 1e9),
        restarts=supervisor.restarts,
    )


async def _take(edits: Edits, supervisor: Supervisor, console: Console) -> None:
    """Hand what the manifests say to the supervisor, or say why what runs runs on."""
    admitted = edits.admit(time.time_ns(), _require_extras)
    if isinstance(admitted, Refusal):
        console.print("[bold red]edit refused[/], what ran before runs on:", soft_wrap=True)
        for reason in admitted.reasons:
            console.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
    else:
        await supervisor.apply(plan_of(admitted))


async def _watch(
    edits: Edits,
    supervisor: Supervisor,
    console: Console,
    stop: asyncio.Event,
    started: float,
    limit_s: float | None,
    state: Path,
) -> None:
    """Take edits, and show how it goes, until it is to end: a live table on a terminal, else a line now and then."""
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    next_line, next_view = started, started
    if live is not None:
        live.start()
    try:
        while not stop.is_set():
            elapsed = time.monotonic() - started
            if limit_s is not None and elapsed >= limit_s:
                return
            failure = supervisor.failure()
            if failure is not None:
                raise failure
            if edits.look():
                await _take(edits, supervisor, console)
            for document in _retries(state):
                supervisor.retry(document)
            if live is not None and time.monotonic() >= next_view:
                next_view += _REFRESH_S
                live.update(await _view(supervisor, state, elapsed), refresh=True)
            elif live is None and time.monotonic() >= next_line:
                next_line += _LINE_S
                statuses = await _statuses(supervisor)
                line = summary(statuses, expected=len(supervisor.children), elapsed_s=elapsed)
                console.print(line, highlight=False, soft_wrap=True)
            pause = _LOOK_S if limit_s is None else max(0.0, min(_LOOK_S, limit_s - elapsed))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
    finally:
        if live is not None:
            live.stop()


async def _view(supervisor: Supervisor, state: Path, elapsed_s: float) -> RenderableType:
    return render(
        await _statuses(supervisor),
        expected={child.workload.name: child.workload.role.value.lower() for child in supervisor.children},
        restarts=supervisor.restarts,
        elapsed_s=elapsed_s,
        configuration=read_configuration(state, await supervisor.acks()),
    )


async def _statuses(supervisor: Supervisor) -> dict[str, PodStatus]:
    with contextlib.suppress(RedisError, OSError, TimeoutError):  # the control server may be starting again
        return await supervisor.statuses()
    return {}


def _retries(state: Path) -> list[str]:
    """Documents that `arb config retry` named since the last look."""
    named = list((state / RETRIES).glob("*"))
    for path in named:
        path.unlink(missing_ok=True)
    return [path.name for path in named]


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
