"""One pod at a time, on a real Valkey: the lease, the heartbeat's life, an unreachable venue, old rows, a bad journal."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from pathlib import Path

from msgspec.structs import replace

from arbkube.plan.documents import FeedDocument
from arbkube.resources.kinds import Endpoint
from tests.cli.running import eventually, fetch, rows
from tests.conftest import Valkey
from tests.pods.alone import Alone, Starter, announce
from tests.pods.publisher import Publisher

DAY_NS = 86400 * 10**9


def test_a_second_executor_waits_for_the_lease(tmp_path: Path, valkey: Valkey, start: Starter) -> None:
    first = start("executor-triangle", "executor-first")
    assert "waiting for the markets of kraken" in first.reason()
    announce(valkey, "kraken")
    first.wait()
    second = start("executor-triangle", "executor-second")
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


def test_old_telemetry_is_deleted_and_what_was_traded_stays(tmp_path: Path, valkey: Valkey, start: Starter) -> None:
    announce(valkey, "kraken")
    maker = start("executor-triangle", "executor-maker")
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
    executor = start("executor-triangle")
    executor.wait()

    def kept() -> set[str]:
        return {row["id"] for row in rows(path, "SELECT id FROM intents")}

    expected = {"Refused1", "Refused29", "Filled1", "Filled29", "Filled31", "Filled400"}
    eventually(lambda: kept() == expected, "old refusals deleted", 10)
    eventually(
        lambda: rows(path, "SELECT min(at_ns) AS oldest FROM equity")[0]["oldest"] > now_ns - 30 * DAY_NS, "old equity", 10
    )
    assert executor.end() == 0


def test_a_journal_that_cannot_be_opened_is_a_reason(tmp_path: Path, valkey: Valkey, start: Starter) -> None:
    """It stays up, says so, and begins as soon as the file is gone."""
    path = tmp_path / "triangle.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    announce(valkey, "kraken")
    executor = start("executor-triangle")
    eventually(lambda: "not a SQLite file" in executor.reason(), "the reason", 15)
    path.unlink()
    executor.wait()
    assert executor.end() == 0


def test_a_venue_that_cannot_be_reached(start: Starter, publisher: Publisher) -> None:
    document = publisher.plan.documents["feed-kraken"]
    assert isinstance(document, FeedDocument)
    nowhere = Endpoint(websocket="ws://127.0.0.1:9", rest="http://127.0.0.1:9")
    spec = replace(document.spec, simulated=None, endpoint=nowhere)
    ref = publisher.revision("feed-kraken", replace(document, spec=spec))
    publisher.head("feed-kraken", run=ref, promoted=ref)
    feed = start("feed-kraken")
    eventually(lambda: "no instruments from kraken" in feed.reason(), "the reason", 15)
    port = feed.wait(ready=False)["port"]
    assert fetch(port, "/healthz") == (200, "ok\n"), "alive, and not to be restarted for it"
    assert feed.end() == 0
    assert "Traceback" not in feed.log.read_text()


def test_no_server_at_all(tmp_path: Path, valkey: Valkey, publisher: Publisher) -> None:
    """Without bus and control a pod lives on, for when they come, and still ends when told to."""
    pod = Alone(tmp_path, valkey, publisher, "recorder", "recorder", url=f"unix://{tmp_path}/absent")
    time.sleep(3)
    assert pod.process.poll() is None, pod.log.read_text()
    assert pod.end() == 0
    entries = [json.loads(line) for line in pod.log.read_text().splitlines()]
    assert any("heartbeat" in entry["event"] for entry in entries)
    assert all(entry["level"] == "warning" for entry in entries)
