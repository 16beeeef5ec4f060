"""`arb record` and `arb replay`.

For: writing what a feed hears, and putting recordings through the code that trades. May not: trade.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from arbkube.cli.common.durations import seconds
from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.cli.common.inputs import load_valid
from arbkube.cli.common.outputs import check_writable, write_whole
from arbkube.cli.common.report import FeedReport, Report, combine, encode_report, feed_report, strategy_report
from arbkube.cli.local.runfile import read_run_file
from arbkube.execution.report import execution_figures
from arbkube.market.instruments import Fees, Instrument
from arbkube.market.verified import total_counts
from arbkube.plan.documents import StrategyDocument
from arbkube.pods.shell.runtime import end
from arbkube.replay.build import FeedSetup, InstrumentsFile, ReplayError, build_feeds, build_strategies, set_up_feeds
from arbkube.replay.run import Replay, ReplayFeed, ReplayStrategy, VirtualClock
from arbkube.resources.kinds import VenueFeedSpec
from arbkube.storage.reading import SqliteExecutorReader
from arbkube.venues.catalog import CCXT
from arbkube.venues.recording import FORMAT, Event, Header, Recording, RecordingError, Writer
from arbkube.venues.registry import adapter as adapter_of
from arbkube.venues.sources import UNAVAILABLE, open_source

_FLUSH_S = 1.0


def run_record(manifests: Path, *, feed: str, out: Path, duration: str, simulator: str, state: Path) -> None:
    """Record until the duration is over or a signal comes. Raises ArbError."""
    limit_s = seconds(duration, option="--for")
    resources = load_valid(manifests)
    found = resources.feeds.get(feed)
    if found is None:
        known = ", ".join(sorted(resources.feeds)) or "none"
        raise ArbError(f"no VenueFeed {feed}", remedy=f"{manifests} has: {known}", code=ExitCode.USAGE)
    if out.exists():
        raise ArbError(f"{out} exists", remedy="give another --out; a recording is never written over", code=ExitCode.USAGE)
    check_writable(out, option="--out")
    if found.spec.venue.startswith(CCXT):
        raise ArbError(
            f"feed {feed} comes through ccxt, which keeps its raw frames to itself",
            remedy="record a feed whose venue has an adapter",
            code=ExitCode.USAGE,
        )
    if found.spec.simulated is not None and not simulator:
        run = read_run_file(state)
        simulator = run.simulator if run is not None else ""
        if not simulator:
            raise ArbError(
                f"feed {feed} is simulated, and no simulator runs",
                remedy="start `arb up` beside this, or give --simulator URL",
                code=ExitCode.NOT_RUNNING,
            )
    try:
        count = asyncio.run(_record(feed, found.spec, out, limit_s, simulator))
    except UNAVAILABLE as error:
        raise ArbError(
            f"{type(error).__name__}: {error}",
            remedy="check the venue's address, the instruments and the place of --out",
            code=ExitCode.FAILED,
        ) from error
    typer.echo(f"{out}: {count} events")


async def _record(name: str, spec: VenueFeedSpec, out: Path, limit_s: float | None, simulator: str) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    writers: list[Writer] = []

    def write(event: Event) -> None:
        writers[0].write(event)

    source = open_source(
        name,
        spec,
        simulator=simulator,
        rng=Random(),
        on_change=lambda session, books: None,
        tap=write,
    )
    try:
        instruments = await source.instruments(spec.instruments)
        header = _header(name, spec, instruments, source.fees(spec.instruments))
        writers.append(Writer(out, header))
        running = asyncio.create_task(source.run(instruments))
        try:
            await _until(stop, limit_s, writers[0], running)
        finally:
            await end([running])
            writers[0].close()
    finally:
        await source.close()
    return writers[0].events


def _header(name: str, spec: VenueFeedSpec, instruments: Sequence[Instrument], fees: Fees) -> Header:
    step = adapter_of(spec.venue, spec.market).limits.symbols_per_connection
    symbols = tuple(instrument.symbol for instrument in instruments)
    return Header(
        format=FORMAT,
        feed=name,
        venue=spec.venue,
        market=spec.market,
        natives=tuple(instrument.native for instrument in instruments),
        channels=spec.channels,
        depth=spec.depth,
        connections=tuple(symbols[start : start + step] for start in range(0, len(symbols), step)),
        instruments=tuple(instruments),
        fees=fees,
    )


async def _until(stop: asyncio.Event, limit_s: float | None, writer: Writer, running: asyncio.Task[None]) -> None:
    """Wait for the end, flushing and saying how far it is."""
    console = Console(stderr=True)
    started = time.monotonic()
    while not stop.is_set() and (limit_s is None or time.monotonic() - started < limit_s):
        left = _FLUSH_S if limit_s is None else min(_FLUSH_S, limit_s - (time.monotonic() - started))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, left)):
                await stop.wait()
        writer.flush()
        if running.done():
            running.result()
        if console.is_terminal:
            console.print(f"\r{time.monotonic() - started:.0f} s, {writer.events} events", end="")


def run_replay(
    files: Sequence[Path], *, manifests: Path | None, report: Path | None, instruments: Path | None, as_json: bool
) -> None:
    """Replay `files` together. Raises ArbError."""
    if report is not None:
        check_writable(report, option="--report")
    resources = load_valid(manifests) if manifests is not None else None
    given = _instruments_file(instruments) if instruments is not None else None
    try:
        recordings = [Recording(path) for path in files]
        setups = set_up_feeds(recordings, resources, given)
        clock = VirtualClock()
        feeds = build_feeds(setups)
        strategies, documents = build_strategies(setups, resources, clock)
        replay = Replay(feeds, clock)
        _run_with_progress(replay, strategies)
    except RecordingError as error:
        raise ArbError(str(error), remedy="nothing was written; give a whole recording", code=ExitCode.INVALID) from error
    except ReplayError as error:
        raise ArbError(str(error), remedy="see `arb replay --help`", code=ExitCode.INVALID) from error
    result = _report(replay, setups, documents)
    content = encode_report(result)
    if report is not None:
        write_whole(report, content)
    if as_json:
        typer.echo(content.decode(), nl=False)
    else:
        _print(result)


def _instruments_file(path: Path) -> InstrumentsFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=InstrumentsFile)
    except (OSError, msgspec.MsgspecError) as error:
        raise ArbError(
            f"{path}: {error}",
            remedy='write {"instruments": [...], "fees": {...}} as in a recording\'s first line',
            code=ExitCode.INVALID,
        ) from error


def _run_with_progress(replay: Replay, strategies: list[ReplayStrategy]) -> None:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("replaying: {task.fields[events]} events, {task.fields[span]:.0f} s recorded"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None, events=0, span=0.0)
        replay.run(strategies, lambda events, ns: progress.update(task, events=events, span=ns / 1e9))


def _report(replay: Replay, setups: dict[str, FeedSetup], documents: dict[str, StrategyDocument]) -> Report:
    return combine(
        source="Replay",
        duration_ns=replay.duration_ns,
        feeds={feed.name: _feed(feed, setups[feed.name]) for feed in replay.feeds},
        strategies={
            strategy.name: strategy_report(
                revision=documents[strategy.name].revision,
                evaluations=strategy.detector.counts,
                taken=strategy.detector.opportunities,
                closest=strategy.detector.closest,
                execution=execution_figures(
                    profit_asset=documents[strategy.name].spec.profit_asset,
                    trades=SqliteExecutorReader(strategy.store.database).trades_in_order(),
                    refusals=strategy.refusals,
                    first=strategy.equity[0] if strategy.equity else None,
                    last=strategy.equity[-1] if strategy.equity else None,
                ),
            )
            for strategy in replay.strategies
        },
    )


def _feed(feed: ReplayFeed, setup: FeedSetup) -> FeedReport:
    return feed_report(
        venue=setup.spec.venue,
        market=setup.spec.market.value,
        rules=setup.rules,
        fees=setup.fees,
        instruments=setup.spec.instruments,
        counts=total_counts(book.counts for book in feed.books),
        withheld={book.symbol: book.withheld.value for book in feed.books if book.withheld is not None},
        snapshots_recorded=sum(source.snapshots_recorded for source in feed.sources),
        snapshots_rebuilt=sum(source.snapshots_rebuilt for source in feed.sources),
    )


def _print(report: Report) -> None:
    console = Console()
    console.print(f"[bold yellow]PAPER[/] replay of {report.duration_ns / 1e9:.1f} s recorded", highlight=False)
    for name, feed in report.feeds.items():
        proofs = [f"tops {feed.tops_checked} checked {feed.tops_mismatched} mismatched"] if feed.tops_checked else []
        if feed.checksums_matched or feed.checksums_mismatched:
            proofs.append(f"checksums {feed.checksums_matched} matched {feed.checksums_mismatched} mismatched")
        counted = ", ".join([f"{feed.messages} messages", f"{feed.gaps} gaps", f"{feed.resyncs} resyncs", *proofs])
        console.print(f"  {name}: {counted}", highlight=False)
        console.print(f"    rules from {feed.rules}, fees from {feed.fees.source}", highlight=False)
    for name, strategy in report.strategies.items():
        execution = strategy.execution
        reasons = ", ".join(f"{reason} {count}" for reason, count in strategy.opportunities.items() if count)
        console.print(f"  {name}: {reasons or 'nothing to look at'}", highlight=False)
        for identity, edge in strategy.closest_bps.items():
            console.print(f"    closest {edge} bps  {identity}", highlight=False)
        console.print(
            f"    {len(execution.round_trips)} round trips, {execution.fills} fills, PnL {execution.pnl.arb} "
            f"{execution.pnl.profit_asset}",
            highlight=False,
        )
    console.print(f"  digest {report.digest}", highlight=False)
