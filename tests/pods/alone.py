"""One pod's process on a real Valkey, as a supervisor would start it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from arbkube.control.protocol import ACK_PREFIX, Ack, Ref
from arbkube.market.announcement import MarketsAnnouncement, encode_markets
from arbkube.market.instruments import FeeAsset, Fees, Instrument, Market, MarketType
from arbkube.plan.planning import Role
from arbkube.simulator.listings import listing
from tests.cli.running import environment, eventually, fetch
from tests.conftest import Valkey
from tests.pods.publisher import Publisher

FREE = Fees(maker=Decimal(0), taker=Decimal(0), charged_in=FeeAsset.QUOTE, source="spec")


class Alone:
    """A pod's process; its name is that of its workload where nothing else is said."""

    def __init__(
        self,
        folder: Path,
        valkey: Valkey,
        publisher: Publisher,
        workload: str,
        name: str,
        *,
        url: str = "",
        bus: str = "",
        simulator: str = "",
    ) -> None:
        self.name = name
        self.valkey = valkey
        [wanted] = [found for found in publisher.plan.workloads if found.name == workload]
        self.log = folder / f"{name}.log"
        options = ["--name", name, "--workload", workload, "--shape", wanted.shape, "--document", wanted.document]
        options += ["--bus", bus or url or valkey.url, "--control", url or valkey.url, "--credentials", str(valkey.credentials)]
        options += ["--state", str(folder), "--simulator", simulator]
        if wanted.role is Role.SIMULATOR:
            options += ["--port", simulator.rsplit(":", 1)[1]]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "arbkube.pods", wanted.role.lower(), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
            )

    def heartbeat(self) -> dict[str, Any]:
        """What it says on the control server; empty when it says nothing."""
        said = self.valkey.client.get(f"status:{self.name}")
        return json.loads(said) if isinstance(said, bytes) else {}

    def wait(self, ready: bool = True) -> dict[str, Any]:
        """Its heartbeat, once it is ready (or says why it is not)."""

        def seen() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log.read_text()
            said = self.heartbeat()
            return said if said and said["pid"] == self.process.pid and said["ready"] is ready else None

        found: dict[str, Any] = eventually(seen, f"{self.name} ready: {ready}", 20)
        return found

    def ack(self) -> Ack | None:
        """What it holds, while it says so."""
        said = self.valkey.client.get(ACK_PREFIX + self.name)
        return msgspec.json.decode(said, type=Ack) if isinstance(said, bytes) else None

    def acked(self, seen: Callable[[Ack], bool], what: str, within: float = 15) -> Ack:
        """Its ack, once it is as wanted."""

        def found() -> Ack | None:
            assert self.process.poll() is None, self.log.read_text()
            ack = self.ack()
            return ack if ack is not None and seen(ack) else None

        ack: Ack = eventually(found, f"{self.name}: {what}", within)
        return ack

    def runs(self, ref: Ref, within: float = 15) -> Ack:
        """Its ack, once it runs this revision."""
        return self.acked(lambda ack: ack.running == ref, f"runs {ref}", within)

    def reason(self) -> str:
        """Why it is not ready."""
        code, text = fetch(self.wait(ready=False)["port"], "/readyz")
        assert code == 503
        return text

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


class Starter:
    """Starts pods in one folder and ends those that a test left running."""

    def __init__(self, folder: Path, valkey: Valkey, publisher: Publisher, *, bus: str = "") -> None:
        self.folder = folder
        self._valkey, self._publisher, self._bus = valkey, publisher, bus
        self._simulator = f"http://127.0.0.1:{_free_port()}"
        self.started: dict[str, Alone] = {}

    def __call__(self, workload: str, name: str = "") -> Alone:
        servers = {"bus": self._bus, "simulator": self._simulator}
        pod = Alone(self.folder, self._valkey, self._publisher, workload, name or workload, **servers)
        self.started[pod.name] = pod
        return pod

    def all(self, *workloads: str) -> dict[str, Alone]:
        """Start these, and wait until they are ready."""
        for workload in workloads:
            self(workload)
        for workload in workloads:
            self.started[workload].wait()
        return self.started

    def end(self) -> None:
        """End whatever still runs."""
        for pod in self.started.values():
            pod.process.kill()
            pod.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def announce(valkey: Valkey, feed: str) -> None:
    """Say a feed's markets, as the feed itself would."""
    markets = []
    for symbol in ("BTC-USDT", "ETH-USDT", "ETH-BTC"):
        rules = listing(symbol)
        instrument = Instrument(
            symbol=symbol,
            native=symbol,
            venue=feed,
            market=MarketType.SPOT,
            base=rules.base,
            quote=rules.quote,
            tick=rules.tick,
            lot=rules.lot,
            min_quantity=rules.min_quantity,
            min_notional=rules.min_notional,
        )
        markets.append(Market(feed=feed, instrument=instrument, fees=FREE))
    said = MarketsAnnouncement(feed=feed, venue=feed, at_ns=time.time_ns(), markets=tuple(markets))
    valkey.client.xadd(f"markets:{feed}", {"m": encode_markets(said)}, maxlen=1)
