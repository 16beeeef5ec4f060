"""The ladder against a walk level by level in fractions."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import gcd

from hypothesis import given
from hypothesis import strategies as st

from arbkube.detection.crossvenue.pairs import common_step
from arbkube.detection.ladder import EXACT, Ladder
from arbkube.market.book import Level
from arbkube.market.instruments import FeeAsset, Side
from tests.detection.world import flows, market, value_of, walk

SIZES = st.integers(1, 400).map(lambda hundredths: str(Decimal(hundredths) / 100))


@st.composite
def ladders(draw: st.DrawFn, side: Side) -> tuple[Level, ...]:
    steps = draw(st.lists(st.integers(1, 50), min_size=1, max_size=6))
    price, sign, out = 10_000, 1 if side is Side.BUY else -1, []
    for step in steps:
        price += sign * step
        out.append((str(Decimal(price) / 100), draw(SIZES)))
    return tuple(out)


@given(st.data(), st.sampled_from(list(Side)), st.sampled_from(list(FeeAsset)), st.sampled_from(["0", "0.001", "0.0026"]))
def test_pays_and_gets(data: st.DataObject, side: Side, charged_in: FeeAsset, taker: str) -> None:
    levels = data.draw(ladders(side))
    each = market("a", "BTC-USDT", taker=taker, charged_in=charged_in)
    with localcontext(EXACT):
        ladder = Ladder(levels, side, Decimal(taker), fee_from_base=charged_in is FeeAsset.RECEIVED)
        steps = data.draw(st.integers(1, int(ladder.depth[-1] * 100)))
        quantity = Decimal(steps) / 100
        fills = walk(levels, Fraction(quantity))
        truth = flows(each, side, levels, Fraction(quantity))
        assert fills is not None
        assert truth is not None
        assert Fraction(ladder.limit(quantity)) == fills[-1][0]
        assert Fraction(ladder.value_of(quantity)) == value_of(fills)
        slack = Fraction(len(fills), 10**8)
        # Never better than the truth, whose every fill rounds its fee up, and never worse by more than one unit a fill.
        assert truth[0] <= Fraction(ladder.pay(quantity)) <= truth[0] + slack
        assert truth[1] - slack <= Fraction(ladder.get(quantity)) <= truth[1]


@given(
    st.data(),
    st.sampled_from(list(Side)),
    st.booleans(),
    st.sampled_from(["0", "0.001"]),
    st.sampled_from(["0.01", "0.07", "0.5", "3"]),
)
def test_most_and_least_are_exact(data: st.DataObject, side: Side, from_base: bool, taker: str, lot_text: str) -> None:
    levels = data.draw(ladders(side))
    lot = Decimal(lot_text)
    with localcontext(EXACT):
        ladder = Ladder(levels, side, Decimal(taker), fee_from_base=from_base)
        grid = [lot * step for step in range(1, int(ladder.depth[-1] / lot) + 1)]
        sum_ = data.draw(st.integers(0, int(ladder.value[-1] * 102))) / Decimal(100) + data.draw(
            st.sampled_from([Decimal(0), Decimal("1e-8")])
        )
        affordable = [quantity for quantity in grid if ladder.pay(quantity) <= sum_]
        assert ladder.most(sum_, lot) == max(affordable, default=0)
        sufficient = [quantity for quantity in grid if ladder.get(quantity) >= sum_]
        assert ladder.least(sum_, lot) == min(sufficient, default=None)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 8), st.integers(0, 8))
def test_common_step(first: int, second: int, first_digits: int, second_digits: int) -> None:
    one, two = Decimal(first).scaleb(-first_digits), Decimal(second).scaleb(-second_digits)
    step = Fraction(common_step(one, two))
    assert step % Fraction(one) == 0
    assert step % Fraction(two) == 0
    ratio_one, ratio_two = step / Fraction(one), step / Fraction(two)
    assert gcd(int(ratio_one), int(ratio_two)) == 1, "no smaller one would do"
