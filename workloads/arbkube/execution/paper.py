"""The paper broker: a venue of our own that fills on the real book of the moment an order arrives.

For: behaving towards the engine as a venue would, so that the same engine later trades for money. An order arrives `latency`
after it was sent and takes, level by level within its limit, what the newest verified frame offers; what it took stays taken
until that level's size changes or the level goes. Without a fresh verified book it misses. A share of orders is rejected; a
share gets no answer, and half of those never arrived. Fees are rounded up. No balance of an asset goes below zero.
May not: do I/O but through its ledger, read a clock, or know the engine.

The ledger stands for the venue's memory: an accepted order is in it before it can fill, fills before they are reported. An
order's fate is drawn from the seed and its id, so that neither a restart nor another order changes it. What was taken from
levels is not kept over a restart: by then the book has moved on.
"""

from __future__ import annotations

import heapq
from decimal import Decimal
from enum import StrEnum
from random import Random
from typing import Protocol

import msgspec

from arbkube.execution.config import ExecutorConfig
from arbkube.execution.model import Fill, Order, OrderState
from arbkube.execution.protocols import JournalUnavailable, OrderReport, RejectReason, ReportKind
from arbkube.execution.reprice import within
from arbkube.market.frames import BookFrame, FrameBatch
from arbkube.market.instruments import Market, MarketKey, MarketType, Side
from arbkube.risk.inventory import Holding, Inventory, fee_of, trade_flows
from arbkube.risk.marks import LatestBooks, position_asset
from arbkube.risk.money import exactly


class Fate(StrEnum):
    """What will become of an order, drawn when it is sent."""

    ANSWERED = "Answered"
    REJECTED = "Rejected"
    SILENT = "Silent"
    """It is executed, but the answer is lost."""
    LOST = "Lost"
    """It never arrives; no venue knows it."""


class PaperOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the venue knows it: open until `state` is final."""

    order: Order
    arrives_ns: int
    fate: Fate
    state: OrderState = OrderState.SENT
    reason: str = ""
    fills: tuple[Fill, ...] = ()


class PaperLedger(Protocol):
    """Durable memory of the paper venues. Raises JournalUnavailable when it cannot be written."""

    def accept(self, order: PaperOrder) -> None:
        """Remember an order, before it can fill."""

    def settle(self, order: PaperOrder) -> None:
        """Remember an order's end with its fills, in one transaction."""

    def open_orders(self) -> tuple[PaperOrder, ...]:
        """Orders accepted and not settled, in order of arrival."""

    def find(self, order_id: str) -> PaperOrder | None:
        """An order by id, or None."""

    def moved(self) -> dict[Holding, Decimal]:
        """What all fills have moved, by feed and asset."""


class PaperBroker:
    def __init__(self, config: ExecutorConfig, *, seed: int, ledger: PaperLedger) -> None:
        """Knows nothing of the ledger before `resume`."""
        self._paper = config.execution.paper
        self._markets = {market.key: market for market in config.markets}
        self._max_age_ns = config.max_age_ns
        self._seed = seed
        self._ledger = ledger
        self._books = LatestBooks()
        self._taken: dict[MarketKey, dict[tuple[Side, Decimal], tuple[Decimal, Decimal]]] = {}
        """Per market, by side and price of a level: its size when we took from it, and how much we took."""
        self._account = Inventory(config.target, config.markets)
        self._arriving: list[tuple[int, int, PaperOrder]] = []
        self._queries: list[tuple[int, int, str, str]] = []
        self._counter = 0

    @exactly
    def resume(self) -> None:
        """Balances are the paper account's beginning plus every fill of the ledger. Open orders of the ledger go on."""
        self._account.moved.update(self._ledger.moved())
        for order in self._ledger.open_orders():
            self._await(order)

    def reconfigure(self, config: ExecutorConfig) -> None:
        """Orders on their way keep arrival and fate. A venue goes on to trade what the strategy no longer does."""
        self._paper = config.execution.paper
        self._markets |= {market.key: market for market in config.markets}
        self._max_age_ns = self._max_age_ns | config.max_age_ns
        self._account.know(self._markets.values())

    def submit(self, order: Order, now_ns: int) -> None:
        fate = self._fate(order.id)
        if fate is Fate.LOST:
            return
        accepted = PaperOrder(order=order, arrives_ns=now_ns + self._paper.latency.ns, fate=fate)
        self._ledger.accept(accepted)
        self._await(accepted)

    def query(self, order_id: str, feed: str, now_ns: int) -> None:
        self._counter += 1
        heapq.heappush(self._queries, (now_ns + self._paper.latency.ns, self._counter, order_id, feed))

    @exactly
    def on_batch(self, batch: FrameBatch, now_ns: int) -> None:
        for frame in self._books.apply(batch):
            taken = self._taken.get((batch.feed, frame.symbol))
            if not taken or frame.withheld:  # which says nothing of the levels
                continue
            sizes = _sizes(frame)
            for level in [level for level, (size, _) in taken.items() if sizes.get(level) != size]:
                del taken[level]

    @exactly
    def due(self, now_ns: int) -> list[OrderReport]:
        """Orders that have arrived are executed, each on the book of this moment, and queries answered.

        An order whose end the ledger cannot store has not ended: it is tried again at the next call.
        """
        reports: list[OrderReport] = []
        while self._arriving and self._arriving[0][0] <= now_ns:
            settled = self._execute(self._arriving[0][2], now_ns)
            try:
                self._ledger.settle(settled)
            except JournalUnavailable:
                if reports:
                    return reports
                raise
            heapq.heappop(self._arriving)
            for fill in settled.fills:
                self._book(fill)
                self._take(fill)
            if settled.fate is not Fate.SILENT:
                reports.append(_report(settled, now_ns))
        while self._queries and self._queries[0][0] <= now_ns:
            _, _, order_id, feed = heapq.heappop(self._queries)
            known = self._ledger.find(order_id)
            if known is None:
                reports.append(OrderReport(order_id=order_id, feed=feed, kind=ReportKind.NOT_FOUND, at_ns=now_ns))
            else:
                reports.append(_report(known, now_ns))
        return reports

    def next_deadline(self) -> int | None:
        return min([queue[0][0] for queue in (self._arriving, self._queries) if queue], default=None)

    @exactly
    def balances(self) -> dict[tuple[str, str], Decimal]:
        """What the account holds, by feed and asset (a perpetual's position by its symbol)."""
        return {holding: self._account.amount(holding) for holding in self._account.target.keys() | self._account.moved.keys()}

    def _fate(self, order_id: str) -> Fate:
        draw = Random(f"{self._seed}:{order_id}")
        if draw.random() < self._paper.reject_rate:
            return Fate.REJECTED
        if draw.random() < self._paper.unknown_rate:
            return Fate.LOST if draw.random() < 0.5 else Fate.SILENT
        return Fate.ANSWERED

    def _await(self, order: PaperOrder) -> None:
        self._counter += 1
        heapq.heappush(self._arriving, (order.arrives_ns, self._counter, order))

    def _book(self, fill: Fill) -> None:
        self._account.book(
            trade_flows((fill.feed, fill.symbol), fill.side, fill.price, fill.quantity, fill.fee, fill.fee_asset)
        )

    def _execute(self, arrived: PaperOrder, now_ns: int) -> PaperOrder:
        """What matching makes of an order. Changes nothing: that is for when the ledger has it."""
        order, replace = arrived.order, msgspec.structs.replace
        market = self._markets.get((order.feed, order.symbol))
        if arrived.fate is Fate.REJECTED:
            return replace(arrived, state=OrderState.REJECTED, reason=RejectReason.VENUE.value)
        if market is None or not market.instrument.orderable(order.quantity, order.limit_price):
            return replace(arrived, state=OrderState.REJECTED, reason=RejectReason.INVALID_ORDER.value)
        if not self._affords(market, order):
            return replace(arrived, state=OrderState.REJECTED, reason=RejectReason.INSUFFICIENT_BALANCE.value)
        fills = self._match(market, order, now_ns) if now_ns <= order.deadline_ns else ()
        filled = sum((fill.quantity for fill in fills), Decimal(0))
        state = OrderState.MISSED if not filled else OrderState.FILLED if filled == order.quantity else OrderState.PARTLY_FILLED
        return replace(arrived, state=state, fills=fills)

    def _match(self, market: Market, order: Order, now_ns: int) -> tuple[Fill, ...]:
        frame = self._books.verified(market.key)
        if frame is None or not self._books.fresh(market.key, now_ns, self._max_age_ns.get(market.feed, 0)):
            return ()
        taken = self._taken.get(market.key, {})
        left, fills = order.quantity, list[Fill]()
        levels = frame.asks if order.side is Side.BUY else frame.bids
        for price_text, size_text in within(levels, order.side, order.limit_price):
            price = Decimal(price_text)
            _, gone = taken.get((order.side, price), (None, Decimal(0)))
            quantity = market.instrument.quantity_down(min(left, Decimal(size_text) - gone))
            if quantity <= 0:
                continue
            fee, fee_asset = fee_of(market, order.side, quantity=quantity, value=price * quantity)
            fills.append(
                Fill(
                    trade_id=f"{order.id}:{len(fills)}",
                    order_id=order.id,
                    intent_id=order.intent_id,
                    feed=order.feed,
                    symbol=order.symbol,
                    side=order.side,
                    price=price,
                    quantity=quantity,
                    fee=fee,
                    fee_asset=fee_asset,
                    at_ns=now_ns,
                )
            )
            left -= quantity
            if not left:
                break
        return tuple(fills)

    def _take(self, fill: Fill) -> None:
        """Use up what a fill took of its level, until that level's size changes."""
        key, level = (fill.feed, fill.symbol), (fill.side, fill.price)
        frame = self._books.verified(key)
        assert frame is not None  # it filled on this very frame
        taken = self._taken.setdefault(key, {})
        _, gone = taken.get(level, (None, Decimal(0)))
        taken[level] = (_sizes(frame)[level], gone + fill.quantity)

    def _affords(self, market: Market, order: Order) -> bool:
        """Whether the account can pay for the whole order at its limit, fees included."""
        feed, quote = market.feed, market.instrument.quote
        value = order.quantity * order.limit_price
        fee, fee_asset = fee_of(market, order.side, quantity=order.quantity, value=value)
        fee_in_quote = fee if fee_asset == quote else Decimal(0)
        if market.instrument.market is MarketType.SPOT:
            if order.side is Side.SELL:
                return self._account.amount((feed, market.instrument.base)) >= order.quantity
            return self._account.amount((feed, quote)) >= value + fee_in_quote
        position = self._account.amount((feed, position_asset(order.symbol)))
        signed = order.quantity if order.side is Side.BUY else -order.quantity
        free = self._account.free((feed, quote), self._books.ask_price)
        if abs(position + signed) <= abs(position):
            return True
        return free >= value + fee_in_quote


def _sizes(frame: BookFrame) -> dict[tuple[Side, Decimal], Decimal]:
    """Each level's size by the side of the order that would take it and its price."""
    sizes = {(Side.BUY, Decimal(price)): Decimal(size) for price, size in frame.asks}
    sizes.update({(Side.SELL, Decimal(price)): Decimal(size) for price, size in frame.bids})
    return sizes


def _report(known: PaperOrder, now_ns: int) -> OrderReport:
    kinds = {OrderState.SENT: ReportKind.PENDING, OrderState.REJECTED: ReportKind.REJECTED}
    kind = kinds.get(known.state, ReportKind.DONE)
    order = known.order
    return OrderReport(order_id=order.id, feed=order.feed, kind=kind, at_ns=now_ns, fills=known.fills, reason=known.reason)
