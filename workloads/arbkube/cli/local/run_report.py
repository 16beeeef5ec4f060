"""The report of an `arb up`: the pods' last words and what their journals hold of this run.

For: gathering. May not: count what an earlier run with the same state directory did.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from arbkube.cli.common.report import FeedReport, Report, StrategyReport, combine, feed_report, strategy_report
from arbkube.execution.protocols import EquityPoint
from arbkube.execution.report import ExecutionFigures, Trade, execution_figures
from arbkube.market.instruments import Fees
from arbkube.market.verified import BookCounts
from arbkube.plan.documents import FeedDocument, StrategyDocument
from arbkube.plan.planning import Plan, Role, Workload
from arbkube.pods.shell.status import PodStatus
from arbkube.storage.database import StorageError
from arbkube.storage.reading import SqliteExecutorReader


def report_of_run(
    plan: Plan,
    *,
    statuses: Mapping[str, PodStatus],
    state: Path,
    since_ns: int,
    duration_ns: int,
    restarts: dict[str, int],
) -> Report:
    """The report of a run that began at `since_ns`."""
    feeds: dict[str, FeedReport] = {}
    strategies: dict[str, StrategyReport] = {}
    for workload in plan.workloads:
        status = statuses.get(workload.name)
        document = plan.documents[workload.document]
        if workload.role is Role.FEED and isinstance(document, FeedDocument) and status is not None:
            feeds[document.name] = _feed(document, status.detail)
        elif workload.role is Role.EXECUTOR and isinstance(document, StrategyDocument):
            detector = _detector_of(plan, workload, statuses)
            strategies[document.strategy] = strategy_report(
                revision=document.revision,
                evaluations=msgspec.convert(detector.get("evaluations", {}), dict[str, int]),
                taken=msgspec.convert(detector.get("opportunities", 0), int),
                closest=msgspec.convert(detector.get("closest_bps", {}), dict[str, Decimal], strict=False),
                execution=_figures(state / "journal" / f"{document.strategy}.sqlite", document, since_ns),
            )
    return combine(source="Run", duration_ns=duration_ns, feeds=feeds, strategies=strategies, restarts=restarts)


def _feed(document: FeedDocument, detail: Mapping[str, object]) -> FeedReport:
    return feed_report(
        venue=document.spec.venue,
        market=document.spec.market.value,
        rules="venue",
        fees=msgspec.convert(detail["fees"], Fees, strict=False),
        instruments=document.spec.instruments,
        counts=msgspec.convert(detail["counts"], BookCounts),
        withheld=msgspec.convert(detail["withheld"], dict[str, str]),
    )


def _detector_of(plan: Plan, executor: Workload, statuses: Mapping[str, PodStatus]) -> Mapping[str, object]:
    """The last words of the detector that runs for the same strategy."""
    for workload in plan.workloads:
        if workload.role is Role.DETECTOR and workload.resources == executor.resources and workload.name in statuses:
            return statuses[workload.name].detail
    return {}


def _figures(journal: Path, document: StrategyDocument, since_ns: int) -> ExecutionFigures:
    """This run's part of the journal: what came after the last marks of an earlier run.

    A run that was killed left fills which none of its marks knows; nobody has reported them, so this one does.
    """
    profit_asset = document.spec.profit_asset
    try:
        reader = SqliteExecutorReader(journal)
    except StorageError:
        # The executor never began: its feeds announced no markets.
        return execution_figures(profit_asset=profit_asset, trades=(), refusals={}, first=None, last=None)
    try:
        before = reader.last_valued_equity(before_ns=since_ns)
        begin_ns = before.at_ns + 1 if before is not None else 0
        trades = [part for trade in reader.trades_in_order() if (part := _part(trade, begin_ns)) is not None]
        newest = reader.equity(limit=1)
        booked_ns = max((fill.at_ns for trade in trades for fill in trade.fills), default=begin_ns)
        # An executor that was killed at its end leaves fills without marks: their worth is unknown.
        last = newest[0] if newest and newest[0].at_ns >= booked_ns else None
        return execution_figures(
            profit_asset=profit_asset,
            trades=trades,
            refusals=reader.refusals(since_ns=begin_ns),
            first=reader.first_equity(since_ns=since_ns),
            last=_since(before, last) if last is not None else None,
        )
    finally:
        reader.close()


def _part(trade: Trade, begin_ns: int) -> Trade | None:
    """What of a trade happened from `begin_ns` on; None when nothing did."""
    fills = tuple(fill for fill in trade.fills if fill.at_ns >= begin_ns)
    if trade.intent.created_ns < begin_ns and not fills:
        return None
    return msgspec.structs.replace(trade, fills=fills)


def _since(before: EquityPoint | None, last: EquityPoint) -> EquityPoint:
    """`last`, with its residual counted from what it was worth before."""
    if before is None or before.residual is None or last.residual is None:
        return last
    return msgspec.structs.replace(last, residual=last.residual - before.residual)
