"""The limits an executor holds: the strictest of its strategy's and every policy's.

For: turning ArbStrategy.risk and the namespace's RiskPolicies into one flat set. May not: do I/O, or judge (see `gates`).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbkube.resources.kinds import AmountLimit, RiskPolicySpec, StrategyRisk


class EffectiveLimits(msgspec.Struct, frozen=True, kw_only=True):
    """None means unlimited. Amounts are in the profit asset, `max_notional` in the order's quote asset."""

    max_notional: Decimal | None = None
    max_position: Decimal | None = None
    max_daily_loss: Decimal | None = None
    max_open_intents: int = 1
    max_exposure_by_venue: dict[str, Decimal] = {}
    max_exposure_by_asset: dict[str, Decimal] = {}
    max_mark_age_ns: int = 5_000_000_000


def effective_limits(strategy: StrategyRisk, policies: Iterable[RiskPolicySpec]) -> EffectiveLimits:
    """The strictest value of each limit over the strategy and all policies of its namespace."""
    policies = tuple(policies)
    ages = [policy.max_mark_age.ns for policy in policies or (RiskPolicySpec(),)]
    return EffectiveLimits(
        max_notional=_strictest([strategy.max_notional, *(policy.max_notional for policy in policies)]),
        max_position=strategy.max_position,
        max_daily_loss=_strictest([strategy.max_daily_loss, *(policy.max_daily_loss for policy in policies)]),
        max_open_intents=strategy.max_open_intents,
        max_exposure_by_venue=_strictest_by_name(limit for policy in policies for limit in policy.max_exposure_by_venue),
        max_exposure_by_asset=_strictest_by_name(limit for policy in policies for limit in policy.max_exposure_by_asset),
        max_mark_age_ns=min(ages),
    )


def _strictest(values: Iterable[Decimal | None]) -> Decimal | None:
    return min((value for value in values if value is not None), default=None)


def _strictest_by_name(limits: Iterable[AmountLimit]) -> dict[str, Decimal]:
    strictest: dict[str, Decimal] = {}
    for limit in limits:
        strictest[limit.name] = min(limit.limit, strictest.get(limit.name, limit.limit))
    return strictest
