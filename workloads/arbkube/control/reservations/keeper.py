"""An executor's conversation with the control server about its blocks.

For: asking often enough that blocks are there before an Open needs them, and at once when one was not covered. May not: decide
what to ask (`blocks`), or stand in an Open's way: it is awaited by nobody who trades.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from arbkube.control.connection import connect, patience
from arbkube.control.protocol import CAPACITIES_KEY, EPOCH_KEY, POLL_NS, Epoch
from arbkube.control.reservations.blocks import Grant, Reply, Request, Reservations, Verdict
from arbkube.control.reservations.demand import Levels
from arbkube.control.scripts import script

log = structlog.get_logger(__name__)

_RESERVE = script("reserve")
QUIET_NS = 1_000_000_000
"""How often a quiet holder asks: often enough that others need not wait long for what it has too much of."""


def words(request: Request) -> list[str | int]:
    """The arguments of `reserve.lua`."""
    epoch = request.epoch
    asks: list[str | int] = [word for pool, ask in request.asks.items() for word in (str(pool), ask.used, ask.need, ask.target)]
    asker: list[str | int] = [request.strategy, request.token, request.number]
    return [EPOCH_KEY, CAPACITIES_KEY, epoch.incarnation, epoch.number, epoch.run_id, *asker, *asks]


def reply_of(request: Request, answer: list[Any]) -> Reply:
    """The reply in what `reserve.lua` returned."""
    verdict, *rows = answer
    pools = {str(pool): pool for pool in request.asks}
    return Reply(
        verdict=Verdict(verdict.decode()),
        grants={
            pools[name.decode()]: Grant(
                held=held,
                capacity=capacity,
                asked_back=bool(asked_back),
                undeclared=tuple(strategy.decode() for strategy in undeclared),
            )
            for name, held, capacity, asked_back, undeclared in rows
        },
    )


async def exchange(client: redis.Redis, request: Request) -> Reply:
    """Send one request. Raises RedisError, OSError or TimeoutError; it may have been done nevertheless: send it again."""
    async with patience():
        return reply_of(request, await client.eval(_RESERVE, 0, *words(request)))


class ReservationKeeper:
    """Keeps one executor's blocks; `run` is its life."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Path,
        user: str,
        reservations: Reservations,
        levels: Callable[[], Levels],
        believed: Callable[[], Epoch | None],
    ) -> None:
        """`levels` says what is in use at the moment it is called; `believed` names the epoch that the executor trusts."""
        self._client = connect(url, credentials=credentials, user=user)
        self._reservations = reservations
        self._levels = levels
        self._believed = believed
        self._wake = asyncio.Event()

    def hurry(self) -> None:
        """Ask now: an Open was not covered."""
        self._wake.set()

    async def run(self) -> None:
        """Ask every POLL_NS, or less often while all is quiet, and when hurried, until cancelled.

        No failure of the server ends it.
        """
        silent, asked_ns = False, 0
        try:
            while True:
                self._wake.clear()
                epoch, now_ns, request = self._believed(), time.monotonic_ns(), None
                if epoch is not None:
                    self._reservations.trust(epoch)
                if not self._reservations.is_quiet or now_ns >= asked_ns + QUIET_NS:
                    request = self._reservations.request(self._levels(), now_ns)
                if request is not None:
                    asked_ns = now_ns
                    try:
                        reply = await exchange(self._client, request)
                    except (RedisError, OSError, TimeoutError) as error:
                        if not silent:
                            log.warning("reservations not answered", error=f"{type(error).__name__}: {error}")
                        silent = True
                    else:
                        silent = False
                        self._reservations.answered(request, reply, time.monotonic_ns())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_NS / 1e9):
                        await self._wake.wait()
        finally:
            await self._client.aclose()
