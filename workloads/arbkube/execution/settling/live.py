"""An intent with all its orders and fills, and how its next orders are made.

For: what both kinds of settling count. May not: judge, do I/O or read a clock.
"""

from __future__ import annotations

from decimal import Decimal

from arbkube.execution.config import Rules
from arbkube.execution.model import Fill, Intent, Order, OrderState, Purpose, order_id
from arbkube.execution.settling.situation import Situation
from arbkube.market.instruments import Market, Side

OPEN_STATES = frozenset({OrderState.JOURNALED, OrderState.SENT, OrderState.UNKNOWN})
PAUSE_NS = 250_000_000
"""How long after a failed attempt the next Unwind or Flatten is sent."""
PATIENCE_NS = 60_000_000_000
"""How long an Unwind or a Flatten may take."""


class Live:
    """One intent with all its orders and fills, under the rules it was decided by. Only the settler changes it."""

    def __init__(
        self,
        intent: Intent,
        rules: Rules,
        orders: tuple[Order, ...] = (),
        fills: tuple[Fill, ...] = (),
        *,
        resumed: bool = False,
    ) -> None:
        self.intent = intent
        self.rules = rules
        self.orders = {order.id: order for order in orders}
        self.fills = {(fill.feed, fill.trade_id): fill for fill in fills}
        self.resumed = resumed
        """Found in the journal after a start: its Opens are over, what is missing is completed or unwound."""
        self.reducing_since_ns: int | None = None
        """Since when it unwinds or flattens."""
        self.last_final_ns = 0

    @property
    def feeds(self) -> tuple[str, ...]:
        return tuple(leg.feed for leg in self.intent.legs)

    def is_pending(self) -> bool:
        return any(order.state in OPEN_STATES for order in self.orders.values())

    def is_out_of_patience(self, now_ns: int) -> bool:
        return self.reducing_since_ns is not None and now_ns >= self.reducing_since_ns + PATIENCE_NS

    def is_pausing(self, now_ns: int) -> bool:
        return now_ns < self.last_final_ns + PAUSE_NS

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

    def next_order(self, leg: int, purpose: Purpose, side: Side, quantity: Decimal, limit_price: Decimal, now_ns: int) -> Order:
        """An order for one leg, of the attempt that comes next."""
        return self._order(leg, purpose, self.attempts(leg, purpose), side, quantity, limit_price, now_ns)

    def opening(self, leg: int, quantity: Decimal, now_ns: int) -> Order:
        """The Open of one leg, of which there is one, at the leg's own limit."""
        planned = self.intent.legs[leg]
        return self._order(leg, Purpose.OPEN, 0, planned.side, quantity, planned.limit_price, now_ns)

    def _order(
        self, leg: int, purpose: Purpose, attempt: int, side: Side, quantity: Decimal, limit_price: Decimal, now_ns: int
    ) -> Order:
        planned = self.intent.legs[leg]
        return Order(
            id=order_id(self.intent.id, leg, purpose, attempt),
            intent_id=self.intent.id,
            leg=leg,
            purpose=purpose,
            feed=planned.feed,
            symbol=planned.symbol,
            side=side,
            quantity=quantity,
            limit_price=limit_price,
            created_ns=now_ns,
            deadline_ns=now_ns + self.rules.order_lifetime_ns,
            state=OrderState.JOURNALED,
        )


def worst_price(market: Market, price: Decimal, side: Side, max_loss: Decimal) -> Decimal:
    """The worst price for `side` within `max_loss` of `price`, on a tick and not beyond."""
    factor = 1 + max_loss if side is Side.BUY else 1 - max_loss
    return market.instrument.price_against_us(price * factor, side.opposite)


def is_offered(order: Order, situation: Situation, now_ns: int) -> bool:
    """Whether a fresh verified book has something for the order within its limit."""
    key = (order.feed, order.symbol)
    best = situation.accounts.books.best(key)
    if best is None or not situation.fresh(key, now_ns):
        return False
    (bid, _), (ask, _) = best
    return Decimal(ask) <= order.limit_price if order.side is Side.BUY else Decimal(bid) >= order.limit_price
