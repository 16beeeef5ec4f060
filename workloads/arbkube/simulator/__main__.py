"""`python -m arbkube.simulator FILE [--speed 4] [--port 9000]`: play a recording as the venue that it was recorded from.

For: pointing a feed's `endpoint` at a recording. The simulated venues of a namespace run as a pod instead.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from arbkube.simulator.player import Player
from arbkube.venues.recording import Recording, RecordingError


async def _play(recording: Recording, *, speed: float, port: int) -> None:
    player = Player(recording, speed=speed)
    try:
        await player.start(port=port)
        where = player.endpoint()
        header = recording.header
        sys.stdout.write(f"{header.venue} {header.market.value}: websocket {where.websocket} rest {where.rest}\n")
        sys.stdout.flush()
        await player.finished.wait()
        sys.stdout.write("played to the end; the connections stay open until Ctrl-C\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    finally:
        await player.stop()


def main() -> int:
    """Exit codes: 0 ended by the user, 2 a recording or argument that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m arbkube.simulator", description="Play a recording through real sockets.")
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--speed", type=float, default=1.0, help="a multiple of the recorded speed; inf: as fast as clients read"
    )
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    arguments = parser.parse_args()
    if not arguments.speed > 0:
        parser.error("--speed must be above zero")
    try:
        asyncio.run(_play(Recording(arguments.file), speed=arguments.speed, port=arguments.port))
    except (RecordingError, ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
