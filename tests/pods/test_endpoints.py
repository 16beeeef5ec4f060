"""What every pod of a running quickstart says of itself: health, readiness, status, metrics, logs; and what it weighs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from arbkube.control.freshness import Doubt
from arbkube.detection.model import SkipReason
from arbkube.execution.model import IntentOutcome
from arbkube.execution.protocols import ReportKind
from arbkube.pods.shell.metrics import STAGES
from arbkube.risk.gates import RefusalReason
from tests.cli.running import ROOT, Up, eventually, fetch

RSS_LIMIT = 80 * 2**20
LABELS: dict[str, set[str] | None] = {
    "feed": {"binance", "kraken"},
    "symbol": {"BTC-USDT", "ETH-USDT", "ETH-BTC"},
    "strategy": {"cross", "triangle"},
    "asset": {"USDT"},
    "stage": set(STAGES),
    "reason": {*SkipReason, *RefusalReason},
    "outcome": set(IntentOutcome),
    "kind": set(ReportKind),
    "table": {"sightings", "tops"},
    "what": {"revision", "limits"},
    "doubt": set(Doubt),
    "le": None,
}
"""Every label there is, and what it may say: names of manifests and words of fixed lists."""

Running = tuple[Up, dict[str, dict[str, Any]], float]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    began = time.monotonic()
    with Up(tmp_path_factory.mktemp("pods")) as up:
        pods = up.wait_ready()
        ready_s = time.monotonic() - began
        eventually(lambda: up.trades("cross") >= 4 and up.trades("triangle") >= 1, "fills of both strategies")
        yield up, pods, ready_s
        up.stop()


def metrics(pod: dict[str, Any]) -> dict[str, list[Any]]:
    """Samples by the name of their family."""
    code, text = fetch(pod["port"], "/metrics")
    assert code == 200
    return {family.name: list(family.samples) for family in text_string_to_metric_families(text)}


def test_health_readiness_and_status(running: Running) -> None:
    _, pods, _ = running
    for name, pod in pods.items():
        assert fetch(pod["port"], "/healthz") == (200, "ok\n"), name
        assert fetch(pod["port"], "/readyz") == (200, "ok\n"), name
        code, text = fetch(pod["port"], "/status")
        assert code == 200
        said = json.loads(text)
        assert said.keys() == pod.keys()
        assert (said["pod"], said["role"], said["pid"], said["mode"]) == (name, pod["role"], pod["pid"], "PAPER")
        assert fetch(pod["port"], "/nothing")[0] == 404


def test_metrics_have_base_units_and_bounded_labels(running: Running) -> None:
    _, pods, _ = running
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for name, pod in pods.items():
        families = metrics(pod)
        assert families["process_resident_memory_bytes"]
        for family, samples in families.items():
            if family.startswith("process_"):
                continue
            assert family.startswith("arbkube_"), family
            assert f"`{family}" in documented, f"{family} of {name} is in no document"
            assert not any(unit in family for unit in ("_ms", "_ns", "_us", "_bps", "milli", "micro", "percent")), family
            assert len(samples) < 200, family
            for sample in samples:
                for label, value in sample.labels.items():
                    assert label in LABELS, (family, label)
                    allowed = LABELS[label]
                    assert allowed is None or value in allowed, (family, label, value)


def test_metrics_say_what_happened(running: Running) -> None:
    up, pods, _ = running

    def total(pod: str, family: str, **labels: str) -> float:
        samples = metrics(pods[pod])[family]
        return sum(
            sample.value
            for sample in samples
            if sample.name.endswith(("_total", "_count")) and labels.items() <= sample.labels.items()
        )

    for feed in ("binance", "kraken"):
        assert total(f"feed-{feed}", "arbkube_feed_messages") > 10
        assert total(f"feed-{feed}", "arbkube_stage_seconds", stage="receive_to_publish") > 10
        [age] = metrics(pods[f"feed-{feed}"])["arbkube_feed_age_seconds"]
        assert 0 <= age.value < 5
    assert total("detector-cross", "arbkube_detector_opportunities") >= 2
    assert total("detector-cross", "arbkube_detector_evaluations", reason="BelowEnterEdge") > 10
    assert total("detector-cross", "arbkube_stage_seconds", stage="receive_to_detect") >= 2
    before = up.trades("cross")
    for stage in ("detect_to_intent", "intent_to_ack", "ack_to_fill"):
        assert total("executor-cross", "arbkube_stage_seconds", stage=stage) >= 2, stage
    assert total("executor-cross", "arbkube_executor_fills") >= before
    assert total("executor-cross", "arbkube_executor_intents") >= 1
    assert [sample.labels for sample in metrics(pods["executor-cross"])["arbkube_executor_arb_pnl"]] == [{"asset": "USDT"}]
    eventually(lambda: total("recorder", "arbkube_recorder_rows", table="tops") > 0, "tops recorded", 5)


def test_logs_are_json(running: Running) -> None:
    up, pods, _ = running
    said = 0
    for name, pod in pods.items():
        for line in (up.state / "logs" / f"{name}.log").read_text().splitlines():
            entry = json.loads(line)
            assert {"event", "level", "timestamp", "pod", "role"} <= entry.keys()
            assert (entry["pod"], entry["role"]) == (name, pod["role"])
            assert entry["level"] in {"info", "warning"}, line
            said += 1
    assert said >= 2, "each intent is told"


def test_footprint(running: Running, record_property: Callable[[str, object], None]) -> None:
    """80 MB a pod, ready within seconds, and little to do: none takes a third of a core of this market."""
    _, pods, ready_s = running
    ticks = {name: _ticks(pod["pid"]) for name, pod in pods.items()}
    time.sleep(2)
    for name, pod in pods.items():
        resident = int(Path(f"/proc/{pod['pid']}/statm").read_text().split()[1]) * 4096
        used = (_ticks(pod["pid"]) - ticks[name]) / 100 / 2
        record_property(name, f"{resident / 2**20:.0f} MB, {used:.0%} of a core")
        assert resident < RSS_LIMIT, (name, resident)
        assert used < 0.33, (name, used)
    record_property("seconds until ready", f"{ready_s:.1f}")
    assert ready_s < 30


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
