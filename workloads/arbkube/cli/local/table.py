"""The live view of `arb up`: one table of feeds and strategies.

For: drawing what the pods' heartbeats and the rollouts say, with PAPER in plain sight. May not: ask pods anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from arbkube.cli.local.configuration import Configuration
from arbkube.pods.shell.status import PodStatus

PAPER = "PAPER: no order leaves this machine"
_PHASES = {"Synced": "green", "RolledBack": "red", "Stalled": "red"}


def render(
    statuses: Mapping[str, PodStatus],
    *,
    expected: Mapping[str, str],
    restarts: Mapping[str, int],
    elapsed_s: float,
    configuration: Configuration | None,
) -> RenderableType:
    """The whole view. `expected` maps each pod to its role, `restarts` to how often it was started again."""
    title = f"arb up · {PAPER} · {elapsed_s:.0f} s"
    waiting = [name for name in expected if name not in statuses or not statuses[name].ready]
    lines: list[RenderableType] = [_feeds(statuses), _strategies(statuses)]
    if configuration is not None:
        lines.append(documents(configuration))
        lines += notices(configuration)
    for name in waiting:
        reasons = ", ".join(statuses[name].reasons) if name in statuses else "starting"
        lines.append(Text(f"{name}: {reasons}", style="yellow"))
    for name, count in restarts.items():
        if count:
            lines.append(Text(f"{name}: started again {count} time{'s' if count > 1 else ''}", style="red"))
    return Panel(Group(*lines), title=title, border_style="cyan")


def summary(statuses: Mapping[str, PodStatus], *, expected: int, elapsed_s: float) -> str:
    """The same in one line, for output that is no terminal."""
    feeds = [status.detail for status in statuses.values() if status.role == "feed"]
    executors = [status.detail for status in statuses.values() if status.role == "executor"]
    detectors = [status.detail for status in statuses.values() if status.role == "detector"]
    ready = sum(status.ready for status in statuses.values())
    intents = sum(sum(_numbers(detail, "intents").values()) for detail in executors)
    messages = sum(_numbers(detail, "counts").get("messages", 0) for detail in feeds)
    gaps = sum(_numbers(detail, "counts").get("gaps", 0) for detail in feeds)
    seen = sum(int(str(detail.get("opportunities", 0))) for detail in detectors)
    pnl = ", ".join(_pnl(detail) for detail in executors)
    return (
        f"[PAPER] {elapsed_s:5.1f} s  pods ready {ready}/{expected}  messages {messages}  gaps {gaps}  "
        f"opportunities {seen}  trades {intents}  PnL {pnl or '-'}"
    )


def documents(configuration: Configuration) -> Table:
    """One row a document: revision, phase, and how many pods agree."""
    table = Table(title="Configuration", title_justify="left", expand=True, box=SIMPLE_HEAD)
    for heading in ("document", "revision", "phase", "why"):
        table.add_column(heading, overflow="fold")
    for heading in ("acks", "took"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in configuration.documents:
        table.add_row(
            row.document,
            row.run if row.candidate is None else f"{row.run or '-'} → {row.candidate}",
            Text(row.phase, style=_PHASES.get(row.phase, "yellow")),
            f"{row.reason}: {row.detail}" if row.detail else row.reason,
            "-" if row.pods is None else f"{row.agreed}/{len(row.pods)}",
            "-" if row.propagation_ms is None else f"{row.propagation_ms} ms",
        )
    return table


def notices(configuration: Configuration) -> list[RenderableType]:
    """What a person has to see: the halts in force, and an edit that was refused."""
    lines: list[RenderableType] = []
    for halt in configuration.halts:
        what = f"{halt.level.value} {halt.subject}".strip()
        why = f"{halt.reason.value}{': ' + halt.detail if halt.detail else ''}"
        lines.append(Text(f"HALTED {what}, {halt.mode.value} by {halt.owner} ({why}), id {halt.id}", style="bold red"))
    refused = configuration.refused.reasons if configuration.refused is not None else ()
    return [*lines, *(Text(f"edit refused, what ran before runs on: {reason}", style="red") for reason in refused)]


def _feeds(statuses: Mapping[str, PodStatus]) -> Table:
    table = Table(title="Feeds", title_justify="left", expand=True, box=SIMPLE_HEAD)
    for heading in ("feed", "venue"):
        table.add_column(heading, overflow="fold")
    for heading in ("books", "void", "age", "messages", "gaps", "resyncs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for status in sorted(statuses.values(), key=lambda status: status.pod):
        if status.role != "feed":
            continue
        detail: dict[str, Any] = status.detail
        counts = _numbers(detail, "counts")
        withheld = len(detail["withheld"])
        table.add_row(
            detail["feed"],
            f"{detail['venue']} {detail['market']}{', simulated' if detail['simulated'] else ''}",
            str(detail["books"]),
            Text(str(withheld), style="red" if withheld else ""),
            f"{detail['age_ms']} ms",
            str(counts["messages"]),
            str(counts["gaps"]),
            str(counts["resyncs"]),
        )
    return table


def _strategies(statuses: Mapping[str, PodStatus]) -> Table:
    table = Table(title="Strategies", title_justify="left", expand=True, box=SIMPLE_HEAD)
    table.add_column("strategy", overflow="fold")
    table.add_column("mode")
    for heading in ("seen", "trades", "refused", "open", "best edge", "PnL"):
        table.add_column(heading, justify="right", no_wrap=True)
    detectors = {s.detail["strategy"]: s.detail for s in statuses.values() if s.role == "detector"}
    for status in sorted(statuses.values(), key=lambda status: status.pod):
        if status.role != "executor":
            continue
        detail: dict[str, Any] = status.detail
        seen: dict[str, Any] = detectors.get(detail["strategy"], {})
        closest = next(iter(seen.get("closest_bps", {}).values()), None)
        table.add_row(
            detail["strategy"],
            Text("PAPER", style="bold yellow"),
            str(seen.get("opportunities", "-")),
            str(sum(_numbers(detail, "intents").values())),
            str(sum(_numbers(detail, "refusals").values())),
            str(detail["open"]),
            f"{Decimal(closest):.2f} bps" if closest is not None else "-",
            _pnl(detail),
        )
    return table


def _pnl(detail: Mapping[str, Any]) -> str:
    """Rounded for the eye, down; the journal has every decimal."""
    if detail.get("pnl") is None:
        return "-"
    return f"{Decimal(detail['pnl']).quantize(Decimal('0.0001'), ROUND_FLOOR)} {detail['profit_asset']}"


def _numbers(detail: Mapping[str, object], key: str) -> dict[str, int]:
    value = detail.get(key, {})
    return value if isinstance(value, dict) else {}
