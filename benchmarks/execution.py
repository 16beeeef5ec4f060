"""Opportunity → order submitted: the gate, re-pricing, and the journal's sync, on a real file; and a start on a long journal.

Baselines run beside it: for the way with the journal, a bare SQLite transaction of one small row under synchronous=FULL (what
any journal-first executor must pay at least once); for the way without, decoding one book frame of 20 levels, the least that
happens before every decision. A start on the sums kept beside the fills stands beside one that adds up every fill.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from arbkube.control.reservations.blocks import Reservations
from arbkube.detection.model import Leg, Opportunity
from arbkube.execution.config import ExecutorConfig
from arbkube.execution.driver import Driver, believed
from arbkube.execution.engine import Engine
from arbkube.execution.model import IntentOutcome, IntentState
from arbkube.execution.paper import PaperBroker
from arbkube.execution.protocols import Record, Refused
from arbkube.market.frames import BookFrame, FrameBatch, decode, encode
from arbkube.market.instruments import FeeAsset, Fees, Instrument, Market, MarketType, Side
from arbkube.resources.kinds import Detection, Execution, Paper, PaperBalance
from arbkube.resources.scalars import Duration
from arbkube.risk.gates import RefusalReason
from arbkube.risk.limits import Limits
from arbkube.storage.executor import SqliteExecutorStore
from arbkube.storage.folding import CHUNK

START = 1_790_000_000_000_000_000
STEP = 50_000_000
ROUNDS = 300
STARTS = 5
FILLS = 10_000
WARM = 20


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        bare = timed(_bare_commit(Path(folder) / "bare.db"))
        bench = Bench(Path(folder) / "executor.db")
        whole = timed(bench.submit, after=bench.go_on)
        bench.assert_traded(ROUNDS + WARM)
        deciding = timed(bench.decide, after=bench.undecide)
        noting = timed(bench.note)
        unfolded, folded = _starts(Path(folder) / "long.db")
    decoding = timed(_decode())
    sync, frame = "one bare synced SQLite transaction", "decoding a frame of 20 levels"
    return [
        *_rows("opportunity → order sent, journal included", whole, bare, sync, target=10_000.0),
        *_rows("opportunity → decision, journal excluded", deciding, decoding, frame),
        *_rows("a batch of 100 telemetry rows", noting, bare, sync, target=10_000.0),
        *_rows(f"positions at a start after {FILLS} fills", folded, unfolded, "adding up every fill"),
    ]


def _rows(name: str, took: list[float], base: list[float], against: str, target: float | None = None) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{name}, {label}",
            "value": round(quantile(took, share), 1),
            "unit": "µs",
            "baseline": round(quantile(base, share), 1),
            "against": against,
            "ratio": float(f"{quantile(took, share) / quantile(base, share):.3g}"),
            "target": target if label == "p99" else None,
        }
        for label, share in (("p50", 0.5), ("p99", 0.99))
    ]


def quantile(took: list[float], share: float) -> float:
    return sorted(took)[int(len(took) * share)]


def timed(act: Callable[[], object], after: Callable[[], object] | None = None) -> list[float]:
    """Microseconds of each of `ROUNDS` runs, after a few that do not count."""
    took = []
    for _ in range(WARM + ROUNDS):
        took.append(_microseconds(act))
        if after is not None:
            after()
    return took[WARM:]


def _bare_commit(path: Path) -> Callable[[], object]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (text TEXT)")

    def commit() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows VALUES ('x')")
        connection.execute("COMMIT")

    return commit


def _starts(path: Path) -> tuple[list[float], list[float]]:
    """Microseconds of reading a long journal's positions, before and after its sums were made."""
    store = SqliteExecutorStore(path)
    store.acquire_lease("bench", 10**9, START)
    with store.database.transaction(durable=False) as connection:
        connection.execute(
            "INSERT INTO intents VALUES ('i', 'o', 'x', 's', 'r', 0, '[]', 'USDT', '0', 'Done', 'Filled', '', 0)"
        )
        connection.execute(
            "INSERT INTO orders VALUES ('o', 'i', 0, 'Open', 'a', 'BTC-USDT', 'Buy', '1', '1', 0, 0, 'Filled', '1', '', '0')"
        )
        connection.executemany(
            "INSERT INTO fills VALUES (?, ?, 'o', 'i', 'a', 'BTC-USDT', 'Buy', '100.01', '0.123', '0.01230123', 'USDT', ?)",
            [(number, str(number), START + number) for number in range(1, FILLS + 1)],
        )
    before = [_microseconds(lambda: store.load(START)) for _ in range(STARTS)]
    whole = store.load(START).positions
    for _ in range(FILLS // CHUNK):
        store.note(())
    after = [_microseconds(lambda: store.load(START)) for _ in range(STARTS)]
    assert store.load(START).positions == whole
    store.close()
    return before, after


def _microseconds(act: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    act()
    return (time.perf_counter_ns() - began) / 1000


def _decode() -> Callable[[], object]:
    wire = encode(_batch("a", START, 1, Decimal(100)))
    return lambda: decode(wire)


def _market(feed: str) -> Market:
    return Market(
        feed=feed,
        instrument=Instrument(
            venue=feed,
            market=MarketType.SPOT,
            symbol="BTC-USDT",
            native="BTCUSDT",
            base="BTC",
            quote="USDT",
            tick=Decimal("0.01"),
            lot=Decimal("0.00001"),
            min_quantity=Decimal("0.00001"),
            min_notional=Decimal(5),
        ),
        fees=Fees(maker=Decimal("0.001"), taker=Decimal("0.001"), charged_in=FeeAsset.QUOTE, source="spec"),
    )


def _batch(feed: str, now_ns: int, number: int, middle: Decimal) -> FrameBatch:
    steps = [Decimal(i + 1) / 100 for i in range(20)]
    size = f"0.5000{number % 2}"  # another size: what the paper broker took is there again
    frame = BookFrame(
        feed=feed,
        symbol="BTC-USDT",
        epoch=1,
        seq=number,
        bids=tuple((str(middle - step), size) for step in steps),
        asks=tuple((str(middle + step), size) for step in steps),
        truncated=True,
        venue_ns=now_ns,
        recv_ns=now_ns,
    )
    return FrameBatch(
        feed=feed,
        epoch=1,
        sent_ns=now_ns,
        clock_offset_ns=0,
        alive_ns={"BTC-USDT": now_ns},
        excess_transit_ns={"BTC-USDT": 0},
        frames=(frame,),
    )


class Bench:
    """An executor between trades, in virtual time. Each call takes one opportunity whose legs walk four levels."""

    def __init__(self, path: Path, reservations: Reservations | None = None) -> None:
        markets = (_market("a"), _market("b"))
        ages = {"a": Duration("2s"), "b": Duration("2s")}
        balances = tuple(
            PaperBalance(feed=feed, asset=asset, amount=Decimal(10**7)) for feed in "ab" for asset in ("USDT", "BTC")
        )
        execution = Execution(paper=Paper(balances=balances))
        self.now_ns, self.number = START, 0
        self.store = SqliteExecutorStore(path)
        config = ExecutorConfig(
            strategy="bench",
            strategy_uid="uid",
            revision="r",
            profit_asset="USDT",
            detection=Detection(),
            execution=execution,
            limits=Limits(
                max_notional=Decimal(10**6), max_position=Decimal(10**6), max_daily_loss=Decimal(10**6), max_age=ages
            ),
            markets=markets,
            venue_of={"a": "a", "b": "b"},
        )
        self.engine = Engine(config, reservations)
        self.driver = Driver(
            engine=self.engine,
            journal=self.store,
            broker=PaperBroker(config, seed=1, ledger=self.store),
            holder="bench",
            monotonic_ns=lambda: self.now_ns,
            doubt=believed,
        )
        self.driver.start(self.now_ns)
        self.go_on()

    def go_on(self) -> None:
        """Time passes, orders fill, new books come, and the next opportunity is ready."""
        for _ in range(3):
            self.now_ns += STEP // 2
            self.driver.on_time(self.now_ns)
        self.number += 1
        self.now_ns += STEP
        for feed, middle in (("a", Decimal(100)), ("b", Decimal(101))):
            self.driver.on_batch(_batch(feed, self.now_ns, self.number, middle), self.now_ns)
        self.chance = Opportunity(
            id=f"{self.number:032x}",
            identity="bench:buy BTC-USDT@a>sell BTC-USDT@b",
            strategy="bench",
            strategy_uid="uid",
            revision="r",
            detected_ns=self.now_ns,
            recv_ns=self.now_ns,
            legs=tuple(
                Leg(
                    feed=feed,
                    symbol="BTC-USDT",
                    side=side,
                    quantity=Decimal("1.8"),
                    limit_price=Decimal(limit),
                    value=Decimal(180),
                    fee=Decimal(1),
                    frame_epoch=1,
                    frame_seq=self.number,
                    age_ns=0,
                )
                for feed, side, limit in (("a", Side.BUY, "100.04"), ("b", Side.SELL, "100.96"))
            ),
            profit_asset="USDT",
            notional=Decimal(180),
            expected_profit=Decimal(1),
            net_edge_bps=Decimal(70),
        )

    def submit(self) -> None:
        """From the opportunity to two orders with the broker."""
        self.driver.on_opportunity(self.chance, self.now_ns)

    def decide(self) -> None:
        effects = self.engine.on_opportunity(self.chance, self.now_ns)
        record = next(effect for effect in effects if isinstance(effect, Record))
        assert record.new_intent is not None
        self._intent = record.new_intent

    def undecide(self) -> None:
        self.engine.on_record_failed(self._intent, RefusalReason.DUPLICATE_INTENT, self.now_ns)

    def note(self) -> None:
        self.number += 1
        done = replace(self._intent, state=IntentState.DONE, outcome=IntentOutcome.REFUSED)
        self.store.note([Refused(replace(done, id=f"{self.number}-{row}")) for row in range(100)])

    def assert_traded(self, times: int) -> None:
        traded = self.store.database.read("SELECT count(*) FROM intents WHERE outcome = 'Filled'")[0][0]
        assert traded == times, f"{traded} of {times} opportunities were traded"
