"""The book against dictionaries of decimals, sorted anew each time; with little kept in order, so that it runs out often."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbkube.market import book as books
from arbkube.market.book import Level, TextBook

PRICES = [f"{ticks / 10:.1f}" for ticks in range(900, 1100)] + ["95", "1e2", "0.1", "123456.78"]
SIZES = ["0", "0.00", "0e5", "1", "0.5", "1e-8", "7.10", "99999999999999.00000001"]
levels = st.lists(st.tuples(st.sampled_from(PRICES), st.sampled_from(SIZES)), max_size=30)
steps = st.lists(
    st.tuples(levels, levels, st.sampled_from(["apply", "apply", "apply", "replace", "truncate"]), st.integers(1, 12)),
    max_size=25,
)


class Naive:
    """The oracle."""

    def __init__(self) -> None:
        self.sides: tuple[dict[Decimal, Level], dict[Decimal, Level]] = ({}, {})

    def apply(self, *changes: list[Level]) -> None:
        for side, levels in zip(self.sides, changes, strict=True):
            for price, size in levels:
                if Decimal(size):
                    side[Decimal(price)] = (price, size)
                else:
                    side.pop(Decimal(price), None)

    def truncate(self, depth: int) -> None:
        for side, best in zip(self.sides, (self.best(0, depth), self.best(1, depth)), strict=True):
            side.clear()
            side.update((Decimal(level[0]), level) for level in best)

    def best(self, side: int, depth: int) -> list[Level]:
        return [level for _, level in sorted(self.sides[side].items(), reverse=side == 0)][:depth]


@pytest.fixture(autouse=True)
def _little_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "_REACH", 4)


@given(steps=steps)
def test_the_book_equals_the_oracle_at_every_depth(steps: list[tuple[list[Level], list[Level], str, int]]) -> None:
    book, naive = TextBook(), Naive()
    for bids, asks, kind, depth in steps:
        if kind == "truncate":
            book.truncate(depth)
            naive.truncate(depth)
        else:
            if kind == "replace":
                naive = Naive()
                book.replace(bids, asks)
            else:
                book.apply(bids, asks)
            naive.apply(bids, asks)
        best = naive.best(0, 1), naive.best(1, 1)
        assert book.crossed() == bool(best[0] and best[1] and Decimal(best[0][0][0]) >= Decimal(best[1][0][0]))
        for asked in (1, depth, 300):
            assert book.bids(asked) == naive.best(0, asked)
            assert book.asks(asked) == naive.best(1, asked)
        assert book.sizes() == (len(naive.sides[0]), len(naive.sides[1]))


@pytest.mark.parametrize(
    "level",
    [
        ("0", "1"),
        ("-1", "1"),
        ("nan", "1"),
        ("inf", "1"),
        ("", "1"),
        ("1_0", "1"),
        (" 1", "1"),
        ("0x1", "1"),
        ("\u0661", "1"),
        ("1", "-1"),
        ("1", "nan"),
        ("1", "inf"),
        ("1", "1e999"),
        ("1", ""),
        ("1", "1#"),
        ("1",),
        ("1", "1", "1"),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_a_level_raises(level: Level, side: int) -> None:
    book = TextBook()
    book.apply([("5", "1")], [("6", "1")])
    with pytest.raises(ValueError):
        book.apply(*((level,), ()) if side == 0 else ((), (level,)))
    assert book.bids(9) == [("5", "1")]
    assert book.asks(9) == [("6", "1")]
