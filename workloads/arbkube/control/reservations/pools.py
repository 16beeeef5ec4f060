"""Pools: what executors share, who shares it, and how much of it there is.

For: the pure functions from a plan's documents and limits to capacities (the writer's side) and to the terms of one executor
(which pools it needs for what). May not: do I/O.

| kind | scope / subject | counted in | capacity |
|---|---|---|---|
| Venue | profit asset / venue | profit asset | RiskPolicy `maxExposureByVenue` |
| Asset | profit asset / asset | profit asset | RiskPolicy `maxExposureByAsset` |
| Balance | account / asset | the asset | what the account holds, where several executors use it |
| Rate | market / venue, or venue:instrument | orders in the venue's window | the venue's documented order rate |

A RiskPolicy's amounts are in the strategy's profit asset, so strategies that count in different assets share no pool of
exposure: nothing here takes one currency for another. All strategies on one venue and market count as one account there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

import msgspec

from arbkube.control.protocol import Capacities, Capacity, Order
from arbkube.market.instruments import MarketKey, MarketType, parse_symbol
from arbkube.plan.documents import StrategyDocument
from arbkube.resources.kinds import PartialPolicy
from arbkube.risk.inventory import Holding
from arbkube.risk.limits import Limits
from arbkube.risk.marks import position_asset
from arbkube.venues.order_rates import order_rate

MOST_UNITS = 2**53 - 1
"""The server counts in doubles: whole units up to here are exact. What is more counts as this much."""


class Kind(StrEnum):
    """What is shared."""

    VENUE = "Venue"
    ASSET = "Asset"
    BALANCE = "Balance"
    RATE = "Rate"


_UNIT = {Kind.VENUE: Decimal("1e-6"), Kind.ASSET: Decimal("1e-6"), Kind.BALANCE: Decimal("1e-6"), Kind.RATE: Decimal(1)}


class Pool(msgspec.Struct, frozen=True, order=True):
    """One shared budget."""

    kind: Kind
    scope: str
    subject: str

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.scope}/{self.subject}"

    def units_up(self, amount: Decimal) -> int:
        """What is needed, in whole units, rounded against us."""
        return min(int((amount / _UNIT[self.kind]).to_integral_value(ROUND_CEILING)), MOST_UNITS)

    def units_down(self, amount: Decimal) -> int:
        """What there is, in whole units, rounded against us."""
        return max(0, min(int((amount / _UNIT[self.kind]).to_integral_value(ROUND_FLOOR)), MOST_UNITS))

    def amount(self, units: int) -> Decimal:
        """Units as an amount."""
        return units * _UNIT[self.kind]


class RateTerm(msgspec.Struct, frozen=True):
    """The pool that a market's orders count in, how many may be in it, and for how long each of them is."""

    pool: Pool
    orders: int
    window_ns: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Which pools one executor needs for what."""

    profit_asset: str
    venues: dict[str, Pool]
    """By feed: where exposure on it counts."""
    assets: dict[str, Pool]
    """By what a holding is made of (asset, or a perpetual's symbol)."""
    balances: dict[Holding, Pool]
    rates: dict[MarketKey, RateTerm]
    opens: int
    """How many Opens shall find their need at hand."""
    completes: bool
    """Whether an unequal fill is completed before it is unwound."""
    max_loss: Decimal
    """How far beyond a leg's limit completing and unwinding may pay, as a fraction."""
    max_mark_age_ns: int
    legs: int
    """How many legs of an Open may be on one feed."""
    first_need: Decimal
    """What a leg is thought to need of a pool of exposure before one was seen."""

    @property
    def pools(self) -> frozenset[Pool]:
        rates = (rate.pool for rate in self.rates.values())
        return frozenset((*self.venues.values(), *self.assets.values(), *self.balances.values(), *rates))


Accounts = Mapping[Holding, str]
"""By feed and asset: the spot account that a strategy shares with others. Paper accounts are each strategy's own."""


def terms_of(document: StrategyDocument, limits: Limits, accounts: Accounts | None = None) -> Terms:
    """The terms of a strategy's executor under the limits in force."""
    profit_asset = document.spec.profit_asset
    names = {held: _base(held) for feed in document.feeds.values() for symbol in feed.instruments for held in _held(symbol)}
    return Terms(
        profit_asset=profit_asset,
        venues={
            name: Pool(Kind.VENUE, profit_asset, feed.venue)
            for name, feed in document.feeds.items()
            if feed.venue in limits.max_exposure_by_venue
        },
        assets={
            held: Pool(Kind.ASSET, profit_asset, base)
            for held, base in names.items()
            if base in limits.max_exposure_by_asset and held != profit_asset
        },
        balances={holding: Pool(Kind.BALANCE, account, holding[1]) for holding, account in (accounts or {}).items()},
        rates={
            (name, symbol): _rate(feed.venue, feed.market, symbol)
            for name, feed in document.feeds.items()
            for symbol in feed.instruments
        },
        opens=limits.max_open_intents,
        completes=document.spec.execution.on_partial is PartialPolicy.COMPLETE,
        max_loss=limits.max_loss.fraction,
        max_mark_age_ns=limits.max_mark_age_ns,
        legs=1 if document.spec.cycle is None else document.spec.cycle.max_legs,
        first_need=limits.max_opportunity * (1 + limits.max_loss.fraction),
    )


def capacities(
    strategies: Iterable[tuple[StrategyDocument, Limits]],
    *,
    balances: Mapping[tuple[str, str], Decimal] | None = None,
    accounts: Mapping[str, Accounts] | None = None,
) -> dict[Pool, Capacity]:
    """The capacity of every pool that the plan's strategies need, under the limits in force of each.

    Where their limits differ (while one of them is being rolled out), the lowest counts. `accounts` names by strategy the
    accounts it shares, and `balances` what those hold, by account and asset.
    """
    units: dict[Pool, int] = {}
    users: dict[Pool, set[str]] = {}
    for document, limits in strategies:
        terms = terms_of(document, limits, (accounts or {}).get(document.strategy))
        amounts = {pool: limits.max_exposure_by_venue[pool.subject] for pool in terms.venues.values()}
        amounts |= {pool: limits.max_exposure_by_asset[pool.subject] for pool in terms.assets.values()}
        amounts |= {pool: (balances or {})[pool.scope, pool.subject] for pool in terms.balances.values()}
        amounts |= {rate.pool: Decimal(rate.orders) for rate in terms.rates.values()}
        for pool, amount in amounts.items():
            most = pool.units_down(amount)
            units[pool] = min(most, units.get(pool, most))
            users.setdefault(pool, set()).add(document.strategy)
    return {pool: Capacity(units=units[pool], users=tuple(sorted(users[pool]))) for pool in sorted(units)}


def record(order: Order, pools: Mapping[Pool, Capacity]) -> Capacities:
    """Capacities as they are written."""
    return Capacities(order=order, pools={str(pool): capacity for pool, capacity in sorted(pools.items())})


def _rate(venue: str, market: MarketType, symbol: str) -> RateTerm:
    rate = order_rate(venue, market)
    subject = f"{venue}:{symbol}" if rate.each_instrument else venue
    return RateTerm(Pool(Kind.RATE, market.value, subject), rate.orders, rate.window_ns)


def _held(symbol: str) -> tuple[str, str]:
    """What a trade in `symbol` moves: a position and its quote."""
    return position_asset(symbol), parse_symbol(symbol)[1]


def _base(held: str) -> str:
    """The asset that a holding counts as: a perpetual's position counts as its base."""
    return held.split("-", 1)[0]
