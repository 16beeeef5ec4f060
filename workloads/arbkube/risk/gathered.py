"""What the gate looks at, gathered at one moment.

For: everything that `gates` needs to judge one opportunity, and the valuations that several checks share, each made once and
only when it is asked for. May not: judge, do I/O, or read a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from functools import cached_property

import msgspec

from arbkube.detection.model import Leg, Opportunity
from arbkube.market.instruments import Market, MarketKey
from arbkube.risk.accounts import Accounts
from arbkube.risk.inventory import Holding, OpenOrder
from arbkube.risk.limits import Limits


class Repriced(msgspec.Struct, frozen=True, kw_only=True):
    """The opportunity's legs on the executor's own current books. Empty legs: nothing is left within the limits."""

    legs: tuple[Leg, ...]
    notional: Decimal
    expected_profit: Decimal


class Gathered:
    """All that the checks look at, gathered at one moment. Valuations are made when first asked for."""

    def __init__(
        self,
        *,
        now_ns: int,
        opportunity: Opportunity,
        control_believed: bool,
        halted: bool,
        lease_valid: bool,
        journal_writable: bool,
        revision_known: bool,
        tradable: Collection[MarketKey],
        markets: Mapping[MarketKey, Market],
        venue_of: Mapping[str, str],
        max_age_ns: Mapping[str, int],
        exit_edge: Decimal,
        limits: Limits,
        live_identities: frozenset[str],
        reprice: Callable[[Opportunity], Repriced],
        accounts: Accounts,
        open_orders: tuple[OpenOrder, ...],
        lost_today: Decimal | None,
        reserved: Callable[[Repriced], bool],
    ) -> None:
        self.now_ns = now_ns
        self.opportunity = opportunity
        self.control_believed = control_believed
        self.halted = halted
        self.lease_valid = lease_valid
        self.journal_writable = journal_writable
        self.revision_known = revision_known
        self.tradable = tradable
        self.markets = markets
        self.venue_of = venue_of
        self.max_age_ns = max_age_ns
        self.exit_edge = exit_edge
        self.limits = limits
        self.live_identities = live_identities
        self.books = accounts.books
        self.last_fill_ns = accounts.last_fill_ns
        self.inventory = accounts.inventory
        self.marks = accounts.marks
        self.open_orders = open_orders
        self.lost_today = lost_today
        self._reprice = reprice
        self._reserved = reserved

    @cached_property
    def keys(self) -> tuple[MarketKey, ...]:
        return tuple((leg.feed, leg.symbol) for leg in self.opportunity.legs)

    @cached_property
    def repriced(self) -> Repriced:
        return self._reprice(self.opportunity)

    @cached_property
    def new_orders(self) -> tuple[OpenOrder, ...]:
        """The re-priced legs as if all had just been sent."""
        return tuple(
            OpenOrder(
                market=self.markets[(leg.feed, leg.symbol)], side=leg.side, quantity=leg.quantity, limit_price=leg.limit_price
            )
            for leg in self.repriced.legs
        )

    @cached_property
    def exposures(self) -> dict[Holding, Decimal] | None:
        """Worth of the worst distance from target of each holding but the profit asset; None when a mark is stale."""
        worths: dict[Holding, Decimal] = {}
        for holding, distances in self.inventory.worst_distances((*self.open_orders, *self.new_orders)).items():
            worth = self._worst(holding[1], distances)
            if worth is None:
                return None
            if holding[1] != self.marks.profit_asset:
                worths[holding] = worth
        return worths

    @cached_property
    def asset_exposures(self) -> dict[str, Decimal] | None:
        """The same by asset, feeds netted where their orders are settled, never where they are open."""
        totals: dict[str, tuple[Decimal, Decimal]] = {}
        for (_, asset), (least, greatest) in self.inventory.worst_distances((*self.open_orders, *self.new_orders)).items():
            low, high = totals.get(asset, (Decimal(0), Decimal(0)))
            totals[asset] = (low + least, high + greatest)
        worths: dict[str, Decimal] = {}
        for asset, distances in totals.items():
            worth = self._worst(asset, distances)
            if worth is None:
                return None
            worths[asset] = worth
        worths.pop(self.marks.profit_asset, None)
        return worths

    @cached_property
    def reserved(self) -> bool:
        """Whether the blocks held cover the re-priced legs and whatever may become of them."""
        return self._reserved(self.repriced)

    def _worst(self, asset: str, distances: tuple[Decimal, Decimal]) -> Decimal | None:
        worst = Decimal(0)
        for distance in distances:
            worth = self.marks.worth(asset, distance, self.books, self.now_ns, self.limits.max_mark_age_ns)
            if worth is None:
                return None
            worst = max(worst, abs(worth))
        return worst
