"""A control server with shared pools, and executors without engines: real script, real holders, levels that a test sets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from redis import Redis

from arbkube.control.protocol import CAPACITIES_KEY, EPOCH_KEY, Capacity, Epoch, Order, encode
from arbkube.control.reservations.blocks import Reply, Request, Reservations
from arbkube.control.reservations.keeper import reply_of, words
from arbkube.control.reservations.pools import Kind, Pool, Terms, record
from arbkube.control.scripts import script

RESERVE = script("reserve")
INCARNATION = "0123456789abcdef"


def terms(*pools: Pool, first: int = 1, opens: int = 1) -> Terms:
    """Terms of an executor that needs `pools`; `first` is what it takes ahead for one Open."""
    return Terms(
        profit_asset="USDT",
        venues={pool.subject: pool for pool in pools},
        assets={},
        balances={},
        rates={},
        opens=opens,
        completes=False,
        max_loss=Decimal(0),
        max_mark_age_ns=10**9,
        legs=1,
        first_need=Decimal(first),
    )


def venue(name: str) -> Pool:
    return Pool(Kind.VENUE, "USDT", name)


class Server:
    """The operator's side, and the server as a holder sees it."""

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self.number = 0
        self.serial = 0
        self.run_id: str = self.client.info("server")["run_id"]

    def seed(self) -> Epoch:
        """Another epoch, on whatever the server still holds."""
        self.number += 1
        epoch = Epoch(incarnation=INCARNATION, number=self.number, run_id=self.run_id)
        self.client.set(EPOCH_KEY, encode(epoch))
        return epoch

    def flush(self, pools: dict[Pool, Capacity]) -> Epoch:
        """Everything is lost, and the writer has seeded again."""
        self.client.flushall()
        self.put(pools)
        return self.seed()

    def put(self, pools: dict[Pool, Capacity]) -> None:
        self.serial += 1
        self.client.set(CAPACITIES_KEY, encode(record(Order(1, self.serial), pools)))

    def do(self, request: Request) -> Reply:
        return reply_of(request, self.client.eval(RESERVE, 0, *words(request)))

    def held(self, pool: Pool) -> dict[str, int]:
        """By strategy, as the server has it."""
        fields = {name.decode(): value.decode() for name, value in self.client.hgetall(f"pool:{pool}").items()}
        return {name.removeprefix("held:"): int(value) for name, value in fields.items() if name.startswith("held:")}


def capacity(pool: Pool, amount: int, *users: str) -> dict[Pool, Capacity]:
    return {pool: Capacity(units=pool.units_down(Decimal(amount)), users=users)}


def ask(server: Server, holder: Reservations, used: dict[Pool, Decimal], now_ns: int = 0) -> Reply | None:
    """One whole exchange."""
    request = holder.request(used, now_ns)
    if request is None:
        return None
    reply = server.do(request)
    holder.answered(request, reply, now_ns)
    return reply


def copy_of(holder: Reservations) -> Reservations:
    """A holder that goes its own way from here."""
    twin = Reservations.__new__(Reservations)
    twin.__dict__.update({name: dict(v) if isinstance(v, dict) else v for name, v in holder.__dict__.items()})
    return twin


def state_of(value: object) -> bytes:
    return msgspec.json.encode(value)
