"""What an executor raised reaches the server, however long that takes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arbkube.control.acl import User
from arbkube.control.halts import Halt, HaltReason, Level, decode_entry
from arbkube.control.link import ControlLink
from arbkube.control.protocol import HALTS_KEY
from arbkube.pods.shell.guard import ExecutorGuard
from arbkube.resources.kinds import HaltMode
from tests.conftest import Valkey


@pytest.fixture
def own() -> Iterator[Valkey]:
    folder = Path(tempfile.mkdtemp(prefix="arb-"))
    server = Valkey(folder)
    yield server
    os.kill(server._process.pid, signal.SIGCONT)
    server.close()
    shutil.rmtree(folder)


def halt(number: int) -> Halt:
    return Halt(
        id=f"{number:016x}",
        level=Level.STRATEGY,
        subject="cross",
        mode=HaltMode.STOP_NEW,
        owner="Breaker/DailyLoss/cross",
        reason=HaltReason.DAILY_LOSS,
        at_ns=time.time_ns(),
    )


async def test_what_is_raised_while_the_server_hangs(own: Valkey) -> None:
    link = ControlLink(
        own.url,
        credentials=own.credentials,
        user=User.EXECUTOR,
        document="strategy-cross",
        strategy="cross",
        with_halts=True,
    )
    guard = ExecutorGuard(append=link.append, perform=lambda _: None, now_ns=time.time_ns)
    pushing = asyncio.create_task(guard.run())
    try:
        guard.raised(halt(1))
        await asyncio.sleep(0.2)
        os.kill(own._process.pid, signal.SIGSTOP)
        for number in (2, 3):
            guard.raised(halt(number))
            await asyncio.sleep(0.6)
        os.kill(own._process.pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            while own.client.llen(HALTS_KEY) != 3:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        said = [decode_entry(text).id for text in own.client.lrange(HALTS_KEY, 0, -1)]
        assert sorted(said) == [halt(number).id for number in (1, 2, 3)], "each of them, once"
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        await link.close()
