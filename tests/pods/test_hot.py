"""Running pods take every kind of change without being started again, drop nothing over it, and stop when they must.

One fleet on two real servers of its own; each test leaves it trading.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arbkube.control.halts import PERSON, Clear, Halt, HaltReason, Level, entry_id
from arbkube.control.protocol import Answer
from arbkube.market.frames import BookFrame, FrameBatch, decode
from arbkube.plan.planning import Plan
from arbkube.resources.kinds import HaltMode
from tests.cli.running import eventually, fetch, rows
from tests.conftest import Valkey
from tests.pods.alone import Starter
from tests.pods.publisher import Publisher, quickstart

FLEET = ("simulator", "feed-binance", "feed-kraken", "detector-cross", "executor-cross", "recorder")
STRATEGY = "strategy-cross"


class Fleet:
    """A bus, a control server, a writer and the pods of one strategy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sockets = [Path(tempfile.mkdtemp(prefix="arb-")) for _ in range(2)]
        self.control = Valkey(self.sockets[0])
        shutil.copytree(self.control.credentials, self.sockets[1] / "credentials")
        self.bus = Valkey(self.sockets[1])
        self.publisher = Publisher(self.control, quickstart())
        self.publisher.seed()
        self.starter = Starter(folder, self.control, self.publisher, bus=self.bus.url)
        self.pods = self.starter.started
        self.pids: dict[str, int] = {}
        self.ports: dict[str, int] = {}

    def begin(self) -> None:
        self.starter.all(*FLEET)
        self.pids = {name: pod.process.pid for name, pod in self.pods.items()}
        self.ports = {name: pod.heartbeat()["port"] for name, pod in self.pods.items()}

    def close(self) -> None:
        self.starter.end()
        for server, socket in zip((self.control, self.bus), self.sockets, strict=True):
            server.close()
            shutil.rmtree(socket)

    def change(self, planned: Plan, *documents: str) -> None:
        """Commit these documents of the plan, and wait until all of their pods run them."""
        refs = {name: self.publisher.change(planned, name) for name in documents}
        for workload in planned.workloads:
            if workload.document in refs and workload.name in self.pods:
                self.pods[workload.name].runs(refs[workload.document])

    def unharmed(self) -> None:
        """No pod has ended, and no feed has voided a book."""
        assert {name: pod.wait()["pid"] for name, pod in self.pods.items()} == self.pids
        for name, pod in self.pods.items():
            assert '"level": "error"' not in pod.log.read_text(), name

    def reconnect(self) -> None:
        """The control server is another process now."""
        for pod in self.pods.values():
            pod.valkey = self.control

    def frames(self, feed: str) -> list[FrameBatch]:
        """What the bus still holds of a feed, the oldest first."""
        found: Any = self.bus.client.xrange(f"frames:{feed}")
        return [decode(fields[b"m"]) for _, fields in found]

    def keyframe(self, feed: str) -> tuple[BookFrame, ...]:
        """The newest batch with every book."""
        return next(batch.frames for batch in reversed(self.frames(feed)) if len(batch.frames) > 2)

    def intents(self) -> list[Any]:
        path = self.folder / "cross.sqlite"
        return rows(path, "SELECT * FROM intents WHERE outcome IS NOT 'Refused' ORDER BY created_ns")

    def refusals(self) -> dict[str, int]:
        found: dict[str, int] = self.detail("executor-cross")["refusals"]
        return found

    def detail(self, pod: str) -> dict[str, Any]:
        """What the pod itself says, whatever becomes of the control server."""
        found: dict[str, Any] = json.loads(fetch(self.ports[pod], "/status")[1])["detail"]
        return found

    def metric(self, pod: str, sample: str) -> float:
        """A sample of the pod's metrics, by its name and labels."""
        lines = fetch(self.ports[pod], "/metrics")[1].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.rsplit(" ", 1)[0] == sample)

    def trades(self) -> None:
        """Wait for two more intents."""
        before = len(self.intents())
        eventually(lambda: len(self.intents()) >= before + 2, "trades", 30)

    def opens_since(self, at_ns: int) -> int:
        path = self.folder / "cross.sqlite"
        found = rows(path, "SELECT count(*) AS n FROM orders WHERE purpose = 'Open' AND created_ns > ?", at_ns)
        return int(found[0]["n"])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("hot"))
    try:
        made.begin()
        yield made
    finally:
        made.close()


def test_an_edge(fleet: Fleet) -> None:
    """Each intent is decided under one revision, and the new one's are taken at once."""
    fleet.trades()
    before = fleet.publisher.strategy("cross").revision
    changed = quickstart(
        ('exitEdge: 0bps\n    maxNotional: "500"\n    #', 'exitEdge: 0.5bps\n    maxNotional: "500"\n    #'),
    )
    fleet.change(changed, STRATEGY)
    after = fleet.publisher.strategy("cross").revision
    assert after != before
    fleet.trades()
    revisions = [intent["revision"] for intent in fleet.intents()]
    assert revisions == sorted(revisions, key=[before, after].index), "never back to the one before"
    assert revisions[-1] == after
    fleet.unharmed()


def test_instruments(fleet: Fleet) -> None:
    """All of it at once: the simulator lists, the feeds connect anew, detector and executor look at it; readers see no gap."""
    changed = quickstart(
        ("instruments: [BTC-USDT, ETH-USDT, ETH-BTC]", "instruments: [BTC-USDT, ETH-USDT, ETH-BTC, SOL-USDT]"),
        ("instruments: [BTC-USDT, ETH-USDT]\n", "instruments: [BTC-USDT, ETH-USDT, SOL-USDT]\n"),
    )
    fleet.change(changed, "simulator", "feed-binance", "feed-kraken", STRATEGY, "recorder")
    for feed in ("binance", "kraken"):
        told = fleet.frames(feed)
        old, new = told[0].epoch, told[-1].epoch
        turn = next(number for number, batch in enumerate(told) if batch.epoch == new)
        assert {batch.epoch for batch in told[:turn]} == {old} != {new} == {batch.epoch for batch in told[turn:]}
        assert {frame.symbol for frame in told[turn].frames} == {"BTC-USDT", "ETH-USDT", "ETH-BTC", "SOL-USDT"}
        assert not [frame for batch in told for frame in batch.frames if frame.withheld], "never void"
        assert told[turn].sent_ns - told[turn - 1].sent_ns < 300_000_000, "nor late"
    eventually(lambda: "SOL-USDT" in str(fleet.detail("detector-cross")["closest_bps"]), "SOL is compared", 10)
    tops = "SELECT 1 FROM tops WHERE symbol = 'SOL-USDT' LIMIT 1"
    eventually(lambda: rows(fleet.folder / "recorder.sqlite", tops), "recorded", 10)
    fleet.trades()
    fleet.unharmed()


def test_an_instrument_that_the_venue_does_not_list(fleet: Fleet) -> None:
    """The feed asks the venue before it says yes; the simulator has not been told of this one."""
    changed = quickstart(("instruments: [BTC-USDT, ETH-USDT, ETH-BTC]", "instruments: [BTC-USDT, ETH-USDT, ETH-BTC, XRP-USDT]"))
    candidate = fleet.publisher.revision("feed-kraken", changed.documents["feed-kraken"])
    fleet.publisher.head("feed-kraken", candidate=candidate)
    ack = fleet.pods["feed-kraken"].acked(lambda ack: ack.candidate == candidate, "answers")
    assert (ack.answer, ack.path) == (Answer.REJECTED, "spec.instruments")
    assert "XRP" in ack.reason
    fleet.publisher.head("feed-kraken", candidate=None)
    fleet.unharmed()


def test_fees_and_depth_take_no_new_connection(fleet: Fleet) -> None:
    before = fleet.detail("feed-kraken")["reconnects"]
    fees = ("fees: {maker: 0bps, taker: 0.5bps} # see above", "fees: {maker: 0bps, taker: 0.4bps}\n  depth: 5")
    fleet.change(quickstart(fees), "feed-kraken", STRATEGY)
    assert max(len(frame.bids) for frame in fleet.keyframe("kraken")) == 5
    eventually(lambda: fleet.detail("feed-kraken")["fees"]["taker"] == "0.00004", "fees", 5)
    assert fleet.detail("feed-kraken")["reconnects"] == before
    fleet.trades()
    fleet.unharmed()


def halt(level: Level = Level.ALL, subject: str = "") -> Halt:
    return Halt(
        id=entry_id(time.time_ns()),
        level=level,
        subject=subject,
        mode=HaltMode.STOP_NEW,
        owner=PERSON,
        reason=HaltReason.COMMANDED,
        at_ns=time.time_ns(),
    )


def lifted(halted: Halt) -> Clear:
    return Clear(id=entry_id("clear", halted.id), halt=halted.id, owner=PERSON, at_ns=time.time_ns())


def test_no_open_after_the_ack_of_a_halt(fleet: Fleet) -> None:
    executor = fleet.pods["executor-cross"]
    for level, subject in ((Level.ALL, ""), (Level.VENUE, "kraken"), (Level.STRATEGY, "cross")):
        command, before = halt(level, subject), fleet.refusals().get("Halted", 0)
        began = time.monotonic()
        fleet.publisher.halts(command)
        executor.acked(lambda ack, command=command: command.id in ack.halts, "acks")  # type: ignore[misc]
        acked_ns = time.time_ns()
        assert time.monotonic() - began < 1
        eventually(lambda before=before: fleet.refusals().get("Halted", 0) > before, "refuses", 15)  # type: ignore[misc]
        assert fleet.opens_since(acked_ns) == 0
        fleet.publisher.halts(lifted(command))
        executor.acked(lambda ack: not ack.halts, "acks the clear")
        fleet.trades()
    elsewhere = halt(Level.VENUE, "okx")
    fleet.publisher.halts(elsewhere)
    fleet.trades()
    fleet.publisher.halts(lifted(elsewhere))
    fleet.unharmed()


def test_a_flushed_server(fleet: Fleet) -> None:
    """No Open until it is seeded again; then the executor pushes the halts that only it still knows."""
    executor = fleet.pods["executor-cross"]
    command = halt()
    fleet.publisher.halts(command)
    executor.acked(lambda ack: command.id in ack.halts, "acks")
    fleet.control.client.flushall()
    flushed_ns = time.time_ns()
    eventually(lambda: (ack := executor.ack()) and ack.epoch is None and command.id in ack.halts, "doubts", 5)
    eventually(lambda: fleet.refusals().get("ControlDoubted", 0), "refuses", 15)
    fleet.publisher.seed(number=2)
    executor.acked(lambda ack: ack.epoch == 2, "believes")
    assert command in fleet.publisher.look().halts, "pushed before it believed"
    assert fleet.opens_since(flushed_ns) == 0
    fleet.publisher.halts(lifted(command))
    fleet.trades()
    fleet.unharmed()


def test_a_server_that_is_gone_and_comes_back_empty(fleet: Fleet) -> None:
    """What is under way is settled without it; opens stop within the second, and the pods never end."""
    executor = fleet.pods["executor-cross"]
    slow = (
        "latency: 20ms\n      balances:\n        - {feed: binance",
        'latency: 600ms\n      rejectRate: "0.5"\n      balances:\n        - {feed: binance',
    )
    fleet.change(quickstart(slow), "feed-kraken", STRATEGY)
    unwound = 0
    for attempt in range(8):
        eventually(lambda: fleet.detail("executor-cross")["open"] > 0, "an intent", 30)
        fleet.control.close()
        gone_ns = time.time_ns()
        time.sleep(1.2)
        silent_ns = time.time_ns()
        eventually(lambda: fleet.detail("executor-cross")["open"] == 0, "settled", 15)
        path = fleet.folder / "cross.sqlite"
        later = "SELECT count(*) AS n FROM orders WHERE purpose IN ('Complete', 'Unwind') AND created_ns > ?"
        unwound += rows(path, later, gone_ns + 1_000_000_000)[0]["n"]
        time.sleep(0.5)
        assert fleet.opens_since(silent_ns) == 0
        assert "control server" in executor.log.read_text()
        fleet.control = fleet.publisher.valkey = Valkey(fleet.sockets[0])
        fleet.reconnect()
        fleet.publisher.seed(number=3 + attempt)
        executor.acked(lambda ack, attempt=attempt: ack.epoch == 3 + attempt, "believes")  # type: ignore[misc]
        if unwound:
            break
    assert unwound, "orders that reduce exposure pass without the server"
    fleet.change(quickstart(), STRATEGY)
    fleet.trades()
    fleet.unharmed()


def test_a_server_of_another_past(fleet: Fleet) -> None:
    """Its halts cannot be reconciled with what the executor knows: a person has to look."""
    executor = fleet.pods["executor-cross"]
    fleet.control.client.flushall()
    fleet.publisher.seed(number=1, incarnation="another")
    ack = executor.acked(lambda ack: bool(ack.halts), "halts itself")
    assert ack.epoch in (None, 1)
    [lost] = eventually(
        lambda: [e for e in fleet.publisher.look().halts if isinstance(e, Halt) and e.id in ack.halts], "said", 5
    )
    assert (lost.reason, lost.level, lost.subject, lost.owner) == (HaltReason.STATE_LOST, Level.STRATEGY, "cross", PERSON)
    fleet.publisher.halts(lifted(lost))
    fleet.trades()
    fleet.unharmed()


def test_nothing_was_dropped_over_any_of_this(fleet: Fleet) -> None:
    """Every opportunity that the detector said was decided by the executor, once."""

    def said() -> float:
        return fleet.metric("detector-cross", "arbkube_detector_opportunities_total")

    def decided() -> float:
        return fleet.metric("executor-cross", 'arbkube_stage_seconds_count{stage="detect_to_intent"}')

    eventually(lambda: said() == decided() > 100, f"{said()} said, {decided()} decided", 10)
    for name, pod in fleet.pods.items():
        assert fleet.detail(name).get("bus_dropped", 0) == 0
        assert "unreadable" not in pod.log.read_text()
