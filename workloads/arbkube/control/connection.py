"""How control is connected to: one attempt, a short patience, and no answer to an old question.

For: what writer and link have in common. May not: try again by itself; who asks knows whether its question is still worth it.

A call that timed out may still be carried out later, by a server that only hung: everything sent is idempotent or ordered.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import redis.asyncio as redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from arbkube.control.credentials import FileCredentials

ANSWER_S = 0.4
"""How long one question may take, connecting included: an executor that was hung up on can still ask twice before it must
stop."""


def connect(url: str, *, credentials: Path, user: str) -> redis.Redis:
    """A client (redis://, rediss:// or unix://) that logs in as `user` at every connect. Does not connect yet."""
    return redis.Redis.from_url(
        url,
        credential_provider=FileCredentials(credentials, user),
        # The oldest form of answers: the same shapes from every server and every release of the client.
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        # Not left to the client: before Python 3.12 it waits in a way that can lose a cancellation.
        socket_timeout=None,
        socket_connect_timeout=ANSWER_S,
    )


async def told(listener: PubSub, timeout_s: float) -> None:
    """Wait until something was said, but not longer; of several things already said, all are taken at once."""
    wait = timeout_s
    while await listener.get_message(timeout=wait) is not None:
        wait = 0.0


def patience(seconds: float = ANSWER_S) -> asyncio.Timeout:
    """The time that one question may take; raises TimeoutError."""
    return asyncio.timeout(seconds)
