"""An executor in a process of its own, in real time, made to be killed. Run by `test_crash`.

    python -m tests.execution.victim FILE SEED KILL_AT MODE

KILL_AT is the number of the boundary (before and after every write and every send) at which it kills itself, 0 for never; MODE
is `trade` (until killed) or `settle` (until every intent is settled). It says each send and each acknowledged fill.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from arbkube.control.halts import PERSON, Clear, Halt, HaltReason, Level
from arbkube.execution.driver import Driver, believed
from arbkube.execution.engine import Engine
from arbkube.execution.paper import PaperBroker
from arbkube.execution.protocols import LeaseLost
from arbkube.market.instruments import Side
from arbkube.resources.kinds import HaltMode, PartialPolicy
from arbkube.risk.limits import Limits
from arbkube.storage.executor import SqliteExecutorStore
from tests.execution.world import MS, batch, config, leg, opportunity

LEASE_TTL_NS = 150 * MS


class Victim:
    def __init__(self, path: str, seed: int, kill_at: int) -> None:
        self.random = random.Random(seed)
        self.kill_at, self.boundary = kill_at, 0
        settings = config(
            on_partial=self.random.choice(list(PartialPolicy)),
            latency="3ms",
            max_loss="200bps",  # wider than the market moves: nothing gets stuck for want of a price
            reject_rate="0.05",
            unknown_rate="0.05",
            limits=Limits(max_open_intents=5),
            balances={(feed, asset): "1000000" for feed in "ab" for asset in ("USDT", "BTC")},
        )
        self.store = SqliteExecutorStore(path)
        for name in ("write", "note", "accept", "settle", "acquire_lease"):
            setattr(self.store, name, self.between(getattr(self.store, name)))
        # The seed of the paper venues stays: they remember, only the executor dies.
        self.broker = PaperBroker(settings, seed=1, ledger=self.store)
        submit, due = self.between(self.broker.submit), self.broker.due

        def said_submit(order: Any, now_ns: int) -> None:
            say(f"sent {order.id}")
            submit(order, now_ns)

        def said_due(now_ns: int) -> Any:
            reports = due(now_ns)
            for report in reports:
                for fill in report.fills:
                    say(f"fill {fill.trade_id}")
            return reports

        self.broker.submit, self.broker.due = said_submit, said_due  # type: ignore[method-assign]
        self.engine = Engine(settings)
        self.driver = Driver(
            engine=self.engine,
            journal=self.store,
            broker=self.broker,
            holder=str(os.getpid()),
            monotonic_ns=time.monotonic_ns,
            doubt=believed,
            lease_ttl_ns=LEASE_TTL_NS,
        )

    def between(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **kwargs: Any) -> Any:
            self.pass_boundary()
            result = call(*args, **kwargs)
            self.pass_boundary()
            return result

        return inner

    def pass_boundary(self) -> None:
        self.boundary += 1
        if self.boundary == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def start(self) -> None:
        while True:
            try:
                self.driver.start(time.time_ns())
                return
            except LeaseLost:
                time.sleep(0.02)

    def turn(self, *, calm: bool) -> None:
        for feed, centre in (("a", Decimal(100)), ("b", Decimal(101))):
            middle = centre + (Decimal(0) if calm else Decimal(self.random.randrange(-45, 46)) / 100)
            # Other sizes each time: what the paper venues took of a level stays taken while it looks the same.
            one, two = (str(4 + Decimal(self.random.randrange(1000)) / 1000) for _ in range(2))
            bids = ((str(middle - Decimal("0.05")), one), (str(middle - Decimal("0.10")), two))
            asks = ((str(middle + Decimal("0.05")), one), (str(middle + Decimal("0.10")), two))
            now_ns = time.time_ns()
            self.driver.on_batch(batch(feed, now_ns, bids=bids, asks=asks), now_ns)

    def trade(self) -> None:
        self.lift()  # what halted its predecessor
        while True:
            if self.random.random() < 0.02:
                self.flatten()
            self.turn(calm=False)
            now_ns = time.time_ns()
            amount = str(Decimal(self.random.randrange(50, 300) // 2 * 2) / 1000)
            chance = opportunity(
                now_ns,
                leg("a", Side.BUY, amount, "100.40"),
                leg("b", Side.SELL, amount, "100.60"),
                name=str(self.random.randrange(8)),
            )
            # A detector that repeats itself, over restarts too.
            self.driver.on_opportunity(replace(chance, id=f"{self.random.randrange(3000):032x}"), now_ns)
            self.wait(0.004)

    def flatten(self) -> None:
        """Halt, bring everything back to target, and let it go on."""
        name = f"{self.random.getrandbits(64):016x}"
        now_ns = time.time_ns()
        halt = Halt(
            id=name,
            level=Level.STRATEGY,
            subject="test",
            mode=HaltMode.FLATTEN,
            owner=PERSON,
            reason=HaltReason.COMMANDED,
            at_ns=now_ns,
        )
        self.driver.on_halts((halt,), now_ns)
        self.lift()

    def lift(self) -> None:
        """Clear every halt, when what it asks for is done."""
        for halt in self.driver.halts:
            while self.engine.live_intents or (halt.mode is HaltMode.FLATTEN and halt.id not in self.engine._flattened):
                self.turn(calm=True)
                self.wait(0.01)
            clear = Clear(id=f"clear-{halt.id}", halt=halt.id, owner=PERSON, at_ns=time.time_ns())
            self.driver.on_halts((clear,), time.time_ns())

    def settle(self) -> None:
        self.lift()
        self.flatten()
        while self.engine.live_intents:
            self.turn(calm=True)
            self.wait(0.02)
        self.driver.stop(time.time_ns())

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.driver.on_time(time.time_ns())
            time.sleep(0.001)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    path, seed, kill_at, mode = sys.argv[1:]
    victim = Victim(path, int(seed), int(kill_at))
    victim.start()
    say("ready")
    if mode == "trade":
        victim.trade()
    victim.settle()
