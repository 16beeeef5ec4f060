"""The report of a run or a replay: one JSON document, documented in `docs/reference/report.md`.

For: its shape, its digest, and adding strategies up. A replay's report holds no wall clock, path or host, so that the same
recording gives the same bytes. May not: do I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from arbkube.execution.report import ExecutionFigures
from arbkube.market.instruments import Fees
from arbkube.market.verified import BookCounts

VERSION = 1


class FeedReport(msgspec.Struct, kw_only=True, rename="camel"):
    """What one feed carried. `rules` says where ticks, lots and minimums came from, `fees.source` the same of fees."""

    venue: str
    market: str
    rules: str
    fees: Fees
    instruments: tuple[str, ...]
    messages: int
    updates: int
    duplicates: int
    gaps: int
    resyncs: int
    malformed: int
    crossed: int
    checksums_matched: int
    checksums_mismatched: int
    tops_checked: int
    """Book tops held against the venue's own best prices."""
    tops_mismatched: int
    withheld: dict[str, str]
    """Books that were withheld at the end, and why."""
    snapshots_recorded: int | None = None
    """Replay only: REST snapshots that the recording holds."""
    snapshots_rebuilt: int | None = None
    """Replay only: snapshots the session asked for that the recording does not hold, rebuilt from it."""


class StrategyReport(msgspec.Struct, kw_only=True, rename="camel"):
    """What one strategy saw and did."""

    revision: str
    opportunities: dict[str, int]
    """Evaluations by the reason they ended with; `Taken` counts the opportunities."""
    closest_bps: dict[str, Decimal]
    """The best net edge, in basis points, that each of the five closest identities came to."""
    execution: ExecutionFigures


class Report(msgspec.Struct, kw_only=True, rename="camel"):
    """The whole. `digest` is the SHA-256 of the canonical JSON (sorted keys, no white space) of everything else."""

    version: int
    mode: str
    source: str
    """`Run` or `Replay`."""
    duration_ns: int
    """Of the recording, where it is a replay."""
    feeds: dict[str, FeedReport]
    strategies: dict[str, StrategyReport]
    opportunities: dict[str, int]
    intents: dict[str, int]
    orders: dict[str, int]
    fills: int
    round_trips: int
    fees: dict[str, Decimal]
    pnl: dict[str, Decimal | None]
    """ArbPnL by profit asset over all strategies; null while a strategy's residual cannot be valued."""
    restarts: dict[str, int] | None = None
    """Run only: pods that were started again, and how often."""
    digest: str = ""


def feed_report(
    *,
    venue: str,
    market: str,
    rules: str,
    fees: Fees,
    instruments: tuple[str, ...],
    counts: BookCounts,
    withheld: dict[str, str],
    snapshots_recorded: int | None = None,
    snapshots_rebuilt: int | None = None,
) -> FeedReport:
    """A feed's report from its books' summed counts."""
    return FeedReport(
        venue=venue,
        market=market,
        rules=rules,
        fees=fees,
        instruments=instruments,
        withheld=withheld,
        snapshots_recorded=snapshots_recorded,
        snapshots_rebuilt=snapshots_rebuilt,
        **msgspec.to_builtins(counts),
    )


def strategy_report(
    *, revision: str, evaluations: Mapping[str, int], taken: int, closest: Mapping[str, Decimal], execution: ExecutionFigures
) -> StrategyReport:
    """A strategy's report from its detector's counts and its executor's figures."""
    nearest = sorted(closest.items(), key=lambda item: (-item[1], item[0]))[:5]
    return StrategyReport(
        revision=revision,
        opportunities=dict(sorted({**evaluations, "Taken": taken}.items())),
        closest_bps=dict(nearest),
        execution=execution,
    )


def combine(
    *,
    source: str,
    duration_ns: int,
    feeds: dict[str, FeedReport],
    strategies: dict[str, StrategyReport],
    restarts: dict[str, int] | None = None,
) -> Report:
    """The whole report, with sums over the strategies and its digest."""
    executions = [strategy.execution for strategy in strategies.values()]
    pnl: dict[str, Decimal | None] = {}
    for execution in executions:
        asset, arb = execution.pnl.profit_asset, execution.pnl.arb
        before = pnl.get(asset, Decimal(0))
        pnl[asset] = before + arb if before is not None and arb is not None else None
    report = Report(
        version=VERSION,
        mode="Paper",
        source=source,
        duration_ns=duration_ns,
        feeds=dict(sorted(feeds.items())),
        strategies=dict(sorted(strategies.items())),
        opportunities=_added(strategy.opportunities for strategy in strategies.values()),
        intents=_added(execution.intents for execution in executions),
        orders=_added(execution.orders for execution in executions),
        fills=sum(execution.fills for execution in executions),
        round_trips=sum(len(execution.round_trips) for execution in executions),
        fees=_added(execution.fees for execution in executions),
        pnl=pnl,
        restarts=restarts,
    )
    report.digest = digest_of(report)
    return report


def digest_of(report: Report) -> str:
    """SHA-256 over the canonical form of everything but the digest."""
    content: dict[str, object] = msgspec.to_builtins(report)
    content.pop("digest", None)
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def encode_report(report: Report) -> bytes:
    """The report as it is written to a file: indented JSON with sorted keys."""
    return msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=2) + b"\n"


_Amount = TypeVar("_Amount", int, Decimal)


def _added(parts: Iterable[Mapping[str, _Amount]]) -> dict[str, _Amount]:
    total: dict[str, _Amount] = {}
    for part in parts:
        for key, amount in part.items():
            total[key] = total[key] + amount if key in total else amount
    return dict(sorted(total.items()))
