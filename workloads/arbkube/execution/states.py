"""The life of an intent as a table: state × event → state, outcome, action. `docs/execution.md` holds the same table.

For: the one place that says what follows what; the engine only looks it up. May not: compute or do I/O.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from arbkube.execution.model import IntentOutcome, IntentState


class IntentEvent(StrEnum):
    """What the orders of an intent amount to, judged anew after every report."""

    PENDING = "Pending"
    """An order's outcome is open (sent, or unknown)."""
    LEG_FILLED = "LegFilled"
    """Sequential: the last leg sent has filled something, and another leg is left."""
    NOTHING = "Nothing"
    """Every order is final and nothing is filled."""
    EVEN = "Even"
    """Every leg is filled to the same share, but for less than its market can trade."""
    UNEVEN_COMPLETABLE = "UnevenCompletable"
    """Legs are filled unevenly; policy, lots and a fresh book allow the missing part to be ordered."""
    UNEVEN = "Uneven"
    """Legs are filled unevenly and can be brought back to even."""
    WAITING = "Waiting"
    """An unwind is due, but no fresh book offers anything within `maxLoss`, or the last attempt was a moment ago."""
    EXHAUSTED = "Exhausted"
    """Legs are uneven and the unwind's attempts or patience are used up."""
    DUST = "Dust"
    """Legs are uneven by less than the venue's minimum order."""


class Action(StrEnum):
    """What the engine does on a transition, besides writing it down."""

    NONE = "-"
    SEND_NEXT_LEG = "SendNextLeg"
    SEND_COMPLETE = "SendComplete"
    SEND_UNWIND = "SendUnwind"
    WAIT = "Wait"
    """Look again when the book or the time has come."""


class Step(msgspec.Struct, frozen=True):
    state: IntentState
    outcome: IntentOutcome | None
    action: Action


_W, _C, _U, _D, _S = (
    IntentState.WORKING,
    IntentState.COMPLETING,
    IntentState.UNWINDING,
    IntentState.DONE,
    IntentState.STUCK,
)
_E = IntentEvent

TABLE: dict[tuple[IntentState, IntentEvent], Step] = {
    (_W, _E.PENDING): Step(_W, None, Action.NONE),
    (_W, _E.LEG_FILLED): Step(_W, None, Action.SEND_NEXT_LEG),
    (_W, _E.NOTHING): Step(_D, IntentOutcome.MISSED, Action.NONE),
    (_W, _E.EVEN): Step(_D, IntentOutcome.FILLED, Action.NONE),
    (_W, _E.UNEVEN_COMPLETABLE): Step(_C, None, Action.SEND_COMPLETE),
    (_W, _E.UNEVEN): Step(_U, None, Action.SEND_UNWIND),
    (_W, _E.WAITING): Step(_U, None, Action.WAIT),
    (_W, _E.DUST): Step(_D, IntentOutcome.RESIDUAL, Action.NONE),
    (_C, _E.PENDING): Step(_C, None, Action.NONE),
    (_C, _E.EVEN): Step(_D, IntentOutcome.COMPLETED, Action.NONE),
    (_C, _E.UNEVEN): Step(_U, None, Action.SEND_UNWIND),
    (_C, _E.WAITING): Step(_U, None, Action.WAIT),
    (_C, _E.DUST): Step(_D, IntentOutcome.RESIDUAL, Action.NONE),
    (_U, _E.PENDING): Step(_U, None, Action.NONE),
    (_U, _E.NOTHING): Step(_D, IntentOutcome.UNWOUND, Action.NONE),
    (_U, _E.EVEN): Step(_D, IntentOutcome.UNWOUND, Action.NONE),
    (_U, _E.UNEVEN): Step(_U, None, Action.SEND_UNWIND),
    (_U, _E.WAITING): Step(_U, None, Action.WAIT),
    (_U, _E.EXHAUSTED): Step(_S, IntentOutcome.STUCK, Action.NONE),
    (_U, _E.DUST): Step(_D, IntentOutcome.RESIDUAL, Action.NONE),
}
"""A fill that arrives in Done or Stuck puts the intent back to Unwinding first: what is booked is judged again."""
