"""The limits that hold for a strategy: the strictest of its own and of every RiskPolicy.

For: the executor's gate, which gets one value a limit. May not: do I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbkube.resources.kinds import AmountLimit, RiskPolicySpec, StrategyRisk
from arbkube.resources.scalars import Duration


class EffectiveLimits(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """None, or no entry, means that nobody set the limit."""

    max_notional: Decimal | None
    """Largest order, in its quote asset."""
    max_position: Decimal | None
    """Largest distance of an asset from its target, in the profit asset."""
    max_open_intents: int
    max_daily_loss: Decimal | None
    """Loss since the risk day (UTC) began at which Opens stop, in the profit asset."""
    max_exposure_by_venue: dict[str, Decimal]
    """Worth of the distance from target on one venue, in the profit asset, by the venue's name."""
    max_exposure_by_asset: dict[str, Decimal]
    """The same of one asset over all venues."""
    max_mark_age: Duration
    """A mark older than this refuses Opens."""


def effective_limits(own: StrategyRisk, policies: Iterable[RiskPolicySpec]) -> EffectiveLimits:
    """The strictest value of each limit. Without a policy the defaults of RiskPolicy hold."""
    all_of_them = list(policies)
    return EffectiveLimits(
        max_notional=_lowest([own.max_notional, *(policy.max_notional for policy in all_of_them)]),
        max_position=own.max_position,
        max_open_intents=own.max_open_intents,
        max_daily_loss=_lowest([own.max_daily_loss, *(policy.max_daily_loss for policy in all_of_them)]),
        max_exposure_by_venue=_lowest_by_name(policy.max_exposure_by_venue for policy in all_of_them),
        max_exposure_by_asset=_lowest_by_name(policy.max_exposure_by_asset for policy in all_of_them),
        max_mark_age=min((policy.max_mark_age for policy in all_of_them), default=RiskPolicySpec().max_mark_age),
    )


def _lowest(values: Iterable[Decimal | None]) -> Decimal | None:
    return min((value for value in values if value is not None), default=None)


def _lowest_by_name(limits: Iterable[tuple[AmountLimit, ...]]) -> dict[str, Decimal]:
    lowest: dict[str, Decimal] = {}
    for limit in (limit for policy in limits for limit in policy):
        lowest[limit.name] = min(limit.limit, lowest.get(limit.name, limit.limit))
    return dict(sorted(lowest.items()))
