"""The paper venue: the book of the moment, used up as it is taken, and never a balance below zero."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from arbkube.execution.model import Order, OrderState, Purpose, order_id
from arbkube.execution.paper import Fate, PaperBroker
from arbkube.execution.protocols import OrderReport, ReportKind
from arbkube.market.instruments import Side
from arbkube.storage.executor import SqliteExecutorStore
from tests.execution.world import MS, SECOND, START, batch, config, market


class Venue:
    """A paper broker alone."""

    def __init__(self, **changes) -> None:
        self.settings = config(**changes)
        self.store = SqliteExecutorStore(":memory:")
        self.store.acquire_lease("test", SECOND, START)
        self.broker = self.begin()
        self.number = 0

    def begin(self) -> PaperBroker:
        broker = PaperBroker(self.settings, seed=1, ledger=self.store)
        broker.resume()
        return broker

    def show(self, at_ms: int, *asks: tuple[str, str], feed: str = "a", **changes) -> None:
        now_ns = START + at_ms * MS
        self.broker.on_batch(batch(feed, now_ns, asks=asks, bids=(("99.00", "50"),), **changes), now_ns)

    def send(self, at_ms: int, quantity: str, limit: str = "100.50", side: Side = Side.BUY, feed: str = "a", **changes) -> str:
        self.number += 1
        now_ns = START + at_ms * MS
        order = Order(
            id=order_id(f"{self.number:032x}", 0, Purpose.OPEN, 0),
            intent_id="i",
            leg=0,
            purpose=Purpose.OPEN,
            feed=feed,
            symbol=changes.get("symbol", "BTC-USDT"),
            side=side,
            quantity=Decimal(quantity),
            limit_price=Decimal(limit),
            created_ns=now_ns,
            deadline_ns=now_ns + changes.get("lives_ms", 1000) * MS,
            state=OrderState.JOURNALED,
        )
        self.broker.submit(order, now_ns)
        return order.id

    def hear(self, at_ms: int) -> OrderReport:
        [report] = self.broker.due(START + at_ms * MS)
        return report


def taken(report: OrderReport) -> list[tuple[Any, Any]]:
    return [(fill.price, fill.quantity) for fill in report.fills]


@pytest.fixture
def venue():
    return Venue()


def test_it_fills_on_the_book_of_the_moment_it_arrives(venue):
    venue.show(0, ("100.00", "1"), ("100.20", "1"), ("100.40", "9"))
    venue.send(0, "2.5")
    assert venue.broker.due(START + 19 * MS) == []
    venue.show(19, ("100.10", "1"), ("100.30", "1"), ("100.60", "9"))
    report = venue.hear(20)
    assert report.kind is ReportKind.DONE
    assert taken(report) == [(Decimal("100.10"), 1), (Decimal("100.30"), 1)]  # the third level is beyond the limit
    assert [fill.fee for fill in report.fills] == [Decimal("0.1001"), Decimal("0.1003")]
    assert venue.broker.balances()[("a", "BTC")] == 12
    assert venue.broker.balances()[("a", "USDT")] == 100000 - Decimal("200.40") - Decimal("0.2004")


def test_what_it_took_stays_taken_until_the_level_changes(venue):
    venue.show(0, ("100.00", "3"))
    venue.send(0, "2")
    assert taken(venue.hear(20)) == [(100, 2)]
    venue.send(20, "2")
    assert taken(venue.hear(40)) == [(100, 1)]
    venue.show(41, ("100.00", "3"), ("100.50", "1"))  # a newer frame, the level as it was
    venue.send(41, "0.5", limit="100.00")
    assert taken(venue.hear(61)) == []
    venue.show(62, ("100.00", "3.5"))
    venue.send(62, "2", limit="100.00")
    assert taken(venue.hear(82)) == [(100, 2)]
    venue.show(83, ("100.10", "1"))
    venue.show(84, ("100.00", "3.5"))  # gone and back
    venue.send(84, "3")
    assert taken(venue.hear(104)) == [(100, 3)]


@pytest.mark.parametrize("how", ["withheld", "stale", "clock", "never", "late"])
def test_without_a_fresh_verified_book_it_misses(venue, how):
    if how != "never":
        venue.show(0, ("100.00", "3"))
    at_ms = 3000 if how == "stale" else 0
    venue.send(at_ms, "1", lives_ms=10 if how == "late" else 1000)
    if how == "withheld":
        venue.show(1, withheld="Gap")
    if how == "clock":
        venue.show(1, ("100.00", "3"), offset_ns=None)
    report = venue.hear(at_ms + 20)
    assert (report.kind, report.fills) == (ReportKind.DONE, ())


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"quantity": "1.0005"}, "InvalidOrder"),
        ({"quantity": "0.01"}, "InvalidOrder"),
        ({"quantity": "1", "symbol": "DOGE-USDT"}, "InvalidOrder"),
        ({"quantity": "995.1"}, "InsufficientBalance"),
        ({"quantity": "10.001", "side": Side.SELL, "limit": "90"}, "InsufficientBalance"),
    ],
)
def test_an_order_it_cannot_take_is_rejected_by_meaning(venue, order, reason):
    venue.show(0, ("100.00", "5000"))
    venue.send(0, **order)
    report = venue.hear(20)
    assert (report.kind, report.reason, report.fills) == (ReportKind.REJECTED, reason, ())


def test_the_last_coin_may_be_spent(venue):
    venue.show(0, ("100.50", "5000"))
    venue.send(0, "994.030")  # × 100.50 × 1.001 = 99 999.92
    assert len(venue.hear(20).fills) == 1
    assert venue.broker.balances()[("a", "USDT")] == 100000 - Decimal("994.030") * Decimal("100.50") * Decimal("1.001")


def test_a_perpetual_is_collateralised_in_full():
    perpetual = market("p", "BTC-USDT-PERP", taker="0")
    venue = Venue(markets=(perpetual,), balances={("p", "USDT"): "1000"})
    venue.show(0, ("100.00", "50"), feed="p", symbol="BTC-USDT-PERP")
    sell: dict[str, Any] = {"side": Side.SELL, "limit": "99.00", "feed": "p", "symbol": "BTC-USDT-PERP"}
    venue.send(0, "10", **sell)
    assert len(venue.hear(20).fills) == 1  # owes 10, has 1 990: twice 10 × 100 at the ask are locked
    venue.send(20, "0.1", **sell)
    assert venue.hear(40).reason == "InsufficientBalance"
    venue.send(40, "10", feed="p", symbol="BTC-USDT-PERP")  # what only reduces needs nothing free
    assert len(venue.hear(60).fills) == 1
    assert venue.broker.balances() == {("p", "USDT"): 990, ("p", "BTC-USDT-PERP"): 0}


def test_fates_come_in_the_shares_asked_for_and_never_change():
    venue = Venue(reject_rate="0.2", unknown_rate="0.5")
    ids = [order_id(f"{number:032x}", 0, Purpose.OPEN, 0) for number in range(2000)]
    fates = [venue.broker._fate(each) for each in ids]
    assert fates == [venue.begin()._fate(each) for each in ids]
    shares = Counter(fates)
    assert abs(shares[Fate.REJECTED] - 400) < 80
    assert abs(shares[Fate.LOST] - 400) < 80
    assert abs(shares[Fate.SILENT] - 400) < 80


def test_it_remembers_over_a_restart(venue):
    venue.show(0, ("100.00", "5"))
    first = venue.send(0, "1")
    reported = venue.hear(20)
    waiting = venue.send(30, "1")
    venue.broker = venue.begin()
    assert venue.broker.balances()[("a", "BTC")] == 11
    venue.show(40, ("100.00", "5"))
    assert venue.hear(50).order_id == waiting
    for asked, kind in ((first, ReportKind.DONE), ("nobody's", ReportKind.NOT_FOUND)):
        venue.broker.query(asked, "a", START + SECOND)
        answer = venue.hear(1020)
        assert (answer.order_id, answer.kind) == (asked, kind)
        if asked == first:
            assert answer.fills == reported.fills


def test_an_order_under_way_is_pending_when_asked_for(venue):
    waiting = venue.send(0, "1")
    venue.broker.query(waiting, "a", START - 10 * MS)
    assert venue.hear(10).kind is ReportKind.PENDING


def test_a_moment_without_a_book_gives_nothing_back_of_what_was_taken(venue):
    venue.show(0, ("100.00", "5"))
    venue.send(0, "3")
    assert taken(venue.hear(20)) == [(100, 3)]
    venue.show(30, withheld="Gap")
    venue.show(40, ("100.00", "5"))
    venue.send(40, "3")
    assert taken(venue.hear(60)) == [(100, 2)]
