"""The life of an intent, and of a Flatten, as tables: state × event → state, outcome, action. `docs/execution.md` has the same.

For: the one place that says what follows what; the settler only looks it up. May not: compute or do I/O.
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
    HALTED_COMPLETABLE = "HaltedCompletable"
    """Sequential: a halt or doubt stops the next leg; policy, lots and a fresh book allow the missing part to be ordered."""
    HALTED = "Halted"
    """A halt or doubt stops the next leg, or a CancelOpen the completing; what is filled can be brought back to even."""
    WAITING = "Waiting"
    """An unwind is due, but no fresh book offers anything within `maxLoss`, or the last attempt was a moment ago."""
    EXHAUSTED = "Exhausted"
    """Legs are uneven and the unwind's attempts or patience are used up."""
    DUST = "Dust"
    """Legs are uneven by less than the venue's minimum order."""


class FlattenEvent(StrEnum):
    """What the orders of a Flatten and the holdings that it covers amount to, judged anew after every report."""

    DUE = "Due"
    """A holding is off its target, and a fresh book offers something within price and budget."""
    PENDING = "Pending"
    """An order's outcome is open, and no other holding is due; or another intent is not settled."""
    WAITING = "Waiting"
    """A holding is off its target, but nothing is offered within the bounds, or the last attempt was a moment ago."""
    FLAT = "Flat"
    """Every holding is at its target."""
    DUST = "Dust"
    """What is off target is below the venue's minimum order."""
    LIFTED = "Lifted"
    """Every order is final and the halt has been cleared."""
    EXHAUSTED = "Exhausted"
    """What is off target cannot be traded, or time or budget are used up."""


class Action(StrEnum):
    """What the settler does on a transition, besides writing it down."""

    NONE = "-"
    SEND_NEXT_LEG = "SendNextLeg"
    SEND_COMPLETE = "SendComplete"
    SEND_UNWIND = "SendUnwind"
    SEND_FLATTEN = "SendFlatten"
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

INTENT_TABLE: dict[tuple[IntentState, IntentEvent], Step] = {
    (_W, _E.PENDING): Step(_W, None, Action.NONE),
    (_W, _E.LEG_FILLED): Step(_W, None, Action.SEND_NEXT_LEG),
    (_W, _E.NOTHING): Step(_D, IntentOutcome.MISSED, Action.NONE),
    (_W, _E.EVEN): Step(_D, IntentOutcome.FILLED, Action.NONE),
    (_W, _E.UNEVEN_COMPLETABLE): Step(_C, None, Action.SEND_COMPLETE),
    (_W, _E.UNEVEN): Step(_U, None, Action.SEND_UNWIND),
    (_W, _E.HALTED_COMPLETABLE): Step(_C, None, Action.SEND_COMPLETE),
    (_W, _E.HALTED): Step(_U, None, Action.SEND_UNWIND),
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

_L = IntentState.FLATTENING
_F = FlattenEvent

FLATTEN_TABLE: dict[tuple[IntentState, FlattenEvent], Step] = {
    (_L, _F.DUE): Step(_L, None, Action.SEND_FLATTEN),
    (_L, _F.PENDING): Step(_L, None, Action.WAIT),
    (_L, _F.WAITING): Step(_L, None, Action.WAIT),
    (_L, _F.FLAT): Step(_D, IntentOutcome.FLATTENED, Action.NONE),
    (_L, _F.DUST): Step(_D, IntentOutcome.RESIDUAL, Action.NONE),
    (_L, _F.LIFTED): Step(_D, IntentOutcome.LIFTED, Action.NONE),
    (_L, _F.EXHAUSTED): Step(_S, IntentOutcome.STUCK, Action.NONE),
}
"""A fill that arrives in Done or Stuck puts the Flatten back to Flattening first."""
