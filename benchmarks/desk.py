"""How soon a whole desk does what it is told: halts and edits under a running `arb up` with ten strategies.

Real pods, the real supervisor, manifests on the disk: ten executors and ten detectors on two simulated feeds. A halt: from the
command line's append to the ack of the last of the ten executors, while a writer keeps the bus at its cap. An edit: from the
saved file to the last of ten pods that run it (five strategies, two pods each): the watch, the rollout and every pod's change.
A tightened limit: from the saved file to the last of the same pods that holds it. A killed control server: until the last
executor believes the one that took its place.

Baseline, in the same run: a PING of the control server, the least that anybody there can be asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from redis.exceptions import RedisError

from arbkube.cli.local.configuration import read_configuration
from arbkube.cli.local.runfile import CREDENTIALS, RunFile, last_run
from arbkube.control.acl import User
from arbkube.control.connection import connect
from arbkube.control.halts import PERSON, Clear, Halt, HaltReason, Level
from arbkube.control.protocol import Ack
from arbkube.control.writer import ControlWriter
from arbkube.resources.kinds import HaltMode
from benchmarks._latency import latency_rows

STRATEGIES = 10
EDITED = 5
TRIALS = 200
TIGHTENINGS = 50
KILLS = 5
HALT_TARGET_MS, EDIT_TARGET_MS, BACK_TARGET_MS = 100.0, 1000.0, 10_000.0
AGAINST = "PING of the control server"
_PATIENCE_S = 60.0

_FEEDS = "\n---\n".join(
    f"""apiVersion: arbkube.io/v1alpha1
kind: VenueFeed
metadata: {{name: {venue}}}
spec:
  venue: {venue}
  instruments: [BTC-USDT]
  simulated: {{lag: {lag}ms, noise: 4bps, spread: 2bps, updatesPerSecond: 5}}
  fees: {{maker: 0bps, taker: 0.5bps}}"""
    for venue, lag in (("binance", 0), ("kraken", 300))
)


def _strategies(exit_edge: int, notional: int = 100) -> str:
    return "\n---\n".join(
        f"""apiVersion: arbkube.io/v1alpha1
kind: ArbStrategy
metadata: {{name: s{number}}}
spec:
  feeds: [{{name: binance}}, {{name: kraken}}]
  crossVenue: {{instruments: [BTC-USDT]}}
  rollout: {{bake: 1s}}
  detection: {{enterEdge: 5bps, exitEdge: 0.{exit_edge if number < EDITED else 0:03}bps, maxNotional: "{notional}"}}
  execution:
    paper:
      balances:
        - {{feed: binance, asset: USDT, amount: "50000"}}
        - {{feed: kraken, asset: BTC, amount: "0.5"}}"""
        for number in range(STRATEGIES)
    )


def run() -> list[dict[str, Any]]:
    """The rows of `make bench`."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        return uvloop.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[dict[str, Any]]:
    manifests, state = folder / "manifests", folder / "state"
    manifests.mkdir()
    (manifests / "feeds.yaml").write_text(_FEEDS)
    (manifests / "strategies.yaml").write_text(_strategies(0))
    async with _up(manifests, state) as desk:
        person = ControlWriter(desk.control, credentials=state / CREDENTIALS, user=User.PERSON)
        try:
            await _until(person, list(desk.pods), lambda ack: ack.running is not None)
            await _settled(state)
            least = await _pings(desk.control, state / CREDENTIALS)
            edits = await _edits(person, manifests / "strategies.yaml")
            await _settled(state)
            tightened = await _tightenings(person, manifests / "strategies.yaml")
            await _settled(state)
            back = await _kills(person, state)
            async with _flood(desk.bus, state / CREDENTIALS):
                halts = await _halts(person)
                full = await _fullness(desk.bus, state / CREDENTIALS)
        finally:
            await person.close()
    return [
        *latency_rows(
            "halt → last of 10 executors of a desk",
            halts,
            least,
            against=AGAINST,
            target_ms=HALT_TARGET_MS,
            note=f"bus {full:.0%} full",
        ),
        *latency_rows(
            "edit saved → last of 10 pods runs it",
            edits,
            least,
            against=AGAINST,
            target_ms=EDIT_TARGET_MS,
            note="watch, prepare, commit",
        ),
        *latency_rows(
            "limit tightened → last of 10 pods holds it",
            tightened,
            least,
            against=AGAINST,
            target_ms=EDIT_TARGET_MS,
            note="watch, no rollout",
        ),
        *latency_rows(
            "control server killed → last executor believes",
            back,
            least,
            against=AGAINST,
            target_ms=BACK_TARGET_MS,
            note=f"{KILLS} kills",
        ),
    ]


@asynccontextmanager
async def _up(manifests: Path, state: Path) -> AsyncIterator[RunFile]:
    words = ["-m", "arbkube.cli.main", "up", "-f", str(manifests), "--state", str(state)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while (desk := last_run(state)) is None or len(desk.pods) < 2 * STRATEGIES:
            assert process.returncode is None, "arb up ended"
            assert time.monotonic() < deadline, "arb up does not start"
            await asyncio.sleep(0.1)
        yield desk
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def _flood(bus: str, credentials: Path) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks._control", "flood", bus, str(credentials), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield
    finally:
        process.terminate()
        await process.wait()


async def _until(writer: ControlWriter, pods: Sequence[str], holds: Callable[[Ack], bool]) -> None:
    """Until the acks of all of `pods` hold."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            acks = await writer.acks(pods)
            if len(acks) == len(pods) and all(map(holds, acks.values())):
                return
            await writer.news(1.0)


async def _settled(state: Path) -> None:
    """Until nothing is under way any more."""
    async with asyncio.timeout(_PATIENCE_S):
        while (found := read_configuration(state, None)) is None or {row.phase for row in found.documents} != {"Synced"}:
            await asyncio.sleep(0.2)


async def _edits(person: ControlWriter, path: Path) -> list[float]:
    took = []
    concerned = [f"{role}-s{strategy}" for role in ("detector", "executor") for strategy in range(EDITED)]
    for number in range(1, TRIALS + 1):
        before = {pod: ack.running for pod, ack in (await person.acks(concerned)).items()}
        fresh = path.with_suffix(".new")
        fresh.write_text(_strategies(number))
        began = time.perf_counter()
        fresh.replace(path)
        await _until(person, concerned, lambda ack, before=before: ack.running != before[ack.pod])  # type: ignore[misc]
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.3)  # it bakes still when the next edit supersedes it
    return took


async def _tightenings(person: ControlWriter, path: Path) -> list[float]:
    took = []
    concerned = [f"{role}-s{strategy}" for role in ("detector", "executor") for strategy in range(EDITED)]
    for number in range(TIGHTENINGS):
        before = {pod: ack.limits for pod, ack in (await person.acks(concerned)).items()}
        fresh = path.with_suffix(".new")
        fresh.write_text(_strategies(TRIALS, 99 - number))
        began = time.perf_counter()
        fresh.replace(path)
        await _until(person, concerned, lambda ack, before=before: ack.limits != before[ack.pod])  # type: ignore[misc]
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.2)
    return took


async def _kills(person: ControlWriter, state: Path) -> list[float]:
    took = []
    executors = [f"executor-s{number}" for number in range(STRATEGIES)]
    for _ in range(KILLS):
        before = {pod: ack.epoch for pod, ack in (await person.acks(executors)).items()}
        desk = last_run(state)
        assert desk is not None
        began = time.perf_counter()
        os.kill(desk.servers["control"], signal.SIGKILL)
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                with contextlib.suppress(RedisError, OSError, TimeoutError):
                    acks = await person.acks(executors)
                    if len(acks) == STRATEGIES and all(a.epoch is not None and a.epoch != before[p] for p, a in acks.items()):
                        break
                await asyncio.sleep(0.01)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(2)
    return took


async def _halts(person: ControlWriter) -> list[float]:
    took = []
    executors = [f"executor-s{number}" for number in range(STRATEGIES)]
    for number in range(TRIALS):
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
        await _until(person, executors, lambda ack, halt=halt: halt.id in ack.halts)  # type: ignore[misc]
        took.append((time.perf_counter() - began) * 1000)
        await person.append([Clear(id=f"c{number}", halt=halt.id, owner=PERSON, at_ns=time.time_ns())])
        await _until(person, executors, lambda ack: not ack.halts)
        await asyncio.sleep(0.05)
    return took


async def _with(url: str, credentials: Path, user: User, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    client = connect(url, credentials=credentials, user=user)
    try:
        return await ask(client)
    finally:
        await client.aclose()


async def _pings(url: str, credentials: Path) -> list[float]:
    async def ask(client: Any) -> list[float]:
        took = []
        for _ in range(TRIALS):
            began = time.perf_counter()
            await client.ping()
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.01)
        return took

    found: list[float] = await _with(url, credentials, User.OPERATOR, ask)
    return found


async def _fullness(url: str, credentials: Path) -> float:
    memory: dict[str, int] = await _with(url, credentials, User.OPERATOR, lambda client: client.info("memory"))
    return memory["used_memory"] / memory["maxmemory"]
