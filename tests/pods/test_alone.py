"""One pod at a time, on a real Valkey: the lease, the heartbeat's life, an unreachable venue, old rows, a bad journal."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from arbkube.market.announcement import MarketsAnnouncement, encode_markets
from arbkube.market.instruments import FeeAsset, Fees, Instrument, Market, MarketType
from arbkube.simulator.listings import listing
from tests.cli.running import QUICKSTART, arb, environment, eventually, fetch, rows
from tests.conftest import Valkey

DAY_NS = 86400 * 10**9
FREE = Fees(maker=Decimal(0), taker=Decimal(0), charged_in=FeeAsset.QUOTE, source="spec")


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    """What `arb plan` would give the pods."""
    result = arb("plan", "-f", QUICKSTART, "-o", "json")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)["documents"]
    return found


class Alone:
    """A pod's process."""

    def __init__(self, folder: Path, valkey: Valkey, role: str, name: str, document: Any, *, url: str = "") -> None:
        self.name = name
        self.valkey = valkey
        file = folder / f"{name}.json"
        file.write_text(json.dumps(document))
        self.log = folder / f"{name}.log"
        options = ["--name", name, "--document", str(file), "--state", str(folder)]
        servers = ["--bus", url or valkey.url, "--control", url or valkey.url, "--credentials", str(valkey.credentials)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "arbkube.pods", role, *options, *servers],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
            )

    def heartbeat(self) -> dict[str, Any]:
        """What it says on the control server; empty when it says nothing."""
        said = self.valkey.client.get(f"status:{self.name}")
        return json.loads(said) if isinstance(said, bytes) else {}

    def wait(self, ready: bool = True) -> dict[str, Any]:
        """Its heartbeat, once it is ready (or says why it is not)."""

        def seen() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log.read_text()
            said = self.heartbeat()
            return said if said and said["pid"] == self.process.pid and said["ready"] is ready else None

        found: dict[str, Any] = eventually(seen, f"{self.name} ready: {ready}", 20)
        return found

    def reason(self) -> str:
        """Why it is not ready."""
        code, text = fetch(self.wait(ready=False)["port"], "/readyz")
        assert code == 503
        return text

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


class Starter:
    """Starts pods in one folder and ends those that a test left running."""

    def __init__(self, folder: Path, valkey: Valkey) -> None:
        self._folder, self._valkey = folder, valkey
        self.started: list[Alone] = []

    def __call__(self, role: str, name: str, document: Any) -> Alone:
        pod = Alone(self._folder, self._valkey, role, name, document)
        self.started.append(pod)
        return pod


@pytest.fixture
def start(tmp_path: Path, valkey: Valkey) -> Iterator[Starter]:
    starter = Starter(tmp_path, valkey)
    yield starter
    for pod in starter.started:
        pod.process.kill()
        pod.process.wait()


def announce(valkey: Valkey, feed: str) -> None:
    """Say a feed's markets, as the feed itself would."""
    markets = []
    for symbol in ("BTC-USDT", "ETH-USDT", "ETH-BTC"):
        rules = listing(symbol)
        instrument = Instrument(
            symbol=symbol,
            native=symbol,
            venue=feed,
            market=MarketType.SPOT,
            base=rules.base,
            quote=rules.quote,
            tick=rules.tick,
            lot=rules.lot,
            min_quantity=rules.min_quantity,
            min_notional=rules.min_notional,
        )
        markets.append(Market(feed=feed, instrument=instrument, fees=FREE))
    said = MarketsAnnouncement(feed=feed, venue=feed, at_ns=time.time_ns(), markets=tuple(markets))
    valkey.client.xadd(f"markets:{feed}", {"m": encode_markets(said)}, maxlen=1)


def test_a_second_executor_waits_for_the_lease(
    tmp_path: Path, valkey: Valkey, start: Starter, documents: dict[str, Any]
) -> None:
    first = start("executor", "executor-first", documents["strategy-triangle"])
    assert "waiting for the feeds' markets" in first.reason()
    announce(valkey, "kraken")
    first.wait()
    second = start("executor", "executor-second", documents["strategy-triangle"])
    eventually(lambda: "holds the lease" in second.reason(), "refused by the lease", 20)
    assert "first:" in second.reason()
    time.sleep(2)
    assert "holds the lease" in second.reason(), "renewed, so refused again"
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    killed = time.monotonic()
    eventually(lambda: not first.heartbeat(), "its heartbeat expires", 4)
    second.wait()
    assert time.monotonic() - killed < 8, "the lease's time, and a little"
    assert second.end() == 0
    [lease] = rows(tmp_path / "triangle.sqlite", "SELECT * FROM leases")
    assert (lease["token"], lease["expires_ns"]) == (2, 0), "taken once, given up at the end"
    assert second.heartbeat()["reasons"] == ["stopping"], "its last words stay for a while"


def test_old_telemetry_is_deleted_and_what_was_traded_stays(
    tmp_path: Path, valkey: Valkey, start: Starter, documents: dict[str, Any]
) -> None:
    announce(valkey, "kraken")
    maker = start("executor", "executor-maker", documents["strategy-triangle"])
    maker.wait()
    assert maker.end() == 0
    path = tmp_path / "triangle.sqlite"
    now_ns = time.time_ns()
    with sqlite3.connect(path) as connection:
        for age_days in (1, 29, 31, 400):
            at_ns = now_ns - age_days * DAY_NS
            for outcome in ("Refused", "Filled"):
                connection.execute(
                    "INSERT INTO intents VALUES (?, '', '', 'triangle', '', ?, '[]', 'USDT', '0', 'Done', ?, '', ?)",
                    (f"{outcome}{age_days}", at_ns, outcome, at_ns),
                )
            connection.execute("INSERT INTO equity VALUES (?, '0', NULL, NULL)", (at_ns,))
    connection.close()
    executor = start("executor", "executor", documents["strategy-triangle"])
    executor.wait()

    def kept() -> set[str]:
        return {row["id"] for row in rows(path, "SELECT id FROM intents")}

    expected = {"Refused1", "Refused29", "Filled1", "Filled29", "Filled31", "Filled400"}
    eventually(lambda: kept() == expected, "old refusals deleted", 10)
    eventually(
        lambda: rows(path, "SELECT min(at_ns) AS oldest FROM equity")[0]["oldest"] > now_ns - 30 * DAY_NS, "old equity", 10
    )
    assert executor.end() == 0


def test_a_journal_that_cannot_be_opened_is_a_reason(
    tmp_path: Path, valkey: Valkey, start: Starter, documents: dict[str, Any]
) -> None:
    """It stays up, says so, and begins as soon as the file is gone."""
    path = tmp_path / "triangle.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    announce(valkey, "kraken")
    executor = start("executor", "executor", documents["strategy-triangle"])
    eventually(lambda: "not a SQLite file" in executor.reason(), "the reason", 15)
    path.unlink()
    executor.wait()
    assert executor.end() == 0


def test_a_venue_that_cannot_be_reached(start: Starter, documents: dict[str, Any]) -> None:
    document = json.loads(json.dumps(documents["feed-kraken"]))
    del document["spec"]["simulated"]
    document["spec"]["endpoint"] = {"websocket": "ws://127.0.0.1:9", "rest": "http://127.0.0.1:9"}
    feed = start("feed", "feed", document)
    eventually(lambda: "no instruments from kraken" in feed.reason(), "the reason", 15)
    port = feed.wait(ready=False)["port"]
    assert fetch(port, "/healthz") == (200, "ok\n"), "alive, and not to be restarted for it"
    assert feed.end() == 0
    assert "Traceback" not in feed.log.read_text()


def test_no_server_at_all(tmp_path: Path, valkey: Valkey, documents: dict[str, Any]) -> None:
    """Without bus and control a pod lives on, for when they come, and still ends when told to."""
    pod = Alone(tmp_path, valkey, "recorder", "recorder", documents["recorder"], url=f"unix://{tmp_path}/absent")
    time.sleep(3)
    assert pod.process.poll() is None, pod.log.read_text()
    assert pod.end() == 0
    entries = [json.loads(line) for line in pod.log.read_text().splitlines()]
    assert any("heartbeat" in entry["event"] for entry in entries)
    assert all(entry["level"] == "warning" for entry in entries)
