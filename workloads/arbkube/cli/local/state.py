"""`arb reset`: forgetting everything.

For: deleting a state directory safely. May not: delete anything that is not one, or one that is in use.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import typer

from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.cli.local.edits import MANIFESTS
from arbkube.cli.local.runfile import CONTROL_STATE, CREDENTIALS, RETRIES, StateLockedError, lock_state
from arbkube.cli.local.supervisor import end_leftover_servers

_OURS = {"lock", "run.json", "run.json.new", "report.json", "logs", "journal", "control", "bus"} | {
    CREDENTIALS,
    CONTROL_STATE,
    RETRIES,
    MANIFESTS,
}


def reset_state(state: Path, *, confirmed: bool) -> None:
    """Delete `state` after asking. Raises ArbError where it is in use or holds something else."""
    if not state.exists():
        typer.echo(f"{state}: nothing there")
        return
    strangers = sorted(entry.name for entry in state.iterdir() if entry.name not in _OURS)
    if strangers:
        raise ArbError(
            f"{state} is not only a state directory: it holds {', '.join(strangers[:5])}",
            remedy="give the right directory with --state",
            code=ExitCode.ENVIRONMENT,
        )
    if not confirmed and not typer.confirm(f"Delete {state}: journals, paper accounts, logs?", default=False):
        typer.echo("nothing deleted")
        return
    try:
        with lock_state(state):
            end_leftover_servers(state.resolve())
            shutil.rmtree(state)
    except StateLockedError as error:
        raise ArbError(str(error), remedy="end the running `arb up` first", code=ExitCode.ENVIRONMENT) from error
    except OSError as error:
        raise ArbError(
            f"{state}: {error.strerror or error}", remedy="check its permissions", code=ExitCode.ENVIRONMENT
        ) from error
    typer.echo(f"{state}: deleted")
