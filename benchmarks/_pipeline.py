"""The processes that `pipeline` starts beside itself: a bus reader, and an executor pod with a stopwatch.

For: `python -m benchmarks._pipeline reader URL CREDENTIALS TOPIC COUNT FILE` and `… executor FILE POD-ARGUMENTS…`. May not: be
measured by itself. Both write what they measured to FILE as JSON.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from arbkube.control.acl import User
from arbkube.detection.model import Opportunity
from arbkube.execution.driver import Driver, Outcome
from arbkube.execution.protocols import Refused
from arbkube.market.bus import ValkeyBus
from arbkube.pods.__main__ import main as pod


async def read(url: str, credentials: Path, topic: str, count: int, file: Path) -> None:
    """Take the one-way time of `count` messages that begin with the moment they were published."""
    took: list[int] = []
    print("ready", flush=True)
    async for messages in ValkeyBus(url, credentials=credentials, user=User.DETECTOR).read([topic]):
        now_ns = time.time_ns()
        took += [now_ns - int.from_bytes(payload[:8], "big") for _, payload in messages]
        if len(took) >= count:
            break
    file.write_bytes(msgspec.json.encode(took))


def execute(file: Path, arguments: list[str]) -> int:
    """The executor pod, unchanged, noting when each opportunity's orders had been journaled and sent."""
    sent: list[tuple[str, int, int, int, int]] = []
    plain = Driver.on_opportunity

    def timed(self: Driver, opportunity: Opportunity, now_ns: int) -> list[Outcome]:
        began_ns = time.time_ns()
        outcomes: list[Any] = plain(self, opportunity, now_ns)
        if not any(isinstance(outcome, Refused) for outcome in outcomes):
            leg = opportunity.legs[1]
            sent.append((str(leg.limit_price), opportunity.recv_ns, opportunity.detected_ns, began_ns, time.time_ns()))
        return outcomes

    Driver.on_opportunity = timed  # type: ignore[method-assign]
    code = pod(arguments)
    file.write_bytes(msgspec.json.encode(sent))
    return code


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["reader", url, credentials, topic, count, file]:
            uvloop.run(read(url, Path(credentials), topic, int(count), Path(file)))
        case ["executor", file, *arguments]:
            sys.exit(execute(Path(file), arguments))
        case _:
            sys.exit("see the module's docstring")
