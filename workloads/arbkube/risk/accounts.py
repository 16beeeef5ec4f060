"""What an executor holds and what it is worth: inventory, marks and ArbPnL in one place.

For: ArbPnL = fills − fees + residual against target inventory at conservative marks, exactly. Every fill moves three amounts
(position, quote, fee); their sums by asset over all feeds are `flows`. The profit asset's sum is `cash`, the others' worth is
`residual`. What the target inventory itself gains or loses is InventoryPnL and no part of it. May not: do I/O or read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbkube.market.instruments import Market, MarketKey, Side
from arbkube.risk.inventory import Holding, Inventory, OpenOrder, trade_flows
from arbkube.risk.marks import LatestBooks, Marks


class Pnl(msgspec.Struct, frozen=True, kw_only=True):
    """In the profit asset. `residual` is None while an asset cannot be valued."""

    profit_asset: str
    flows: dict[str, Decimal]
    """Distance from target of each asset over all feeds; zeros are left out."""
    cash: Decimal
    residual: Decimal | None

    @property
    def arb(self) -> Decimal | None:
        return None if self.residual is None else self.cash + self.residual


class Positions(msgspec.Struct, frozen=True, kw_only=True):
    """What fills come to: all that accounts must know of them."""

    moved: dict[Holding, Decimal]
    last_fill_ns: dict[MarketKey, int]


class Accounts:
    """Books, marks and inventory of one executor. `books` is fed and read by its owner, too."""

    def __init__(self, *, target: dict[Holding, Decimal], markets: tuple[Market, ...], profit_asset: str) -> None:
        self.books = LatestBooks()
        self.marks = Marks(markets, profit_asset)
        self.inventory = Inventory(target, markets)
        self.last_fill_ns: dict[MarketKey, int] = {}

    def value_by(self, markets: tuple[Market, ...], former: tuple[Market, ...], profit_asset: str) -> None:
        """From now on value by `markets`, and by `former` ones what those do not reach. What is held stays held."""
        self.marks = Marks(markets, profit_asset, former)
        self.inventory.know((*markets, *former))

    def take_over(self, positions: Positions) -> None:
        """Begin with what earlier fills have moved."""
        self.inventory.moved.update(positions.moved)
        self.last_fill_ns.update(positions.last_fill_ns)

    def book(
        self, key: MarketKey, side: Side, *, price: Decimal, quantity: Decimal, fee: Decimal, fee_asset: str, at_ns: int
    ) -> None:
        """Take one fill in. Whether it was seen before is the caller's to know."""
        self.inventory.book(trade_flows(key, side, price, quantity, fee, fee_asset))
        self.last_fill_ns[key] = max(at_ns, self.last_fill_ns.get(key, 0))

    def pnl(self, now_ns: int, max_age_ns: int | None) -> Pnl:
        """PnL of everything booked, on books at most `max_age_ns` old (None: the last known, however old)."""
        flows = {asset: amount for asset, amount in sorted(self.inventory.by_asset().items()) if amount != 0}
        profit_asset = self.marks.profit_asset
        residual: Decimal | None = Decimal(0)
        for asset, amount in flows.items():
            if asset == profit_asset:
                continue
            worth = self.marks.worth(asset, amount, self.books, now_ns, max_age_ns)
            residual = None if residual is None or worth is None else residual + worth
        return Pnl(profit_asset=profit_asset, flows=flows, cash=flows.get(profit_asset, Decimal(0)), residual=residual)

    def target_worth(self, now_ns: int) -> Decimal | None:
        """What the target inventory is worth on the last known books; its change over time is InventoryPnL."""
        total = Decimal(0)
        for (_, asset), amount in self.inventory.target.items():
            worth = self.marks.worth(asset, amount, self.books, now_ns, None)
            if worth is None:
                return None
            total += worth
        return total

    def available(self, open_orders: Iterable[OpenOrder]) -> dict[str, dict[str, Decimal]]:
        """What may be spent, by feed and asset, after what open orders may take."""
        taken = self.inventory.reserved(open_orders)
        available: dict[str, dict[str, Decimal]] = {}
        for feed, asset in self.inventory.spot_holdings():
            free = self.inventory.free((feed, asset), self.books.ask_price) - taken.get((feed, asset), Decimal(0))
            available.setdefault(feed, {})[asset] = max(free, Decimal(0))
        return available
