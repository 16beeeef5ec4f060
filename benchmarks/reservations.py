"""What shared budgets cost: in memory, on the way of every Open, and beside it, a block taken from or given to the server.

In memory: the whole decision of an opportunity under exposure by venue and asset and order rates, between a hundred settled
intents whose orders still count; baseline: the same decision without any shared budget. The round trip: a request of ten pools
that changes a block, on the control server as `arb up` starts it (synced before it is answered), and one that changes nothing;
baseline: a bare SET on the same server.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import redis

from arbkube.cli.local.runfile import CREDENTIALS
from arbkube.cli.local.servers import control_server
from arbkube.control.acl import User
from arbkube.control.credentials import FileCredentials
from arbkube.control.protocol import CAPACITIES_KEY, EPOCH_KEY, Capacity, Epoch, Order, encode
from arbkube.control.reservations.blocks import Ask, Grant, Reply, Request, Reservations, Verdict
from arbkube.control.reservations.keeper import reply_of, words
from arbkube.control.reservations.pools import Kind, Pool, RateTerm, Terms, record
from arbkube.control.scripts import script
from benchmarks.execution import Bench, quantile, timed

USERS = 10
VENUES = {feed: Pool(Kind.VENUE, "USDT", feed) for feed in "ab"}
TERMS = Terms(
    profit_asset="USDT",
    venues=VENUES,
    assets={"BTC": Pool(Kind.ASSET, "USDT", "BTC")},
    balances={},
    rates={(feed, "BTC-USDT"): RateTerm(Pool(Kind.RATE, "Spot", feed), 200, 10**10) for feed in "ab"},
    opens=1,
    completes=True,
    max_loss=Decimal("0.005"),
    max_mark_age_ns=10**10,
    legs=1,
    first_need=Decimal(1000),
)
POOLS = tuple(Pool(Kind.VENUE, "USDT", f"venue-{number}") for number in range(10))


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        without, within = Bench(Path(folder) / "without.db"), Bench(Path(folder) / "within.db", _plenty())
        for bench in (without, within):
            for _ in range(100):
                bench.submit()
                bench.go_on()
        alone = timed(without.decide, after=without.undecide)
        shared = timed(within.decide, after=within.undecide)
        asked, polled, bare = _server(Path(folder))
    return [
        *_rows("opportunity → decision, budgets shared", shared, alone, "the same, none shared"),
        *_rows("a block taken and given back, 10 pools", asked, bare, "a bare synced SET"),
        *_rows("a poll that changes nothing, 10 pools", polled, bare, "a bare synced SET"),
    ]


def _rows(name: str, took: list[float], base: list[float], against: str) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{name}, {label}",
            "value": round(quantile(took, share), 1),
            "unit": "µs",
            "baseline": round(quantile(base, share), 1),
            "against": against,
            "ratio": round(quantile(took, share) / quantile(base, share), 2),
        }
        for label, share in (("p50", 0.5), ("p99", 0.99))
    ]


def _plenty() -> Reservations:
    """Reservations that hold more than will be needed."""
    held = Reservations("bench", terms=TERMS, token=1)
    held.trust(Epoch(incarnation="i", number=1, run_id="r"))
    request = held.request(dict.fromkeys(TERMS.pools, Decimal(0)), 0)
    assert request is not None
    grant = Grant(held=10**15, capacity=10**15, asked_back=False, undeclared=())
    held.answered(request, Reply(verdict=Verdict.DONE, grants=dict.fromkeys(request.asks, grant)), 0)
    return held


def _server(folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Of a changing request, of an unchanging one, and of a bare SET."""
    (folder / "logs").mkdir()
    with tempfile.TemporaryDirectory(prefix="arb-", dir="/tmp") as sockets:
        server = control_server(sockets=Path(sockets), state=folder)
        server.start()
        try:
            return _exchanges(server.url, folder / CREDENTIALS)
        finally:
            server.stop()


def _exchanges(url: str, credentials: Path) -> tuple[list[float], list[float], list[float]]:
    def connected(user: User) -> redis.Redis:
        return redis.Redis.from_url(url, credential_provider=FileCredentials(credentials, user))

    operator, executor = connected(User.OPERATOR), connected(User.EXECUTOR)
    info: Any = operator.info("server")
    epoch = Epoch(incarnation="i", number=1, run_id=info["run_id"])
    users = tuple(f"strategy-{number}" for number in range(USERS))
    operator.set(CAPACITIES_KEY, encode(record(Order(1, 1), dict.fromkeys(POOLS, Capacity(units=10**9, users=users)))))
    operator.set(EPOCH_KEY, encode(epoch))
    text = script("reserve")
    request = Request(epoch=epoch, strategy=users[0], token=1, number=0, asks=dict.fromkeys(POOLS, Ask(used=0, target=0)))

    def ask(said: Request) -> Reply:
        answer: Any = executor.eval(text, 0, *map(str, words(said)))
        reply = reply_of(said, answer)
        assert reply.verdict is Verdict.DONE
        return reply

    for user in users:
        ask(msgspec.structs.replace(request, strategy=user))
    number = 0

    def changing() -> None:
        nonlocal number
        number += 1
        target = 10**6 * (number % 2)
        reply = ask(msgspec.structs.replace(request, number=number, asks=dict.fromkeys(POOLS, Ask(used=0, target=target))))
        assert reply.grants[POOLS[0]].held == target

    def unchanging() -> None:
        ask(msgspec.structs.replace(request, number=number + 1, asks=dict.fromkeys(POOLS, Ask(used=0, target=0))))

    bare: Callable[[], object] = lambda: operator.set("limits:bench", "x")  # noqa: E731 - named for its type
    asked = timed(changing)
    changing()
    polled = timed(unchanging)
    took = timed(bare)
    operator.close()
    executor.close()
    return asked, polled, took
