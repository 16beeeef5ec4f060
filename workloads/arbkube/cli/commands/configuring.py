"""`arb config`: what configuration runs, how it came there, what differs, and trying a refused one again.

For: reading the durable state of rollouts, with the pods' acks where they can be had. May not: change a document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import typer
from redis.exceptions import RedisError
from rich.console import Console, Group
from rich.table import Table

from arbkube.cli.commands.manifests import print_json
from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.cli.local.configuration import read_configuration
from arbkube.cli.local.runfile import CONTROL_STATE, CREDENTIALS, RETRIES, read_run_file
from arbkube.cli.local.table import documents, notices
from arbkube.control.acl import User
from arbkube.control.protocol import Ack, Ref
from arbkube.control.rollout.state import ControlState, DocumentState, Stored, decode_state
from arbkube.control.writer import ControlWriter


def show_config_status(state: Path, *, as_json: bool) -> None:
    """Print where each document stands. Raises ArbError where none ever ran."""
    _read(state)
    configuration = read_configuration(state, asyncio.run(read_acks(state)))
    if as_json:
        print_json(configuration)
    elif configuration is not None:
        Console().print(Group(documents(configuration), *notices(configuration)))


def show_config_history(state: Path, *, document: str | None, as_json: bool) -> None:
    """Print what happened to each document, newest first."""
    control = _read(state)
    _known(control, document)
    steps = [
        {"document": name, **msgspec.to_builtins(step)}
        for name, found in control.history.items()
        if document in (None, name)
        for step in found
    ]
    steps.sort(key=lambda step: step["at_ns"], reverse=True)
    if as_json:
        print_json(steps)
        return
    table = Table(title="History, newest first", title_justify="left")
    for heading in ("time", "document", "event", "phase", "reason", "revision", "took"):
        table.add_column(heading, overflow="fold")
    for step in steps:
        ref = msgspec.convert(step["ref"], Ref) if step["ref"] else "-"
        reason = f"{step['reason']}: {step['detail']}" if step["detail"] else step["reason"]
        took = f"{step['propagation_ns'] / 1e6:.0f} ms" if step["propagation_ns"] is not None else "-"
        table.add_row(_time(step["at_ns"]), step["document"], step["event"], step["phase"], reason, str(ref), took)
    Console().print(table)


def show_config_diff(state: Path, *, document: str, revision: str | None, against: str | None, as_json: bool) -> None:
    """Print the fields in which two revisions differ: by default what is offered or runs, against what was before it."""
    control = _read(state)
    _known(control, document)
    found = control.documents[document]
    new = _named(found, revision) if revision is not None else found.candidate or found.run
    if new is None:
        raise ArbError(f"{document} has no revision yet", remedy="wait until it runs", code=ExitCode.NOT_RUNNING)
    old = _named(found, against) if against is not None else _before(found, new)
    differences = _differences(old, new)
    if as_json:
        print_json(
            {
                "document": document,
                "from": None if old is None else str(old.ref),
                "to": str(new.ref),
                "changes": [{"path": path, "from": before, "to": after} for path, before, after in differences],
            }
        )
        return
    if old is None:
        typer.echo(f"{document} {new.ref} is the only revision kept")
        return
    table = Table(title=f"{document}: {old.ref} → {new.ref}", title_justify="left")
    for heading in ("field", "from", "to"):
        table.add_column(heading, overflow="fold")
    for path, before, after in differences:
        table.add_row(path, _text(before), _text(after))
    Console().print(table if differences else f"{document}: {old.ref} and {new.ref} say the same")


def run_config_retry(state: Path, *, document: str) -> None:
    """Let a document that was rejected or rolled back be tried once more. Raises ArbError where there is nothing to try."""
    if read_run_file(state) is None:
        raise ArbError(
            f"nothing runs with state {state}", remedy="start it: arb up -f manifests/quickstart", code=ExitCode.NOT_RUNNING
        )
    control = _read(state)
    _known(control, document)
    if not control.rejected.get(document):
        raise ArbError(
            f"nothing of {document} was rejected", remedy="`arb config status` says where it stands", code=ExitCode.INVALID
        )
    directory = state / RETRIES
    directory.mkdir(exist_ok=True)
    (directory / document).touch()
    typer.echo(f"{document} is tried again; `arb config status` shows how it fares")


def _read(state: Path) -> ControlState:
    path = state / CONTROL_STATE
    try:
        return decode_state(path.read_bytes())
    except FileNotFoundError:
        raise ArbError(
            f"{state} holds no configuration",
            remedy="run `arb up` first, or name its state directory",
            code=ExitCode.NOT_RUNNING,
        ) from None
    except msgspec.MsgspecError as error:
        raise ArbError(
            f"{path} is damaged: {error}",
            remedy="move it away: what runs is rolled out anew, and executors ask for a person (StateLost)",
            code=ExitCode.ENVIRONMENT,
        ) from error


def _known(control: ControlState, document: str | None) -> None:
    if document is not None and document not in control.documents:
        raise ArbError(
            f"there is no document {document}", remedy=f"one of {', '.join(sorted(control.documents))}", code=ExitCode.INVALID
        )


async def read_acks(state: Path) -> dict[str, Ack] | None:
    """The pods' acks; None where nothing runs or the server does not answer."""
    run = read_run_file(state)
    if run is None:
        return None
    writer = ControlWriter(run.control, credentials=state / CREDENTIALS, user=User.PERSON)
    try:
        return (await writer.look()).acks
    except (RedisError, OSError, TimeoutError):
        return None
    finally:
        await writer.close()


def _named(document: DocumentState, order: str) -> Stored:
    for stored in document.revisions:
        if f"{stored.ref.order.term}.{stored.ref.order.serial}" == order:
            return stored
    kept = ", ".join(f"{stored.ref.order.term}.{stored.ref.order.serial}" for stored in document.revisions)
    raise ArbError(f"{document.name} keeps no revision {order}", remedy=f"one of {kept}", code=ExitCode.INVALID)


def _before(document: DocumentState, new: Stored) -> Stored | None:
    """The newest kept revision of lower order that says something else."""
    others = [s for s in document.revisions if s.ref.order < new.ref.order and s.ref.digest != new.ref.digest]
    return max(others, key=lambda stored: stored.ref.order, default=None)


def _differences(old: Stored | None, new: Stored) -> list[tuple[str, Any, Any]]:
    if old is None:
        return []
    before, after = (dict(_flat(msgspec.json.decode(stored.revision.content), "")) for stored in (old, new))
    paths = sorted(before.keys() | after.keys())
    return [(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path)]


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every leaf by its path; a list of plain values is a leaf."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for index, part in enumerate(value):
            yield from _flat(part, f"{path}[{index}]")
    else:
        yield path, value


def _text(value: Any) -> str:
    return "-" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%m-%d %H:%M:%S.%f")[:-3]
