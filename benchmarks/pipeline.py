"""A frame's way: one hop over the bus; and from the venue's socket to a journaled and sent paper order, through real pods.

Two feeds, a detector, an executor and a recorder run as `arb up` runs them: a process each, on two embedded Valkeys, the
journal in SQLite with every commit synced. This process is the venue: it sends paced Binance diffs of 20 levels, and every
50 ms one that raises a bid above the other venue's ask. The time is from that frame's send to the moment when the executor's
order is in its journal and with the broker, both on this machine's clock.

Baselines: for the hop, the in-process bus; for the way, the same code on the same frames in one process, without a bus and with
the journal in memory, and after it one bare synced SQLite transaction on the same disk: what any journal-first way must pay.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import uvloop
from aiohttp import WSMsgType, web

from arbkube.cli.local.runfile import CREDENTIALS
from arbkube.cli.local.servers import Server, bus_server, control_server
from arbkube.control.acl import User
from arbkube.control.controller import Controller
from arbkube.control.store import FileStateStore
from arbkube.control.writer import ControlWriter
from arbkube.execution.protocols import Announce, Refused
from arbkube.market.bus import InProcessBus, ValkeyBus
from arbkube.plan.planning import Role
from arbkube.plan.planning import plan as plan_of
from arbkube.replay.build import FeedSetup, build_strategies
from arbkube.replay.run import VirtualClock
from arbkube.resources.loading import Resources, load
from arbkube.venues.framing import Framer
from arbkube.venues.registry import adapter as adapter_of
from arbkube.venues.session import Endpoint, Fetch, SessionOptions

HOPS = 2000
HOP_PAUSE_S = 0.002
WARM_S = 3.0
MEASURED_S = 12.0
CROSS_EVERY_S = 0.05
CROSSED_FOR_S = 0.02
LEVELS = 20

MANIFESTS = """
{feeds}
apiVersion: arbkube.io/v1alpha1
kind: ArbStrategy
metadata: {{name: bench}}
spec:
  feeds: [{{name: cheap}}, {{name: dear}}]
  crossVenue: {{instruments: [BTC-USDT]}}
  profitAsset: USDT
  detection: {{enterEdge: 1bps, exitEdge: 0bps, maxNotional: "500"}}
  execution:
    paper:
      latency: 1ms
      balances:
        - {{feed: cheap, asset: USDT, amount: "90000000"}}
        - {{feed: dear, asset: BTC, amount: "1000"}}
        - {{feed: cheap, asset: BTC, amount: "1000"}}
        - {{feed: dear, asset: USDT, amount: "90000000"}}
  risk: {{maxNotional: "1000", maxPosition: "90000000", maxDailyLoss: "100000", maxOpenIntents: 4}}
"""
FEED = """
apiVersion: arbkube.io/v1alpha1
kind: VenueFeed
metadata: {{name: {name}}}
spec:
  venue: binance
  instruments: [BTC-USDT]
  endpoint: {{websocket: "ws://{base}/{name}", rest: "http://{base}/{name}"}}
  fees: {{maker: 0bps, taker: 0bps}}
  recording: {{interval: 1s, retention: 1d}}
---"""
FEEDS = ("cheap", "dear")

RULES = msgspec.json.encode(
    {
        "symbols": [
            {
                "symbol": "BTCUSDT",
                "status": "TRADING",
                "baseAsset": "BTC",
                "quoteAsset": "USDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "stepSize": "0.00001", "minQty": "0.00001"},
                    {"filterType": "NOTIONAL", "minNotional": "5"},
                ],
            }
        ]
    }
)


def run() -> list[dict[str, Any]]:
    with (
        tempfile.TemporaryDirectory(prefix="arb-", dir="/tmp") as sockets,
        tempfile.TemporaryDirectory(dir=Path.cwd()) as state,
    ):
        servers = [
            bus_server(sockets=Path(sockets), state=Path(state)),
            control_server(sockets=Path(sockets), state=Path(state)),
        ]
        (Path(state) / "logs").mkdir()
        for server in servers:
            server.start()
        try:
            return uvloop.run(_measure(servers[0], servers[1], Path(state)))
        finally:
            for server in servers:
                server.stop()


async def _measure(bus: Server, control: Server, state: Path) -> list[dict[str, Any]]:
    rows = _rows("bus hop", await _hop(bus.url, state), await _hop_in_process(), "in-process bus", unit="µs", scale=1e3)
    alone = _alone(state / "bare.sqlite")
    memory: dict[str, float] = {}
    for rate in (1000, 5000):
        way, memory, note = await _way(rate, bus, control, state / str(rate))
        rows += _rows(
            f"frame → paper order at {rate} frames/s",
            way,
            alone,
            "one process and a bare sync",
            unit="ms",
            scale=1e6,
            target=10.0 if rate == 1000 else None,
            note=note,
        )
    return rows + [
        {"name": f"memory, {role}", "value": round(mib, 1), "unit": "MB", "target": 80.0} for role, mib in memory.items()
    ]


def _rows(
    name: str,
    took: list[int],
    base: list[int],
    against: str,
    *,
    unit: str,
    scale: float,
    target: float | None = None,
    note: str = "",
) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{name}, {label}",
            "value": round(_quantile(took, share) / scale, 3),
            "unit": unit,
            "baseline": round(_quantile(base, share) / scale, 3),
            "against": against,
            "ratio": round(_quantile(took, share) / _quantile(base, share), 2),
            "target": target if label == "p99" else None,
            "note": note if label == "p50" else "",
        }
        for label, share in (("p50", 0.5), ("p99", 0.99))
    ]


def _quantile(took: list[int], share: float) -> int:
    return sorted(took)[int(len(took) * share)]


# The hop


async def _hop(url: str, state: Path) -> list[int]:
    file, credentials = state / "hops.json", state / CREDENTIALS
    command = [sys.executable, "-m", "benchmarks._pipeline", "reader", url, str(credentials)]
    reader = await asyncio.create_subprocess_exec(*command, "frames:hop", str(HOPS), str(file), stdout=subprocess.PIPE)
    assert reader.stdout is not None
    await reader.stdout.readline()
    await asyncio.sleep(0.3)
    bus = ValkeyBus(url, credentials=credentials, user=User.FEED)
    running = asyncio.create_task(bus.run())
    padding = b"x" * 1500  # as long as a frame of 20 levels
    for _ in range(HOPS):
        bus.publish("frames:hop", time.time_ns().to_bytes(8, "big") + padding)
        await asyncio.sleep(HOP_PAUSE_S)
    await asyncio.wait_for(reader.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.close()
    took: list[int] = msgspec.json.decode(file.read_bytes())
    return took[100:]


async def _hop_in_process() -> list[int]:
    bus, took = InProcessBus(), []

    async def read() -> None:
        async for messages in bus.read(["frames:hop"]):
            now_ns = time.time_ns()
            took.extend([now_ns - int.from_bytes(payload[:8], "big") for _, payload in messages])

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    for _ in range(HOPS):
        bus.publish("frames:hop", time.time_ns().to_bytes(8, "big"))
        await asyncio.sleep(HOP_PAUSE_S / 10)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return took[100:]


# The venue


class _Market:
    """One feed's book, as Binance tells it: diffs of 20 levels around the top, and now and then a bid that crosses."""

    def __init__(self, name: str) -> None:
        self.dear = name == "dear"
        self.last = 1000
        self._rng = Random(name)
        ask = 60_100 if self.dear else 60_001
        self._bids = [f"{59_999 - number}.00000000" for number in range(200)]
        self._asks = [f"{ask + number}.00000000" for number in range(200)]
        self.raised = ""
        self._count = 0

    def depth(self) -> bytes:
        levels = {"bids": [(price, "2.00000000") for price in self._bids], "asks": [(p, "2.00000000") for p in self._asks]}
        return msgspec.json.encode({"lastUpdateId": self.last, **levels})

    def diff(self, *more: tuple[str, str]) -> bytes:
        first, self.last = self.last + 1, self.last + LEVELS
        at = self._rng.randrange(50)
        size = f"{self._rng.randrange(1, 9)}.50000000"
        data = {
            "e": "depthUpdate",
            "E": time.time_ns() // 10**6,
            "s": "BTCUSDT",
            "U": first,
            "u": self.last,
            "b": [*more, *((price, size) for price in self._bids[at : at + LEVELS // 2])],
            "a": [(price, size) for price in self._asks[at : at + LEVELS // 2]],
        }
        return msgspec.json.encode({"stream": "btcusdt@depth@100ms", "data": data})

    def cross(self) -> tuple[bytes, str]:
        """The frame that raises a bid, and its price, by which the opportunity is known again."""
        self._count += 1
        self.raised = f"{60_050 + self._count / 100:.8f}"
        return self.diff((self.raised, "1.00000000")), self.raised

    def uncross(self) -> bytes:
        return self.diff((self.raised, "0.00000000"))


def _resources(port: int) -> Resources:
    base = f"127.0.0.1:{port}"
    feeds = "".join(FEED.format(name=name, base=base) for name in FEEDS)
    loaded = load({"bench.yaml": MANIFESTS.format(feeds=feeds)})
    assert not loaded.violations, loaded.violations
    return loaded.resources


class _Venue:
    """Both markets behind one server, pacing what it sends."""

    def __init__(self) -> None:
        self.markets = {name: _Market(name) for name in FEEDS}
        self.sent_ns: dict[str, int] = {}
        """When the frame left that raised a bid to the price."""
        self.frames = 0
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        app = web.Application()
        app.router.add_get("/{feed}/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        market = self.markets[request.match_info["feed"]]
        if request.headers.get("Upgrade", "").lower() != "websocket":
            body = RULES if request.path.endswith("exchangeInfo") else market.depth()
            return web.Response(body=body, content_type="application/json")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str('{"result":null,"id":1}')
                self._sockets[request.match_info["feed"]] = socket
        return socket

    async def send(self, rate: int, seconds: float) -> None:
        """`rate` frames a second over both feeds; every `CROSS_EVERY_S` one of them crosses, for `CROSSED_FOR_S`."""
        while len(self._sockets) < len(FEEDS):
            await asyncio.sleep(0.05)
        began = time.monotonic()
        cross_at, uncross_at = CROSS_EVERY_S, float("inf")
        number = 0
        while (now := time.monotonic() - began) < seconds:
            while number < now * rate:
                name = FEEDS[number % 2]
                market, price = self.markets[name], ""
                if market.dear and now >= uncross_at:
                    frame, uncross_at = market.uncross(), float("inf")
                elif market.dear and now >= cross_at:
                    frame, price = market.cross()
                    cross_at, uncross_at = now + CROSS_EVERY_S, now + CROSSED_FOR_S
                else:
                    frame = market.diff()
                if price:
                    self.sent_ns[price] = time.time_ns()
                await self._sockets[name].send_str(frame.decode())
                number += 1
            # Sleeping until the next frame is due leaves the cores to the pods.
            await asyncio.sleep(max(0.0005, number / rate - (time.monotonic() - began)))
        self.frames += number


# The way


def _alone(path: Path) -> list[int]:
    """Nanoseconds from a frame to its order, with all of the pods' code in one process, and a synced commit to `path`."""
    disk = sqlite3.connect(path, isolation_level=None)
    disk.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (number INTEGER)")
    clock = VirtualClock()
    adapter = adapter_of("binance", _resources(1).feeds["cheap"].spec.market)
    resources = _resources(1)
    instruments = adapter.parse_instruments([RULES], ["BTC-USDT"])
    fees = msgspec.structs.replace(
        adapter.default_fees, maker=adapter.default_fees.maker * 0, taker=adapter.default_fees.taker * 0
    )
    setups = {
        name: FeedSetup(name=name, spec=feed.spec, recordings=[], instruments=instruments, fees=fees, rules="")
        for name, feed in resources.feeds.items()
    }
    (strategy,), _ = build_strategies(setups, resources, clock)
    options = SessionOptions(endpoint=Endpoint("ws://x", "http://x"), depth=LEVELS)
    markets = {name: _Market(name) for name in FEEDS}
    sessions = {name: adapter.session(instruments, options, Random(1)) for name in FEEDS}
    framers = {name: Framer(feed=name, epoch=1, depth=LEVELS) for name in FEEDS}
    took: list[int] = []

    def hear(name: str, frame: bytes) -> None:
        began_ns = clock.now_ns = time.time_ns()
        session = sessions[name]
        session.received(frame, began_ns)
        for action in session.take_actions():
            if isinstance(action, Fetch):
                session.fetched(action.symbol, markets[name].depth(), began_ns)
        batch = framers[name].batch(session, session.take_changed(), now_ns=began_ns, clock_offset_ns=0)
        strategy.driver.on_batch(batch, began_ns)
        for sighting in strategy.detector.on_batch(batch, began_ns):
            if sighting.opportunity is not None:
                outcomes = strategy.driver.on_opportunity(sighting.opportunity, began_ns)
                disk.execute("INSERT INTO rows VALUES (?)", (began_ns,))
                if not any(isinstance(outcome, Refused) for outcome in outcomes):
                    took.append(time.time_ns() - began_ns)

    clock.now_ns = time.time_ns()
    for outcome in strategy.driver.start(clock.now_ns):
        if isinstance(outcome, Announce):
            strategy.detector.on_balances(outcome.balances, clock.now_ns)
    for name, session in sessions.items():
        session.opened(clock.now_ns)
        for _ in range(3):
            hear(name, markets[name].diff())
    for _ in range(200):
        hear("dear", markets["dear"].cross()[0])
        hear("dear", markets["dear"].uncross())
        hear("cheap", markets["cheap"].diff())
        time.sleep(0.002)
        clock.now_ns = time.time_ns()
        strategy.driver.on_time(clock.now_ns)
    disk.close()
    assert len(took) > 150, f"only {len(took)} of 200 crossings were traded"
    return took


async def _way(rate: int, bus: Server, control: Server, state: Path) -> tuple[list[int], dict[str, float], str]:
    """Each crossing's time from frame to order, the pods' memory, and how many were traded."""
    state.mkdir()
    venue = _Venue()
    planned = plan_of(_resources(await venue.start()))
    times = state / "times.json"
    pods: dict[str, asyncio.subprocess.Process] = {}
    credentials = state.parent / CREDENTIALS
    writer = ControlWriter(control.url, credentials=credentials, user=User.OPERATOR)
    controller = Controller(writer, FileStateStore(state / "rollouts.json"))
    controller.want(planned)
    controller.observe({})
    controlling = asyncio.create_task(controller.run())
    for workload in planned.workloads:
        role = workload.role.value.lower()
        module = ["arbkube.pods"] if workload.role is not Role.EXECUTOR else ["benchmarks._pipeline", "executor", str(times)]
        arguments = [role, "--name", workload.name, "--workload", workload.name, "--shape", workload.shape]
        arguments += ["--document", workload.document, "--bus", bus.url, "--control", control.url]
        arguments += ["--credentials", str(credentials)]
        with (state / f"{workload.name}.log").open("wb") as log:
            pods[workload.name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *module, *map(str, arguments), "--state", str(state), stdout=log, stderr=log
            )
    try:
        await venue.send(rate, WARM_S + MEASURED_S)
        begun_ns = time.time_ns() - int(MEASURED_S * 1e9)
        memory = {workload.role.value: _resident(pods[workload.name].pid) for workload in planned.workloads}
        await asyncio.sleep(0.3)
    finally:
        for process in pods.values():
            process.terminate()
        await asyncio.gather(*(process.wait() for process in pods.values()))
        controlling.cancel()
        await asyncio.wait([controlling])
        await writer.close()
        await venue.stop()
    sent: list[tuple[str, int, int, int, int]] = msgspec.json.decode(times.read_bytes())
    crossings = {f"{float(price):.2f}": ns for price, ns in venue.sent_ns.items() if ns >= begun_ns}
    took = [done_ns - crossings[key] for price, *_, done_ns in sent if (key := f"{float(price):.2f}") in crossings]
    note = f"{len(took)} of {len(crossings)} crossings traded"
    assert len(took) > len(crossings) / 4, note
    return took, memory, note


def _resident(pid: int) -> float:
    """Megabytes of a process that are in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kib) * 1024 / 10**6
