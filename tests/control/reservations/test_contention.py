"""Executors as processes, more of them than the capacity has room for, on a durable server: killed, and their server emptied.

Watched from outside, in memory that they share: what all of them use is never above the capacity.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from arbkube.control.protocol import CAPACITIES_KEY, EPOCH_KEY, Capacity, Epoch, Order, encode
from arbkube.control.reservations.pools import record
from tests.control.reservations.contender import POOL, SLOT
from tests.control.reservations.world import INCARNATION
from tests.control.server import ControlServer, server

__all__ = ["server"]


class Arena:
    """The contenders, and what is seen of them."""

    def __init__(self, server: ControlServer, file: Path, *, contenders: int, capacity: int) -> None:
        self.server = server
        self.file = file
        self.count = contenders
        self.capacity = capacity
        self.epoch = 0
        self.samples = self.most = 0
        self.token = 0
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        file.write_bytes(bytes(SLOT.size * contenders))

    def seed(self) -> None:
        """As the writer does: capacities first, the epoch last."""
        self.epoch += 1
        users = tuple(f"s{i}" for i in range(self.count))
        pools = {POOL: Capacity(units=POOL.units_down(Decimal(self.capacity)), users=users)}
        epoch = Epoch(incarnation=INCARNATION, number=self.epoch, run_id=self.server.admin.info("server")["run_id"])
        self.server.admin.set(CAPACITIES_KEY, encode(record(Order(1, self.epoch), pools)))
        self.server.admin.set(EPOCH_KEY, encode(epoch))

    def start(self, number: int) -> None:
        self.token += 1
        command = [sys.executable, "-m", "tests.control.reservations.contender", self.server.url, str(self.server.credentials)]
        words = [str(self.file), str(number), str(self.token), str(self.token)]
        self.processes[number] = subprocess.Popen([*command, *words], stdin=subprocess.DEVNULL)

    def kill(self, number: int) -> None:
        process = self.processes.pop(number, None)
        if process is not None:
            process.kill()
            process.wait()

    def slots(self) -> list[tuple[int, int]]:
        return list(SLOT.iter_unpack(self.file.read_bytes()))

    def opens(self) -> list[int]:
        return [opens for _, opens in self.slots()]

    def watch(self, seconds: float) -> None:
        """Look again and again. One look may be torn between two contenders; two alike are what is."""
        until, before = time.monotonic() + seconds, -1
        while time.monotonic() < until:
            used = sum(used for used, _ in self.slots())
            assert not used == before > self.capacity, f"{used} of {self.capacity}: {self.slots()}"
            before, self.samples, self.most = used, self.samples + 1, max(self.most, min(used, self.capacity))
            for number, process in self.processes.items():
                assert process.poll() is None, f"contender {number} ended by itself"
            time.sleep(0.001)

    def until_all_trade(self, seconds: float = 20) -> None:
        before, deadline = self.opens(), time.monotonic() + seconds
        while not all(now > then for now, then in zip(self.opens(), before, strict=True)):
            assert time.monotonic() < deadline, f"not everybody makes progress: {before} → {self.opens()}"
            self.watch(0.05)


def fight(arena: Arena, *, seconds: float, seed: int) -> None:
    rng = random.Random(seed)
    arena.seed()
    for number in range(arena.count):
        arena.start(number)
    try:
        arena.until_all_trade()
        end = time.monotonic() + seconds
        flush_at = time.monotonic() + seconds / 2
        while time.monotonic() < end:
            number = rng.randrange(arena.count)
            arena.kill(number)
            arena.watch(rng.uniform(0, 0.5))
            if time.monotonic() > flush_at:
                flush_at = time.monotonic() + max(5, seconds / 2)
                arena.server.admin.flushall()
                arena.watch(rng.uniform(0, 0.3))
                arena.seed()
            arena.watch(rng.uniform(0, 0.3))
            arena.start(number)
            arena.watch(rng.uniform(0, 1))
        arena.until_all_trade()
    finally:
        for number in list(arena.processes):
            arena.kill(number)


def test_killed_contenders_and_an_emptied_server_never_exceed_the_capacity(server: ControlServer, tmp_path: Path) -> None:
    arena = Arena(server, tmp_path / "slots", contenders=3, capacity=6)
    fight(arena, seconds=2, seed=1)
    assert arena.most >= 4


@pytest.mark.soak
@pytest.mark.parametrize("capacity", [4, 12, 60])
def test_reservations_of_ten_executors(server: ControlServer, tmp_path: Path, capacity: int, record_property) -> None:
    """Ten processes for five minutes; one killed every second or so, the server emptied again and again."""
    arena = Arena(server, tmp_path / "slots", contenders=10, capacity=capacity)
    fight(arena, seconds=300, seed=capacity)
    record_property("capacity", capacity)
    record_property("most in use", arena.most)
    record_property("looks", arena.samples)
    record_property("opens", sum(arena.opens()))
    record_property("fewest opens of one", min(arena.opens()))
    record_property("processes", arena.token)
    record_property("epochs", arena.epoch)
