"""From a pod's document to the configuration of its core.

For: one reading of a document, so that a replay decides under exactly what the pods decide under. May not: do I/O.
"""

from __future__ import annotations

import uuid

from arbkube.detection.detector import DetectorConfig
from arbkube.execution.engine import ExecutorConfig
from arbkube.execution.paper import PaperBroker, PaperLedger
from arbkube.market.instruments import Market
from arbkube.plan.documents import DetectorDocument, ExecutorDocument


def detector_config(document: DetectorDocument | ExecutorDocument, markets: tuple[Market, ...]) -> DetectorConfig:
    """What a strategy's detector runs under, on the markets that its feeds announced."""
    spec = document.spec
    return DetectorConfig(
        strategy=document.strategy,
        strategy_uid=document.uid,
        revision=document.revision,
        cross_venue=spec.cross_venue,
        cycle=spec.cycle,
        profit_asset=spec.profit_asset,
        detection=spec.detection,
        markets=markets,
        max_age_ns={name: feed.integrity.max_age.ns for name, feed in document.feeds.items()},
        max_transit_ns={name: feed.integrity.max_transit.ns for name, feed in document.feeds.items()},
    )


def executor_config(document: ExecutorDocument, markets: tuple[Market, ...]) -> ExecutorConfig:
    """What a strategy's executor runs under."""
    spec = document.spec
    return ExecutorConfig(
        strategy=document.strategy,
        strategy_uid=document.uid,
        revision=document.revision,
        profit_asset=spec.profit_asset,
        detection=spec.detection,
        execution=spec.execution,
        limits=document.limits,
        markets=markets,
        venue_of={name: feed.venue for name, feed in document.feeds.items()},
        max_age_ns={name: feed.integrity.max_age.ns for name, feed in document.feeds.items()},
    )


def paper_broker(config: ExecutorConfig, ledger: PaperLedger) -> PaperBroker:
    """The strategy's paper broker; what befalls an order depends on the strategy's uid and the order's id alone."""
    return PaperBroker(
        paper=config.execution.paper,
        markets=config.markets,
        max_age_ns=config.max_age_ns,
        seed=int(uuid.UUID(config.strategy_uid)),
        ledger=ledger,
    )
