"""The bus filled beyond its cap: it forgets some topics, and neither all of them nor the next frame."""

from __future__ import annotations

import tempfile
from pathlib import Path

import redis

from arbkube.cli.local.runfile import CREDENTIALS
from arbkube.cli.local.servers import bus_server
from arbkube.control.acl import User
from arbkube.control.credentials import FileCredentials

TOPICS, FRAMES = 400, 256


def test_a_full_bus_takes_the_next_frame_and_forgets_no_more_than_it_must() -> None:
    with tempfile.TemporaryDirectory(prefix="arb-") as sockets, tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        (state / "logs").mkdir()
        bus = bus_server(sockets=Path(sockets), state=state)
        bus.start()
        try:
            feed, operator, person = (
                redis.Redis.from_url(
                    bus.url, credential_provider=FileCredentials(state / CREDENTIALS, user), protocol=2, decode_responses=True
                )
                for user in (User.FEED, User.OPERATOR, User.PERSON)
            )
            for topic in range(TOPICS):
                pipeline = feed.pipeline(transaction=False)
                for number in range(FRAMES):
                    pipeline.xadd(f"frames:{topic}", {"m": f"{number}" + "x" * 1500}, maxlen=FRAMES, approximate=True)
                pipeline.execute()  # raises where the server refuses one
            memory = operator.info("memory")
            assert memory["used_memory"] > 0.8 * memory["maxmemory"], "it forgot more than it had to"
            kept = [topic for topic in range(TOPICS) if person.xrevrange(f"frames:{topic}", count=1)]
            assert 200 < len(kept) < TOPICS
            assert kept[-1] == TOPICS - 1, "what was written last is there"
            for client in (feed, operator, person):
                client.close()
        finally:
            bus.stop()
