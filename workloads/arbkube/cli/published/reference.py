"""Reference pages of what the command line and the pods say: report, metrics, commands, exit codes.

For: making `docs/reference/{report,metrics,commands}.md` from the types, the metrics and the commands themselves. May not: do
I/O.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

import msgspec
from prometheus_client import CollectorRegistry
from typer.core import TyperGroup, TyperOption
from typer.main import get_command

from arbkube.cli.common.errors import ExitCode
from arbkube.cli.common.report import FeedReport, Report, StrategyReport
from arbkube.cli.main import app
from arbkube.execution.report import ExecutionFigures, PnlFigures, RoundTrip
from arbkube.pods.shell.metrics import STAGES, DetectorMetrics, ExecutorMetrics, FeedMetrics, config_metrics, recorder_rows
from arbkube.pods.shell.status import ConfigStatus

_HEADER = "<!-- Made by `make crds`; change the source instead. -->\n\n"
_REPORT = (Report, FeedReport, StrategyReport, ExecutionFigures, PnlFigures, RoundTrip)


def pages() -> dict[str, str]:
    """Each page's text by file name."""
    return {"report.md": _report(), "metrics.md": _metrics(), "commands.md": _commands()}


def attribute_docs(kind: type) -> dict[str, str]:
    """The text below each annotated attribute of a class, which only the source has."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    name = ""
    for statement in body.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)):
                docs[name] = ""
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                docs[name] = " ".join(text.split())
    return docs


def _report() -> str:
    lines = [
        "# The report of `arb up --report` and `arb replay --report`\n",
        "One JSON object with sorted keys. Decimals are strings and exact; durations and times are integer nanoseconds. "
        "A replay's report holds no wall clock, path or host: the same recording gives the same bytes.\n",
    ]
    for kind in _REPORT:
        docs = attribute_docs(kind)
        lines += [
            f"## {kind.__name__}\n",
            f"{inspect.cleandoc(kind.__doc__ or '')}\n",
            "| field | type | meaning |",
            "|---|---|---|",
        ]
        info = msgspec.inspect.type_info(kind)
        assert isinstance(info, msgspec.inspect.StructType)
        lines += [f"| `{field.encode_name}` | {_type(field.type)} | {docs.get(field.name, '')} |" for field in info.fields]
        lines.append("")
    return _HEADER + "\n".join(lines)


def _type(info: msgspec.inspect.Type) -> str:
    match info:
        case msgspec.inspect.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case msgspec.inspect.DictType(value_type=value):
            return f"object of {_type(value)}"
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            return f"list of {_type(item)}"
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_type(one) for one in types)
        case msgspec.inspect.NoneType():
            return "null"
        case msgspec.inspect.DecimalType():
            return "decimal"
        case msgspec.inspect.IntType():
            return "integer"
        case msgspec.inspect.StrType():
            return "string"
    return type(info).__name__.removesuffix("Type").lower()


def _metrics() -> str:
    lines = [
        "# Metrics\n",
        "Every pod serves these at `/metrics`. Times are in seconds; label values come from manifests and from the fixed lists "
        "of [reasons](reasons.md), so that their number is bounded.\n",
        f"`stage` is one of {', '.join(f'`{stage}`' for stage in STAGES)}.\n",
    ]
    for role, registry in _registries():
        lines += [f"## {role}\n", "| metric | kind | labels | meaning |", "|---|---|---|---|"]
        for collector in list(registry._collector_to_names):
            for metric in collector.collect():
                labels: tuple[str, ...] = getattr(metric, "_labelnames", ()) or getattr(collector, "_labelnames", ())
                suffix = "_total" if metric.type == "counter" else ""
                names = ", ".join(f"`{label}`" for label in labels)
                lines.append(f"| `{metric.name}{suffix}` | {metric.type} | {names} | {metric.documentation} |")
        lines.append("")
    return _HEADER + "\n".join(lines)


def _registries() -> Iterator[tuple[str, CollectorRegistry]]:
    every, feed, detector, executor, recorder = (CollectorRegistry() for _ in range(5))
    config_metrics(every, ConfigStatus, lambda: 0.0)
    FeedMetrics(feed, "", lambda: (), lambda: 0.0)
    DetectorMetrics(detector, "", dict)
    ExecutorMetrics(executor)
    recorder_rows(recorder)
    yield from (("Every pod", every), ("Feed", feed), ("Detector", detector), ("Executor", executor), ("Recorder", recorder))


def _commands() -> str:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    lines = ["# Commands\n", inspect.cleandoc(group.help or ""), ""]
    context = group.make_context("arb", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f"## `arb {name}`\n", f"{inspect.cleandoc(command.help or '')}\n", f"    arb {name} {usage}\n"]
        options = [parameter for parameter in command.params if isinstance(parameter, TyperOption)]
        if options:
            lines += ["| option | meaning |", "|---|---|"]
            lines += [f"| `{', '.join(option.opts)}` | {option.help or ''} |" for option in options]
            lines.append("")
    docs = _exit_docs()
    lines += ["## Exit codes\n", "| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {code.value} | {code.name} | {docs.get(code.name, '')} |" for code in ExitCode]
    return _HEADER + "\n".join(lines) + "\n"


def _exit_docs() -> dict[str, str]:
    body = ast.parse(inspect.getsource(ExitCode)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    name = ""
    for statement in body.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]):
                docs[name] = "Done." if name == "OK" else ""
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                docs[name] = " ".join(text.split())
    return docs
