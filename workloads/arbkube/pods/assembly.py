"""From a pod's document to the configuration of its core.

For: one reading of a document, so that a replay decides under exactly what the pods decide under. May not: do I/O.
"""

from __future__ import annotations

import uuid

import msgspec

from arbkube.detection.detector import DetectorConfig
from arbkube.execution.config import ExecutorConfig
from arbkube.execution.paper import PaperBroker, PaperLedger
from arbkube.market.instruments import Market
from arbkube.plan.documents import StrategyDocument
from arbkube.resources.kinds import ArbStrategySpec
from arbkube.risk.limits import Limits


def detector_config(document: StrategyDocument, limits: Limits, markets: tuple[Market, ...]) -> DetectorConfig:
    """What a strategy's detector runs under, on the markets that its feeds announced."""
    spec = with_limits(document.spec, limits)
    return DetectorConfig(
        strategy=document.strategy,
        strategy_uid=document.uid,
        revision=document.revision,
        cross_venue=spec.cross_venue,
        cycle=spec.cycle,
        profit_asset=spec.profit_asset,
        detection=spec.detection,
        markets=markets,
        max_age_ns={feed: limits.max_age[feed].ns for feed in document.feeds},
        max_transit_ns={feed: limits.max_transit[feed].ns for feed in document.feeds},
    )


def executor_config(document: StrategyDocument, limits: Limits, markets: tuple[Market, ...]) -> ExecutorConfig:
    """What a strategy's executor runs under."""
    spec = document.spec
    return ExecutorConfig(
        strategy=document.strategy,
        strategy_uid=document.uid,
        revision=document.revision,
        profit_asset=spec.profit_asset,
        detection=spec.detection,
        execution=spec.execution,
        limits=limits,
        markets=markets,
        venue_of={name: feed.venue for name, feed in document.feeds.items()},
    )


def with_limits(spec: ArbStrategySpec, limits: Limits) -> ArbStrategySpec:
    """A document's spec with the limits in force put back into it."""
    detection = msgspec.structs.replace(
        spec.detection,
        enter_edge=limits.enter_edge,
        max_plausible_edge=limits.max_plausible_edge,
        max_skew=limits.max_skew,
        max_notional=limits.max_opportunity,
    )
    execution = msgspec.structs.replace(spec.execution, max_loss=limits.max_loss, expire_after=limits.expire_after)
    return msgspec.structs.replace(spec, detection=detection, execution=execution)


def paper_broker(config: ExecutorConfig, ledger: PaperLedger) -> PaperBroker:
    """The strategy's paper broker; what befalls an order depends on the strategy's uid and the order's id alone."""
    return PaperBroker(config, seed=int(uuid.UUID(config.strategy_uid)), ledger=ledger)
