"""Each check refuses for its own reason, the list has an order, and the document says the same."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from arbkube.execution.protocols import Refused
from arbkube.market.instruments import Side
from arbkube.resources.kinds import AmountLimit, ArbStrategySpec, RiskPolicySpec, StrategyRisk
from arbkube.resources.scalars import Duration
from arbkube.risk.gates import RefusalReason
from arbkube.risk.limits import Limits, limits_of
from tests.execution.world import MS, SECOND, World, config, leg, market, opportunity

BUY, SELL = leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90")
DOC = Path(__file__).parents[2] / "docs" / "execution.md"


def fresh(limits: Limits | None = None, **changes) -> World:
    world = World(":memory:", config(limits=limits, **changes)).start()
    show(world)
    return world


def show(world: World) -> None:
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "9"),), asks=(("101.10", "5"),))


def verdict(world: World, *legs, **changes) -> str | None:
    """The reason for which it is refused; None when it is taken."""
    chance = replace(opportunity(world.now_ns, *(legs or (BUY, SELL))), **changes)
    effects = world.engine.on_opportunity(chance, world.now_ns)
    reasons = [effect.intent.reason for effect in effects if isinstance(effect, Refused)]
    return reasons[0] if reasons else None


def test_taken_when_nothing_speaks_against_it():
    assert verdict(fresh()) is None


def test_the_document_lists_every_reason_in_the_order_of_the_gate():
    section = DOC.read_text(encoding="utf-8").split("## The gate")[1].split("## ")[0]
    listed = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert listed == [reason.value for reason in RefusalReason]


def test_lease_lost():
    world = fresh()
    world.engine.lease_valid = False
    assert verdict(world) == "LeaseLost"


def test_journal_unavailable():
    world = fresh()
    world.engine.journal_writable = False
    assert verdict(world) == "JournalUnavailable"


def test_another_revision():
    """Limits, balances and policies are those of one configuration: nothing is decided under two."""
    assert verdict(fresh(), revision="r0") == "OtherRevision"


def test_an_edge_that_has_become_implausible():
    """The detector judged the books of its moment; what they have become since may be just what it would not have traded."""
    world = fresh()
    world.book("b", bids=(("102.90", "9"),), asks=(("103.00", "9"),))
    assert verdict(world) is None
    world = fresh()
    world.book("b", bids=(("103.20", "9"),), asks=(("103.30", "9"),))
    assert verdict(world) == "ImplausibleEdge"  # 300 bps by default; fees are 20


def test_unknown_market():
    assert verdict(fresh(), leg("c", Side.BUY, "3", "100"), SELL) == "UnknownMarket"
    assert verdict(fresh(), legs=()) == "UnknownMarket"


def test_expired_a_nanosecond_too_late():
    world = fresh()
    assert verdict(world, detected_ns=world.now_ns - 250 * MS - 1) == "Expired"
    assert verdict(world, detected_ns=world.now_ns - 250 * MS) is None


def test_what_comes_from_the_future_is_as_wrong_as_what_is_old():
    """A clock has leapt: nobody can say how old the book and the opportunity are."""
    world = fresh()
    assert verdict(world, detected_ns=world.now_ns + 250 * MS + 1) == "Expired"
    assert verdict(world, detected_ns=world.now_ns + 250 * MS) is None
    world = fresh()
    world.now_ns -= 2 * SECOND + 1
    assert verdict(world) == "StaleBook"
    world = fresh(Limits(max_mark_age_ns=1 * SECOND))
    world.now_ns -= 1 * SECOND + 1
    assert verdict(world) in ("EdgeGone", "StaleMark")


def test_live_intent_and_max_open_intents():
    world = fresh(Limits(max_open_intents=2))
    world.take(BUY, SELL)
    assert verdict(world) == "LiveIntent"
    assert verdict(world, identity="other", id="other") is None
    assert verdict(world, identity="third") == "MaxOpenIntents"


def test_no_book_and_stale_book():
    world = fresh()
    world.book("b", withheld="Gap")
    assert verdict(world) == "NoBook"
    show(world)
    world.now_ns += 2 * SECOND
    assert verdict(world) is None
    world = fresh()
    world.now_ns += 2 * SECOND + 1
    assert verdict(world) == "StaleBook"
    world = fresh()
    world.book("b", bids=(("101.00", "9"),), offset_ns=None)
    assert verdict(world) == "StaleBook"
    world = fresh()
    world.book("b", bids=(("101.00", "9"),), epoch=2, withheld="Gap")
    assert verdict(world) == "NoBook"


def test_a_new_process_of_a_feed_voids_the_old_ones_books():
    world = fresh()
    world.book("b", symbol="ETH-USDT", epoch=2)
    assert verdict(world) == "NoBook"


def test_book_before_fill():
    world = fresh()
    world.take(BUY, SELL)
    world.run(20 * MS)
    assert verdict(world) == "BookBeforeFill"
    world.now_ns += 1
    show(world)
    assert verdict(world) is None


def test_edge_gone():
    world = fresh()
    world.book("b", bids=(("100.89", "9"),), asks=(("101.10", "5"),))
    assert verdict(world) == "EdgeGone"  # nothing left within the limit
    # 99.90 × 1.001 = 99.9999; at 100.20 × 0.999 = 100.0998 a bp is just reached.
    low = leg("b", Side.SELL, "3", "100.00")
    world.book("b", bids=(("100.20", "9"),), asks=(("101.10", "5"),))
    assert verdict(world, BUY, low) is None
    world = fresh()
    world.book("b", bids=(("100.10", "9"),), asks=(("101.10", "5"),))
    assert verdict(world, BUY, low) == "EdgeGone"


def test_not_orderable():
    world = fresh()
    world.book("b", bids=(("101.00", "0.048"),), asks=(("101.10", "5"),))
    assert verdict(world) == "NotOrderable"
    world.book("b", bids=(("101.00", "0.052"),), asks=(("101.10", "5"),))
    assert verdict(world) is None


def test_max_notional_counts_each_order():
    assert verdict(fresh(Limits(max_notional=Decimal("302.99")))) == "MaxNotional"  # 3 at 101.00
    assert verdict(fresh(Limits(max_notional=Decimal(303)))) is None


def test_stale_mark():
    world = fresh(Limits(max_mark_age_ns=SECOND))
    world.now_ns += 3 * SECOND // 2
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    assert verdict(world) is None  # a's book is a mark of BTC, too
    world = fresh(Limits(max_mark_age_ns=SECOND), markets=config().markets)
    world.engine.accounts.inventory.moved[("a", "DOGE")] = Decimal(1)
    assert verdict(world) == "StaleMark"


def test_max_position_counts_one_leg_alone():
    # Bought 3 and not sold: worth 3 × 99.80 at the lowest bid. Sold and not bought: owes 3 × 101.10.
    assert verdict(fresh(Limits(max_position=Decimal("303.29")))) == "MaxPosition"
    assert verdict(fresh(Limits(max_position=Decimal("303.30")))) is None


def test_exposure_by_venue():
    assert verdict(fresh(Limits(max_exposure_by_venue={"venue-a": Decimal("299.39")}))) == "MaxExposureByVenue"
    assert verdict(fresh(Limits(max_exposure_by_venue={"venue-a": Decimal("299.40"), "zz": Decimal(0)}))) is None


def test_exposure_by_asset():
    assert verdict(fresh(Limits(max_exposure_by_asset={"BTC": Decimal("303.29")}))) == "MaxExposureByAsset"
    assert verdict(fresh(Limits(max_exposure_by_asset={"BTC": Decimal("303.30"), "ETH": Decimal(0)}))) is None


def test_open_orders_count_as_filled_in_the_worst_way():
    world = fresh(Limits(max_open_intents=2, max_position=Decimal(400)))
    world.take(BUY, SELL)
    assert verdict(world, identity="other") == "MaxPosition"


def test_what_an_order_pays_with_is_exposure_as_well():
    markets = (market("a"), market("a", "ETH-BTC", min_notional="0.0001"), market("b", "ETH-USDT"))
    balances = {("a", "BTC"): "9", ("b", "ETH"): "9"}
    buy, sell = leg("a", Side.BUY, "5", "0.1", "ETH-BTC"), leg("b", Side.SELL, "5", "11", "ETH-USDT")

    def at(limit: str) -> str | None:
        limits = Limits(max_exposure_by_asset={"BTC": Decimal(limit)})
        world = World(":memory:", config(markets=markets, balances=balances, limits=limits, plausible="2000bps")).start()
        world.book("a", bids=(("99", "5"),), asks=(("100", "9"),))
        world.book("a", symbol="ETH-BTC", bids=(("0.09", "5"),), asks=(("0.1", "9"),))
        world.book("b", symbol="ETH-USDT", bids=(("11", "9"),), asks=(("11.1", "9"),))
        return verdict(world, buy, sell)

    assert at("49.99") == "MaxExposureByAsset"  # half a BTC, owed at 100
    assert at("50") is None


def test_max_daily_loss():
    world = fresh(Limits(max_daily_loss=Decimal(10)))
    world.engine.accounts.inventory.moved[("a", "USDT")] = Decimal("-9.99")
    assert verdict(world) is None
    world = fresh(Limits(max_daily_loss=Decimal(10)))
    world.engine.accounts.inventory.moved[("a", "USDT")] = Decimal(-10)
    assert verdict(world) == "MaxDailyLoss"


def test_an_unrealised_loss_counts():
    world = fresh(Limits(max_daily_loss=Decimal(10)))
    world.engine.accounts.inventory.moved[("a", "USDT")] = Decimal(-1000)
    world.engine.accounts.inventory.moved[("a", "BTC")] = Decimal(10)
    assert world.engine._books.lost_today(world.now_ns) == 2  # worth 998
    world.book("a", bids=(("98.90", "5"),), asks=(("99.90", "9"),))
    assert verdict(world) == "MaxDailyLoss"


def test_insufficient_balance_includes_fees_and_open_orders():
    needed = "300.3"  # 3 at most 100.00, and a tenth of a percent
    balances = {("a", "USDT"): needed, ("b", "BTC"): "3"}
    buy = leg("a", Side.BUY, "3", "100.00")
    books = (("99.90", "1"), ("100.00", "9"))

    def world_with(amount: str) -> World:
        world = fresh(Limits(max_open_intents=5), balances=balances | {("a", "USDT"): amount})
        world.book("a", bids=(("99.80", "5"),), asks=books)
        return world

    assert verdict(world_with("300.29"), buy, SELL) == "InsufficientBalance"
    world = world_with(needed)
    assert verdict(world, buy, SELL) is None
    assert verdict(world, buy, SELL, identity="other") == "InsufficientBalance"


def test_the_strictest_of_strategy_and_policies_wins():
    limits = limits_of(
        ArbStrategySpec(feeds=(), risk=StrategyRisk(max_notional=Decimal(5), max_position=Decimal(7), max_open_intents=3)),
        [
            RiskPolicySpec(max_daily_loss=Decimal(9), max_notional=Decimal(6), max_mark_age=Duration("3s")),
            RiskPolicySpec(
                max_daily_loss=Decimal(8),
                max_exposure_by_venue=(
                    AmountLimit(name="a", limit=Decimal(2)),
                    AmountLimit(name="a", limit=Decimal(1)),
                ),
                max_mark_age=Duration("10s"),
            ),
        ],
    )
    assert limits == Limits(
        max_notional=Decimal(5),
        max_position=Decimal(7),
        max_daily_loss=Decimal(8),
        max_open_intents=3,
        max_exposure_by_venue={"a": Decimal(1)},
        max_mark_age_ns=3 * SECOND,
    )
    assert limits_of(ArbStrategySpec(feeds=())) == Limits()


def test_no_limit_is_no_limit():
    assert verdict(fresh(Limits(max_notional=None, max_position=None, max_daily_loss=None))) is None
