"""What an Open reserves covers whatever becomes of it: no way of filling, completing and unwinding comes to need more."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.control.protocol import Capacity, Order
from arbkube.control.reservations.demand import OpenLeg, SentOrder, levels, orders_of_leg
from arbkube.control.reservations.pools import Kind, Pool, RateTerm, Terms, capacities, record, terms_of
from arbkube.market.instruments import FeeAsset, Fees, Market, MarketType, Side
from arbkube.plan.documents import StrategyDocument, StrategyFeed
from arbkube.resources.kinds import ArbStrategySpec, CrossVenue, Cycle, FeedRef
from arbkube.resources.scalars import Bps
from arbkube.risk.inventory import Inventory, fee_of, trade_flows
from arbkube.risk.limits import Limits
from arbkube.risk.marks import LatestBooks, Marks
from tests.execution.world import START, batch, market

SECOND = 10**9
A, B, C, P = market("a"), market("b", "BTC-USDC"), market("a", "USDC-USDT"), market("p", "BTC-USDT-PERP")
MARKETS = (A, B, C, P)
MAX_LOSS = Decimal("0.005")
VENUES = {feed: Pool(Kind.VENUE, "USDT", venue) for feed, venue in (("a", "one"), ("b", "two"), ("p", "one"))}
ASSETS = {held: Pool(Kind.ASSET, "USDT", base) for held, base in (("BTC", "BTC"), ("BTC-USDT-PERP", "BTC"), ("USDC", "USDC"))}
RATES = {one.key: RateTerm(Pool(Kind.RATE, "Spot", VENUES[one.feed].subject), 100, SECOND) for one in MARKETS}
BALANCES = {("b", "USDC"): Pool(Kind.BALANCE, "shared", "USDC"), ("b", "BTC"): Pool(Kind.BALANCE, "shared", "BTC")}
TERMS = Terms(
    profit_asset="USDT",
    venues=VENUES,
    assets=ASSETS,
    balances=BALANCES,
    rates=RATES,
    opens=1,
    completes=True,
    max_loss=MAX_LOSS,
    max_mark_age_ns=SECOND,
    legs=1,
    first_need=Decimal(1000),
)


def books() -> LatestBooks:
    made = LatestBooks()
    for one in MARKETS:
        price = "1" if one is C else "100"
        made.apply(
            batch(
                one.feed,
                START,
                symbol=one.instrument.symbol,
                bids=((price, "5"),),
                asks=((price, "5"),),
                epoch=MARKETS.index(one),
            )
            if one.feed != "a"
            else batch("a", START, symbol=one.instrument.symbol, bids=((price, "5"),), asks=((price, "5"),))
        )
    return made


def needs(inventory: Inventory, legs: list[OpenLeg], sent: list[SentOrder] | None = None, *, now_ns: int = START, **terms):
    return levels(
        msgspec.structs.replace(TERMS, **terms),
        inventory=inventory,
        legs=legs,
        sent=sent or [],
        marks=Marks(MARKETS, "USDT"),
        books=books(),
        now_ns=now_ns,
        max_mark_age_ns=None,
    )


def leg(one: Market, side: Side, quantity: str, limit: str, filled: str = "0", sent: int = 0) -> OpenLeg:
    return OpenLeg(market=one, side=side, left=Decimal(quantity), limit_price=Decimal(limit), filled=Decimal(filled), sent=sent)


def test_both_legs_count_at_their_worst() -> None:
    found = needs(Inventory({}, MARKETS), [leg(A, Side.BUY, "2", "100"), leg(P, Side.SELL, "2", "101")])
    assert found[VENUES["a"]] == 400, "two feeds of one venue; the profit asset is no exposure"
    assert found[ASSETS["BTC"]] == 400, "a perpetual counts as its base, and is not netted while orders are open"
    assert found[RATES[A.key].pool] == 14
    assert found[VENUES["b"]] == 0


def test_settled_amounts_of_an_asset_are_netted_over_feeds() -> None:
    inventory = Inventory({}, MARKETS)
    inventory.book(trade_flows(A.key, Side.BUY, Decimal(100), Decimal(2), Decimal(0), "USDT"))
    inventory.book(trade_flows(B.key, Side.SELL, Decimal(100), Decimal(2), Decimal(0), "USDC"))
    found = needs(inventory, [])
    assert found[ASSETS["BTC"]] == 0
    assert found[VENUES["a"]] == 200
    assert found[VENUES["b"]] == 400, "the BTC that is gone and the USDC that came"
    assert found[BALANCES["b", "BTC"]] == 2
    assert found[BALANCES["b", "USDC"]] == 0


def test_an_order_counts_until_the_venues_window_has_passed() -> None:
    sent = [(A.key, START), (A.key, START + 1), (B.key, START)]
    empty = Inventory({}, MARKETS)
    assert needs(empty, [], sent, now_ns=START + SECOND - 1)[RATES[A.key].pool] == 2
    assert needs(empty, [], sent, now_ns=START + SECOND)[RATES[A.key].pool] == 1
    assert needs(empty, [], sent, now_ns=START + SECOND + 1)[RATES[A.key].pool] == 0
    assert needs(empty, [leg(A, Side.BUY, "1", "1", sent=3)], sent)[RATES[A.key].pool] == 4 + 2


def test_what_cannot_be_valued_is_said() -> None:
    inventory = Inventory({}, MARKETS)
    inventory.book(trade_flows(("a", "ETH-USDT"), Side.BUY, Decimal(100), Decimal(2), Decimal(0), "USDT"))
    found = needs(inventory, [])
    assert found[VENUES["a"]] is None
    assert found[VENUES["b"]] == 0
    assert found[RATES[A.key].pool] == 0


sides = st.sampled_from(Side)
shares = st.sampled_from([Decimal(share) for share in ("0", "0.1", "0.5", "1")])


@settings(max_examples=300)
@given(
    legs=st.lists(st.tuples(st.sampled_from([A, B, C, P]), sides, st.integers(1, 9)), min_size=1, max_size=4),
    held=st.lists(st.tuples(st.sampled_from([A, B, C, P]), sides, st.integers(1, 9)), max_size=3),
    moves=st.lists(st.tuples(st.integers(0, 3), st.booleans(), shares), max_size=12),
    completes=st.booleans(),
    received=st.booleans(),
)
def test_no_way_needs_more_than_the_open_reserved(legs, held, moves, completes: bool, received: bool) -> None:
    """At constant marks and at the worst price that each order's limit allows."""
    inventory = Inventory({}, MARKETS)
    for one, side, quantity in held:
        inventory.book(trade_flows(one.key, side, Decimal(100), Decimal(quantity), Decimal(0), one.instrument.quote))
    live = [leg(one, side, str(quantity), "1" if one is C else "100") for one, side, quantity in legs]
    charged = FeeAsset.RECEIVED if received else FeeAsset.QUOTE
    fees = Fees(maker=Decimal("0.001"), taker=Decimal("0.001"), charged_in=charged, source="spec")
    live = [msgspec.structs.replace(one, market=msgspec.structs.replace(one.market, fees=fees)) for one in live]
    sent: list[SentOrder] = []
    reserved = needs(inventory, live, sent, completes=completes)
    opened, unwinding = set[int](), False
    most = orders_of_leg(msgspec.structs.replace(TERMS, completes=completes))
    for which, forward, share in moves:
        i = which % len(live)
        one = live[i]
        if one.sent >= most or (forward and (unwinding or (i in opened and not completes))):
            continue
        if not forward and not unwinding:
            unwinding, live = True, [msgspec.structs.replace(other, left=Decimal(0)) for other in live]
            one = live[i]
        quantity = (one.left if forward else one.filled) * share
        side = one.side if forward else one.side.opposite
        bounded = 1 + MAX_LOSS if side is Side.BUY else 1 - MAX_LOSS
        price = one.limit_price * bounded if i in opened else one.limit_price
        opened.add(i)
        fee, asset = fee_of(one.market, side, quantity=quantity, value=price * quantity)
        inventory.book(trade_flows(one.market.key, side, price, quantity, fee, asset))
        sent.append((one.market.key, START))
        kept = quantity - fee if forward and asset == one.market.instrument.base else quantity
        live[i] = msgspec.structs.replace(
            one,
            filled=one.filled + (kept if forward else -quantity),
            left=one.left - quantity if forward else one.left,
            sent=one.sent + 1,
        )
        reached = needs(inventory, live, sent, completes=completes)
        over = {str(pool): (need, reserved[pool]) for pool, need in reached.items() if need > reserved[pool] + Decimal("1e-6")}
        assert not over, over
    settled = needs(inventory, [], sent, completes=completes)
    assert all(need <= reserved[pool] + Decimal("1e-6") for pool, need in settled.items())


# ---- from the plan -------------------------------------------------------------------------------------------------


def document(name: str, *feeds: tuple[str, str], profit_asset: str = "USDT", cycle: bool = False) -> StrategyDocument:
    return StrategyDocument(
        strategy=name,
        uid=f"uid-{name}",
        spec=ArbStrategySpec(
            feeds=tuple(FeedRef(name=feed) for feed, _ in feeds),
            cross_venue=None if cycle else CrossVenue(instruments=("BTC-USDT",)),
            cycle=Cycle(start_assets=("USDT",), max_legs=4) if cycle else None,
            profit_asset=profit_asset,
        ),
        feeds={
            feed: StrategyFeed(venue=venue, market=MarketType.SPOT, instruments=("BTC-USDT", "ETH-BTC"), fees=None)
            for feed, venue in feeds
        },
        limits=Limits(),
        revision="r",
    )


LIMITS = Limits(
    max_exposure_by_venue={"okx": Decimal(1000), "kraken": Decimal(5)},
    max_exposure_by_asset={"BTC": Decimal(300), "DOGE": Decimal(1), "USDT": Decimal(7)},
    max_open_intents=2,
    max_loss=Bps("100bps"),
)


def test_capacities_are_the_plans_limits_and_the_venues_rates() -> None:
    one, two = document("one", ("x", "okx"), ("y", "bybit")), document("two", ("x", "okx"), profit_asset="BTC")
    lower = msgspec.structs.replace(LIMITS, max_exposure_by_venue={"okx": Decimal(900)})
    three = document("three", ("z", "okx"))
    found = capacities([(one, LIMITS), (two, LIMITS), (three, lower)])
    assert {str(pool): (c.units, c.users) for pool, c in found.items()} == {
        "Venue/USDT/okx": (900_000_000, ("one", "three")),
        "Venue/BTC/okx": (1_000_000_000, ("two",)),
        "Asset/USDT/BTC": (300_000_000, ("one", "three")),
        "Asset/BTC/USDT": (7_000_000, ("two",)),
        "Rate/Spot/okx:BTC-USDT": (60, ("one", "three", "two")),
        "Rate/Spot/okx:ETH-BTC": (60, ("one", "three", "two")),
        "Rate/Spot/bybit": (20, ("one",)),
    }
    assert terms_of(one, LIMITS).pools | terms_of(two, LIMITS).pools == found.keys()


def test_an_account_that_several_use_has_a_pool_of_its_balance() -> None:
    accounts = {name: {("x", "USDT"): "main"} for name in ("one", "two")}
    pair = [(document(name, ("x", "okx")), Limits()) for name in accounts]
    found = capacities(pair, balances={("main", "USDT"): Decimal("10.5")}, accounts=accounts)
    assert found[Pool(Kind.BALANCE, "main", "USDT")] == Capacity(units=10_500_000, users=("one", "two"))


def test_a_cycle_takes_ahead_what_all_its_legs_may_need() -> None:
    terms = terms_of(document("one", ("x", "okx"), cycle=True), LIMITS)
    assert (terms.legs, terms.first_need) == (4, Decimal(1010))


def test_amounts_are_rounded_against_us() -> None:
    pool = Pool(Kind.VENUE, "USDT", "okx")
    assert pool.units_up(Decimal("0.0000011")) == 2
    assert pool.units_down(Decimal("0.0000019")) == 1
    assert pool.units_down(Decimal(-1)) == 0
    assert pool.units_down(Decimal("1e40")) == pool.units_up(Decimal("1e40")) == 2**53 - 1
    assert pool.amount(3) == Decimal("0.000003")


def test_capacities_are_written_by_name() -> None:
    pool = Pool(Kind.RATE, "Spot", "ccxt:gate")
    assert record(Order(1, 2), {pool: Capacity(units=1, users=("a",))}).pools == {
        "Rate/Spot/ccxt:gate": Capacity(units=1, users=("a",))
    }
