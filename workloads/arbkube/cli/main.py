"""`arb`: the whole command line.

For: naming the commands and turning errors into messages and exit codes. May not: do a command's work; each lives in its own
module, imported when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from arbkube import __version__
from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.resources.kinds import HaltMode

app = typer.Typer(
    name="arb",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Arbitrage strategies as YAML: verified books, detection, PAPER execution, hard limits.\n\n"
    "Begin with `arb up -f manifests/quickstart --for 30s`. Every order is on PAPER: nothing leaves this machine but public "
    "market data requests.",
    epilog="Exit codes: 0 done · 1 failed · 2 wrong usage · 3 invalid input · 4 machine or state does not allow it · "
    "5 nothing runs here.",
)


class Output(StrEnum):
    TEXT = "text"
    JSON = "json"


Manifests = Annotated[Path, typer.Option("-f", "--filename", help="Directory of manifests, or one file.", show_default=False)]
State = Annotated[Path, typer.Option("--state", envvar="ARB_STATE", help="State directory: journals, logs, servers' files.")]
Format = Annotated[Output, typer.Option("-o", "--output", help="`json` for machines.")]
StrategyFilter = Annotated[str | None, typer.Option("--strategy", help="Only this strategy.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many, newest first.")]

DocumentName = Annotated[str, typer.Argument(help="E.g. strategy-cross or feed-binance.", show_default=False)]
DocumentFilter = Annotated[str | None, typer.Argument(help="Only this document.", show_default=False)]

_STATE = Path(".arb")

config = typer.Typer(no_args_is_help=True, help="What configuration runs, how it came there, and trying a refused one again.")
app.add_typer(config, name="config", rich_help_panel="Manifests")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    """Common options."""
    if version:
        typer.echo(f"arb {__version__}")
        raise typer.Exit


@app.command(rich_help_panel="Run")
def up(
    filename: Manifests,
    duration: Annotated[
        str, typer.Option("--for", help="End by itself after this long, e.g. 30s or 10m.", show_default=False)
    ] = "",
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the run's report here at the end (JSON).", show_default=False)
    ] = None,
    state: State = _STATE,
) -> None:
    """Run everything the manifests describe on this machine, on PAPER, until Ctrl-C.

    Starts two embedded Valkeys, the simulator if a feed asks for it, and one process a pod; starts again what dies. Edits of
    the manifests are rolled out to the running pods; an invalid one is refused, a harmful one is taken back.
    """
    from arbkube.cli.local.up import run_up

    run_up(filename, duration=duration, report=report, state=state)


@app.command(rich_help_panel="Run")
def status(state: State = _STATE, output: Format = Output.TEXT) -> None:
    """What runs here and how it fares."""
    from arbkube.cli.commands.inspection import show_status

    show_status(state, as_json=output is Output.JSON)


@app.command(rich_help_panel="Stop and go")
def halt(
    strategy: Annotated[str | None, typer.Option("--strategy", help="Only this strategy.", show_default=False)] = None,
    venue: Annotated[str | None, typer.Option("--venue", help="Only what trades on this venue.", show_default=False)] = None,
    mode: Annotated[
        HaltMode,
        typer.Option(
            "--mode", help="`StopNew`, `CancelOpen` (also unwind what Opens filled) or `Flatten` (also return to target)."
        ),
    ] = HaltMode.STOP_NEW,
    reason: Annotated[str, typer.Option("--reason", help="For whoever reads the log.", show_default=False)] = "",
    state: State = _STATE,
    output: Format = Output.TEXT,
) -> None:
    """Send no risk-increasing order any more: everywhere, or for one strategy or venue. Returns when every executor holds it.

    Completing and unwinding go on. Works while `arb up` itself hangs, and holds until `arb resume`, whatever restarts.
    """
    from arbkube.cli.commands.halting import run_halt

    run_halt(state, strategy=strategy, venue=venue, mode=mode, detail=reason, as_json=output is Output.JSON)


@app.command(rich_help_panel="Stop and go")
def resume(
    halt_id: Annotated[
        str | None, typer.Argument(help="One halt, by its id; else all of the scope.", show_default=False)
    ] = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="Halts of this strategy.", show_default=False)] = None,
    venue: Annotated[str | None, typer.Option("--venue", help="Halts of this venue.", show_default=False)] = None,
    state: State = _STATE,
    output: Format = Output.TEXT,
) -> None:
    """Clear halts of exactly this scope (without options: those of everything). Others stay in force."""
    from arbkube.cli.commands.halting import run_resume

    run_resume(state, strategy=strategy, venue=venue, halt_id=halt_id, as_json=output is Output.JSON)


@app.command(rich_help_panel="Run")
def reset(
    state: State = _STATE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the state directory: journals, paper accounts, recordings of opportunities, logs."""
    from arbkube.cli.local.state import reset_state

    reset_state(state, confirmed=yes)


@app.command(rich_help_panel="Manifests")
def validate(filename: Manifests, output: Format = Output.TEXT) -> None:
    """List every violation in the manifests, each with its place and remedy."""
    from arbkube.cli.commands.manifests import show_validation

    show_validation(filename, as_json=output is Output.JSON)


@app.command(rich_help_panel="Manifests")
def plan(
    filename: Manifests,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="Manifests to compare with; by default those of the running `arb up`.", show_default=False
        ),
    ] = None,
    state: State = _STATE,
    output: Format = Output.TEXT,
) -> None:
    """Show what would run, and for each changed field whether it is hot or restarts pods. Changes nothing."""
    from arbkube.cli.commands.manifests import show_plan

    show_plan(filename, against=against, state=state, as_json=output is Output.JSON)


@config.command("status")
def config_status(state: State = _STATE, output: Format = Output.TEXT) -> None:
    """Where each document stands: phase, revisions, which pods agree, and the last refused edit."""
    from arbkube.cli.commands.configuring import show_config_status

    show_config_status(state, as_json=output is Output.JSON)


@config.command("history")
def config_history(document: DocumentFilter = None, state: State = _STATE, output: Format = Output.TEXT) -> None:
    """What happened to each document, newest first."""
    from arbkube.cli.commands.configuring import show_config_history

    show_config_history(state, document=document, as_json=output is Output.JSON)


@config.command("diff")
def config_diff(
    document: DocumentName,
    revision: Annotated[
        str | None, typer.Option("--revision", help="E.g. 1.7; by default what is offered or runs.", show_default=False)
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="E.g. 1.4; by default the one before.", show_default=False)
    ] = None,
    state: State = _STATE,
    output: Format = Output.TEXT,
) -> None:
    """The fields in which two revisions of a document differ."""
    from arbkube.cli.commands.configuring import show_config_diff

    show_config_diff(state, document=document, revision=revision, against=against, as_json=output is Output.JSON)


@config.command("retry")
def config_retry(document: DocumentName, state: State = _STATE) -> None:
    """Try a document again that was rejected or rolled back."""
    from arbkube.cli.commands.configuring import run_config_retry

    run_config_retry(state, document=document)


@app.command(rich_help_panel="What happened")
def opportunities(
    state: State = _STATE, strategy: StrategyFilter = None, limit: Limit = 50, output: Format = Output.TEXT
) -> None:
    """What was seen: net edge, age of each leg, and why it was not taken."""
    from arbkube.cli.commands.inspection import show_opportunities

    show_opportunities(state, strategy=strategy, limit=limit, as_json=output is Output.JSON)


@app.command(rich_help_panel="What happened")
def trades(state: State = _STATE, strategy: StrategyFilter = None, limit: Limit = 50, output: Format = Output.TEXT) -> None:
    """Intents with their orders and fills, each traceable to its opportunity."""
    from arbkube.cli.commands.inspection import show_trades

    show_trades(state, strategy=strategy, limit=limit, as_json=output is Output.JSON)


@app.command(rich_help_panel="Recordings")
def record(
    filename: Manifests,
    feed: Annotated[str, typer.Option("--feed", help="Name of the VenueFeed to record.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="File to write, e.g. binance.arbrec.gz.", show_default=False)],
    duration: Annotated[str, typer.Option("--for", help="End by itself after this long, e.g. 30s.", show_default=False)] = "",
    simulator: Annotated[
        str, typer.Option("--simulator", help="Simulator's base URL, for a simulated feed.", show_default=False)
    ] = "",
    state: State = _STATE,
) -> None:
    """Record a feed's raw frames with the instruments' rules and fees."""
    from arbkube.cli.commands.recordings import run_record

    run_record(filename, feed=feed, out=out, duration=duration, simulator=simulator, state=state)


@app.command(rich_help_panel="Recordings")
def replay(
    files: Annotated[list[Path], typer.Argument(help="Recordings, replayed together.", show_default=False)],
    filename: Annotated[
        Path | None,
        typer.Option(
            "-f", "--filename", help="Strategies, fees and limits; else a plain cross-venue default.", show_default=False
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write the report here (JSON).", show_default=False)] = None,
    instruments: Annotated[
        Path | None,
        typer.Option("--instruments", help="Trading rules (JSON) for recordings that carry none.", show_default=False),
    ] = None,
    output: Format = Output.TEXT,
) -> None:
    """Replay recordings through the code that trades: same frames, same result, byte for byte."""
    from arbkube.cli.commands.recordings import run_replay

    run_replay(files, manifests=filename, report=report, instruments=instruments, as_json=output is Output.JSON)


@app.command(rich_help_panel="Help")
def doctor(
    filename: Annotated[
        Path | None, typer.Option("-f", "--filename", help="Also check these manifests.", show_default=False)
    ] = None,
    state: State = _STATE,
    output: Format = Output.TEXT,
) -> None:
    """Check this machine and installation; each finding comes with its remedy."""
    from arbkube.cli.commands.doctor import run_doctor

    run_doctor(filename, state=state, as_json=output is Output.JSON)


@app.command(
    rich_help_panel="Help",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def pod(context: typer.Context) -> None:
    """Run one pod in this process: `arb pod feed --help`. This is what `arb up` and Kubernetes start."""
    from arbkube.pods.__main__ import main as pod_main

    raise typer.Exit(pod_main(context.args))


def main() -> None:
    """The console script."""
    raise SystemExit(run(app))


def run(command: Callable[[], object]) -> int:
    """Call the command line; the exit code, with any error told on standard error."""
    try:
        command()
    except ArbError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.remedy:
            print(f"remedy: {error.remedy}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        return ExitCode.OK
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        print("remedy: check that the path exists and may be read and written, and that the disk is not full", file=sys.stderr)
        return ExitCode.ENVIRONMENT
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.OK if end.code is None else ExitCode.FAILED
    return ExitCode.OK


if __name__ == "__main__":
    main()
