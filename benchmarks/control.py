"""How soon ten pods do what they are told: a halt, and an edit, from the command to the last pod's acknowledgement.

Ten processes, each one pod's link; the control server as `arb up` starts it, every write synced before it is acknowledged. For
the halts the bus is filled to its cap beside it and written to all the while. A halt: one append, then whatever it takes until
the last executor's ack that names it stands on the server. An edit: the revision and a head that offers it, all prepared, a
head that runs it, all running; fetching it included.

Baseline, on the same server in the same run: a bare PUBLISH to ten bare subscribers, each of which publishes one answer.
Nothing is stored and nothing synced: the least that ten processes can be told and heard in.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import uvloop

from arbkube.cli.local.runfile import CREDENTIALS
from arbkube.cli.local.servers import Server, bus_server, control_server
from arbkube.control.acl import User
from arbkube.control.connection import connect
from arbkube.control.halts import PERSON, Clear, Halt, HaltReason, Level
from arbkube.control.protocol import (
    ACKED_CHANNEL,
    CHANGED_CHANNEL,
    Ack,
    Answer,
    Epoch,
    Head,
    Order,
    PutEpoch,
    PutHead,
    PutRevision,
    Ref,
    Revision,
)
from arbkube.control.writer import ControlWriter
from arbkube.resources.kinds import HaltMode
from benchmarks._control import DOCUMENT
from benchmarks._latency import latency_rows

PODS = 10
TRIALS = 200
HALT_TARGET_MS, EDIT_TARGET_MS = 100.0, 1000.0
AGAINST = "bare PUBLISH to 10 and back"
CONTENT = msgspec.json.encode({"a document of a strategy": "x" * 4000})


def run() -> list[dict[str, Any]]:
    with (
        tempfile.TemporaryDirectory(prefix="arb-", dir="/tmp") as sockets,
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
    ):
        state = Path(folder)
        (state / "logs").mkdir()
        bus, control = bus_server(sockets=Path(sockets), state=state), control_server(sockets=Path(sockets), state=state)
        for server in (bus, control):
            server.start()
        try:
            return uvloop.run(_measure(bus, control, state / CREDENTIALS))
        finally:
            for server in (bus, control):
                server.stop()


async def _measure(bus: Server, control: Server, credentials: Path) -> list[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        for number in range(PODS):
            await stack.enter_async_context(_process("bare", control.url, credentials, number))
        quiet = await _bare(control.url, credentials)
    async with AsyncExitStack() as stack:
        person = ControlWriter(control.url, credentials=credentials, user=User.PERSON)
        stack.push_async_callback(person.close)
        writer = ControlWriter(control.url, credentials=credentials, user=User.OPERATOR)
        stack.push_async_callback(writer.close)
        await _seed(writer)
        for number in range(PODS):
            await stack.enter_async_context(_process("pod", control.url, credentials, number))
        await _until(writer, lambda ack: True)
        edits = await _edits(writer)
        flood = await stack.enter_async_context(_process("flood", bus.url, credentials))
        assert flood.stdout is not None
        await flood.stdout.readline()
        halts = await _halts(person)
        full = await _fullness(bus.url, credentials)
    return [
        *latency_rows(
            "halt → last of 10 executors",
            halts,
            quiet,
            against=AGAINST,
            target_ms=HALT_TARGET_MS,
            note=f"bus {full:.0%} full, 2000 frames/s",
        ),
        *latency_rows(
            "edit → last of 10 pods", edits, quiet, against=AGAINST, target_ms=EDIT_TARGET_MS, note="prepare and commit"
        ),
    ]


@asynccontextmanager
async def _process(kind: str, url: str, credentials: Path, *more: object) -> Any:
    words = ["-m", "benchmarks._control", kind, url, str(credentials), *map(str, more)]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _bare(url: str, credentials: Path) -> list[float]:
    client, took = connect(url, credentials=credentials, user=User.PERSON), []
    async with client.pubsub() as listener:
        await listener.subscribe(ACKED_CHANNEL)
        while await client.publish(CHANGED_CHANNEL, b"") < PODS:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        while await listener.get_message(timeout=0.2) is not None:
            pass
        for _ in range(TRIALS):
            await asyncio.sleep(0.02)
            began = time.perf_counter()
            await client.publish(CHANGED_CHANNEL, b"")
            for _ in range(PODS):
                assert await listener.get_message(timeout=5) is not None
            took.append((time.perf_counter() - began) * 1000)
    await client.aclose()
    return took


async def _seed(writer: ControlWriter) -> None:
    view = await writer.look()
    first = _revision(0)
    await writer.write(1, [PutRevision(first), PutHead(_head(1, first.ref))])
    await writer.write(1, [PutEpoch(Epoch(incarnation="bench", number=1, run_id=view.run_id))])


def _revision(number: int) -> Revision:
    ref = Ref(order=Order(1, number), digest=f"{number:012x}")
    return Revision(document=DOCUMENT, ref=ref, version=1, content=msgspec.Raw(CONTENT), shapes={}, sources=())


def _head(serial: int, run: Ref, candidate: Ref | None = None) -> Head:
    return Head(document=DOCUMENT, order=Order(1, serial), run=run, promoted=run, candidate=candidate)


async def _until(writer: ControlWriter, holds: Callable[[Ack], bool]) -> None:
    """Until the acks of all pods hold."""
    async with asyncio.timeout(30):
        while True:
            acks = (await writer.look()).acks.values()
            if len(acks) == PODS and all(map(holds, acks)):
                return
            await writer.news(1.0)


async def _halts(person: ControlWriter) -> list[float]:
    took, rng = [], Random(1)
    await person.news(0.0)
    for number in range(TRIALS):
        await asyncio.sleep(rng.uniform(0.01, 0.05))
        halt = Halt(
            id=f"{number:016x}",
            level=Level.ALL,
            subject="",
            mode=HaltMode.STOP_NEW,
            owner=PERSON,
            reason=HaltReason.COMMANDED,
            at_ns=time.time_ns(),
        )
        began = time.perf_counter()
        await person.append([halt])
        await _until(person, lambda ack, halt=halt: halt.id in ack.halts)  # type: ignore[misc]
        took.append((time.perf_counter() - began) * 1000)
        await person.append([Clear(id=f"c{number}", halt=halt.id, owner=PERSON, at_ns=time.time_ns())])
        await _until(person, lambda ack: not ack.halts)
    return took


async def _edits(writer: ControlWriter) -> list[float]:
    took, rng, before, serial = [], Random(2), _revision(0).ref, 1
    await writer.news(0.0)
    for number in range(1, TRIALS + 1):
        await asyncio.sleep(rng.uniform(0.01, 0.05))
        revision, serial = _revision(number), serial + 2
        ref = revision.ref
        began = time.perf_counter()
        await writer.write(1, [PutRevision(revision), PutHead(_head(serial, before, candidate=ref))])
        await _until(writer, lambda ack, ref=ref: ack.candidate == ref and ack.answer is Answer.PREPARED)  # type: ignore[misc]
        await writer.write(1, [PutHead(_head(serial + 1, ref))])
        await _until(writer, lambda ack, ref=ref: ack.running == ref)  # type: ignore[misc]
        took.append((time.perf_counter() - began) * 1000)
        before = ref
    return took


async def _fullness(url: str, credentials: Path) -> float:
    client = connect(url, credentials=credentials, user=User.OPERATOR)
    memory = await client.info("memory")
    await client.aclose()
    return float(memory["used_memory"] / memory["maxmemory"])
