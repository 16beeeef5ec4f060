"""`arb halt` and `arb resume`: stopping and going on, straight through the control server.

For: commands that work while supervisor, operator or bus do not. A halt is done when every executor it covers has said that it
holds it. May not: lift a halt that the manifests still ask for.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import typer
from redis.exceptions import RedisError

from arbkube.cli.commands.manifests import print_json
from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.cli.local.edits import read_admitted
from arbkube.cli.local.runfile import CREDENTIALS, RunFile, read_run_file
from arbkube.control.acl import User
from arbkube.control.halts import PERSON, Clear, Halt, HaltReason, Level, Log, Scope, covers
from arbkube.control.protocol import Ack
from arbkube.control.writer import ControlWriter
from arbkube.plan.planning import Role
from arbkube.resources.kinds import HaltMode
from arbkube.resources.loading import Resources, load

_PATIENCE_S = 5.0
"""How long executors may take to say that they hold a halt; a living one takes milliseconds."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a command brought about: entries written, and which executors hold what they say."""

    entries: tuple[str, ...]
    acknowledged: tuple[str, ...]
    silent: tuple[str, ...]
    """Executors that did not answer in time. One that is down reads the log before it opens anything."""
    elapsed_ms: float


def run_halt(state: Path, *, strategy: str | None, venue: str | None, mode: HaltMode, detail: str, as_json: bool) -> None:
    """Halt everything, a strategy or a venue, and wait for the executors. Raises ArbError where one stays silent."""
    run = _running(state)
    level, subject = _scope(strategy, venue)
    _check_subject(state, strategy, venue)
    halt = Halt(
        id=uuid.uuid4().hex[:16],
        level=level,
        subject=subject,
        mode=mode,
        owner=PERSON,
        reason=HaltReason.COMMANDED,
        detail=detail,
        at_ns=time.time_ns(),
    )
    outcome = asyncio.run(_halt(run, state, halt, _covered(run, state, halt)))
    what = "everything" if level is Level.ALL else f"{level.value.lower()} {subject}"
    _tell(outcome, f"halted {what} ({mode.value}), id {halt.id}", as_json=as_json)


def run_resume(state: Path, *, strategy: str | None, venue: str | None, halt_id: str | None, as_json: bool) -> None:
    """Clear the halts of exactly this scope, or the one named. Raises ArbError where there is none, or its spec still asks."""
    run = _running(state)
    level, subject = _scope(strategy, venue)
    outcome = asyncio.run(_resume(run, state, level, subject, halt_id))
    what = halt_id or ("everything" if level is Level.ALL else f"{level.value.lower()} {subject}")
    _tell(outcome, f"resumed {what}: {len(outcome.entries)} halt(s) cleared", as_json=as_json)


async def _halt(run: RunFile, state: Path, halt: Halt, covered: Sequence[str]) -> Outcome:
    writer = _writer(run, state)
    try:
        started = time.monotonic()
        await writer.append([halt])
        acks = await _until(writer, covered, lambda ack: halt.id in ack.halts)
        return _outcome([halt.id], acks, covered, started)
    except (RedisError, OSError, TimeoutError) as error:
        raise _unreachable(error) from error
    finally:
        await writer.close()


async def _resume(run: RunFile, state: Path, level: Level, subject: str, halt_id: str | None) -> Outcome:
    writer = _writer(run, state)
    try:
        active = Log((await writer.look()).halts).active()
        wanted = [
            halt for halt in active if halt.id == halt_id or (not halt_id and (halt.level, halt.subject) == (level, subject))
        ]
        if not wanted:
            others = ", ".join(f"{halt.id} ({_said(halt)})" for halt in active)
            raise ArbError(
                "no such halt is in force" + (f"; in force: {others}" if others else ""),
                remedy="name its scope as it was halted, or its id: `arb status` lists them" if others else "",
                code=ExitCode.INVALID,
            )
        by_spec = [halt for halt in wanted if halt.reason is HaltReason.SPEC]
        if by_spec:
            raise ArbError(
                f"{by_spec[0].subject} is halted by its own spec",
                remedy="set `halt: false` in its manifest",
                code=ExitCode.INVALID,
            )
        started = time.monotonic()
        clears = [Clear(id=uuid.uuid4().hex[:16], halt=halt.id, owner=PERSON, at_ns=time.time_ns()) for halt in wanted]
        await writer.append(clears)
        covered = sorted({pod for halt in wanted for pod in _covered(run, state, halt)})
        gone = {halt.id for halt in wanted}
        acks = await _until(writer, covered, lambda ack: not gone & set(ack.halts))
        return _outcome([clear.id for clear in clears], acks, covered, started)
    except (RedisError, OSError, TimeoutError) as error:
        raise _unreachable(error) from error
    finally:
        await writer.close()


async def _until(writer: ControlWriter, covered: Sequence[str], holds: Callable[[Ack], bool]) -> Mapping[str, Ack]:
    """Acks of those of `covered` that hold what is asked, as soon as all do or patience ends."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        agreed = {pod: ack for pod, ack in (await writer.acks(covered)).items() if holds(ack)}
        remaining = deadline - time.monotonic()
        if len(agreed) == len(covered) or remaining <= 0:
            return agreed
        await writer.news(min(remaining, 0.2))


def _outcome(entries: Sequence[str], acks: Mapping[str, Ack], covered: Sequence[str], started: float) -> Outcome:
    return Outcome(
        entries=tuple(entries),
        acknowledged=tuple(sorted(acks)),
        silent=tuple(sorted(set(covered) - set(acks))),
        elapsed_ms=round((time.monotonic() - started) * 1000, 1),
    )


def _tell(outcome: Outcome, what: str, *, as_json: bool) -> None:
    count = len(outcome.acknowledged)
    if as_json:
        print_json(outcome)
    else:
        typer.echo(f"{what}: {count} executor{'s' if count != 1 else ''} agreed within {outcome.elapsed_ms} ms")
    if outcome.silent:
        raise ArbError(
            f"it stands in the log, but {', '.join(outcome.silent)} did not answer within {_PATIENCE_S:.0f} s",
            remedy="look at their logs; an executor that hears nothing for a second opens nothing",
        )


def _running(state: Path) -> RunFile:
    run = read_run_file(state)
    if run is None:
        raise ArbError(
            f"nothing runs with state {state}",
            remedy="name the state directory of the running `arb up`",
            code=ExitCode.NOT_RUNNING,
        )
    return run


def _writer(run: RunFile, state: Path) -> ControlWriter:
    return ControlWriter(run.control, credentials=state / CREDENTIALS, user=User.PERSON)


def _scope(strategy: str | None, venue: str | None) -> tuple[Level, str]:
    if strategy is not None and venue is not None:
        raise ArbError("a halt covers a strategy or a venue, not both", remedy="give two commands", code=ExitCode.USAGE)
    if strategy is not None:
        return Level.STRATEGY, strategy
    return (Level.VENUE, venue) if venue is not None else (Level.ALL, "")


def _check_subject(state: Path, strategy: str | None, venue: str | None) -> None:
    """Refuse a name that nothing here has: a typing error must not pass for a halt."""
    admitted = read_admitted(state)
    if admitted is None:
        return
    resources = load(admitted.texts).resources
    known = {feed.spec.venue for feed in resources.feeds.values()} if venue is not None else set(resources.strategies)
    name = venue if venue is not None else strategy
    if name is not None and name not in known:
        raise ArbError(
            f"there is no {'venue' if venue is not None else 'strategy'} {name} here",
            remedy=f"one of {', '.join(sorted(known))}, or neither option to halt everything",
            code=ExitCode.INVALID,
        )


def _covered(run: RunFile, state: Path, halt: Halt) -> list[str]:
    """The executors that have to answer: those of the strategies that the halt covers."""
    admitted = read_admitted(state)
    resources = load(admitted.texts).resources if admitted is not None else Resources()
    covered = []
    for pod, role in run.pods.items():
        if role != Role.EXECUTOR:
            continue
        strategy = pod.removeprefix("executor-")
        spec = resources.strategies[strategy].spec if strategy in resources.strategies else None
        venue_of = {ref.name: resources.feeds[ref.name].spec.venue for ref in spec.feeds} if spec is not None else {}
        if covers(halt, Scope(strategy=strategy, venue_of=venue_of)):
            covered.append(pod)
    return covered


def _said(halt: Halt) -> str:
    return f"{halt.level.value} {halt.subject}".strip() + f", {halt.mode.value}, {halt.reason.value}"


def _unreachable(error: Exception) -> ArbError:
    return ArbError(
        f"the control server does not answer: {error}",
        remedy="executors open nothing while it is away; `arb up` starts it again",
        code=ExitCode.ENVIRONMENT,
    )
