"""SIGKILL of any pod at any moment, under a running `arb up` whose venues reject, stay silent and fill in part.

Everything resumes: no duplicate intent, no order sent twice, no fill lost, and no position that is unbalanced without being
booked as a residual. Kills are spread over all pods, executors thrice as often as others.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from arbkube.simulator.listings import listing
from tests.cli.running import QUICKSTART, Up, arb, eventually, rows

STRATEGIES = ("cross", "triangle")
OPEN = ("Journaled", "Sent", "Unknown")
ZERO = Decimal(0)


def troubled(folder: Path) -> Path:
    """The quickstart on venues that make trouble: slow, and one order in five rejected or never answered."""
    made = folder / "manifests"
    made.mkdir()
    trouble = 'latency: 60ms\n      rejectRate: "0.1"\n      unknownRate: "0.1"'
    for file in QUICKSTART.glob("*.yaml"):
        # Pairs of different quotes move inventory between them: over hundreds of trades that meets the position limit.
        text = file.read_text().replace('maxPosition: "2000"', 'maxPosition: "40000"').replace('"5000"', '"40000"')
        text = text.replace('maxDailyLoss: "', 'maxDailyLoss: "1000')
        (made / file.name).write_text(text.replace("latency: 20ms", trouble))
    return made


def pods_of(up: Up) -> dict[str, int]:
    """Name and process of every pod that runs now, also of one that has only just been started."""
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()
    found = {}
    for pid in map(int, children):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except FileNotFoundError:
            continue
        if "--name" in command:
            found[command[command.index("--name") + 1]] = pid
    return found


def campaign(up: Up, *, kills: int, seed: int, pause_s: tuple[float, float]) -> Counter[str]:
    """Kill, again and again; how often each pod was killed."""
    dice = random.Random(seed)
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        time.sleep(dice.uniform(*pause_s))
        running = pods_of(up)
        names = [name for name in sorted(running) for _ in range(3 if name.startswith("executor") else 1)]
        if names:
            name = dice.choice(names)
            os.kill(running[name], signal.SIGKILL)
            killed[name] += 1
    return killed


def unsettled(journal: Path) -> list[sqlite3.Row]:
    return rows(journal, "SELECT id FROM intents WHERE state NOT IN ('Done', 'Stuck')")


def resume_what_is_stuck(up: Up) -> None:
    """Clear, as a person who has looked would, the halts of intents that could not be unwound; there is no other halt."""
    for halt in up.status()["configuration"]["halts"]:
        assert halt["reason"] == "StuckIntent", halt
        assert rows(up.journal(halt["subject"]), "SELECT id FROM intents WHERE state = 'Stuck'")
        assert arb("resume", halt["id"], "--state", up.state).returncode == 0


def check(journal: Path) -> Counter[str]:
    """The invariants of one executor's file; its intents by outcome."""
    intents = rows(journal, "SELECT * FROM intents WHERE outcome IS NOT 'Refused'")
    orders = rows(journal, "SELECT * FROM orders")
    fills = rows(journal, "SELECT * FROM fills")
    paper_orders = rows(journal, "SELECT * FROM paper_orders")
    paper_fills = [json.loads(row["document"]) for row in rows(journal, "SELECT document FROM paper_fills")]
    assert intents
    assert {intent["state"] for intent in intents} <= {"Done", "Stuck"}
    assert max(Counter(intent["opportunity_id"] for intent in intents).values()) == 1, "one opportunity, two intents"
    assert not [order["id"] for order in orders if order["state"] in OPEN]
    assert {row["id"] for row in paper_orders} <= {order["id"] for order in orders}, "sent without being written down"
    assert not [row["id"] for row in paper_orders if row["state"] == "Sent"]
    booked = {
        (fill["feed"], fill["trade_id"]): (Decimal(fill["price"]), Decimal(fill["quantity"]), Decimal(fill["fee"]))
        for fill in fills
    }
    at_venue = {
        (fill["feed"], fill["trade_id"]): (Decimal(fill["price"]), Decimal(fill["quantity"]), Decimal(fill["fee"]))
        for fill in paper_fills
    }
    assert booked == at_venue, "journal and venue differ"
    for order in orders:
        filled = sum((Decimal(fill["quantity"]) for fill in fills if fill["order_id"] == order["id"]), ZERO)
        assert filled == Decimal(order["filled"]) <= Decimal(order["quantity"])
    for intent in intents:
        if intent["outcome"] not in {"Residual", "Stuck"}:
            assert even(intent, orders, fills), dict(intent)
    return Counter(intent["outcome"] for intent in intents)


def even(intent: sqlite3.Row, orders: list[sqlite3.Row], fills: list[sqlite3.Row]) -> bool:
    """Whether every leg is filled to the same share of its plan, up to what fees took and what its market cannot trade."""
    legs = json.loads(intent["legs"])
    own = {order["id"]: order for order in orders if order["intent_id"] == intent["id"]}
    net, taken = [ZERO] * len(legs), [ZERO] * len(legs)
    for fill in fills:
        order = own.get(fill["order_id"])
        if order is not None:
            sign = -1 if order["purpose"] == "Unwind" else 1
            net[order["leg"]] += sign * Decimal(fill["quantity"])
            if fill["fee_asset"] == legs[order["leg"]]["symbol"].split("-")[0]:
                taken[order["leg"]] += Decimal(fill["fee"])
    least = min(amount / Decimal(leg["quantity"]) for amount, leg in zip(net, legs, strict=True))
    for amount, fee, leg in zip(net, taken, legs, strict=True):
        lot = Decimal(listing(leg["symbol"]).lot)
        if not -lot < amount - least * Decimal(leg["quantity"]) < 2 * lot + fee:
            return False
    return True


def run(folder: Path, *, kills: int, seed: int, pause_s: tuple[float, float]) -> tuple[Counter[str], Counter[str]]:
    with Up(folder, troubled(folder)) as up:
        up.wait_ready()
        killed = campaign(up, kills=kills, seed=seed, pause_s=pause_s)
        up.wait_ready(90)
        resume_what_is_stuck(up)
        before = {name: up.trades(name) for name in STRATEGIES}
        eventually(lambda: up.trades("cross") > before["cross"], "it trades again", 60)
        halted = arb("halt", "--state", up.state)
        assert halted.returncode == 0, halted.stderr
        # An unwind may wait for its price: as long as its patience lasts, and then it is Stuck.
        eventually(lambda: not any(unsettled(up.journal(name)) for name in STRATEGIES), "everything settled", 90)
        report = up.stop()
    outcomes: Counter[str] = Counter()
    for name in STRATEGIES:
        outcomes += check(up.journal(name))
    assert sum(report["restarts"].values()) == killed.total(), "pods ended only where they were killed"
    for log in (up.state / "logs").glob("*-*.log"):
        for line in log.read_text().splitlines():
            assert json.loads(line)["event"] != "pod failed", line
    return killed, outcomes


def test_ten_kills(tmp_path: Path) -> None:
    killed, outcomes = run(tmp_path, kills=10, seed=3, pause_s=(0.3, 2.5))
    assert killed.total() == 10
    assert outcomes.total() > 10


@pytest.mark.soak
def test_two_hundred_kills_of_any_pod(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    killed, outcomes = run(tmp_path, kills=200, seed=7, pause_s=(0.2, 5.0))
    record_property("kills", killed.total())
    record_property("of executors", sum(count for name, count in killed.items() if name.startswith("executor")))
    for outcome, count in sorted(outcomes.items()):
        record_property(f"intents {outcome}", count)
