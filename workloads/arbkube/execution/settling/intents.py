"""What the orders of one intent amount to, and which orders come next.

For: the pure half of the state table in `states`: it names the event and proposes the orders that the table's action sends.
May not: change anything, do I/O or read a clock.

Each leg has a planned quantity q and a net fill f (opened and completed − unwound). The legs are even when every f/q is the
same. Completing lifts every leg to the greatest f/q, once; unwinding lowers every leg to the least.

A halt that covers any leg's feed (or a doubted control server) stops the following leg of a sequential intent; what was filled
is then completed or unwound by policy. From CancelOpen on it is unwound whatever the policy says.
"""

from __future__ import annotations

from decimal import Decimal

from arbkube.execution.model import IntentState, Order, Purpose
from arbkube.execution.settling.live import Live, is_offered, worst_price
from arbkube.execution.settling.situation import Situation
from arbkube.execution.settling.states import IntentEvent
from arbkube.market.instruments import Market
from arbkube.resources.kinds import HaltMode, LegOrder, PartialPolicy

UNWIND_ATTEMPTS = 5


def judge(live: Live, situation: Situation, now_ns: int) -> tuple[IntentEvent, tuple[Order, ...]]:
    """The event, and the orders that its action would send (none for events without one)."""
    if live.is_pending():
        return IntentEvent.PENDING, ()
    intent = live.intent
    filled = [live.net_filled(leg) for leg in range(len(intent.legs))]
    halted = situation.halted(live.feeds) if intent.state is IntentState.WORKING else None
    following = _following_leg(live, situation, filled, now_ns)
    if following is not None and halted is None:
        return IntentEvent.LEG_FILLED, (following,)
    if not any(filled):
        return IntentEvent.NOTHING, ()
    if any((leg.feed, leg.symbol) not in situation.markets for leg in intent.legs):
        return _waiting(live, now_ns), ()
    markets = [situation.markets[(leg.feed, leg.symbol)] for leg in intent.legs]
    missing, excess = _missing(live, markets, filled), _excess(live, markets, filled)
    if not any(missing) and not any(excess):
        return IntentEvent.EVEN, ()
    cancelled = halted is not None and halted is not HaltMode.STOP_NEW
    completing = () if cancelled else _completing(live, situation, missing, now_ns)
    if completing:
        return IntentEvent.HALTED_COMPLETABLE if following else IntentEvent.UNEVEN_COMPLETABLE, completing
    unwinding = {leg: order for leg in range(len(filled)) if (order := _unwinding(live, situation, leg, excess[leg], now_ns))}
    if not unwinding:
        return IntentEvent.DUST, ()
    tried = max(live.attempts(leg, Purpose.UNWIND) for leg in unwinding)
    if tried >= UNWIND_ATTEMPTS and intent.state is IntentState.UNWINDING:
        return IntentEvent.EXHAUSTED, ()
    if tried and live.is_pausing(now_ns):
        return _waiting(live, now_ns), ()
    ready = tuple(order for order in unwinding.values() if is_offered(order, situation, now_ns))
    if not ready:
        return _waiting(live, now_ns), ()
    return IntentEvent.HALTED if cancelled or following else IntentEvent.UNEVEN, ready


def _waiting(live: Live, now_ns: int) -> IntentEvent:
    """Waiting, until patience runs out."""
    over = live.intent.state is IntentState.UNWINDING and live.is_out_of_patience(now_ns)
    return IntentEvent.EXHAUSTED if over else IntentEvent.WAITING


def _following_leg(live: Live, situation: Situation, filled: list[Decimal], now_ns: int) -> Order | None:
    """Sequential: the next leg, resized to what the one before it filled."""
    intent, sent = live.intent, len(live.orders)
    if live.rules.legs is not LegOrder.SEQUENTIAL or live.resumed or intent.state is not IntentState.WORKING:
        return None
    if sent == len(intent.legs) or not filled[sent - 1]:
        return None
    before, leg = intent.legs[sent - 1], intent.legs[sent]
    instrument = situation.markets[(leg.feed, leg.symbol)].instrument
    quantity = instrument.quantity_down(filled[sent - 1] * leg.quantity / before.quantity)
    return live.opening(sent, quantity, now_ns) if instrument.orderable(quantity, leg.limit_price) else None


def _missing(live: Live, markets: list[Market], filled: list[Decimal]) -> list[Decimal]:
    """Whole lots by which each leg lags behind the one that filled most."""
    legs = live.intent.legs
    most = max(range(len(legs)), key=lambda i: filled[i] / legs[i].quantity)
    return [
        max(Decimal(0), markets[i].instrument.quantity_down(filled[most] * leg.quantity / legs[most].quantity - filled[i]))
        for i, leg in enumerate(legs)
    ]


def _excess(live: Live, markets: list[Market], filled: list[Decimal]) -> list[Decimal]:
    """Whole lots by which each leg is ahead of the one that filled least."""
    legs = live.intent.legs
    least = min(range(len(legs)), key=lambda i: filled[i] / legs[i].quantity)
    ahead = []
    for i, leg in enumerate(legs):
        instrument = markets[i].instrument
        over = filled[i] - filled[least] * leg.quantity / legs[least].quantity - live.base_fees(i, instrument.base)
        ahead.append(max(Decimal(0), instrument.quantity_down(over)))
    return ahead


def _completing(live: Live, situation: Situation, missing: list[Decimal], now_ns: int) -> tuple[Order, ...]:
    """The orders that would lift every lagging leg, or none unless all of them can be sent now and might fill."""
    if live.rules.on_partial is not PartialPolicy.COMPLETE or live.intent.state is not IntentState.WORKING:
        return ()
    orders = []
    for i, quantity in enumerate(missing):
        if not quantity:
            continue
        leg = live.intent.legs[i]
        market = situation.markets[(leg.feed, leg.symbol)]
        price = worst_price(market, leg.limit_price, leg.side, situation.max_loss)
        order = live.next_order(i, Purpose.COMPLETE, leg.side, quantity, price, now_ns)
        if not market.instrument.orderable(quantity, price) or not is_offered(order, situation, now_ns):
            return ()
        orders.append(order)
    return tuple(orders)


def _unwinding(live: Live, situation: Situation, leg: int, excess: Decimal, now_ns: int) -> Order | None:
    """The order that would take a leg's excess back, or None where that is below the venue's minimum."""
    planned = live.intent.legs[leg]
    market, side = situation.markets[(planned.feed, planned.symbol)], planned.side.opposite
    price = worst_price(market, planned.limit_price, side, situation.max_loss)
    if not market.instrument.orderable(excess, price):
        return None
    return live.next_order(leg, Purpose.UNWIND, side, excess, price, now_ns)
