"""The bus: how pods tell each other what they see, capped and without memory.

For: one interface with two forms, in-process and Valkey streams. A topic is a capped stream of byte messages; a reader that
is slow jumps ahead and is only older, never wrong. May not: hold anything that must not be lost (limits, halts, journals).

Topics: `frames:FEED` (FrameBatch), `markets:FEED` (the feed's instruments and fees, latest counts), `sightings:STRATEGY`
(Sighting), `balances:STRATEGY` (Balances, latest counts).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from arbkube.control.credentials import FileCredentials

log = structlog.get_logger(__name__)

Message = tuple[str, bytes]
"""(topic, payload)."""

_Entry = tuple[bytes, dict[bytes, bytes]]
_Reply = list[tuple[bytes, list[_Entry]]]
"""What XREAD answers under RESP2, which the connections ask for."""

CAPS: Mapping[str, int] = {"frames": 256, "markets": 1, "sightings": 4096, "balances": 1}
"""Messages kept per topic, by the topic's first word."""

_RETAINED = frozenset({"markets", "balances"})
"""Topics whose latest message a new reader gets at once; of the others it gets what comes after it began."""


def is_retained(topic: str) -> bool:
    """Whether a new reader of `topic` is first given its latest message."""
    return topic.split(":", 1)[0] in _RETAINED


def cap_of(topic: str) -> int:
    """How many messages of `topic` are kept. Raises KeyError for a topic that is none."""
    return CAPS[topic.split(":", 1)[0]]


class Bus(Protocol):
    """Publish and read byte messages by topic."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Queue one message; never blocks and never raises. What cannot be delivered is dropped and counted."""

    def read(self, topics: Sequence[str]) -> AsyncIterator[list[Message]]:
        """Messages of `topics` as they come, in lists of what was there at once; reconnects by itself.

        Whoever reads may change `topics` meanwhile: within a second that is what is read, and of the others nothing is missed.
        """

    async def clock_offset_ns(self) -> int | None:
        """This process's clock minus the bus's clock, or None when it cannot be measured."""

    async def run(self) -> None:
        """Deliver what was published, until cancelled."""

    async def close(self) -> None:
        """Let go of connections."""

    @property
    def dropped(self) -> int:
        """Messages that could not be delivered."""


class InProcessBus:
    """The bus within one event loop. A reader has a queue a topic, as capped as the topic, so that none crowds out another."""

    _LOOK_S = 1.0

    def __init__(self) -> None:
        self.dropped = 0
        self._latest: dict[str, bytes] = {}
        self._readers: list[_Reader] = []

    def publish(self, topic: str, payload: bytes) -> None:
        if is_retained(topic):
            self._latest[topic] = payload
        for reader in self._readers:
            self.dropped += reader.offer(topic, payload)

    async def read(self, topics: Sequence[str]) -> AsyncIterator[list[Message]]:
        reader = _Reader()
        self._readers.append(reader)
        try:
            while True:
                for topic in reader.follow(topics):
                    if topic in self._latest:
                        reader.offer(topic, self._latest[topic])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._LOOK_S):
                        await reader.ready.wait()
                if messages := reader.take():
                    yield messages
        finally:
            self._readers.remove(reader)

    async def clock_offset_ns(self) -> int | None:
        return 0

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        return


class _Reader:
    """What one reader has not yet taken."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self._queues: dict[str, deque[tuple[int, bytes]]] = {}
        self._count = 0

    def follow(self, topics: Sequence[str]) -> list[str]:
        """Have a queue for each of `topics` and for no other; those that are new."""
        new = [topic for topic in topics if topic not in self._queues]
        self._queues = {
            topic: self._queues.get(topic, deque[tuple[int, bytes]](maxlen=cap_of(topic))) for topic in dict.fromkeys(topics)
        }
        return new

    def offer(self, topic: str, payload: bytes) -> bool:
        """Whether an older message was dropped to make room."""
        queue = self._queues.get(topic)
        if queue is None:
            return False
        full = len(queue) == queue.maxlen
        self._count += 1
        queue.append((self._count, payload))
        self.ready.set()
        return full and not is_retained(topic)

    def take(self) -> list[Message]:
        """Everything, in the order in which it was published."""
        waiting = sorted((number, topic, payload) for topic, queue in self._queues.items() for number, payload in queue)
        for queue in self._queues.values():
            queue.clear()
        self.ready.clear()
        return [(topic, payload) for _, topic, payload in waiting]


class ValkeyBus:
    """The bus over one Valkey server: a capped stream a topic. `url` as redis-py writes it (redis://, rediss://, unix://).

    `user` is who connects, by the password in the directory `credentials`.

    What a new reader must be given at once is said again every few seconds, so that a server that lost its memory learns it.
    """

    _QUEUE_LIMIT = 4096
    _BLOCK_MS = 1000
    _READ_AT_ONCE = 512
    _RETRY_S = 0.1
    _REPEAT_S = 2.0
    _TIMEOUT_S = 5.0
    """For an answer. Not given to redis-py: it would make every write a task, and `asyncio.wait_for`, with which it waits for
    it, loses a cancellation that comes together with the task's end (Python 3.11)."""

    def __init__(self, url: str, *, credentials: Path, user: str) -> None:
        self.dropped = 0
        self._url = url
        self._credentials = FileCredentials(credentials, user)
        self._writer = self._connect()
        self._queue: deque[Message] = deque()
        self._ready = asyncio.Event()
        self._latest: dict[str, bytes] = {}

    def publish(self, topic: str, payload: bytes) -> None:
        if is_retained(topic):
            self._latest[topic] = payload
        if len(self._queue) >= self._QUEUE_LIMIT:
            # The newest is worth most: a reader that comes back wants the present, not the past.
            self._queue.popleft()
            self.dropped += 1
        self._queue.append((topic, payload))
        self._ready.set()

    async def run(self) -> None:
        failing = False
        repeat_at = time.monotonic() + self._REPEAT_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, repeat_at - time.monotonic())):
                    await self._ready.wait()
            self._ready.clear()
            messages = list(self._queue)
            self._queue.clear()
            if time.monotonic() >= repeat_at:
                repeat_at = time.monotonic() + self._REPEAT_S
                said = {topic for topic, _ in messages}
                messages += [(topic, payload) for topic, payload in self._latest.items() if topic not in said]
            if not messages:
                continue
            pipeline = self._writer.pipeline(transaction=False)
            for topic, payload in messages:
                cap = cap_of(topic)
                pipeline.xadd(topic, {"m": payload}, maxlen=cap, approximate=cap > 1)
            try:
                async with asyncio.timeout(self._TIMEOUT_S):
                    await pipeline.execute()
            except (RedisError, OSError, TimeoutError) as error:
                self.dropped += len(messages)
                if not failing:
                    log.warning("bus cannot be written, messages are dropped", error=f"{type(error).__name__}: {error}")
                failing = True
                repeat_at = 0.0
                await asyncio.sleep(self._RETRY_S)
            else:
                if failing:
                    log.warning("bus can be written again", dropped=self.dropped)
                failing = False

    async def read(self, topics: Sequence[str]) -> AsyncIterator[list[Message]]:
        reader = self._connect()
        positions: dict[str, str | bytes] = {}
        failing = False
        try:
            while True:
                try:
                    async with asyncio.timeout(self._BLOCK_MS / 1000 + self._TIMEOUT_S):
                        if not topics:
                            await asyncio.sleep(self._BLOCK_MS / 1000)
                            continue
                        for topic in positions.keys() - set(topics):
                            del positions[topic]
                        for topic in topics:
                            if topic not in positions:
                                positions[topic] = "0" if is_retained(topic) else await self._end_of(reader, topic)
                        reply: _Reply = await reader.xread(dict(positions), count=self._READ_AT_ONCE, block=self._BLOCK_MS)  # type: ignore[assignment,arg-type]
                except (RedisError, OSError, TimeoutError) as error:
                    if not failing:
                        log.warning("bus cannot be read", error=f"{type(error).__name__}: {error}")
                    failing = True
                    # A server that lost its memory counts from a new beginning.
                    positions.clear()
                    await asyncio.sleep(self._RETRY_S)
                    continue
                if failing:
                    log.warning("bus can be read again")
                failing = False
                messages: list[Message] = []
                for name, entries in reply or ():
                    topic = name.decode()
                    for entry_id, fields in entries:
                        messages.append((topic, fields[b"m"]))
                        positions[topic] = entry_id
                if messages:
                    yield messages
        finally:
            await reader.aclose()

    @staticmethod
    async def _end_of(reader: redis.Redis, topic: str) -> str | bytes:
        last: list[_Entry] = await reader.xrevrange(topic, count=1)  # type: ignore[assignment]
        return last[0][0] if last else "0"

    async def clock_offset_ns(self) -> int | None:
        best_round_trip = None
        offset = None
        for _ in range(5):
            before = time.time_ns()
            try:
                async with asyncio.timeout(self._TIMEOUT_S):
                    seconds, microseconds = await self._writer.time()
            except (RedisError, OSError, TimeoutError):
                return None
            after = time.time_ns()
            if best_round_trip is None or after - before < best_round_trip:
                best_round_trip = after - before
                offset = (before + after) // 2 - (seconds * 10**9 + microseconds * 1000)
        return offset

    async def close(self) -> None:
        await self._writer.aclose()

    def _connect(self) -> redis.Redis:
        return redis.Redis.from_url(
            self._url,
            credential_provider=self._credentials,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=self._TIMEOUT_S,
        )
