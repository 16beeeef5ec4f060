"""The documented tables are the code's, every cell of the rollout's table is reached, and each leads where it says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import pytest

from arbkube.control.rollout import health, table
from arbkube.control.rollout.judging import _HOLDS
from arbkube.control.rollout.table import FAILURES, TABLE, Action, Event, Phase, Reason

DOC = Path(__file__).parents[2] / "docs" / "control.md"
_VOCABULARIES: dict[str, type[StrEnum]] = {"phases": Phase, "events": Event, "actions": Action, "reasons": Reason}


def documented(name: str) -> str:
    """What the page has between the marks of a table."""
    return DOC.read_text(encoding="utf-8").split(f"<!-- table: {name} -->\n")[1].split("<!-- end -->")[0]


def transitions() -> str:
    """The table of transitions as the page shows it: phases that a cell is the same for share a row."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for event in Event:
        for phase in Phase:
            if (step := TABLE.get((phase, event))) is not None:
                key = (
                    event.value,
                    step.phase.value,
                    step.action.value,
                    step.reason.value if step.reason else "the event's own",
                )
                rows.setdefault(key, []).append(phase.value)
    lines = ["| event | in | then | action | reason |", "|---|---|---|---|---|"]
    lines += [
        f"| {event} | {', '.join(phases) if len(phases) < len(Phase) else 'any'} | {then} | {action} | {reason} |"
        for (event, then, action, reason), phases in rows.items()
    ]
    return "\n".join(lines) + "\n"


def vocabulary(kind: type[StrEnum]) -> str:
    """The words of an enumeration, each with what the code says of it."""
    return "|  | |\n|---|---|\n" + "".join(f"| `{kind[name].value}` | {said} |\n" for name, said in meanings(kind))


def meanings(kind: type[StrEnum]) -> Iterator[tuple[str, str]]:
    """Member and docstring, in order; every member has one."""
    tree = ast.parse(Path(table.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    for member, said in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(target := member.targets[0], ast.Name):
            assert isinstance(said, ast.Expr)
            assert isinstance(said.value, ast.Constant)
            yield target.id, " ".join(str(said.value.value).split())


def thresholds() -> str:
    """The constants that a pod's health is judged by."""
    lines = ["| constant | value |", "|---|---|"]
    names = ("FACTOR", "REJECTS_AT_LEAST", "ERRORS_AT_LEAST", "ATTEMPTS_AT_LEAST")
    lines += [f"| `{name}` | {getattr(health, name)} |" for name in names]
    lines.append(f"| `AGE_FLOOR_NS` | {health.AGE_FLOOR_NS // 1_000_000_000} s |")
    return "\n".join(lines) + "\n"


def test_the_page_and_the_code_hold_the_same_transitions() -> None:
    assert documented("transitions") == transitions()


@pytest.mark.parametrize("name", _VOCABULARIES)
def test_the_page_and_the_code_mean_the_same_by_a_word(name: str) -> None:
    assert documented(name) == vocabulary(_VOCABULARIES[name])


def test_the_page_and_the_code_judge_by_the_same_figures() -> None:
    assert documented("thresholds") == thresholds()


def test_events_are_looked_for_in_the_order_that_is_documented() -> None:
    assert list(_HOLDS) == list(Event)


def test_every_event_action_and_reason_is_used() -> None:
    assert {event for _, event in TABLE} == set(Event)
    assert {step.action for step in TABLE.values()} == set(Action)
    own = {Reason.HEALTHY, Reason.INCONCLUSIVE, Reason.ERRORS_ROSE, Reason.REJECTS_ROSE, Reason.DATA_AGED}
    assert {step.reason for step in TABLE.values()} - {None} | own == set(Reason)


@pytest.mark.parametrize("phase", Phase)
def test_another_wish_moves_every_phase(phase: Phase) -> None:
    assert TABLE[phase, Event.WANTED].phase is Phase.PREPARING
    assert TABLE[phase, Event.AT_ONCE].phase is Phase.APPLYING


def test_every_failure_after_a_commit_goes_back() -> None:
    for phase in (Phase.CANARY, Phase.CANARY_BAKING, Phase.COMMITTING, Phase.BAKING):
        for event in FAILURES:
            if (step := TABLE.get((phase, event))) is not None:
                assert (step.phase, step.action) == (Phase.ROLLED_BACK, Action.RETURN)


def test_before_a_commit_no_step_changes_what_pods_run() -> None:
    harmless = {Action.NONE, Action.WITHDRAW, Action.OFFER}
    for event in (Event.REJECTED, Event.RESTARTED, Event.LATE, Event.REVERTED, Event.REFUSED):
        assert TABLE[Phase.PREPARING, event].action in harmless
