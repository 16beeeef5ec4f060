"""The limits a strategy's pods hold, as a document of their own: every field declares which direction is safer.

For: turning the limit fields of ArbStrategy, of its feeds and of the namespace's RiskPolicies into one flat set; the field-wise
stricter of two sets. May not: do I/O, or judge (see `gates`).

`stricter` is commutative, associative and idempotent, so that sets of limits form a semilattice: a set is nowhere looser than
another exactly where it is the stricter of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from arbkube.resources.fields import Safer
from arbkube.resources.kinds import AmountLimit, ArbStrategySpec, Integrity, RiskPolicySpec
from arbkube.resources.scalars import Bps, Duration

_LOWER = msgspec.Meta(extra={"safer": Safer.LOWER})
_HIGHER = msgspec.Meta(extra={"safer": Safer.HIGHER})


class Limits(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a strategy's pods may not go beyond. None, or no entry, means unlimited.

    Amounts are in the profit asset, `max_notional` in the order's quote asset; `max_age` and `max_transit` go by feed.
    """

    max_notional: Annotated[Decimal | None, _LOWER] = None
    max_position: Annotated[Decimal | None, _LOWER] = None
    max_daily_loss: Annotated[Decimal | None, _LOWER] = None
    max_open_intents: Annotated[int, _LOWER] = 1
    max_exposure_by_venue: Annotated[dict[str, Decimal], _LOWER] = {}
    max_exposure_by_asset: Annotated[dict[str, Decimal], _LOWER] = {}
    max_mark_age_ns: Annotated[int, _LOWER] = 5_000_000_000
    enter_edge: Annotated[Bps, _HIGHER] = Bps("5bps")
    max_plausible_edge: Annotated[Bps, _LOWER] = Bps("300bps")
    max_skew: Annotated[Duration, _LOWER] = Duration("1s")
    max_opportunity: Annotated[Decimal, _LOWER] = Decimal(1000)
    max_loss: Annotated[Bps, _LOWER] = Bps("50bps")
    expire_after: Annotated[Duration, _LOWER] = Duration("250ms")
    max_age: Annotated[dict[str, Duration], _LOWER] = {}
    max_transit: Annotated[dict[str, Duration], _LOWER] = {}


def limits_of(
    strategy: ArbStrategySpec, policies: Iterable[RiskPolicySpec] = (), feeds: Mapping[str, Integrity] | None = None
) -> Limits:
    """The strictest value of each limit over the strategy, its feeds (by name) and all policies of its namespace."""
    policies = tuple(policies)
    risk, detection, execution = strategy.risk, strategy.detection, strategy.execution
    ages = [policy.max_mark_age.ns for policy in policies or (RiskPolicySpec(),)]
    return Limits(
        max_notional=_strictest([risk.max_notional, *(policy.max_notional for policy in policies)]),
        max_position=risk.max_position,
        max_daily_loss=_strictest([risk.max_daily_loss, *(policy.max_daily_loss for policy in policies)]),
        max_open_intents=risk.max_open_intents,
        max_exposure_by_venue=_strictest_by_name(limit for policy in policies for limit in policy.max_exposure_by_venue),
        max_exposure_by_asset=_strictest_by_name(limit for policy in policies for limit in policy.max_exposure_by_asset),
        max_mark_age_ns=min(ages),
        enter_edge=detection.enter_edge,
        max_plausible_edge=detection.max_plausible_edge,
        max_skew=detection.max_skew,
        max_opportunity=detection.max_notional,
        max_loss=execution.max_loss,
        expire_after=execution.expire_after,
        max_age={name: integrity.max_age for name, integrity in sorted((feeds or {}).items())},
        max_transit={name: integrity.max_transit for name, integrity in sorted((feeds or {}).items())},
    )


def stricter(one: Limits, other: Limits) -> Limits:
    """The stricter value of each field."""
    return Limits(**{name: _stricter(safer, getattr(one, name), getattr(other, name)) for name, safer in DIRECTIONS.items()})


def nowhere_looser(limits: Limits, than: Limits) -> bool:
    """Whether no field of `limits` allows more than that of `than`."""
    return stricter(limits, than) == limits


def _directions() -> dict[str, Safer]:
    hints = msgspec.inspect.type_info(Limits)
    assert isinstance(hints, msgspec.inspect.StructType)
    found = {}
    for field in hints.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata)
        found[field.name] = (field.type.extra or {})["safer"]
    return found


DIRECTIONS: dict[str, Safer] = _directions()
"""Each field's safer direction, as declared."""


def _stricter(safer: Safer, one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {name: _stricter(safer, one.get(name), other.get(name)) for name in sorted(one.keys() | other.keys())}
    if one is None or other is None:
        return other if one is None else one
    return min(one, other) if safer is Safer.LOWER else max(one, other)


def _strictest(values: Iterable[Decimal | None]) -> Decimal | None:
    return min((value for value in values if value is not None), default=None)


def _strictest_by_name(limits: Iterable[AmountLimit]) -> dict[str, Decimal]:
    strictest: dict[str, Decimal] = {}
    for limit in limits:
        strictest[limit.name] = min(limit.limit, strictest.get(limit.name, limit.limit))
    return strictest
