"""Re-pricing: what is left of an opportunity on the executor's own current books.

For: walking each leg again up to the price the detector walked to, shrinking all legs in proportion to what the thinnest still
offers, and counting the profit that fills at these prices would book. May not: do I/O, or go beyond a leg's limit or quantity.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from arbkube.detection.ladder import ZERO, Ladder, down, up
from arbkube.detection.model import Leg, Opportunity
from arbkube.market.book import Level
from arbkube.market.instruments import Market, MarketKey, Side
from arbkube.risk.gathered import Repriced
from arbkube.risk.inventory import fee_from_base
from arbkube.risk.marks import LatestBooks, Marks

NOTHING = Repriced(legs=(), notional=ZERO, expected_profit=ZERO)
_ROUNDS = 8
"""Lots of different legs agree on a common quantity within a few rounds or not at all."""


def reprice(
    opportunity: Opportunity,
    *,
    books: LatestBooks,
    markets: dict[MarketKey, Market],
    marks: Marks,
    now_ns: int,
    max_mark_age_ns: int,
) -> Repriced:
    """The legs at what is there now; without legs when nothing is left or the result cannot be valued."""
    ladders = []
    for leg in opportunity.legs:
        frame, market = books.verified((leg.feed, leg.symbol)), markets[(leg.feed, leg.symbol)]
        if frame is None:
            return NOTHING
        levels = within(frame.asks if leg.side is Side.BUY else frame.bids, leg.side, leg.limit_price)
        ladders.append(Ladder(levels, leg.side, market.fees.taker, fee_from_base=fee_from_base(market)))
    quantities = _shrunk(opportunity.legs, [ladder.depth[-1] for ladder in ladders], markets)
    if not quantities:
        return NOTHING
    flows: dict[str, Decimal] = {}
    legs = []
    for leg, ladder, quantity in zip(opportunity.legs, ladders, quantities, strict=True):
        instrument = markets[(leg.feed, leg.symbol)].instrument
        # A perpetual counts as its base here: whether to hold one against the other is the strategy's `allowBasis`.
        spent, received = (instrument.quote, instrument.base) if leg.side is Side.BUY else (instrument.base, instrument.quote)
        flows[spent] = flows.get(spent, ZERO) - ladder.pay(quantity)
        flows[received] = flows.get(received, ZERO) + ladder.get(quantity)
        legs.append(_repriced_leg(leg, ladder, quantity, books, now_ns))

    def worth(asset: str, amount: Decimal) -> Decimal | None:
        return marks.worth(asset, amount, books, now_ns, max_mark_age_ns, exchanged=True)

    first = markets[opportunity.legs[0].feed, opportunity.legs[0].symbol].instrument
    notional = worth(first.quote, -legs[0].value)
    worths = [worth(asset, amount) for asset, amount in flows.items()]
    if notional is None or None in worths:
        return NOTHING
    profit = sum((amount for amount in worths if amount is not None), ZERO)
    return Repriced(legs=tuple(legs), notional=-notional, expected_profit=down(profit))


def _repriced_leg(leg: Leg, ladder: Ladder, quantity: Decimal, books: LatestBooks, now_ns: int) -> Leg:
    """The leg with quantity, limit and value as they are now. The fee is counted in quote units at the limit."""
    key = (leg.feed, leg.symbol)
    frame, limit_price, value = books.verified(key), ladder.limit(quantity), ladder.value_of(quantity)
    assert frame is not None  # its ladder was just walked
    if leg.side is Side.BUY:
        fee = ladder.pay(quantity) - value + (quantity - ladder.get(quantity)) * limit_price
    else:
        fee = value - ladder.get(quantity)
    return msgspec.structs.replace(
        leg,
        quantity=quantity,
        limit_price=limit_price,
        value=value,
        fee=up(fee),
        frame_epoch=frame.epoch,
        frame_seq=frame.seq,
        age_ns=books.age_ns(key, now_ns) or 0,
    )


def within(levels: tuple[Level, ...], side: Side, limit_price: Decimal) -> tuple[Level, ...]:
    """The levels that an order of `side` may take at `limit_price`."""
    if side is Side.BUY:
        return tuple(level for level in levels if Decimal(level[0]) <= limit_price)
    return tuple(level for level in levels if Decimal(level[0]) >= limit_price)


def _shrunk(legs: tuple[Leg, ...], offered: list[Decimal], markets: dict[MarketKey, Market]) -> list[Decimal]:
    """Quantities in the legs' proportion, none above what is offered or planned; empty when nothing is left.

    Legs that were planned equal stay equal, whatever their lots.
    """
    thinnest = min(range(len(legs)), key=lambda i: offered[i] / legs[i].quantity)
    share, whole = min(offered[thinnest], legs[thinnest].quantity), legs[thinnest].quantity
    instruments = [markets[(leg.feed, leg.symbol)].instrument for leg in legs]
    quantities = [
        instrument.quantity_down(min(share * leg.quantity / whole, depth))
        for instrument, leg, depth in zip(instruments, legs, offered, strict=True)
    ]
    if len({leg.quantity for leg in legs}) == 1:
        for _ in range(_ROUNDS):
            if len(set(quantities)) == 1:
                break
            common = min(quantities)
            quantities = [instrument.quantity_down(common) for instrument in instruments]
        else:
            return []
    return quantities if all(quantity > 0 for quantity in quantities) else []
