"""`arb validate` and `arb plan`: what manifests say and would do.

For: showing violations, workloads and changes. May not: change anything.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.cli.common.inputs import load_directory, load_valid
from arbkube.cli.local.edits import read_admitted
from arbkube.cli.local.runfile import read_run_file
from arbkube.plan.documents import encode_document
from arbkube.plan.planning import Plan
from arbkube.plan.planning import plan as plan_of
from arbkube.resources.changes import Change, changes
from arbkube.resources.loading import Resources, load
from arbkube.resources.violations import describe_violations, violations_as_json


def show_validation(directory: Path, *, as_json: bool) -> None:
    """Print every violation; exit code 3 where there is one."""
    loaded = load_directory(directory)
    resources = loaded.resources
    if as_json:
        print_json({"valid": not loaded.violations, "violations": violations_as_json(loaded.violations)})
    elif loaded.violations:
        for line in describe_violations(loaded.violations):
            typer.echo(line)
        count = len(loaded.violations)
        typer.echo(f"{count} violation{'s' if count != 1 else ''}")
    else:
        typer.echo(
            f"valid: {len(resources.feeds)} VenueFeed, {len(resources.strategies)} ArbStrategy, "
            f"{len(resources.policies)} RiskPolicy"
        )
    if loaded.violations:
        raise typer.Exit(ExitCode.INVALID)


def show_plan(directory: Path, *, against: Path | None, state: Path, as_json: bool) -> None:
    """Print what would run, and how it differs from `against` or from what runs now. Raises ArbError."""
    resources = load_valid(directory)
    planned = plan_of(resources)
    base: Resources | None = None
    compared = str(against)
    if against is not None:
        try:
            base = load_valid(against)
        except ArbError as error:
            raise ArbError(
                f"the manifests to compare with are invalid: {error}", remedy=error.remedy, code=error.code
            ) from error
    elif (run := read_run_file(state)) is not None and (admitted := read_admitted(state)) is not None:
        # What was admitted is what runs; the files may have been edited since, or be edited just now.
        base, compared = load(admitted.texts).resources, f"what runs from {run.directory}"
    differences = None if base is None else changes(base, resources)
    if as_json:
        print_json(
            {
                "workloads": msgspec.to_builtins(planned.workloads),
                "documents": {name: msgspec.Raw(encode_document(document)) for name, document in planned.documents.items()},
                "changes": None if differences is None else msgspec.to_builtins(differences),
            }
        )
        return
    console = Console()
    console.print(_workloads(planned))
    if base is None:
        console.print("[dim]nothing runs here to compare with; name manifests with --against to see changes[/]")
    elif not differences:
        console.print(f"no change against {compared}", highlight=False)
    else:
        console.print(_changes(differences or []))


def _workloads(planned: Plan) -> Table:
    table = Table(title=f"{len(planned.workloads)} pods, all on PAPER", title_justify="left")
    for heading in ("pod", "role", "for", "revision"):
        table.add_column(heading)
    for workload in planned.workloads:
        owners = ", ".join(f"{ref.kind}/{ref.name}" for ref in workload.resources) or "the namespace"
        table.add_row(workload.name, workload.role.value, owners, planned.documents[workload.document].revision)
    return table


def _changes(differences: list[Change]) -> Table:
    table = Table(title="Changes", title_justify="left")
    for heading in ("object", "field", "from", "to", "effect"):
        table.add_column(heading, overflow="fold")
    for change in differences:
        effect = change.effect.value if change.safer is None else f"{change.effect.value}, {change.safer.value.lower()}"
        table.add_row(f"{change.kind}/{change.name}", change.path, _text(change.old), _text(change.new), effect)
    return table


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def print_json(value: object) -> None:
    """Print `value` as indented JSON on standard output."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
