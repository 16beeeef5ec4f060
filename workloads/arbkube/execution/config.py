"""What an executor is told, and what of it stays with each intent.

For: the words in which a configuration reaches the engine. May not: decide, do I/O, or read a clock.

A configuration has two parts of different kinds. Its *rules* belong to one revision: an intent is decided and settled under
those of its opportunity's revision, whatever comes after. Its *limits*, and the venues' own trading rules in `markets`, are
facts of the moment: they hold for every intent from the moment they are known.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from arbkube.market.instruments import Market, MarketKey
from arbkube.resources.kinds import Detection, Execution, LegOrder, PartialPolicy
from arbkube.risk.inventory import Holding
from arbkube.risk.limits import Limits

ANSWER_TIMEOUT_NS = 1_000_000_000
"""How long an order's answer may take, beyond the broker's own latency, before it counts as unknown; its deadline as well."""


class ExecutorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an executor is told. Limits are read from `limits` alone. `venue_of` goes by feed."""

    strategy: str
    strategy_uid: str
    revision: str
    profit_asset: str
    detection: Detection
    execution: Execution
    limits: Limits
    markets: tuple[Market, ...]
    venue_of: dict[str, str]

    @property
    def target(self) -> dict[Holding, Decimal]:
        """The target inventory: what the account began with."""
        return {(balance.feed, balance.asset): balance.amount for balance in self.execution.paper.balances}

    @property
    def max_age_ns(self) -> dict[str, int]:
        """By feed: the oldest proof of life under which its books are traded on."""
        return ages_of(self.limits)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision says of deciding and settling."""

    revision: str
    profit_asset: str
    legs: LegOrder
    on_partial: PartialPolicy
    exit_edge: Decimal
    order_lifetime_ns: int
    tradable: frozenset[MarketKey]


def ages_of(limits: Limits) -> dict[str, int]:
    """By feed: `maxAge` in nanoseconds."""
    return {feed: age.ns for feed, age in limits.max_age.items()}


def rules_of(config: ExecutorConfig) -> Rules:
    """The rules of a configuration's revision."""
    return Rules(
        revision=config.revision,
        profit_asset=config.profit_asset,
        legs=config.execution.legs,
        on_partial=config.execution.on_partial,
        exit_edge=config.detection.exit_edge.fraction,
        order_lifetime_ns=ANSWER_TIMEOUT_NS + config.execution.paper.latency.ns,
        tradable=frozenset(market.key for market in config.markets),
    )


def restart_needed(old: ExecutorConfig, new: ExecutorConfig) -> str:
    """The field that differs and cannot change in a running executor; empty where there is none."""
    for name, one, other in (
        ("strategy", old.strategy, new.strategy),
        ("uid", old.strategy_uid, new.strategy_uid),
        ("execution.mode", old.execution.mode, new.execution.mode),
        ("execution.paper.balances", old.target, new.target),
    ):
        if one != other:
            return name
    return ""
