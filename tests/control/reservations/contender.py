"""An executor's reservations in a process of its own, made to be killed. Run by `test_contention`.

    python -m tests.control.reservations.contender URL CREDENTIALS FILE NUMBER TOKEN SEED

FILE holds two whole numbers for each contender: what it uses, which is its journal (written before an Open begins, and there
after a kill), and how many Opens it has made. It opens and settles at random until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import random
import struct
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
from redis.exceptions import RedisError

from arbkube.control.connection import connect
from arbkube.control.protocol import EPOCH_KEY, Epoch
from arbkube.control.reservations.blocks import Reservations
from arbkube.control.reservations.keeper import ReservationKeeper
from tests.control.reservations.world import terms, venue

POOL = venue("x")
SLOT = struct.Struct("<qq")


class Contender:
    def __init__(self, url: str, credentials: str, file: str, number: int, token: int, seed: int) -> None:
        with Path(file).open("r+b") as opened:
            self.memory = mmap.mmap(opened.fileno(), 0)
        self.number = number
        self.believed: Epoch | None = None
        self.random = random.Random(seed)
        self.reservations = Reservations(f"s{number}", token=token, terms=terms(POOL, first=4))
        self.keeper = ReservationKeeper(
            url,
            credentials=Path(credentials),
            user="executor",
            reservations=self.reservations,
            levels=lambda: {POOL: Decimal(self.used)},
            believed=lambda: self.believed,
        )
        self.client = connect(url, credentials=Path(credentials), user="executor")

    @property
    def used(self) -> int:
        return SLOT.unpack_from(self.memory, self.number * SLOT.size)[0]

    def journal(self, used: int, opens: int = 0) -> None:
        _, before = SLOT.unpack_from(self.memory, self.number * SLOT.size)
        SLOT.pack_into(self.memory, self.number * SLOT.size, used, before + opens)

    async def believe(self) -> None:
        """Trust what is seeded, as an executor does that polls."""
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(0.4):
                    epoch, info = await self.client.get(EPOCH_KEY), await self.client.info("server")
                if epoch is not None:
                    decoded = msgspec.json.decode(epoch, type=Epoch)
                    if decoded.run_id == info["run_id"]:
                        self.believed = decoded
            await asyncio.sleep(0.05)

    async def trade(self) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.05))
        self.journal(0)  # what a killed predecessor left is settled
        while True:
            need = self.random.randrange(1, 5)
            if self.reservations.covers({POOL: Decimal(need)}):
                self.journal(need, opens=1)
                self.reservations.spend()
                await asyncio.sleep(self.random.uniform(0, 0.005))
                self.journal(0)
            else:
                self.reservations.want({POOL: Decimal(need)})
                self.keeper.hurry()
            await asyncio.sleep(self.random.uniform(0, 0.005))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for life in (self.keeper.run(), self.believe(), self.trade()):
                group.create_task(life)


if __name__ == "__main__":
    url, credentials, file, *numbers = sys.argv[1:]
    asyncio.run(Contender(url, credentials, file, *map(int, numbers)).run())
