"""A writer's connection to the control server, and the command line's: the operator's, or that of `arb up`.

For: one look at everything, and writing several things in one step or not at all. May not: decide what to write.

The server fences: a lower term than has ever written is refused (`Superseded`: another writer is in charge, stop), and so is an
order that is not above what its key holds, and an epoch for another process than the server's own (`Refused`: look again).
Repeating a write is harmless, for it changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, ResponseError

from arbkube.control.connection import ANSWER_S, connect, told
from arbkube.control.halts import Entry, decode_entry, encode_entry
from arbkube.control.protocol import (
    ACK_PREFIX,
    ACKED_CHANNEL,
    CAPACITIES_KEY,
    CHANGED_CHANNEL,
    EPOCH_KEY,
    HALT_IDS_KEY,
    HALTS_KEY,
    HEAD_PREFIX,
    LIMITS_PREFIX,
    REVISION_PREFIX,
    TERM_KEY,
    Ack,
    Capacities,
    DropDocument,
    DropRevision,
    Epoch,
    Head,
    LimitsRecord,
    Order,
    PutCapacities,
    PutEpoch,
    PutHead,
    PutLimits,
    PutRevision,
    Write,
    encode,
    order_of_field,
    revision_field,
)
from arbkube.control.scripts import script

_LOOK, _WRITE, _APPEND = script("look"), script("write"), script("append")
_PATIENCE_S = 5 * ANSWER_S
"""A writer has more time than an executor, and more to write."""
_RETRY_S = 0.1


class Superseded(Exception):  # noqa: N818 - what happened, not what went wrong
    """A higher term has written: another writer is in charge."""


class Refused(ResponseError):  # noqa: N818
    """What the server holds is newer, or it is another process than the epoch names: look again."""


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """All that stands on the server, as of one moment."""

    run_id: str
    term: int
    """The highest that ever wrote; 0 on an empty server."""
    epoch: Epoch | None
    heads: dict[str, Head]
    """By document."""
    limits: dict[str, LimitsRecord]
    """By strategy."""
    revisions: dict[str, set[Order]]
    """By document."""
    acks: dict[str, Ack]
    """By pod, of those whose last ack has not run out."""
    halts: tuple[Entry, ...]
    """The log, as it was appended."""
    capacities: Capacities | None = None


class ControlWriter:
    """One connection. Every call raises RedisError, OSError or TimeoutError where the server does not answer."""

    def __init__(self, url: str, *, credentials: Path, user: str) -> None:
        self._client = connect(url, credentials=credentials, user=user)
        self._listener: PubSub | None = None
        self._log: tuple[Entry, ...] = ()
        """The log of halts as it was last seen, which only grows while server and epoch stay the same."""
        self._last = b""
        self._identity: tuple[bytes, bytes | None] | None = None

    async def look(self) -> ServerView:
        """Everything, in one step. Raises msgspec.MsgspecError for what no release of this kind wrote."""
        first = max(0, len(self._log) - 1)
        answer = await self._look(first)
        identity, halts = (answer[0], answer[2]), answer[3]
        if first and (identity != self._identity or halts[:1] != [self._last]):
            first = 0
            answer = await self._look(first)
            identity, halts = (answer[0], answer[2]), answer[3]
        run_id, term, epoch, _, heads, limits, acks, revisions, capacities = answer
        self._log = (*self._log[:first], *map(decode_entry, halts))
        self._identity, self._last = identity, halts[-1] if halts else b""
        return ServerView(
            run_id=run_id.decode(),
            term=int(term or 0),
            epoch=None if epoch is None else msgspec.json.decode(epoch, type=Epoch),
            heads={name: _head.decode(value) for name, value in _pairs(heads)},
            limits={name: _limits.decode(value) for name, value in _pairs(limits)},
            revisions={name: {order_of_field(field.decode()) for field in fields} for name, fields in _pairs(revisions)},
            acks={name: _ack.decode(value) for name, value in _pairs(acks)},
            halts=self._log,
            capacities=None if capacities is None else msgspec.json.decode(capacities, type=Capacities),
        )

    async def acks(self, pods: Sequence[str]) -> dict[str, Ack]:
        """What each of `pods` said last, where that has not run out: all that somebody who waits for them need ask."""
        if not pods:
            return {}
        async with asyncio.timeout(_PATIENCE_S):
            found = await self._client.mget([ACK_PREFIX + pod for pod in pods])
        return {pod: _ack.decode(value) for pod, value in zip(pods, found, strict=True) if value is not None}

    async def write(self, term: int, writes: Sequence[Write]) -> None:
        """Do all of `writes` in order, or none. Raises Superseded; Refused, which is a RedisError."""
        steps = [step for write in writes for step in _steps(write)]
        keys = [TERM_KEY, EPOCH_KEY, *(key for key, *_ in steps)]
        words = [word for _, *step in steps for word in step]
        async with asyncio.timeout(_PATIENCE_S):
            try:
                await self._client.eval(_WRITE, len(keys), *keys, term, *words)
            except ResponseError as error:
                kind, _, reason = str(error).partition(" ")
                match kind:
                    case "SUPERSEDED":
                        raise Superseded(f"term {term}: superseded {reason}") from None
                    case "REFUSED":
                        raise Refused(reason) from None
                raise

    async def append(self, entries: Sequence[Entry]) -> None:
        """Append what the server's log lacks of `entries`; when this returns, it is on the server's disk."""
        if not entries:
            return
        words = [word for entry in entries for word in (entry.id, encode_entry(entry))]
        async with asyncio.timeout(_PATIENCE_S):
            await self._client.eval(_APPEND, 2, HALTS_KEY, HALT_IDS_KEY, *words)

    async def news(self, timeout_s: float) -> None:
        """Return when something was said since the last call, or after `timeout_s`; at once when it only now began to listen.

        Raises nothing of the server's: whoever looks next sees what is wrong.
        """
        try:
            if self._listener is None:
                listener = self._client.pubsub()
                try:
                    async with asyncio.timeout(ANSWER_S):
                        await listener.subscribe(CHANGED_CHANNEL, ACKED_CHANNEL)
                        for _ in range(2):
                            await listener.get_message(timeout=ANSWER_S)
                except BaseException:
                    await listener.aclose()  # type: ignore[no-untyped-call]
                    raise
                self._listener = listener
            else:
                await told(self._listener, timeout_s)
        except (RedisError, OSError, TimeoutError):
            await self._stop_listening()
            await asyncio.sleep(min(timeout_s, _RETRY_S))

    async def close(self) -> None:
        """Let go of all connections."""
        await self._stop_listening()
        await self._client.aclose()

    async def _look(self, first: int) -> list[Any]:
        names = (TERM_KEY, EPOCH_KEY, HALTS_KEY, HEAD_PREFIX, LIMITS_PREFIX, ACK_PREFIX, REVISION_PREFIX, CAPACITIES_KEY)
        async with asyncio.timeout(_PATIENCE_S):
            answer: list[Any] = await self._client.eval_ro(_LOOK, 0, *names, first)
        return answer

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            await self._listener.aclose()  # type: ignore[no-untyped-call]
            self._listener = None


_Step = tuple[str, str, str | int, int | str, bytes]
"""Key, and the four words of `write.lua`."""


def _steps(write: Write) -> Iterator[_Step]:
    match write:
        case PutRevision(revision):
            yield REVISION_PREFIX + revision.document, "revision", revision_field(revision.ref.order), "", encode(revision)
        case PutHead(head):
            yield HEAD_PREFIX + head.document, "put", head.order.term, head.order.serial, encode(head)
        case PutLimits(record):
            yield LIMITS_PREFIX + record.strategy, "put", record.order.term, record.order.serial, encode(record)
        case PutCapacities(capacities):
            yield CAPACITIES_KEY, "put", capacities.order.term, capacities.order.serial, encode(capacities)
        case PutEpoch(epoch):
            yield EPOCH_KEY, "epoch", "", "", encode(epoch)
        case DropRevision(document, order):
            yield REVISION_PREFIX + document, "drop", revision_field(order), "", b""
        case DropDocument(document, strategy):
            yield HEAD_PREFIX + document, "forget", "", "", b""
            yield REVISION_PREFIX + document, "forget", "", "", b""
            if strategy is not None:
                yield LIMITS_PREFIX + strategy, "forget", "", "", b""


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        yield name.decode(), value


_head = msgspec.json.Decoder(Head)
_limits = msgspec.json.Decoder(LimitsRecord)
_ack = msgspec.json.Decoder(Ack)
