"""The books of an executor: the risk day with its breaker, the equity curve, what may be spent.

For: figures that are told and journaled beside the intents. May not: touch an intent, do I/O, or read a clock.
"""

from __future__ import annotations

from decimal import Decimal

from arbkube.detection.model import Balances
from arbkube.execution.protocols import Announce, Effect, EquityPoint, Raise, Record, Snapshot
from arbkube.execution.settling.situation import Situation
from arbkube.risk import daily
from arbkube.risk.daily import RiskDay
from arbkube.risk.halting import clears_of_new_day, daily_loss
from arbkube.risk.inventory import OpenOrder

SNAPSHOT_EVERY_NS = 10_000_000_000


class Bookkeeper:
    """Keeps the risk day and knows when the next point of the equity curve is due."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self.risk_day: RiskDay | None = None
        self.snapshot_ns = 0
        """When the next one is due."""

    def roll_day(self, now_ns: int) -> list[Effect]:
        """Begin the UTC risk day, as soon as what is held can be valued freshly; the halts of earlier losses end with it."""
        situation = self._situation
        day = daily.rolled(self.risk_day, situation.accounts, now_ns, situation.limits.max_mark_age_ns)
        if day is None:
            return []
        self.risk_day = day
        clears = clears_of_new_day(situation.config.strategy, day.day, situation.halting.active, now_ns)
        new = situation.halting.hear(clears)
        return [Record(risk_day=day, halts=new), *map(Raise, new)]

    def lost_today(self, now_ns: int) -> Decimal | None:
        """None while it cannot be said on fresh marks."""
        situation = self._situation
        return daily.lost(self.risk_day, situation.accounts, now_ns, situation.limits.max_mark_age_ns)

    def check_loss(self, lost: Decimal | None, now_ns: int) -> list[Effect]:
        """Halt when the day's loss has reached `maxDailyLoss`: once a day."""
        limit = self._situation.limits.max_daily_loss
        if limit is None or lost is None or lost < limit or self.risk_day is None:
            return []
        strategy = self._situation.config.strategy
        detail = f"lost {lost:f} of {limit:f} {self.risk_day.profit_asset} since {self.risk_day.day} began"
        new = self._situation.halting.hear((daily_loss(strategy, self.risk_day.day, detail, now_ns),))
        return [Record(halts=new), *map(Raise, new)] if new else []

    def snapshot(self, now_ns: int) -> list[Effect]:
        """A point of the equity curve, on the last known books."""
        self.snapshot_ns = now_ns + SNAPSHOT_EVERY_NS
        accounts = self._situation.accounts
        pnl, worth = accounts.pnl(now_ns, None), accounts.target_worth(now_ns)
        return [Snapshot(EquityPoint(at_ns=now_ns, cash=pnl.cash, residual=pnl.residual, inventory=worth))]

    def announcement(self, open_orders: tuple[OpenOrder, ...], now_ns: int) -> Announce:
        """What may be spent, after what open orders may take."""
        available = self._situation.accounts.available(open_orders)
        return Announce(Balances(strategy=self._situation.config.strategy, at_ns=now_ns, available=available))
