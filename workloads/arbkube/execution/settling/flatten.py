"""Flatten: back to the target inventory, because a halt asks for it.

For: planning what one halt's Flatten covers and may cost, and naming what comes next. May not: change anything, do I/O or read
a clock; open anything; bring a holding beyond its target or further from it.

A *position* is a holding that a market of its own feed trades as its base (a perpetual's by its symbol), unless it is the
profit asset. What such a market is paid in is money, not a position: it moves with what is sold and bought. An asset that is
both (BTC where ETH-BTC trades beside BTC-USDT) is a position, and nothing is flattened against it.

With d = position − target and m the conservative mark of one unit (what is owned at the lowest bid, what is owed at the
highest ask), an order takes back ⌊|d|⌋ lots at no worse a price p than m (1 ∓ maxLoss). The most it can lose against that mark
is

    |p − m| × quantity + fee at p                    in the profit asset

which is its *budget*. The sum over all positions at the beginning is the budget of the whole Flatten, journaled with it. Each
order spends its budget; what it did not fill is given back, and so is what it got better than p where that is paid in the
profit asset. A later order that does not fit is made smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from arbkube.control.halts import Halt
from arbkube.detection.ladder import divide_down, down, up
from arbkube.detection.model import Leg
from arbkube.execution.model import FLATTEN, Intent, IntentState, Order, Purpose, intent_id
from arbkube.execution.settling.live import OPEN_STATES, Live, is_offered, worst_price
from arbkube.execution.settling.situation import Situation
from arbkube.execution.settling.states import FlattenEvent
from arbkube.market.instruments import Market, MarketType, Side
from arbkube.risk.inventory import Holding, fee_of
from arbkube.risk.marks import position_asset

ZERO = Decimal(0)


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """What takes one position back to its target, in whole lots."""

    holding: Holding
    market: Market
    side: Side
    quantity: Decimal
    price: Decimal
    """The worst that may be paid or got."""
    budget: Decimal


def plan(halt: Halt, situation: Situation, now_ns: int, *, whole: bool) -> Intent | None:
    """The Flatten of one halt: a leg for each position that is off target, and the budget of them all.

    None while a position cannot be valued and `whole` asks for all of them; else such a one gets no budget and no order.
    """
    legs, budget = [], ZERO
    for holding in off_target(halt, situation):
        market = _market_of(holding, situation)
        if market is None:
            continue
        way = back(holding, market, situation, now_ns)
        if way is None:
            if whole:
                return None
            side, quantity, price, cost = Side.SELL, ZERO, ZERO, ZERO
        else:
            side, quantity, price, cost = way.side, way.quantity, way.price, way.budget
        budget += cost
        legs.append(_leg(market, side, quantity, price, situation, now_ns))
    return Intent(
        id=intent_id(situation.config.strategy_uid, FLATTEN + halt.id),
        opportunity_id=halt.id,
        identity=FLATTEN + halt.id,
        strategy=situation.config.strategy,
        revision=situation.rules.revision,
        created_ns=now_ns,
        legs=tuple(legs),
        profit_asset=situation.rules.profit_asset,
        expected_profit=-budget,
        state=IntentState.FLATTENING,
    )


def judge_flatten(live: Live, situation: Situation, now_ns: int, *, in_turn: bool) -> tuple[FlattenEvent, tuple[Order, ...]]:
    """The event, and the orders that its action would send. Out of turn it waits for what else is under way."""
    halt = next((halt for halt in situation.halting.active if halt.id == live.intent.opportunity_id), None)
    under_way = {order.leg for order in live.orders.values() if order.state in OPEN_STATES}
    if halt is None:
        return (FlattenEvent.PENDING if under_way else FlattenEvent.LIFTED), ()
    if not in_turn:
        return FlattenEvent.PENDING, ()
    legs = {(leg.feed, position_asset(leg.symbol)): number for number, leg in enumerate(live.intent.legs)}
    left = -live.intent.expected_profit - _spent(live, situation)
    orders, dust, waiting, over = list[Order](), False, False, False
    for holding in off_target(halt, situation):
        number = legs.get(holding)
        if number is None:
            over = True
            continue
        if number in under_way:
            continue
        leg = live.intent.legs[number]
        market = situation.markets.get((leg.feed, leg.symbol))
        way = back(holding, market, situation, now_ns) if market is not None else None
        if way is None:
            waiting = True
        elif not way.market.instrument.orderable(way.quantity, way.price):
            dust = True
        elif (fitting := _fitting(way, left)) is None:
            over = True
        else:
            order = live.next_order(number, Purpose.FLATTEN, fitting.side, fitting.quantity, fitting.price, now_ns)
            if not live.is_pausing(now_ns) and is_offered(order, situation, now_ns):
                orders.append(replace(order, budget=fitting.budget))
                left -= fitting.budget
            else:
                waiting = True
    if orders:
        return FlattenEvent.DUE, tuple(orders)
    if under_way:
        return FlattenEvent.PENDING, ()
    if waiting and not live.is_out_of_patience(now_ns):
        return FlattenEvent.WAITING, ()
    if waiting or over:
        return FlattenEvent.EXHAUSTED, ()
    return (FlattenEvent.DUST if dust else FlattenEvent.FLAT), ()


def off_target(halt: Halt, situation: Situation) -> Iterator[Holding]:
    """The positions on the feeds that a halt covers which are not at their target, in order."""
    feeds = situation.halting.covered(halt)
    for holding, distance in sorted(situation.accounts.inventory.moved.items()):
        feed, asset = holding
        if feed in feeds and distance and asset != situation.rules.profit_asset and not _is_money(holding, situation):
            yield holding


def back(holding: Holding, market: Market, situation: Situation, now_ns: int) -> Return | None:
    """The way back to target for one position, or None while it has no fresh mark."""
    distance = situation.accounts.inventory.moved[holding]
    side = Side.SELL if distance > 0 else Side.BUY
    mark = _mark(holding[1], market.instrument.quote, distance, situation, now_ns)
    if mark is None:
        return None
    price = worst_price(market, mark, side, situation.max_loss)
    quantity = market.instrument.quantity_down(abs(distance))
    budget = _budget(market, side, quantity, price, mark, situation, now_ns)
    if budget is None:
        return None
    return Return(holding=holding, market=market, side=side, quantity=quantity, price=price, budget=budget)


def _fitting(way: Return, left: Decimal) -> Return | None:
    """The same within what is left of the budget; None where that is below the venue's minimum."""
    if way.budget <= left:
        return way
    instrument = way.market.instrument
    quantity = instrument.quantity_down(divide_down(way.quantity * max(left, ZERO), way.budget))
    if not instrument.orderable(quantity, way.price):
        return None
    return replace(way, quantity=quantity, budget=left)


def _spent(live: Live, situation: Situation) -> Decimal:
    """Budgets of all orders so far, less what they can no longer lose: what is not filled, and what was filled better."""
    spent = ZERO
    for order in live.orders.values():
        share = order.quantity if order.state in OPEN_STATES else order.filled
        spent += up(order.budget * share / order.quantity)
    for fill in live.fills.values():
        order, market = live.orders[fill.order_id], situation.markets.get((fill.feed, fill.symbol))
        if market is not None and market.instrument.quote == live.intent.profit_asset:
            better = fill.price - order.limit_price if order.side is Side.SELL else order.limit_price - fill.price
            spent -= down(better * fill.quantity * (1 - market.fees.taker))
    return spent


def _budget(
    market: Market, side: Side, quantity: Decimal, price: Decimal, mark: Decimal, situation: Situation, now_ns: int
) -> Decimal | None:
    fee, fee_asset = fee_of(market, side, quantity=quantity, value=quantity * price)
    quote = market.instrument.quote
    in_quote = abs(price - mark) * quantity + (fee if fee_asset == quote else fee * mark)
    worth = _worth(quote, -in_quote, situation, now_ns)
    return None if worth is None else up(-worth)


def _mark(asset: str, quote: str, distance: Decimal, situation: Situation, now_ns: int) -> Decimal | None:
    """One unit's conservative mark, in units of `quote`: low for what is owned, high for what is owed."""
    unit = Decimal(1) if distance > 0 else Decimal(-1)
    worth, quoted = _worth(asset, unit, situation, now_ns), _worth(quote, unit, situation, now_ns)
    if worth is None or quoted is None or not quoted:
        return None
    return down(worth / quoted)


def _worth(asset: str, amount: Decimal, situation: Situation, now_ns: int) -> Decimal | None:
    accounts = situation.accounts
    return accounts.marks.worth(asset, amount, accounts.books, now_ns, situation.limits.max_mark_age_ns)


def _market_of(holding: Holding, situation: Situation) -> Market | None:
    """The market to take a position back in: paid in the profit asset if there is one, else in other money of its feed."""
    feed, asset = holding
    found = [
        market
        for market in situation.markets.values()
        if market.feed == feed
        and position_asset(market.instrument.symbol) == asset
        and _is_money((feed, market.instrument.quote), situation)
    ]
    return min(
        found,
        key=lambda market: (market.instrument.quote != situation.rules.profit_asset, market.instrument.symbol),
        default=None,
    )


def _is_money(holding: Holding, situation: Situation) -> bool:
    feed, asset = holding
    markets = [market.instrument for market in situation.markets.values() if market.feed == feed]
    is_base = any(one.market is MarketType.SPOT and one.base == asset for one in markets)
    return any(one.quote == asset for one in markets) and (not is_base or asset == situation.rules.profit_asset)


def _leg(market: Market, side: Side, quantity: Decimal, price: Decimal, situation: Situation, now_ns: int) -> Leg:
    frame = situation.accounts.books.verified(market.key)
    return Leg(
        feed=market.feed,
        symbol=market.instrument.symbol,
        side=side,
        quantity=quantity,
        limit_price=price,
        value=quantity * price,
        fee=ZERO,
        frame_epoch=frame.epoch if frame is not None else 0,
        frame_seq=frame.seq if frame is not None else 0,
        age_ns=situation.accounts.books.age_ns(market.key, now_ns) or 0,
    )
