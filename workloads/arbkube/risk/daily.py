"""The risk day: the ArbPnL it began with, and what has been lost since.

For: the figure that `maxDailyLoss` is held against. May not: do I/O, read a clock, or begin a day anew when a clock goes back.

    lost today = ArbPnL when the UTC day began − ArbPnL now, both on fresh conservative marks

A day that was begun in another profit asset goes on in the new one, its start valued against us (an amount owed at the highest
ask): changing the unit forgives no loss.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import lru_cache

import msgspec

from arbkube.risk.accounts import Accounts

_DAY_NS = 86_400_000_000_000
_FIRST_DAY = date(1970, 1, 1).toordinal()


class RiskDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day and the ArbPnL it began with, in `profit_asset`."""

    day: str
    start: Decimal
    profit_asset: str


def rolled(current: RiskDay | None, accounts: Accounts, now_ns: int, max_age_ns: int) -> RiskDay | None:
    """The day that is to be held from now on, as soon as all can be valued freshly; None while `current` stays."""
    day = _day(now_ns // _DAY_NS)
    unit = accounts.marks.profit_asset
    if current is not None and current.day >= day:
        if current.profit_asset == unit:
            return None
        owed = accounts.marks.worth(current.profit_asset, -current.start, accounts.books, now_ns, max_age_ns)
        return None if owed is None else RiskDay(day=current.day, start=-owed, profit_asset=unit)
    start = accounts.pnl(now_ns, max_age_ns).arb
    return None if start is None else RiskDay(day=day, start=start, profit_asset=unit)


def lost(current: RiskDay | None, accounts: Accounts, now_ns: int, max_age_ns: int) -> Decimal | None:
    """What has been lost since the day began; None while that cannot be said on fresh marks."""
    if current is None or current.profit_asset != accounts.marks.profit_asset:
        return None
    arb = accounts.pnl(now_ns, max_age_ns).arb
    return None if arb is None else current.start - arb


@lru_cache(maxsize=2)
def _day(number: int) -> str:
    """The UTC day so many days after the first of 1970, as `2026-09-21`. Asked before every decision, so remembered."""
    return date.fromordinal(_FIRST_DAY + number).isoformat()
