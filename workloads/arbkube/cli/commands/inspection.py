"""`arb status`, `arb opportunities`, `arb trades`: what runs and what happened.

For: reading heartbeats and stores, also beside a running `arb up`. May not: write anything.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from arbkube.cli.commands.configuring import read_acks
from arbkube.cli.commands.manifests import print_json
from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.cli.local.configuration import read_configuration
from arbkube.cli.local.runfile import CREDENTIALS, RunFile, read_run_file
from arbkube.cli.local.supervisor import read_statuses
from arbkube.cli.local.table import render
from arbkube.control.acl import User
from arbkube.control.connection import connect
from arbkube.detection.model import LegSeen, Sighting
from arbkube.execution.report import Trade
from arbkube.pods.shell.status import PodStatus
from arbkube.storage.database import StorageError
from arbkube.storage.reading import SqliteExecutorReader
from arbkube.storage.recorder import SqliteRecorderStore

_STORE_REMEDY = "do as it says, or name another state directory with --state"


def show_status(state: Path, *, as_json: bool) -> None:
    """Print what runs. Raises ArbError where nothing does."""
    run = read_run_file(state)
    if run is None:
        raise ArbError(
            f"nothing runs with state {state}", remedy="start it: arb up -f manifests/quickstart", code=ExitCode.NOT_RUNNING
        )
    statuses = asyncio.run(_statuses(run, state))
    configuration = read_configuration(state, asyncio.run(read_acks(state)))
    if as_json:
        print_json(
            {
                "mode": "PAPER",
                "pid": run.pid,
                "manifests": run.directory,
                "startedNs": run.started_ns,
                "pods": {name: msgspec.to_builtins(statuses[name]) if name in statuses else None for name in sorted(run.pods)},
                "configuration": configuration,
            }
        )
        return
    elapsed_s = (time.time_ns() - run.started_ns) / 1e9
    roles = {name: role.lower() for name, role in run.pods.items()}
    Console().print(render(statuses, expected=roles, restarts={}, elapsed_s=elapsed_s, configuration=configuration))


async def _statuses(run: RunFile, state: Path) -> dict[str, PodStatus]:
    client = connect(run.control, credentials=state / CREDENTIALS, user=User.PERSON)
    try:
        return await read_statuses(client, list(run.pods))
    except (RedisError, OSError, TimeoutError) as error:
        raise ArbError(
            f"the control server does not answer: {error}", remedy="look at the log of `arb up`", code=ExitCode.ENVIRONMENT
        ) from error
    finally:
        await client.aclose()


def show_opportunities(state: Path, *, strategy: str | None, limit: int, as_json: bool) -> None:
    """Print the newest sightings. Raises ArbError where there is no store."""
    path = state / "journal" / "recorder.sqlite"
    _require(path)
    try:
        store = SqliteRecorderStore(path, read_only=True)
        try:
            sightings = sorted(store.sightings(limit=limit, strategy=strategy), key=_at_ns, reverse=True)
        finally:
            store.close()
    except StorageError as error:
        raise ArbError(str(error), remedy=_STORE_REMEDY, code=ExitCode.ENVIRONMENT) from error
    if as_json:
        print_json(sightings)
        return
    table = Table(title=f"Seen, newest first ({len(sightings)})", title_justify="left")
    for heading in ("time", "strategy", "legs (age)", "net edge", "outcome"):
        table.add_column(heading, overflow="fold")
    for sighting in sightings:
        table.add_row(
            _time(sighting.at_ns),
            sighting.strategy,
            "\n".join(_leg(leg) for leg in sighting.legs),
            f"{sighting.net_edge_bps} bps" if sighting.net_edge_bps is not None else "-",
            _outcome(sighting),
        )
    Console().print(table)


def show_trades(state: Path, *, strategy: str | None, limit: int, as_json: bool) -> None:
    """Print the newest intents with orders and fills. Raises ArbError where there is no journal."""
    directory = state / "journal"
    paths = sorted(path for path in directory.glob("*.sqlite") if path.stem != "recorder") if directory.is_dir() else []
    if strategy is not None:
        paths = [path for path in paths if path.stem == strategy]
    if not paths:
        _require(directory / f"{strategy or 'STRATEGY'}.sqlite")
    trades: list[Trade] = []
    for path in paths:
        try:
            reader = SqliteExecutorReader(path)
            try:
                trades += reader.trades(limit=limit)
            finally:
                reader.close()
        except StorageError as error:
            raise ArbError(str(error), remedy=_STORE_REMEDY, code=ExitCode.ENVIRONMENT) from error
    trades.sort(key=lambda trade: trade.intent.created_ns, reverse=True)
    trades = trades[:limit]
    if as_json:
        print_json(trades)
        return
    table = Table(title=f"PAPER trades, newest first ({len(trades)})", title_justify="left")
    for heading in ("time", "strategy", "intent", "outcome", "orders", "fills"):
        table.add_column(heading, overflow="fold")
    for trade in trades:
        intent = trade.intent
        table.add_row(
            _time(intent.created_ns),
            intent.strategy,
            f"{intent.id[:12]}\nof {intent.opportunity_id[:12]}",
            (intent.outcome or intent.state).value,
            "\n".join(
                f"{order.purpose.value} {order.side.value} {order.quantity} {order.symbol}@{order.feed} {order.state.value}"
                for order in trade.orders
            ),
            "\n".join(f"{fill.quantity} at {fill.price}, fee {fill.fee} {fill.fee_asset}" for fill in trade.fills),
        )
    Console().print(table)


def _require(path: Path) -> None:
    if not path.exists():
        raise ArbError(
            f"{path.parent} has no {path.name}",
            remedy="run `arb up` first, or name its state directory with --state",
            code=ExitCode.NOT_RUNNING,
        )


def _at_ns(sighting: Sighting) -> int:
    return sighting.at_ns


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%m-%d %H:%M:%S.%f")[:-3]


def _leg(leg: LegSeen) -> str:
    age = f"{leg.age_ns / 1e6:.0f} ms" if leg.age_ns is not None else "no book"
    return f"{leg.side.value} {leg.symbol}@{leg.feed} ({age})"


def _outcome(sighting: Sighting) -> str:
    if sighting.opportunity is not None:
        return f"opportunity {sighting.opportunity.id[:12]}"
    return sighting.reason.value if sighting.reason is not None else "closed"
