"""Intents, orders, fills: the words of execution.

For: what the journal stores, the broker speaks and reports count. May not: do I/O or read a clock.
Money and quantities are decimals; times are integer nanoseconds UTC.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum

import msgspec

from arbkube.detection.model import Leg
from arbkube.market.instruments import Side


class Purpose(StrEnum):
    """Why an order is sent. Only `Open` may increase risk, and only it asks for halts; the others may only reduce exposure."""

    OPEN = "Open"
    """A leg of an opportunity."""
    COMPLETE = "Complete"
    """What a leg is missing of what the others filled."""
    UNWIND = "Unwind"
    """Back to the position before the intent."""
    FLATTEN = "Flatten"
    """Back to the target inventory, because a halt asks for it."""


class IntentState(StrEnum):
    """Where an intent stands; the transitions are the table in `docs/execution.md`."""

    WORKING = "Working"
    """Its legs are being sent or filled."""
    COMPLETING = "Completing"
    """An unequal fill is being completed."""
    UNWINDING = "Unwinding"
    """What was filled is being reversed."""
    FLATTENING = "Flattening"
    """Of a Flatten: holdings are being brought back to target."""
    DONE = "Done"
    """Every leg filled as intended, or nothing was filled at all; see the outcome."""
    STUCK = "Stuck"
    """Exposure remains booked and a person is needed."""


class IntentOutcome(StrEnum):
    """How an intent ended, or why it was refused before anything was sent."""

    FILLED = "Filled"
    """Every leg filled as intended."""
    COMPLETED = "Completed"
    """Unequal at first, then completed."""
    UNWOUND = "Unwound"
    """Unequal, and reversed."""
    MISSED = "Missed"
    """Nothing was filled."""
    FLATTENED = "Flattened"
    """Of a Flatten: every holding is at its target."""
    LIFTED = "Lifted"
    """Of a Flatten: its halt was cleared before the target was reached."""
    RESIDUAL = "Residual"
    """Settled but for dust below the venue's minimum, which stays booked."""
    STUCK = "Stuck"
    """Exposure remains booked and a person is needed."""
    REFUSED = "Refused"
    """A gate refused it (the reason beside it); no order was sent."""


class OrderState(StrEnum):
    JOURNALED = "Journaled"
    """Decided and written down; not sent yet."""
    SENT = "Sent"
    """Handed to the broker; no answer yet."""
    FILLED = "Filled"
    """All of it was executed."""
    PARTLY_FILLED = "PartlyFilled"
    """Part of it was executed, the rest expired."""
    MISSED = "Missed"
    """Expired at the venue with nothing filled: an IOC miss, not a failure."""
    REJECTED = "Rejected"
    """The venue refused it; nothing was executed."""
    UNKNOWN = "Unknown"
    """Sent, and no answer can be trusted: never sent again, queried by id."""
    NOT_FOUND = "NotFound"
    """Finally known not to exist at the venue."""


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution. `trade_id` is the venue's, unique per feed: a second report of it is booked no second time."""

    trade_id: str
    order_id: str
    intent_id: str
    feed: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    at_ns: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One immediate-or-cancel limit order."""

    id: str
    intent_id: str
    leg: int
    purpose: Purpose
    feed: str
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal
    created_ns: int
    deadline_ns: int
    """Past this moment the venue must not execute it."""
    state: OrderState
    filled: Decimal = Decimal(0)
    reason: str = ""
    budget: Decimal = Decimal(0)
    """Of a Flatten's order: the most it can lose against the mark it was sent at, in the profit asset."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """The decision to take one opportunity, or to obey one halt's Flatten, journaled before any of its orders is sent."""

    id: str
    opportunity_id: str
    """Of a Flatten: the halt's id."""
    identity: str
    strategy: str
    revision: str
    created_ns: int
    legs: tuple[Leg, ...]
    """As re-priced on the executor's own books: what is meant to be filled. A refused one has the opportunity's.
    Of a Flatten: what brings each holding back that a market of its venue can trade."""
    profit_asset: str
    expected_profit: Decimal
    """Of a Flatten: its budget, which it may lose at most, below zero."""
    state: IntentState
    outcome: IntentOutcome | None = None
    reason: str = ""
    closed_ns: int | None = None


FLATTEN = "Flatten:"
"""What the identity of a Flatten begins with; its halt's id follows."""


def intent_id(strategy_uid: str, opportunity_id: str) -> str:
    """32 hex digits from strategy and opportunity: a repeated opportunity gives the same intent, which the journal refuses."""
    return hashlib.sha256(f"{strategy_uid}\n{opportunity_id}".encode()).hexdigest()[:32]


def order_id(intent: str, leg: int, purpose: Purpose, attempt: int) -> str:
    """32 hex digits in UUID form: every venue accepts that as a client order id."""
    digits = hashlib.sha256(f"{intent}\n{leg}\n{purpose.value}\n{attempt}".encode()).hexdigest()[:32]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
