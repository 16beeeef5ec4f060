"""The holder's table: the same in code and document, and every row of it walked by a real holder."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from arbkube.control.protocol import Epoch
from arbkube.control.reservations.blocks import (
    IDLE_NS,
    TABLE,
    WANT_NS,
    Grant,
    HolderEvent,
    HolderState,
    Reply,
    Reservations,
    Verdict,
)
from tests.control.reservations.world import INCARNATION, terms, venue

DOC = Path(__file__).parents[3] / "docs" / "control.md"
X = venue("x")
NONE = {X: Decimal(0)}


def epoch(number: int) -> Epoch:
    return Epoch(incarnation=INCARNATION, number=number, run_id="r")


def answer(holder: Reservations, amount: int, verdict: Verdict = Verdict.DONE, *, capacity: int = 10, now_ns: int = 0) -> None:
    """Let the holder ask, and give it `amount`."""
    request = holder.request(NONE, now_ns)
    assert request is not None
    held, most = X.units_up(Decimal(amount)), X.units_up(Decimal(capacity))
    grant = Grant(held=held, capacity=most, asked_back=False, undeclared=())
    holder.answered(request, Reply(verdict=verdict, grants={X: grant} if verdict is Verdict.DONE else {}), now_ns)


def brought_to(state: HolderState) -> Reservations:
    holder = Reservations("a", terms=terms(X, first=2), token=1)
    if state is HolderState.UNDECLARED:
        holder.trust(epoch(1))
        return holder
    holder.trust(epoch(1))
    answer(holder, 0)
    if state is HolderState.WAITING:
        holder.want({X: Decimal(3)})
    if state is HolderState.OVERTAKEN:
        answer(holder, 0, Verdict.OVERTAKEN)
    assert holder.state is state
    return holder


def happen(holder: Reservations, event: HolderEvent) -> None:
    match event:
        case HolderEvent.EPOCH:
            holder.trust(epoch(2))
        case HolderEvent.DECLARED:
            answer(holder, 1)
        case HolderEvent.LACKED:
            holder.want({X: Decimal(4)})
        case HolderEvent.SATISFIED:
            answer(holder, 5)
        case HolderEvent.OVERTAKEN:
            answer(holder, 0, Verdict.OVERTAKEN)


def test_the_document_and_the_code_hold_the_same_table() -> None:
    section = DOC.read_text(encoding="utf-8").split("<!-- table: holder -->")[1].split("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.strip().splitlines()[2:]]
    assert [tuple(row[:3]) for row in rows] == [(s.value, e.value, to.value) for (s, e), to in TABLE.items()]


@pytest.mark.parametrize(("state", "event"), TABLE)
def test_a_holder_follows_the_table(state: HolderState, event: HolderEvent) -> None:
    holder = brought_to(state)
    happen(holder, event)
    assert holder.state is TABLE[state, event]
    covered = holder.state in (HolderState.HOLDING, HolderState.WAITING)
    assert holder.covers(NONE) is covered, "only what is declared is covered"


def test_what_was_waited_for_in_vain_is_wanted_no_more() -> None:
    holder = brought_to(HolderState.WAITING)
    answer(holder, 0)
    assert holder.state is HolderState.WAITING
    answer(holder, 0, now_ns=WANT_NS)
    assert holder.state.value == "Holding"


def test_what_can_never_be_is_wanted_no_more() -> None:
    holder = brought_to(HolderState.WAITING)
    answer(holder, 0, capacity=2)
    assert holder.state is HolderState.HOLDING


def test_an_idle_holder_keeps_what_one_open_needs() -> None:
    holder = Reservations("a", terms=terms(X, first=2, opens=3), token=1)
    holder.trust(epoch(1))
    answer(holder, 0)
    answer(holder, 9)
    holder.spend()
    answer(holder, 9, now_ns=1)
    idle = holder.request(NONE, IDLE_NS + 1)
    assert idle is not None
    assert idle.asks[X].target == X.units_up(Decimal(2))
    assert holder.held == {X: Decimal(2)}, "given back here before the server hears of it"
    assert holder.request(NONE, IDLE_NS + 2) is idle, "the same until it is answered"


def test_a_pool_that_cannot_be_valued_is_not_declared() -> None:
    holder = brought_to(HolderState.UNDECLARED)
    assert holder.request({X: None}, 0) is None
    assert not holder.covers({X: None})
