"""A small market to execute in: two venues with BTC-USDT, one with a perpetual, real SQLite, virtual time."""

from __future__ import annotations

import hashlib
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from arbkube.control.freshness import Doubt
from arbkube.control.reservations.blocks import Reservations
from arbkube.detection.model import Leg, Opportunity, identity_of
from arbkube.execution.config import ExecutorConfig
from arbkube.execution.driver import Driver, Outcome
from arbkube.execution.engine import Engine
from arbkube.execution.model import Fill
from arbkube.execution.paper import PaperBroker
from arbkube.execution.protocols import Refused
from arbkube.market.book import Level
from arbkube.market.frames import BookFrame, FrameBatch
from arbkube.market.instruments import FeeAsset, Fees, Instrument, Market, MarketType, Side
from arbkube.resources.kinds import Detection, Execution, LegOrder, Paper, PaperBalance, PartialPolicy
from arbkube.resources.scalars import Bps, Duration
from arbkube.risk.limits import Limits
from arbkube.storage.executor import SqliteExecutorStore
from arbkube.storage.rows import struct

SECOND = 10**9
MS = 10**6
_numbers = itertools.count(1)
START = 1_790_000_000 * SECOND


def market(
    feed: str,
    symbol: str = "BTC-USDT",
    *,
    lot: str = "0.001",
    taker: str = "0.001",
    charged_in: FeeAsset = FeeAsset.QUOTE,
    min_notional: str = "5",
    min_quantity: str = "0.001",
) -> Market:
    perpetual = symbol.endswith("-PERP")
    base, quote = symbol.split("-")[:2]
    return Market(
        feed=feed,
        instrument=Instrument(
            venue=feed,
            market=MarketType.PERPETUAL if perpetual else MarketType.SPOT,
            symbol=symbol,
            native=symbol.replace("-", ""),
            base=base,
            quote=quote,
            tick=Decimal("0.01"),
            lot=Decimal(lot),
            min_quantity=Decimal(min_quantity),
            min_notional=Decimal(min_notional),
        ),
        fees=Fees(maker=Decimal(taker), taker=Decimal(taker), charged_in=charged_in, source="spec"),
    )


A, B = market("a"), market("b", charged_in=FeeAsset.RECEIVED, lot="0.002")


def config(
    *,
    markets: tuple[Market, ...] = (A, B),
    legs: LegOrder = LegOrder.SIMULTANEOUS,
    on_partial: PartialPolicy = PartialPolicy.COMPLETE,
    latency: str = "20ms",
    reject_rate: str = "0",
    unknown_rate: str = "0",
    limits: Limits | None = None,
    balances: dict[tuple[str, str], str] | None = None,
    max_loss: str = "50bps",
    plausible: str = "300bps",
) -> ExecutorConfig:
    if balances is None:
        balances = {(feed, asset): amount for feed in "ab" for asset, amount in (("USDT", "100000"), ("BTC", "10"))}
    return ExecutorConfig(
        strategy="test",
        strategy_uid="uid",
        revision="r1",
        profit_asset="USDT",
        detection=Detection(),
        execution=Execution(
            legs=legs,
            on_partial=on_partial,
            paper=Paper(
                latency=Duration(latency),
                reject_rate=Decimal(reject_rate),
                unknown_rate=Decimal(unknown_rate),
                balances=tuple(PaperBalance(feed=f, asset=a, amount=Decimal(v)) for (f, a), v in balances.items()),
            ),
        ),
        limits=replace(
            limits or Limits(),
            max_loss=Bps(max_loss),
            max_plausible_edge=Bps(plausible),
            max_age={m.feed: Duration("2s") for m in markets},
        ),
        markets=markets,
        venue_of={m.feed: f"venue-{m.feed}" for m in markets},
    )


def levels(*pairs: tuple[str, str]) -> tuple[Level, ...]:
    return tuple(pairs)


def batch(
    feed: str,
    now_ns: int,
    *,
    bids: tuple[Level, ...] = (("99.90", "5"),),
    asks: tuple[Level, ...] = (("100.10", "5"),),
    symbol: str = "BTC-USDT",
    withheld: str = "",
    epoch: int = 1,
    offset_ns: int | None = 0,
) -> FrameBatch:
    frame = BookFrame(
        feed=feed,
        symbol=symbol,
        epoch=epoch,
        seq=next(_numbers),
        bids=() if withheld else bids,
        asks=() if withheld else asks,
        truncated=True,
        venue_ns=now_ns,
        recv_ns=now_ns,
        withheld=withheld,
    )
    return FrameBatch(
        feed=feed,
        epoch=epoch,
        sent_ns=now_ns,
        clock_offset_ns=offset_ns,
        alive_ns={symbol: now_ns},
        excess_transit_ns={symbol: 0},
        frames=(frame,),
    )


def leg(feed: str, side: Side, quantity: str, limit_price: str, symbol: str = "BTC-USDT") -> Leg:
    value = Decimal(quantity) * Decimal(limit_price)
    return Leg(
        feed=feed,
        symbol=symbol,
        side=side,
        quantity=Decimal(quantity),
        limit_price=Decimal(limit_price),
        value=value,
        fee=value * Decimal("0.001"),
        frame_epoch=1,
        frame_seq=1,
        age_ns=0,
    )


def opportunity(now_ns: int, *legs: Leg, name: str = "") -> Opportunity:
    identity = identity_of("test", tuple((leg.feed, leg.symbol, leg.side) for leg in legs)) + name
    return Opportunity(
        id=hashlib.sha256(f"{identity}{now_ns}".encode()).hexdigest()[:32],
        identity=identity,
        strategy="test",
        strategy_uid="uid",
        revision="r1",
        detected_ns=now_ns,
        recv_ns=now_ns,
        legs=legs,
        profit_asset="USDT",
        notional=legs[0].value,
        expected_profit=Decimal(1),
        net_edge_bps=Decimal(10),
    )


class World:
    """Engine, driver, broker and store, moved by hand through virtual time."""

    def __init__(
        self,
        path: Path | str,
        settings: ExecutorConfig,
        *,
        seed: int = 1,
        holder: str = "one",
        now_ns: int = START,
        reservations: Reservations | None = None,
    ) -> None:
        self.now_ns = now_ns
        self.config = settings
        self.store = SqliteExecutorStore(path)
        self.engine = Engine(settings, reservations)
        self.broker = PaperBroker(settings, seed=seed, ledger=self.store)
        self.doubt: Doubt | None = None
        """Why the control server is not believed."""
        self.driver = Driver(
            engine=self.engine,
            journal=self.store,
            broker=self.broker,
            holder=holder,
            monotonic_ns=lambda: self.now_ns,
            doubt=lambda _: self.doubt,
        )
        self.outcomes: list[Outcome] = []

    def start(self) -> World:
        self.outcomes += self.driver.start(self.now_ns)
        return self

    def book(self, feed: str, **changes: object) -> None:
        self.outcomes += self.driver.on_batch(batch(feed, self.now_ns, **changes), self.now_ns)  # type: ignore[arg-type]

    def take(self, *legs: Leg, name: str = "") -> Opportunity:
        chance = opportunity(self.now_ns, *legs, name=name)
        self.outcomes += self.driver.on_opportunity(chance, self.now_ns)
        return chance

    def run(self, nanoseconds: int) -> None:
        """Let time pass, stopping at every deadline."""
        end_ns = self.now_ns + nanoseconds
        while (due_ns := self.driver.next_deadline()) <= end_ns:
            self.now_ns = max(due_ns, self.now_ns)
            self.outcomes += self.driver.on_time(self.now_ns)
        self.now_ns = end_ns

    def reasons(self) -> list[str]:
        """Why opportunities were refused so far."""
        return [outcome.intent.reason for outcome in self.outcomes if isinstance(outcome, Refused)]

    def arb(self) -> Decimal:
        """ArbPnL, which can be valued."""
        arb = self.engine.pnl(self.now_ns).arb
        assert arb is not None
        return arb

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.store.database.read(sql, *parameters)]

    def booked(self) -> list[Fill]:
        """Every fill of the journal, oldest first."""
        return booked(self.store)

    def intents(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT state, outcome, reason FROM intents ORDER BY created_ns, id")


def booked(store: SqliteExecutorStore) -> list[Fill]:
    """Every fill of a journal, oldest first."""
    return [struct(row, Fill) for row in store.database.read("SELECT * FROM fills ORDER BY number")]


def ledger_fills(store: SqliteExecutorStore) -> list[Fill]:
    """Every fill of the paper venues, oldest first."""
    rows = store.database.read("SELECT document FROM paper_fills ORDER BY number")
    return [msgspec.json.decode(row["document"], type=Fill) for row in rows]
