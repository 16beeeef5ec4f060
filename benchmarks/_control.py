"""The processes that `control` starts beside itself: pods that answer what they hear, and a feed that keeps the bus full.

For: `python -m benchmarks._control pod|bare URL CREDENTIALS NUMBER` and `… flood URL CREDENTIALS`. May not: decide anything; a
pod here is its link, and answers at once.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path

import uvloop
from redis.exceptions import RedisError

from arbkube.control.acl import User
from arbkube.control.connection import connect
from arbkube.control.halts import Log
from arbkube.control.link import ControlLink, Snapshot
from arbkube.control.protocol import ACKED_CHANNEL, CHANGED_CHANNEL, Ack, Answer, Ref

DOCUMENT, STRATEGY = "strategy-bench", "bench"
TOPICS = 400
FRAME = b"x" * 1500
"""As long as a frame of 20 levels."""
FLOOD_BATCH, FLOOD_PAUSE_S = 50, 0.025


class Pod:
    """What an executor's link knows, said again whenever it changes and every second."""

    def __init__(self, url: str, credentials: Path, number: int) -> None:
        self._name = f"executor-{number}"
        self._link = ControlLink(
            url, credentials=credentials, user=User.EXECUTOR, document=DOCUMENT, strategy=STRATEGY, with_halts=True
        )
        self._log = Log()
        self._running: Ref | None = None
        self._said: Ack | None = None
        self._said_ns = 0

    async def run(self) -> None:
        await self._link.run(self._hear)

    async def _hear(self, snapshot: Snapshot) -> None:
        self._log.add(snapshot.halts)
        with suppress(RedisError, OSError, TimeoutError):  # the next answer is another chance
            await self._answer(snapshot)

    async def _answer(self, snapshot: Snapshot) -> None:
        candidate, answer = None, None
        if (head := snapshot.head) is not None:
            candidate = head.candidate
            for ref in (candidate, head.run):
                if ref is not None and ref != self._running and await self._link.revision(DOCUMENT, ref) is None:
                    return
            answer = Answer.PREPARED if candidate is not None else None
            self._running = head.run
        ack = Ack(
            pod=self._name,
            workload=self._name,
            role="executor",
            document=DOCUMENT,
            boot_id=self._name,
            running=self._running,
            candidate=candidate,
            answer=answer,
            halts=tuple(halt.id for halt in self._log.active()),
        )
        if ack == self._said and snapshot.asked_ns - self._said_ns < 10**9:
            return
        await self._link.acknowledge(ack, news=ack != self._said)
        self._said, self._said_ns = ack, snapshot.asked_ns


async def bare(url: str, credentials: Path, number: int) -> None:
    """Answer each message on `changed` by one on `acked`, and do nothing else."""
    client = connect(url, credentials=credentials, user=User.EXECUTOR)
    async with client.pubsub() as listener:
        await listener.subscribe(CHANGED_CHANNEL)
        async for message in listener.listen():
            if message["type"] == "message":
                await client.publish(ACKED_CHANNEL, b"%d" % number)


async def flood(url: str, credentials: Path) -> None:
    """Fill the bus as fast as it goes, say so, then write 2000 frames a second for ever."""
    client = connect(url, credentials=credentials, user=User.FEED)
    number = 0

    async def write(count: int) -> None:
        nonlocal number
        pipeline = client.pipeline(transaction=False)
        for _ in range(count):
            number += 1
            pipeline.xadd(f"frames:{number % TOPICS}", {"m": FRAME}, maxlen=256, approximate=True)
        await pipeline.execute()

    for _ in range(TOPICS):
        await write(256)
    print("full", flush=True)
    due = time.monotonic()
    while True:
        await write(FLOOD_BATCH)
        due += FLOOD_PAUSE_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pod", url, credentials, number]:
            uvloop.run(Pod(url, Path(credentials), int(number)).run())
        case ["bare", url, credentials, number]:
            uvloop.run(bare(url, Path(credentials), int(number)))
        case ["flood", url, credentials]:
            uvloop.run(flood(url, Path(credentials)))
        case _:
            sys.exit("see the module's docstring")
