"""ArbPnL: cash plus residual.

For: ArbPnL = fills − fees + residual against target inventory at conservative marks, exactly. Every fill moves three amounts
(position, quote, fee); their sums by asset over all feeds are `flows`. The profit asset's sum is `cash`, the others' worth is
`residual`. What the target inventory itself gains or loses is InventoryPnL and no part of it. May not: do I/O.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from arbkube.risk.inventory import Inventory
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


def arb_pnl(inventory: Inventory, marks: Marks, books: LatestBooks, now_ns: int, max_age_ns: int | None) -> Pnl:
    """PnL of everything booked so far, on books at most `max_age_ns` old (None: the last known, however old)."""
    flows = {asset: amount for asset, amount in sorted(inventory.by_asset().items()) if amount != 0}
    residual: Decimal | None = Decimal(0)
    for asset, amount in flows.items():
        if asset == marks.profit_asset:
            continue
        worth = marks.worth(asset, amount, books, now_ns, max_age_ns)
        residual = None if residual is None or worth is None else residual + worth
    return Pnl(profit_asset=marks.profit_asset, flows=flows, cash=flows.get(marks.profit_asset, Decimal(0)), residual=residual)


def target_worth(inventory: Inventory, marks: Marks, books: LatestBooks, now_ns: int) -> Decimal | None:
    """What the target inventory is worth on the last known books; its change over time is InventoryPnL."""
    total = Decimal(0)
    for (_, asset), amount in inventory.target.items():
        worth = marks.worth(asset, amount, books, now_ns, None)
        if worth is None:
            return None
        total += worth
    return total
