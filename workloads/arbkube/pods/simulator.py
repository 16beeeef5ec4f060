"""The simulator pod: the venues of all feeds that ask for one.

For: serving simulated venues in their real wire protocols. Its own port is the venues' (feeds connect to it); health and
metrics are on another, chosen by the system. May not: be reached by a feed that did not ask for it.
"""

from __future__ import annotations

import msgspec

from arbkube.plan.documents import SimulatorDocument
from arbkube.pods.runtime import Pod, PodArguments, read_document
from arbkube.simulator.model import SimulatedFeed
from arbkube.simulator.server import Simulator

_SEED = 1
"""The same prices in every run; what a strategy makes of them differs by timing only."""


async def main(arguments: PodArguments) -> None:
    """Serve the venues described by the document until told to stop."""
    document = read_document(arguments, SimulatorDocument)
    feeds = [
        SimulatedFeed(name=name, venue=feed.venue, market=feed.market, instruments=feed.instruments, simulated=feed.simulated)
        for name, feed in document.feeds.items()
    ]
    simulator = Simulator(feeds, seed=_SEED)
    pod = Pod(
        msgspec.structs.replace(arguments, port=0),
        detail=lambda: {"feeds": [feed.name for feed in feeds], "seed": _SEED},
        starting="starting the venues",
    )

    async def work() -> None:
        await simulator.start(arguments.host, arguments.port)
        del pod.reasons["start"]
        try:
            await pod.stopping.wait()
        finally:
            await simulator.stop()

    await pod.run(work)
