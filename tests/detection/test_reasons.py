"""Every reason can be reached, freshness comes before anything, and quiet is not stale."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from arbkube.detection.detector import Detector
from arbkube.detection.model import Balances, Opportunity, Sighting, SkipReason
from arbkube.market.instruments import Market
from arbkube.resources.kinds import CrossVenue, Cycle
from tests.detection.world import NOW, SECOND, Tape, config, levels, market, rich

BUY_A = "s:buy BTC-USDT@a>sell BTC-USDT@b"
CROSS = CrossVenue(instruments=("BTC-USDT",))


def two(**rules: Any) -> list[Market]:
    return [market(feed, "BTC-USDT", taker="0", **rules) for feed in "ab"]


class Scene:
    """A detector with balances, two books one per cent apart, and knobs on the second batch."""

    def __init__(
        self, detector: Detector, balances: Balances | None = None, *, symbols: tuple[str, str] = ("BTC-USDT", "BTC-USDT")
    ) -> None:
        self.detector = detector
        self.tape = Tape()
        self.symbols = symbols
        detector.on_balances(rich(detector) if balances is None else balances, NOW)

    def first(self, *, at: int = NOW) -> list[Sighting]:
        return self.detector.on_batch(self.tape.book("a", self.symbols[0], levels((99, 1)), levels((100, 1)), at=at), at)

    def second(
        self,
        *,
        bid: str = "101",
        size: str = "1",
        at: int = NOW,
        offset: int | None = 0,
        alive: int | None = None,
        excess: int = 0,
        now: int | None = None,
    ) -> list[Sighting]:
        frame = self.tape.frame("b", self.symbols[1], levels((bid, size)), levels((110, 1)), at=at)
        batch = self.tape.batch(
            "b",
            frame,
            at=at,
            offset=offset,
            alive={self.symbols[1]: at if alive is None else alive},
            excess={self.symbols[1]: excess},
        )
        return self.detector.on_batch(batch, at if now is None else now)

    def outcome(self, identity: str = BUY_A) -> SkipReason | None:
        return self.detector.outcomes[identity]


def taken(sightings: list[Sighting]) -> list[Opportunity]:
    return [sighting.opportunity for sighting in sightings if sighting.opportunity is not None]


def test_taken() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    (opportunity,) = taken(scene.second())
    assert scene.outcome() is None
    assert opportunity.net_edge_bps == 100
    assert opportunity.expected_profit == 1
    assert opportunity.notional == 100
    assert [leg.quantity for leg in opportunity.legs] == [1, 1]
    assert opportunity.recv_ns == NOW
    assert opportunity.revision == "r1"


def test_no_book() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    (one, other) = scene.first()
    assert {one.reason, other.reason} == {SkipReason.NO_BOOK}
    assert one.legs[1].age_ns is None
    assert one.net_edge_bps is None
    assert scene.detector.without_book() == [("b", "BTC-USDT")]
    assert scene.detector.counts["NoBook"] == 2


def test_a_book_with_one_side_is_none() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    scene.detector.on_batch(scene.tape.book("b", "BTC-USDT", levels((101, 1)), ()), NOW)
    assert scene.outcome() is SkipReason.NO_BOOK


def test_clock_unknown() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    assert not taken(scene.second(offset=None))
    assert scene.outcome() is SkipReason.CLOCK_UNKNOWN
    # The clock becomes known by a pulse: the pair is looked at though nothing moved.
    pulse = scene.tape.batch("b", alive={"BTC-USDT": NOW})
    assert taken(scene.detector.on_batch(pulse, NOW))


def test_stale_book_is_judged_by_liveness_and_the_offset() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS, skew="5s")))
    scene.first()
    assert not taken(scene.second(alive=NOW - 2 * SECOND - 1))
    assert scene.outcome() is SkipReason.STALE_BOOK
    assert not taken(scene.second(alive=NOW - SECOND, offset=SECOND + 1))
    assert scene.outcome() is SkipReason.STALE_BOOK
    assert taken(scene.second(alive=NOW - SECOND, offset=SECOND))


def test_a_book_from_the_future_is_stale_too() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS, skew="5s")))
    scene.first()
    assert not taken(scene.second(alive=NOW + 2 * SECOND + 1))
    assert scene.outcome() is SkipReason.STALE_BOOK
    assert taken(scene.second(alive=NOW + 2 * SECOND))


def test_quiet_is_not_stale() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first(at=NOW - 3600 * SECOND)
    scene.detector.on_batch(scene.tape.batch("a", alive={"BTC-USDT": NOW - SECOND // 2}), NOW)
    (opportunity,) = taken(scene.second())
    assert opportunity.legs[0].age_ns == SECOND // 2


def test_a_stale_book_that_shows_life_is_looked_at_again() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first(at=NOW - 10 * SECOND)
    scene.second()
    assert scene.outcome() is SkipReason.STALE_BOOK
    before = sum(scene.detector.counts.values())
    # A pulse of another feed, or one that brings no news of this book, changes nothing.
    scene.detector.on_batch(scene.tape.batch("b", alive={"BTC-USDT": NOW}), NOW)
    scene.detector.on_batch(scene.tape.batch("a", alive={}), NOW)
    assert sum(scene.detector.counts.values()) == before
    assert taken(scene.detector.on_batch(scene.tape.batch("a", alive={"BTC-USDT": NOW}), NOW))


def test_slow_transit() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    assert not taken(scene.second(excess=SECOND // 2 + 1))
    assert scene.outcome() is SkipReason.SLOW_TRANSIT
    assert taken(scene.second(excess=SECOND // 2))


def test_skewed_legs() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    now = NOW + SECOND + 1
    assert not taken(scene.second(at=now))
    assert scene.outcome() is SkipReason.SKEWED_LEGS
    assert taken(scene.detector.on_batch(scene.tape.batch("a", at=now, alive={"BTC-USDT": NOW + 1}), now))


def test_a_moment_of_skew_does_not_end_an_episode() -> None:
    """Books that speak by turns are skewed at every update: what lasts is one opportunity, not one an update."""
    scene = Scene(Detector(config(*two(), cross_venue=CROSS, skew="20ms")))
    scene.first()
    assert taken(scene.second())
    for step in range(1, 20):
        at = NOW + step * SECOND // 20
        assert not taken(scene.first(at=at))
        assert scene.outcome() is SkipReason.EPISODE_OPEN
        assert not taken(scene.second(at=at))
    at = NOW + SECOND
    scene.first(at=at)
    assert not taken(scene.second(bid="99.5", at=at)), "now it is over"
    scene.first(at=at + SECOND // 20)
    assert taken(scene.second(at=at + SECOND // 20)), "and this is another"


def test_below_enter_edge_and_the_closest() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    said = scene.second(bid="100.04")
    assert [sighting.net_edge_bps for sighting in said if sighting.identity == BUY_A] == [Decimal("4.0")]
    scene.second(bid="99.9")
    assert scene.outcome() is SkipReason.BELOW_ENTER_EDGE
    assert abs(scene.detector.closest[BUY_A] - 4) < Decimal("0.00001")


def test_implausible_edge_is_logged_not_traded() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    said = [sighting for sighting in scene.second(bid="103.01") if sighting.identity == BUY_A]
    assert [sighting.reason for sighting in said] == [SkipReason.IMPLAUSIBLE_EDGE]
    assert said[0].net_edge_bps is not None
    assert said[0].net_edge_bps > 300
    assert scene.detector.opportunities == 0


@pytest.mark.parametrize(
    "rules",
    [{"lot": "2"}, {"min_quantity": "1.5"}, {"min_notional": "101.5"}, {"min_notional": "99.5"}],
    ids=["lot", "quantity", "notional", "notional of the unwind at the bid"],
)
def test_below_minimum(rules: dict[str, str]) -> None:
    scene = Scene(Detector(config(*two(**rules), cross_venue=CROSS)))
    scene.first()
    scene.second()
    assert scene.outcome() is SkipReason.BELOW_MINIMUM


def test_no_balance_unknown_then_too_little_then_enough() -> None:
    detector = Detector(config(*two(lot="0.5"), cross_venue=CROSS))
    scene = Scene(
        detector, Balances(strategy="another", at_ns=NOW, available={"a": {"USDT": Decimal(1000)}, "b": {"BTC": Decimal(9)}})
    )
    scene.first()
    scene.second()
    assert scene.outcome() is SkipReason.NO_BALANCE
    little = Balances(strategy="s", at_ns=NOW, available={"a": {"USDT": Decimal(1000)}, "b": {"BTC": Decimal("0.4")}})
    assert not taken(detector.on_balances(little, NOW))
    assert scene.outcome() is SkipReason.NO_BALANCE
    half = Balances(strategy="s", at_ns=NOW, available={"a": {"USDT": Decimal(1000)}, "b": {"BTC": Decimal("0.7")}})
    (opportunity,) = taken(detector.on_balances(half, NOW))
    assert opportunity.legs[0].quantity == Decimal("0.5")


def test_no_conversion_is_never_one_to_one() -> None:
    markets = [market("a", "BTC-USDT", taker="0"), market("b", "BTC-USD", taker="0"), market("b", "USDT-USD", taker="0")]
    identity = "s:buy BTC-USDT@a>sell BTC-USD@b"
    without = Scene(Detector(config(*markets[:2], cross_venue=CROSS)), symbols=("BTC-USDT", "BTC-USD"))
    without.first()
    without.second()
    assert without.outcome(identity) is SkipReason.NO_CONVERSION
    scene = Scene(Detector(config(*markets, cross_venue=CROSS)), symbols=("BTC-USDT", "BTC-USD"))
    scene.first()
    scene.second()
    assert scene.outcome(identity) is SkipReason.NO_CONVERSION
    # A dollar that costs 1.02 USD eats the edge; the book's move alone makes the pair be looked at.
    dear = scene.tape.book("b", "USDT-USD", levels(("1.019", 9000)), levels(("1.02", 9000)))
    assert not taken(scene.detector.on_batch(dear, NOW))
    assert scene.outcome(identity) is SkipReason.BELOW_ENTER_EDGE
    par = scene.tape.book("b", "USDT-USD", levels(("0.9999", 9000)), levels(("1.0001", 9000)))
    (opportunity,) = taken(scene.detector.on_batch(par, NOW))
    assert opportunity.expected_profit < 1
    stale = scene.tape.book("b", "USDT-USD", levels(("0.9998", 9000)), levels(("1.0001", 9000)), withheld="Gap")
    scene.detector.on_batch(stale, NOW)
    assert scene.outcome(identity) is SkipReason.NO_CONVERSION


def test_basis_not_allowed_but_measured() -> None:
    markets = [market("a", "BTC-USDT", taker="0"), market("b", "BTC-USDT-PERP", taker="0")]
    identity = "s:buy BTC-USDT@a>sell BTC-USDT-PERP@b"
    scene = Scene(Detector(config(*markets, cross_venue=CROSS)), symbols=("BTC-USDT", "BTC-USDT-PERP"))
    scene.first()
    assert not taken(scene.second())
    assert scene.outcome(identity) is SkipReason.BASIS_NOT_ALLOWED
    assert abs(scene.detector.closest[identity] - 100) < Decimal("0.00001")
    allowed = CrossVenue(instruments=("BTC-USDT",), allow_basis=True)
    scene = Scene(Detector(config(*markets, cross_venue=allowed)), symbols=("BTC-USDT", "BTC-USDT-PERP"))
    scene.first()
    assert taken(scene.second())


def test_a_perpetual_is_sold_against_quote_not_against_the_coin() -> None:
    markets = [market("a", "BTC-USDT", taker="0"), market("b", "BTC-USDT-PERP", taker="0")]
    allowed = CrossVenue(instruments=("BTC-USDT",), allow_basis=True)
    coins = {"a": {"USDT": Decimal(1000)}, "b": {"BTC": Decimal(9)}}
    scene = Scene(
        Detector(config(*markets, cross_venue=allowed)),
        Balances(strategy="s", at_ns=NOW, available=coins),
        symbols=("BTC-USDT", "BTC-USDT-PERP"),
    )
    scene.first()
    scene.second()
    assert scene.outcome("s:buy BTC-USDT@a>sell BTC-USDT-PERP@b") is SkipReason.NO_BALANCE
    dollars = {"a": {"USDT": Decimal(1000)}, "b": {"USDT": Decimal("50.6")}}
    (opportunity,) = taken(scene.detector.on_balances(Balances(strategy="s", at_ns=NOW, available=dollars), NOW))
    assert opportunity.legs[1].quantity == Decimal("0.5")


def test_a_new_process_of_a_feed_voids_its_books() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    taken(scene.second())
    reborn = scene.tape.batch("b", epoch=2, alive={"BTC-USDT": NOW})
    (end,) = [sighting for sighting in scene.detector.on_batch(reborn, NOW) if sighting.identity == BUY_A]
    assert end.reason is SkipReason.NO_BOOK
    assert scene.detector.without_book() == [("b", "BTC-USDT")]


def test_an_older_frame_changes_nothing() -> None:
    scene = Scene(Detector(config(*two(), cross_venue=CROSS)))
    scene.first()
    old = scene.tape.book("b", "BTC-USDT", levels((101, 1)), levels((110, 1)))
    scene.second(bid="99")
    assert scene.detector.on_batch(old, NOW) == []
    assert scene.detector.opportunities == 0


def test_a_market_that_is_not_tradable_is_left_out() -> None:
    markets = [market("a", "BTC-USDT", taker="0"), market("b", "BTC-USDT", taker="0", tradable=False)]
    scene = Scene(Detector(config(*markets, cross_venue=CROSS)))
    assert scene.first() == []
    assert scene.second() == []


RING = "s:buy BTC-USDT@a>buy ETH-BTC@a>sell ETH-USDT@a"


def ring(**rules: Any) -> list[Market]:
    return [market("a", symbol, taker="0", **rules) for symbol in ("BTC-USDT", "ETH-BTC", "ETH-USDT")]


def ring_books(tape: Tape, detector: Detector, *, last_bid: str = "10.1", now: int = NOW) -> list[Sighting]:
    said = detector.on_batch(tape.book("a", "BTC-USDT", levels((99, 5)), levels((100, 5)), at=now), now)
    said += detector.on_batch(tape.book("a", "ETH-BTC", levels(("0.099", 50)), levels(("0.1", 50)), at=now), now)
    return said + detector.on_batch(tape.book("a", "ETH-USDT", levels((last_bid, 50)), levels((12, 50)), at=now), now)


@pytest.mark.parametrize(
    ("reason", "rules", "last_bid", "balances"),
    [
        (None, {}, "10.1", True),
        (SkipReason.BELOW_ENTER_EDGE, {}, "10.004", True),
        (SkipReason.IMPLAUSIBLE_EDGE, {}, "10.4", True),
        (SkipReason.BELOW_MINIMUM, {"min_quantity": "70"}, "10.1", True),
        (SkipReason.NO_BALANCE, {}, "10.1", False),
    ],
)
def test_reasons_of_a_cycle(reason: SkipReason | None, rules: dict[str, str], last_bid: str, balances: bool) -> None:
    detector = Detector(config(*ring(**rules), cycle=Cycle(start_assets=("USDT",)), max_notional="400"))
    if balances:
        detector.on_balances(rich(detector), NOW)
    ring_books(Tape(), detector, last_bid=last_bid)
    assert detector.outcomes[RING] is reason
    assert abs(detector.closest[RING] - (Decimal(last_bid) / 10 - 1) * 10000) < Decimal("0.001")


def test_a_cycle_ends_with_its_book_and_waits_for_fresh_ones() -> None:
    detector = Detector(config(*ring(), cycle=Cycle(start_assets=("USDT",))))
    detector.on_balances(rich(detector), NOW)
    tape = Tape()
    assert len(taken(ring_books(tape, detector))) == 1
    (end,) = detector.on_batch(tape.book("a", "ETH-BTC", (), (), withheld="Gap"), NOW)
    assert end.reason is SkipReason.NO_BOOK
    (again,) = taken(detector.on_batch(tape.book("a", "ETH-BTC", levels(("0.099", 50)), levels(("0.1", 50))), NOW))
    assert again.identity == RING
    later = NOW + 3 * SECOND
    detector.on_batch(tape.book("a", "ETH-USDT", levels(("10.2", 50)), levels((12, 50)), at=later), later)
    assert detector.outcomes[RING] is SkipReason.STALE_BOOK
    detector.on_batch(tape.batch("a", at=later, alive=dict.fromkeys(("BTC-USDT", "ETH-BTC"), later)), later)
    worse = tape.book("a", "ETH-USDT", levels(("10.15", 50)), levels((12, 50)), at=later)
    assert len(taken(detector.on_batch(worse, later))) == 1, "the ring is pending though its rate fell"


def test_a_cycle_that_starts_in_another_asset_is_converted() -> None:
    markets = [*ring(), market("a", "USDT-USD", taker="0")]
    detector = Detector(config(*markets, cycle=Cycle(start_assets=("USDT",)), profit_asset="USD"))
    detector.on_balances(rich(detector), NOW)
    tape = Tape()
    ring_books(tape, detector)
    assert detector.outcomes[RING] is SkipReason.NO_CONVERSION
    detector.on_batch(tape.book("a", "USDT-USD", levels(("0.99", 9000)), levels(("1.01", 9000))), NOW)
    (opportunity,) = taken(detector.on_batch(tape.book("a", "ETH-BTC", levels(("0.099", 50)), levels(("0.1", 50))), NOW))
    assert opportunity.profit_asset == "USD"
    spent = opportunity.legs[0].value
    assert opportunity.notional == spent * Decimal("1.01")
    assert opportunity.expected_profit == (opportunity.legs[2].value - spent) * Decimal("0.99")
