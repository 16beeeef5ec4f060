"""A pod's connection to the control server: what it hears, and what it says of itself.

For: asking every `POLL_NS` and at once when something was said, for ever, whatever happens to the server. May not: decide what
an answer means (`follower`, `freshness`, `halts`), or pass on an answer that is not whole, or not the answer to what it asked.

One question is one transaction: ECHO of the question's number, INFO server (for the run id), MGET of epoch, head and limits,
LRANGE of the log from the last entry known. All of it is of one moment and of one server process. Where the process or the
epoch is another one, or the last entry known is not where it was, the log is asked for whole before anything is passed on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import structlog
from redis.exceptions import RedisError

from arbkube.control.connection import connect, patience, told
from arbkube.control.halts import Entry, decode_entry, encode_entry
from arbkube.control.protocol import (
    ACK_PREFIX,
    ACK_TTL_MS,
    ACKED_CHANNEL,
    CHANGED_CHANNEL,
    EPOCH_KEY,
    HALT_IDS_KEY,
    HALTS_KEY,
    HEAD_PREFIX,
    LIMITS_PREFIX,
    POLL_NS,
    REVISION_PREFIX,
    STATUS_PREFIX,
    Ack,
    Epoch,
    Head,
    LimitsRecord,
    Ref,
    Revision,
    encode,
    revision_field,
)
from arbkube.control.scripts import script

log = structlog.get_logger(__name__)

_CALL_S = 1.0
"""For everything but the question: nothing is believed longer because of it, and a disk may take its time."""
_RETRY_S = 0.02
_RETRY_CAP_S = 0.2
_APPEND = script("append")


class AnswerError(Exception):
    """An answer that is not one: to another question, or not readable. It counts as silence."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One whole answer."""

    asked_ns: int
    """When it was asked for, on the monotonic clock."""
    run_id: str
    """Of the server process that gave it."""
    epoch: Epoch | None
    head: Head | None
    limits: LimitsRecord | None
    halts: tuple[Entry, ...]
    """Every entry that was not passed on before; the whole log, where the server or its epoch is another one than before."""


class _Answer(msgspec.Struct, frozen=True):
    run_id: str
    epoch: bytes | None
    head: bytes | None
    limits: bytes | None
    entries: list[bytes]


class ControlLink:
    """One pod's connection. `run` hears; all else may be called beside it, and raises RedisError, OSError or TimeoutError."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Path,
        user: str,
        document: str,
        strategy: str | None,
        with_halts: bool,
        rng: Random | None = None,
    ) -> None:
        self._client = connect(url, credentials=credentials, user=user)
        self._head_key = HEAD_PREFIX + document
        self._limits_key = None if strategy is None else LIMITS_PREFIX + strategy
        self._with_halts = with_halts
        self._rng = rng or Random()
        self._questions = count(1)
        self._identity: tuple[str, bytes | None] | None = None
        self._known = 0
        self._last = b""

    async def run(self, hear: Callable[[Snapshot], Awaitable[None]]) -> None:
        """Pass on every whole answer, until cancelled. What `hear` raises ends it; no failure of the server does."""
        async with aclosing(self._snapshots()) as snapshots:
            async for snapshot in snapshots:
                await hear(snapshot)

    async def revision(self, document: str, ref: Ref) -> Revision | None:
        """The revision `ref` of `document`, or None where the server does not hold it. Raises msgspec.MsgspecError, too."""
        async with patience(_CALL_S):
            held = await self._client.hget(REVISION_PREFIX + document, revision_field(ref.order))
        if held is None:
            return None
        revision = _revision.decode(held)
        return revision if revision.ref == ref and revision.document == document else None

    async def acknowledge(self, ack: Ack, *, news: bool) -> None:
        """Say what this pod holds, for as long as an ack lasts; `news` wakes the writer."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(ACK_PREFIX + ack.pod, encode(ack), px=ACK_TTL_MS)
        if news:
            pipeline.publish(ACKED_CHANNEL, "")
        async with patience(_CALL_S):
            await pipeline.execute()

    async def say_status(self, pod: str, status: bytes, ttl_ms: int) -> None:
        """Say the pod's status, for `ttl_ms` on the server's clock."""
        async with patience(_CALL_S):
            await self._client.set(STATUS_PREFIX + pod, status, px=ttl_ms)

    async def append(self, entries: Sequence[Entry]) -> None:
        """Append what the server's log lacks of `entries`; when this returns, it is on the server's disk."""
        if not entries:
            return
        words = [word for entry in entries for word in (entry.id, encode_entry(entry))]
        async with patience(_CALL_S):
            await self._client.eval(_APPEND, 2, HALTS_KEY, HALT_IDS_KEY, *words)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.aclose()

    async def _snapshots(self) -> AsyncGenerator[Snapshot, None]:
        failures = 0
        while True:
            try:
                async with self._client.pubsub() as listener:
                    async with patience():
                        await listener.subscribe(CHANGED_CHANNEL)
                    while True:
                        snapshot = await self._look()
                        if failures:
                            log.warning("control server answers again", failures=failures)
                        failures = 0
                        yield snapshot
                        await told(listener, max(0.0, (snapshot.asked_ns + POLL_NS - time.monotonic_ns()) / 1e9))
            except (RedisError, OSError, TimeoutError, msgspec.MsgspecError, AnswerError) as error:
                if not failures:
                    log.warning("control server does not answer", error=f"{type(error).__name__}: {error}")
                failures += 1
            await asyncio.sleep(min(_RETRY_CAP_S, _RETRY_S * 2 ** min(failures, 10)) * self._rng.uniform(0.5, 1.0))

    async def _look(self) -> Snapshot:
        while True:
            asked_ns = time.monotonic_ns()
            first = max(0, self._known - 1)
            answer = await self._ask(first)
            identity = (answer.run_id, answer.epoch)
            if not self._known or (identity == self._identity and answer.entries[:1] == [self._last]):
                break
            self._known = 0
        new = answer.entries[1:] if self._known else answer.entries
        snapshot = Snapshot(
            asked_ns=asked_ns,
            run_id=answer.run_id,
            epoch=None if answer.epoch is None else _epoch.decode(answer.epoch),
            head=None if answer.head is None else _head.decode(answer.head),
            limits=None if answer.limits is None else _limits.decode(answer.limits),
            halts=tuple(map(decode_entry, new)),
        )
        self._identity = identity
        self._known = first + len(answer.entries)
        self._last = answer.entries[-1] if answer.entries else b""
        return snapshot

    async def _ask(self, first: int) -> _Answer:
        """One transaction; of the log, the entries from `first` on."""
        question = b"%d" % next(self._questions)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.echo(question)
        pipeline.info("server")
        pipeline.mget(EPOCH_KEY, self._head_key, *(() if self._limits_key is None else (self._limits_key,)))
        if self._with_halts:
            pipeline.lrange(HALTS_KEY, first, -1)
        async with patience():
            echoed, server, (epoch, head, *limits), *entries = await pipeline.execute()
        if echoed != question:
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise AnswerError("an answer to another question")
        return _Answer(server["run_id"], epoch, head, limits[0] if limits else None, entries[0] if entries else [])


_epoch = msgspec.json.Decoder(Epoch)
_head = msgspec.json.Decoder(Head)
_limits = msgspec.json.Decoder(LimitsRecord)
_revision = msgspec.json.Decoder(Revision)
