"""How much of each pool an executor needs: a function of its state, and of nothing that was counted beside it.

For: `levels`, asked before each Open (with its legs) and for what is declared. Since it reads only inventory, the legs of live
intents and the orders lately sent, all of which the journal restores, a restart or a new epoch comes to the same figures, and
nothing has to be released: what a settled intent no longer needs is no longer in the state. May not: do I/O or read a clock.

A leg at limit L of which f units are filled, and of which r more may be opened or completed, may still move, whatever becomes
of it (s: maxLoss, t: the taker fee):

    buy    base −f … r    quote −r·L·(1 + s)·(1 + t) … f·L
    sell   base −r … f    quote −f·L·(1 − s)·(1 − t) − (f + r)·L·2·(s + t) … r·L

The first bound of each is opening or completing the rest at the worst price, the second unwinding what is filled; a sale that
is unwound loses two s and two fees at most. Filling and unwinding within these limits never widens what inventory and legs may
come to together, so Complete and Unwind spend what their Open reserved. Orders: a leg may send one Open, one Complete where
the policy completes, and `UNWIND_ATTEMPTS` Unwinds; one that was sent counts until the venue's window has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from arbkube.control.reservations.pools import Pool, Terms
from arbkube.execution.settling.intents import UNWIND_ATTEMPTS
from arbkube.market.instruments import Market, MarketKey, Side
from arbkube.risk.inventory import Holding, Inventory
from arbkube.risk.marks import LatestBooks, Marks, position_asset

ZERO = Decimal(0)

Levels = Mapping[Pool, Decimal | None]
"""What is needed by pool; None where it cannot be valued."""


class OpenLeg(msgspec.Struct, frozen=True, kw_only=True):
    """A leg of an intent that is not settled, or of one about to begin."""

    market: Market
    side: Side
    limit_price: Decimal
    left: Decimal
    """What may still be opened or completed; nothing once the intent unwinds."""
    filled: Decimal = ZERO
    """What may have to be unwound: opened and completed, minus unwound and what fees took of it. It is in the inventory."""
    sent: int = 0
    """Orders sent for it so far."""


SentOrder = tuple[MarketKey, int]
"""An order as far as a rate is concerned: its market, and when it was sent (nanoseconds UTC)."""


def orders_of_leg(terms: Terms) -> int:
    """How many orders one leg may come to send."""
    return 1 + terms.completes + UNWIND_ATTEMPTS


def levels(
    terms: Terms,
    *,
    inventory: Inventory,
    legs: Iterable[OpenLeg],
    sent: Iterable[SentOrder],
    marks: Marks,
    books: LatestBooks,
    now_ns: int,
    max_mark_age_ns: int | None,
) -> dict[Pool, Decimal | None]:
    """What of each of the terms' pools is needed for everything held and for everything the legs may come to."""
    legs = tuple(legs)
    needs: dict[Pool, Decimal | None] = dict.fromkeys(terms.pools, ZERO)
    if terms.venues or terms.assets or terms.balances:
        spans = _spans(inventory, legs, terms.max_loss)

        def worst(asset: str, low: Decimal, high: Decimal) -> Decimal | None:
            worths = [marks.worth(asset, amount, books, now_ns, max_mark_age_ns) for amount in (low, high)]
            return None if None in worths else max(abs(worth) for worth in worths if worth is not None)

        by_asset: dict[str, tuple[Decimal, Decimal]] = {}
        for (feed, asset), (low, high) in spans.items():
            balance = terms.balances.get((feed, asset))
            if balance is not None:
                _add(needs, balance, max(ZERO, -low))
            if asset == terms.profit_asset:
                continue
            if feed in terms.venues:
                _add(needs, terms.venues[feed], worst(asset, low, high))
            if asset in terms.assets:
                least, greatest = by_asset.get(asset, (ZERO, ZERO))
                by_asset[asset] = (least + low, greatest + high)
        for asset, (low, high) in by_asset.items():
            _add(needs, terms.assets[asset], worst(asset, low, high))
    most = orders_of_leg(terms)
    for leg in legs:
        rate = terms.rates.get(leg.market.key)
        if rate is not None:
            _add(needs, rate.pool, Decimal(max(0, most - leg.sent)))
    counted = dict.fromkeys(terms.rates, 0)
    oldest_ns = {market: now_ns - rate.window_ns for market, rate in terms.rates.items()}
    for market, at_ns in sent:
        if market in counted and at_ns > oldest_ns[market]:
            counted[market] += 1
    for market, count in counted.items():
        if count:
            _add(needs, terms.rates[market].pool, Decimal(count))
    return needs


def _spans(inventory: Inventory, legs: Iterable[OpenLeg], max_loss: Decimal) -> dict[Holding, tuple[Decimal, Decimal]]:
    """Least and greatest distance from target that each holding may come to."""
    spans = {holding: (amount, amount) for holding, amount in inventory.moved.items() if amount}
    for leg in legs:
        market, left, filled, limit = leg.market, leg.left, leg.filled, leg.limit_price
        taker, instrument = market.fees.taker, market.instrument
        if leg.side is Side.BUY:
            cost = left * limit * (1 + max_loss) * (1 + taker)
            base, quote = (-filled, left), (-cost, filled * limit)
        else:
            lost = (filled + left) * limit * 2 * (max_loss + taker)
            base, quote = (-left, filled), (-filled * limit * (1 - max_loss) * (1 - taker) - lost, left * limit)
        for asset, (low, high) in ((position_asset(instrument.symbol), base), (instrument.quote, quote)):
            least, greatest = spans.get((market.feed, asset), (ZERO, ZERO))
            spans[market.feed, asset] = (least + min(low, ZERO), greatest + max(high, ZERO))
    return spans


def _add(needs: dict[Pool, Decimal | None], pool: Pool, amount: Decimal | None) -> None:
    before = needs[pool]
    needs[pool] = None if before is None or amount is None else before + amount
