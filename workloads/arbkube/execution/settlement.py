"""What the orders of one intent amount to, and which orders come next.

For: the pure half of the state table in `states`: it names the event and proposes the orders that the table's action sends.
May not: change anything, do I/O or read a clock.

Each leg has a planned quantity q and a net fill f (opened and completed − unwound). The legs are even when every f/q is the
same. Completing lifts every leg to the greatest f/q, once; unwinding lowers every leg to the least.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from arbkube.execution.model import Fill, Intent, IntentState, Order, OrderState, Purpose, order_id
from arbkube.execution.states import IntentEvent
from arbkube.market.instruments import Market, MarketKey, Side
from arbkube.resources.kinds import LegOrder, PartialPolicy
from arbkube.risk.marks import LatestBooks

OPEN_STATES = frozenset({OrderState.JOURNALED, OrderState.SENT, OrderState.UNKNOWN})
UNWIND_ATTEMPTS = 5
UNWIND_PAUSE_NS = 250_000_000
UNWIND_PATIENCE_NS = 60_000_000_000


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What settlement needs of the configuration."""

    legs: LegOrder
    on_partial: PartialPolicy
    max_loss: Decimal
    order_lifetime_ns: int
    markets: dict[MarketKey, Market]
    max_age_ns: dict[str, int]


class Live:
    """One intent with all its orders and fills. Only the engine changes it."""

    def __init__(
        self, intent: Intent, orders: tuple[Order, ...] = (), fills: tuple[Fill, ...] = (), *, resumed: bool = False
    ) -> None:
        self.intent = intent
        self.orders = {order.id: order for order in orders}
        self.fills = {(fill.feed, fill.trade_id): fill for fill in fills}
        self.resumed = resumed
        """Found in the journal after a start: its Opens are over, what is missing is completed or unwound."""
        self.unwinding_since_ns: int | None = None
        self.last_final_ns = 0

    def is_pending(self) -> bool:
        return any(order.state in OPEN_STATES for order in self.orders.values())

    def unbooked(self, fills: tuple[Fill, ...]) -> tuple[Fill, ...]:
        """Those of `fills` not seen before, each once."""
        return tuple({key: fill for fill in fills if (key := (fill.feed, fill.trade_id)) not in self.fills}.values())

    def net_filled(self, leg: int) -> Decimal:
        """Base units opened and completed minus unwound."""
        total = Decimal(0)
        for fill in self.fills.values():
            order = self.orders[fill.order_id]
            if order.leg == leg:
                total += -fill.quantity if order.purpose is Purpose.UNWIND else fill.quantity
        return total

    def base_fees(self, leg: int, base: str) -> Decimal:
        """Base units that fees took from the leg's purchases: they are gone and cannot be sold back."""
        return sum(
            (f.fee for f in self.fills.values() if self.orders[f.order_id].leg == leg and f.fee_asset == base and f.fee > 0),
            Decimal(0),
        )

    def attempts(self, leg: int, purpose: Purpose) -> int:
        return sum(order.leg == leg and order.purpose is purpose for order in self.orders.values())


def judge(live: Live, rules: Rules, books: LatestBooks, now_ns: int) -> tuple[IntentEvent, tuple[Order, ...]]:
    """The event, and the orders that its action would send (none for events without one)."""
    if live.is_pending():
        return IntentEvent.PENDING, ()
    intent = live.intent
    filled = [live.net_filled(leg) for leg in range(len(intent.legs))]
    following = _following_leg(live, rules, filled, now_ns)
    if following is not None:
        return IntentEvent.LEG_FILLED, (following,)
    if not any(filled):
        return IntentEvent.NOTHING, ()
    if any((leg.feed, leg.symbol) not in rules.markets for leg in intent.legs):
        return _waiting(live, now_ns), ()
    missing, excess = _missing(live, rules, filled), _excess(live, rules, filled)
    if not any(missing) and not any(excess):
        return IntentEvent.EVEN, ()
    completing = _completing(live, rules, books, missing, now_ns)
    if completing:
        return IntentEvent.UNEVEN_COMPLETABLE, completing
    unwinding = {leg: order for leg in range(len(filled)) if (order := _unwinding(live, rules, leg, excess[leg], now_ns))}
    if not unwinding:
        return IntentEvent.DUST, ()
    tried = max(live.attempts(leg, Purpose.UNWIND) for leg in unwinding)
    if tried >= UNWIND_ATTEMPTS and intent.state is IntentState.UNWINDING:
        return IntentEvent.EXHAUSTED, ()
    if tried and now_ns < live.last_final_ns + UNWIND_PAUSE_NS:
        return _waiting(live, now_ns), ()
    ready = tuple(order for order in unwinding.values() if _offered(order, rules, books, now_ns))
    return (IntentEvent.UNEVEN, ready) if ready else (_waiting(live, now_ns), ())


def opening(intent: Intent, leg: int, quantity: Decimal, lifetime_ns: int, now_ns: int) -> Order:
    """The Open of one leg at the leg's own limit."""
    planned = intent.legs[leg]
    return _order(intent, leg, Purpose.OPEN, 0, planned.side, quantity, planned.limit_price, lifetime_ns, now_ns)


def _order(
    intent: Intent,
    leg: int,
    purpose: Purpose,
    attempt: int,
    side: Side,
    quantity: Decimal,
    limit_price: Decimal,
    lifetime_ns: int,
    now_ns: int,
) -> Order:
    return Order(
        id=order_id(intent.id, leg, purpose, attempt),
        intent_id=intent.id,
        leg=leg,
        purpose=purpose,
        feed=intent.legs[leg].feed,
        symbol=intent.legs[leg].symbol,
        side=side,
        quantity=quantity,
        limit_price=limit_price,
        created_ns=now_ns,
        deadline_ns=now_ns + lifetime_ns,
        state=OrderState.JOURNALED,
    )


def _waiting(live: Live, now_ns: int) -> IntentEvent:
    """Waiting, until patience runs out."""
    since_ns = live.unwinding_since_ns
    over = live.intent.state is IntentState.UNWINDING and since_ns is not None and now_ns >= since_ns + UNWIND_PATIENCE_NS
    return IntentEvent.EXHAUSTED if over else IntentEvent.WAITING


def _following_leg(live: Live, rules: Rules, filled: list[Decimal], now_ns: int) -> Order | None:
    """Sequential: the next leg, resized to what the one before it filled."""
    intent, sent = live.intent, len(live.orders)
    if rules.legs is not LegOrder.SEQUENTIAL or live.resumed or intent.state is not IntentState.WORKING:
        return None
    if sent == len(intent.legs) or not filled[sent - 1]:
        return None
    before, leg = intent.legs[sent - 1], intent.legs[sent]
    instrument = rules.markets[(leg.feed, leg.symbol)].instrument
    quantity = instrument.quantity_down(filled[sent - 1] * leg.quantity / before.quantity)
    if not instrument.orderable(quantity, leg.limit_price):
        return None
    return opening(intent, sent, quantity, rules.order_lifetime_ns, now_ns)


def _missing(live: Live, rules: Rules, filled: list[Decimal]) -> list[Decimal]:
    """Whole lots by which each leg lags behind the one that filled most."""
    legs = live.intent.legs
    most = max(range(len(legs)), key=lambda i: filled[i] / legs[i].quantity)
    return [
        max(Decimal(0), _lots(rules, live, i, filled[most] * leg.quantity / legs[most].quantity - filled[i]))
        for i, leg in enumerate(legs)
    ]


def _excess(live: Live, rules: Rules, filled: list[Decimal]) -> list[Decimal]:
    """Whole lots by which each leg is ahead of the one that filled least."""
    legs = live.intent.legs
    least = min(range(len(legs)), key=lambda i: filled[i] / legs[i].quantity)
    ahead = []
    for i, leg in enumerate(legs):
        base = rules.markets[(leg.feed, leg.symbol)].instrument.base
        over = filled[i] - filled[least] * leg.quantity / legs[least].quantity - live.base_fees(i, base)
        ahead.append(max(Decimal(0), _lots(rules, live, i, over)))
    return ahead


def _lots(rules: Rules, live: Live, leg: int, quantity: Decimal) -> Decimal:
    planned = live.intent.legs[leg]
    return rules.markets[(planned.feed, planned.symbol)].instrument.quantity_down(quantity)


def _completing(live: Live, rules: Rules, books: LatestBooks, missing: list[Decimal], now_ns: int) -> tuple[Order, ...]:
    """The orders that would lift every lagging leg, or none unless all of them can be sent now and might fill."""
    if rules.on_partial is not PartialPolicy.COMPLETE or live.intent.state is not IntentState.WORKING:
        return ()
    orders = []
    for i, quantity in enumerate(missing):
        if not quantity:
            continue
        leg = live.intent.legs[i]
        key = (leg.feed, leg.symbol)
        instrument = rules.markets[key].instrument
        price = _bounded(rules, key, leg.limit_price, leg.side)
        order = _order(live.intent, i, Purpose.COMPLETE, 0, leg.side, quantity, price, rules.order_lifetime_ns, now_ns)
        if not instrument.orderable(quantity, price) or not _offered(order, rules, books, now_ns):
            return ()
        orders.append(order)
    return tuple(orders)


def _unwinding(live: Live, rules: Rules, leg: int, excess: Decimal, now_ns: int) -> Order | None:
    """The order that would take a leg's excess back, or None where that is below the venue's minimum."""
    planned = live.intent.legs[leg]
    key, side = (planned.feed, planned.symbol), planned.side.opposite
    price = _bounded(rules, key, planned.limit_price, side)
    if not rules.markets[key].instrument.orderable(excess, price):
        return None
    attempt = live.attempts(leg, Purpose.UNWIND)
    return _order(live.intent, leg, Purpose.UNWIND, attempt, side, excess, price, rules.order_lifetime_ns, now_ns)


def _bounded(rules: Rules, key: MarketKey, limit_price: Decimal, side: Side) -> Decimal:
    """The worst price for `side` within `max_loss` of the leg's limit, on a tick and not beyond."""
    factor = 1 + rules.max_loss if side is Side.BUY else 1 - rules.max_loss
    return rules.markets[key].instrument.price_against_us(limit_price * factor, side.opposite)


def _offered(order: Order, rules: Rules, books: LatestBooks, now_ns: int) -> bool:
    """Whether a fresh verified book has something for the order within its limit."""
    key = (order.feed, order.symbol)
    best = books.best(key)
    if best is None or not books.fresh(key, now_ns, rules.max_age_ns.get(key[0], 0)):
        return False
    (bid, _), (ask, _) = best
    return Decimal(ask) <= order.limit_price if order.side is Side.BUY else Decimal(bid) >= order.limit_price
