"""The simulator pod: the venues of all feeds that ask for one.

For: serving simulated venues in their real wire protocols. Its own port is the venues' (feeds connect to it); health and
metrics are on another, chosen by the system. May not: be reached by a feed that did not ask for it.
"""

from __future__ import annotations

import msgspec

from arbkube.control.protocol import Health
from arbkube.plan.documents import SimulatorDocument
from arbkube.pods.shell.runtime import Pod, PodArguments, Role
from arbkube.simulator.model import SimulatedFeed
from arbkube.simulator.server import Simulator

_SEED = 1
"""The same prices in every run; what a strategy makes of them differs by timing only."""


async def main(arguments: PodArguments) -> None:
    """Serve the venues described by the document until told to stop."""
    simulator = SimulatorPod(arguments)
    await simulator.pod.run(simulator.work)


class SimulatorPod(Role[SimulatorDocument]):
    """The simulator's surroundings; `work` is its life. Which feeds it serves is its shape: only their instruments change."""

    def __init__(self, arguments: PodArguments) -> None:
        self._at = (arguments.host, arguments.port)
        self.pod = Pod(msgspec.structs.replace(arguments, port=0), kind=SimulatorDocument, role=self)
        self._simulator: Simulator | None = None

    async def apply(self, document: SimulatorDocument) -> None:
        feeds = [
            SimulatedFeed(
                name=name, venue=feed.venue, market=feed.market, instruments=feed.instruments, simulated=feed.simulated
            )
            for name, feed in document.feeds.items()
        ]
        if self._simulator is None:
            simulator = Simulator(feeds, seed=_SEED)
            await simulator.start(*self._at)
            self._simulator = simulator
        else:
            for feed in feeds:
                self._simulator.enlist(feed)

    def health(self) -> Health:
        return Health()

    async def work(self) -> None:
        try:
            await self.pod.stopping.wait()
        finally:
            if self._simulator is not None:
                await self._simulator.stop()

    def detail(self) -> dict[str, object]:
        return {"feeds": list(self._simulator.venues) if self._simulator is not None else [], "seed": _SEED}
