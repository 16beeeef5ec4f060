"""Figures of one executor for reports: what became of intents and orders, fees, and PnL that equals the sum over fills.

For: folding trades into exact totals. May not: do I/O or value anything: `residual` is what the executor's own marks said last.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbkube.execution.model import Fill, Intent, IntentOutcome, IntentState, Order
from arbkube.execution.protocols import EquityPoint
from arbkube.risk.inventory import trade_flows
from arbkube.risk.money import exactly


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with all that came of it: opportunity id → intent → orders → fills."""

    intent: Intent
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One trade, traceable by ids, with what it moved."""

    opportunity: str
    intent: str
    identity: str
    outcome: str
    orders: tuple[str, ...]
    fills: tuple[str, ...]
    """`feed/trade id` of each."""
    flows: dict[str, Decimal]
    """Net amount of each asset moved, fees included; zeros are left out."""


class PnlFigures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    profit_asset: str
    flows: dict[str, Decimal]
    """Sum over all fills of each asset moved, fees included; zeros are left out."""
    cash: Decimal
    """The profit asset's flow."""
    residual: Decimal | None
    """Worth of all other flows at conservative marks when the executor last looked; None if it could not value them."""
    arb: Decimal | None
    """cash + residual: ArbPnL."""
    inventory: Decimal | None
    """What the target inventory itself has gained since the first look: kept apart, not in `arb`."""


class ExecutionFigures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Everything a report says of one executor. Counts by the words of `execution.model` and `risk.gates`."""

    intents: dict[str, int]
    """By outcome; unsettled ones by state."""
    refusals: dict[str, int]
    orders: dict[str, int]
    """By state."""
    fills: int
    fees: dict[str, Decimal]
    """By asset."""
    pnl: PnlFigures
    round_trips: tuple[RoundTrip, ...]
    """Trades with fills whose every leg came back even: filled or completed, oldest first."""


@exactly
def execution_figures(
    *,
    profit_asset: str,
    trades: Iterable[Trade],
    refusals: dict[str, int],
    first: EquityPoint | None,
    last: EquityPoint | None,
) -> ExecutionFigures:
    """Fold an executor's trades. `first` and `last` are points of its equity curve, the last one taken after the last fill."""
    intents: dict[str, int] = {}
    orders: dict[str, int] = {}
    fees: dict[str, Decimal] = {}
    total: dict[str, Decimal] = {}
    fills = 0
    round_trips = []
    for trade in trades:
        outcome = trade.intent.outcome
        _count(intents, (outcome or trade.intent.state).value)
        for order in trade.orders:
            _count(orders, order.state.value)
        flows = _flows(trade.fills)
        for asset, amount in flows.items():
            total[asset] = total.get(asset, Decimal(0)) + amount
        for fill in trade.fills:
            fees[fill.fee_asset] = fees.get(fill.fee_asset, Decimal(0)) + fill.fee
        fills += len(trade.fills)
        if trade.intent.state is IntentState.DONE and outcome in (IntentOutcome.FILLED, IntentOutcome.COMPLETED):
            round_trips.append(_round_trip(trade, flows))
    if refusals:
        intents[IntentOutcome.REFUSED.value] = sum(refusals.values())
    cash, residual = total.get(profit_asset, Decimal(0)), None if last is None else last.residual
    if not any(amount for asset, amount in total.items() if asset != profit_asset):
        residual = Decimal(0)
    gained = None
    if first is not None and last is not None and first.inventory is not None and last.inventory is not None:
        gained = last.inventory - first.inventory
    return ExecutionFigures(
        intents=dict(sorted(intents.items())),
        refusals=dict(sorted(refusals.items())),
        orders=dict(sorted(orders.items())),
        fills=fills,
        fees=dict(sorted(fees.items())),
        pnl=PnlFigures(
            profit_asset=profit_asset,
            flows=_nonzero(total),
            cash=cash,
            residual=residual,
            arb=None if residual is None else cash + residual,
            inventory=gained,
        ),
        round_trips=tuple(round_trips),
    )


def _count(counts: dict[str, int], word: str) -> None:
    counts[word] = counts.get(word, 0) + 1


def _flows(fills: Iterable[Fill]) -> dict[str, Decimal]:
    flows: dict[str, Decimal] = {}
    for fill in fills:
        key = (fill.feed, fill.symbol)
        for flow in trade_flows(key, fill.side, fill.price, fill.quantity, fill.fee, fill.fee_asset):
            flows[flow.asset] = flows.get(flow.asset, Decimal(0)) + flow.amount
    return flows


def _nonzero(flows: dict[str, Decimal]) -> dict[str, Decimal]:
    return {asset: amount for asset, amount in sorted(flows.items()) if amount != 0}


def _round_trip(trade: Trade, flows: dict[str, Decimal]) -> RoundTrip:
    return RoundTrip(
        opportunity=trade.intent.opportunity_id,
        intent=trade.intent.id,
        identity=trade.intent.identity,
        outcome=str(trade.intent.outcome),
        orders=tuple(order.id for order in trade.orders),
        fills=tuple(f"{fill.feed}/{fill.trade_id}" for fill in trade.fills),
        flows=_nonzero(flows),
    )
