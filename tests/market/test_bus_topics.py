"""Topics that change while they are read: a strategy's feeds are part of its configuration, and pods are not started again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from arbkube.control.acl import User
from arbkube.market.bus import Bus, InProcessBus, ValkeyBus
from tests.conftest import Valkey


@pytest.fixture(params=["in-process", "valkey"])
async def pair(request: pytest.FixtureRequest, valkey: Valkey) -> AsyncIterator[tuple[Bus, Bus]]:
    """Where to publish, and where to read."""
    if request.param == "in-process":
        bus = InProcessBus()
        yield bus, bus
        return
    writer = ValkeyBus(valkey.url, credentials=valkey.credentials, user=User.FEED)
    reader = ValkeyBus(valkey.url, credentials=valkey.credentials, user=User.DETECTOR)
    task = asyncio.create_task(writer.run())
    yield writer, reader
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await writer.close()
    await reader.close()


async def test_a_topic_comes_and_another_goes(pair: tuple[Bus, Bus]) -> None:
    writer, reader = pair
    topics = ["frames:kept", "frames:left"]
    got: list[tuple[str, bytes]] = []

    async def read() -> None:
        async with contextlib.aclosing(reader.read(topics)) as stream:  # type: ignore[type-var]
            async for messages in stream:
                got.extend(messages)

    async def heard(topic: str) -> None:
        async with asyncio.timeout(10):
            while not any(found == topic for found, _ in got):
                await asyncio.sleep(0.01)

    task = asyncio.create_task(read())
    try:
        while not got:
            writer.publish("frames:kept", b"hello")
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        got.clear()
        writer.publish("markets:new", b"what it last said")
        numbers = [str(number).encode() for number in range(300)]
        for number in numbers:
            writer.publish("frames:kept", number)
            if number == b"100":
                topics[:] = ["frames:kept", "markets:new"]
            await asyncio.sleep(0.005)
        await heard("markets:new")
        got[:] = [message for message in got if message[0] != "frames:left"]
        writer.publish("frames:left", b"too late")
        writer.publish("frames:kept", b"end")
        async with asyncio.timeout(10):
            while ("frames:kept", b"end") not in got:
                await asyncio.sleep(0.01)
        assert ("markets:new", b"what it last said") in got, "at once, though it was said before"
        assert [payload for topic, payload in got if topic == "frames:kept"] == [*numbers, b"end"], "nothing is missed"
        assert "frames:left" not in {topic for topic, _ in got}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_no_topic_at_all(pair: tuple[Bus, Bus]) -> None:
    """It waits until there is one."""
    writer, reader = pair
    topics: list[str] = []

    async def first() -> tuple[str, bytes]:
        async with contextlib.aclosing(reader.read(topics)) as stream:  # type: ignore[type-var]
            async for messages in stream:
                return messages[0]
        raise AssertionError("the stream ended")

    task = asyncio.create_task(first())
    writer.publish("markets:new", b"said")
    await asyncio.sleep(0.1)
    topics.append("markets:new")
    async with asyncio.timeout(10):
        assert await task == ("markets:new", b"said")
