"""Marks are conservative whichever way, and ArbPnL is the exact sum over fills."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.execution.model import Fill, Intent, IntentOutcome, IntentState
from arbkube.execution.protocols import EquityPoint
from arbkube.execution.report import Trade, execution_figures
from arbkube.market.instruments import FeeAsset, Market, Side
from arbkube.risk.accounts import Accounts
from arbkube.risk.inventory import fee_of
from arbkube.risk.marks import LatestBooks, Marks
from tests.execution.world import SECOND, START, batch, market

MARKETS = (
    market("a"),
    market("b", charged_in=FeeAsset.RECEIVED),
    market("a", "ETH-BTC"),
    market("b", "USDC-USDT"),
    market("b", "EUR-USDC"),
    market("p", "BTC-USDT-PERP"),
)


def books(**changes) -> LatestBooks:
    latest = LatestBooks()
    for feed, symbol, bid, ask in (
        ("a", "BTC-USDT", "100", "102"),
        ("b", "BTC-USDT", "99", "101"),
        ("a", "ETH-BTC", "0.05", "0.06"),
        ("b", "USDC-USDT", "0.99", "1.01"),
        ("b", "EUR-USDC", "1.10", "1.20"),
        ("p", "BTC-USDT-PERP", "103", "104"),
    ):
        latest.apply(batch(feed, START, symbol=symbol, bids=((bid, "1"),), asks=((ask, "1"),)))
    return latest


def held(target: dict[tuple[str, str], Decimal]) -> Accounts:
    accounts = Accounts(target=target, markets=MARKETS, profit_asset="USDT")
    accounts.books = books()
    return accounts


def bought(accounts: Accounts) -> None:
    accounts.book(
        ("a", "BTC-USDT"),
        Side.BUY,
        price=Decimal(100),
        quantity=Decimal(1),
        fee=Decimal("0.1"),
        fee_asset="USDT",
        at_ns=START,
    )


def worth(asset: str, amount: int, *, profit: str = "USDT", now_ns: int = START, age: int | None = SECOND) -> Decimal | None:
    return Marks(MARKETS, profit).worth(asset, Decimal(amount), books(), now_ns, age)


def test_what_we_have_counts_at_the_lowest_bid_and_what_we_owe_at_the_highest_ask():
    assert worth("BTC", 1) == 99
    assert worth("BTC", -1) == -102


def test_over_several_books_each_step_is_conservative():
    assert worth("ETH", 1) == Decimal("0.05") * 99
    assert worth("ETH", -1) == -Decimal("0.06") * 102
    assert worth("EUR", 1) == Decimal("1.10") * Decimal("0.99")


def test_an_exchange_is_made_on_the_best_book_and_pays_its_fee():
    marks = Marks(MARKETS, "USDT")
    fee = Decimal("0.999")
    assert marks.worth("BTC", Decimal(1), books(), START, SECOND, exchanged=True) == 100 * fee
    owed = marks.worth("BTC", Decimal(-1), books(), START, SECOND, exchanged=True)
    assert owed is not None
    assert -102 < owed <= -101 / fee


def test_against_the_grain_of_a_book():
    assert worth("USDT", 102, profit="BTC") == 1
    assert worth("USDT", -99, profit="BTC") == -1
    for amount, price in ((1, 102), (-1, 99)):
        rounded = worth("USDT", amount, profit="BTC")
        assert rounded is not None
        assert rounded * price <= amount  # towards less for us


def test_a_perpetual_is_marked_on_its_own_book():
    assert worth("BTC-USDT-PERP", -1) == -104


def test_the_profit_asset_is_itself_and_nothing_is_worth_nothing():
    assert worth("USDT", -7) == -7
    assert worth("DOGE", 0) == 0
    assert worth("DOGE", 1) is None


def test_a_stale_book_is_no_mark_unless_any_age_will_do():
    assert worth("BTC", 1, now_ns=START + SECOND) == 99
    assert worth("BTC", 1, now_ns=START + SECOND + 1) is None
    assert worth("BTC", 1, now_ns=START + 10 * SECOND, age=None) == 99
    withheld = books()
    withheld.apply(batch("b", START, withheld="Gap"))
    assert Marks(MARKETS, "USDT").worth("BTC", Decimal(1), withheld, START, SECOND) == 100


def test_the_target_inventory_is_valued_apart():
    accounts = held({("a", "BTC"): Decimal(2), ("b", "USDT"): Decimal(10)})
    bought(accounts)
    assert accounts.target_worth(START) == 2 * 99 + 10


def test_fees_are_rounded_up_and_charged_in_the_right_asset():
    quote, received, perpetual = MARKETS[0], MARKETS[1], MARKETS[5]
    tiny = Decimal("0.000001")
    assert fee_of(quote, Side.BUY, quantity=Decimal(1), value=tiny) == (Decimal("1E-8"), "USDT")
    assert fee_of(received, Side.BUY, quantity=tiny, value=Decimal(1)) == (Decimal("1E-8"), "BTC")
    assert fee_of(received, Side.SELL, quantity=tiny, value=tiny) == (Decimal("1E-8"), "USDT")
    assert fee_of(perpetual, Side.BUY, quantity=Decimal(1), value=Decimal(100)) == (Decimal("0.1"), "USDT")


amounts = st.decimals(min_value="0.00000001", max_value=10**9, allow_nan=False, places=8)
fills = st.builds(
    lambda number, venue, side, price, quantity: made(number, venue, side, price, quantity),
    number=st.integers(0, 10**9),
    venue=st.sampled_from(MARKETS),
    side=st.sampled_from(Side),
    price=amounts,
    quantity=amounts,
)


def made(number: int, venue: Market, side: Side, price: Decimal, quantity: Decimal) -> Fill:
    fee, fee_asset = fee_of(venue, side, quantity=quantity, value=Decimal(1))
    return Fill(
        trade_id=str(number),
        order_id="o",
        intent_id="i",
        feed=venue.feed,
        symbol=venue.instrument.symbol,
        side=side,
        price=price,
        quantity=quantity,
        fee=fee,
        fee_asset=fee_asset,
        at_ns=START,
    )


@given(st.lists(fills, max_size=30))
@settings(max_examples=200, deadline=None)
def test_pnl_is_the_sum_over_fills_to_the_last_decimal(found):
    """Against an independent sum in fractions, where nothing can round."""
    cash = Fraction(0)
    for fill in found:
        sign = 1 if fill.side is Side.BUY else -1
        quote = fill.symbol.split("-")[1]
        if quote == "USDT":
            cash -= sign * Fraction(fill.price) * Fraction(fill.quantity)
        if fill.fee_asset == "USDT":
            cash -= Fraction(fill.fee)
    intent = Intent(
        id="i",
        opportunity_id="o",
        identity="x",
        strategy="s",
        revision="r",
        created_ns=START,
        legs=(),
        profit_asset="USDT",
        expected_profit=Decimal(0),
        state=IntentState.DONE,
        outcome=IntentOutcome.FILLED,
    )
    last = EquityPoint(at_ns=START, cash=Decimal(0), residual=Decimal("1.5"), inventory=None)
    figures = execution_figures(
        profit_asset="USDT",
        trades=[Trade(intent=intent, orders=(), fills=(fill,)) for fill in found],
        refusals={},
        first=None,
        last=last,
    )
    assert Fraction(figures.pnl.cash) == cash
    assert figures.fills == len(found)
    assert figures.pnl.residual in (Decimal("1.5"), 0)
    assert figures.pnl.arb is not None
    assert Fraction(figures.pnl.arb) == cash + Fraction(figures.pnl.residual)
    assert sum(Fraction(trip.flows.get("USDT", 0)) for trip in figures.round_trips) == cash


def test_arb_pnl_is_cash_and_residual():
    accounts = held({})
    bought(accounts)
    pnl = accounts.pnl(START, SECOND)
    assert (pnl.cash, pnl.residual, pnl.arb) == (Decimal("-100.1"), Decimal(99), Decimal("-1.1"))
    accounts.books = LatestBooks()
    assert accounts.pnl(START, None).arb is None
