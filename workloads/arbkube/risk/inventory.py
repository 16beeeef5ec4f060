"""What an executor owns: target inventory plus what its fills moved.

For: distances from target, spendable balances, and the worst case of orders whose outcome is open. May not: do I/O or value
anything (see `marks`).

A spot trade moves base and quote. A perpetual's position is an asset of its own, named by its symbol and allowed below zero;
its quote is moved by price × quantity as well, which sums to the same PnL as settling it at every price. It is collateralised
in full: free quote is what remains after twice the worth of all short positions (their proceeds, and as much again).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from arbkube.market.instruments import FeeAsset, Market, MarketKey, MarketType, Side, parse_symbol
from arbkube.risk.marks import position_asset
from arbkube.risk.money import cost_up

Holding = tuple[str, str]
"""(feed, asset)."""


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """One movement of one asset on one feed."""

    feed: str
    asset: str
    amount: Decimal


def fee_from_base(market: Market) -> bool:
    """Whether a purchase's fee is taken from the base bought. A perpetual brings in no asset: its fee is the quote's."""
    return market.fees.charged_in is FeeAsset.RECEIVED and market.instrument.market is MarketType.SPOT


def fee_of(market: Market, side: Side, *, quantity: Decimal, value: Decimal) -> tuple[Decimal, str]:
    """The taker fee for `quantity` base units worth `value` quote units, rounded up, and the asset it is charged in."""
    if side is Side.BUY and fee_from_base(market):
        return cost_up(quantity * market.fees.taker), market.instrument.base
    return cost_up(value * market.fees.taker), market.instrument.quote


def trade_flows(
    key: MarketKey, side: Side, price: Decimal, quantity: Decimal, fee: Decimal, fee_asset: str
) -> tuple[Flow, Flow, Flow]:
    """What a fill moves: position, quote, fee. Their sum by asset is all that PnL is made of."""
    feed, symbol = key
    sign = 1 if side is Side.BUY else -1
    return (
        Flow(feed, position_asset(symbol), sign * quantity),
        Flow(feed, parse_symbol(symbol)[1], -sign * price * quantity),
        Flow(feed, fee_asset, -fee),
    )


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an order that may still be filled, at its worst price."""

    market: Market
    side: Side
    quantity: Decimal
    limit_price: Decimal


class Inventory:
    """Target amounts and the sum of all flows since, by feed and asset."""

    def __init__(self, target: dict[Holding, Decimal], markets: Iterable[Market]) -> None:
        self.target = dict(target)
        self.moved: dict[Holding, Decimal] = {}
        self.know(markets)

    def know(self, markets: Iterable[Market]) -> None:
        """All markets in which something may be held, in place of those known before."""
        self._perpetuals = [market for market in markets if market.instrument.market is MarketType.PERPETUAL]
        self._perpetual_holdings = {(market.feed, position_asset(market.instrument.symbol)) for market in self._perpetuals}

    def book(self, flows: Iterable[Flow]) -> None:
        """Add flows. Which of them were seen before is the caller's to know."""
        for flow in flows:
            holding = (flow.feed, flow.asset)
            self.moved[holding] = self.moved.get(holding, Decimal(0)) + flow.amount

    def amount(self, holding: Holding) -> Decimal:
        return self.target.get(holding, Decimal(0)) + self.moved.get(holding, Decimal(0))

    def by_asset(self) -> dict[str, Decimal]:
        """Distance from target of each asset over all feeds."""
        totals: dict[str, Decimal] = {}
        for (_, asset), amount in self.moved.items():
            totals[asset] = totals.get(asset, Decimal(0)) + amount
        return totals

    def worst_distances(self, open_orders: Iterable[OpenOrder]) -> dict[Holding, tuple[Decimal, Decimal]]:
        """Least and greatest distance from target of each holding, whichever of `open_orders` are filled."""
        worst = {holding: (amount, amount) for holding, amount in self.moved.items()}
        for order in open_orders:
            feed, value = order.market.feed, order.quantity * order.limit_price
            position, quote = (feed, position_asset(order.market.instrument.symbol)), (feed, order.market.instrument.quote)
            bought, sold = (position, quote) if order.side is Side.BUY else (quote, position)
            for holding, gained, given in ((bought, True, False), (sold, False, True)):
                amount = order.quantity if holding == position else value
                least, greatest = worst.get(holding, (Decimal(0), Decimal(0)))
                worst[holding] = (least - amount * given, greatest + amount * gained)
        return worst

    def reserved(self, open_orders: Iterable[OpenOrder]) -> dict[Holding, Decimal]:
        """What `open_orders` may take: spot purchases and every perpetual order quote (with fee), spot sales base."""
        taken: dict[Holding, Decimal] = {}
        for order in open_orders:
            market, instrument = order.market, order.market.instrument
            if order.side is Side.SELL and instrument.market is MarketType.SPOT:
                holding, amount = (market.feed, instrument.base), order.quantity
            else:
                cost = order.quantity * order.limit_price
                holding, amount = (market.feed, instrument.quote), cost + cost_up(cost * market.fees.taker)
            taken[holding] = taken.get(holding, Decimal(0)) + amount
        return taken

    def free(self, holding: Holding, price_of: Callable[[MarketKey], Decimal | None]) -> Decimal:
        """What may be spent of a spot asset, or of a perpetual account's quote after the collateral of its shorts.

        `price_of` gives a perpetual's current price; a short without one locks everything.
        """
        amount = self.amount(holding)
        for market in self._perpetuals:
            if (market.feed, market.instrument.quote) == holding:
                position = self.amount((market.feed, position_asset(market.instrument.symbol)))
                if position < 0:
                    price = price_of(market.key)
                    if price is None:
                        return Decimal(0)
                    amount += 2 * position * price
        return amount

    def spot_holdings(self) -> list[Holding]:
        """Every holding that is an asset one can own: all but perpetual positions."""
        return sorted((self.target.keys() | self.moved.keys()) - self._perpetual_holdings)
