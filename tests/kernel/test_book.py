"""The flat book is the text book: the same calls, the same answers, the same errors."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.market.book import TextBook
from tests.kernel.both import needs_compiled

pytestmark = needs_compiled

NEAR = st.integers(99_000, 101_000).map(lambda ticks: f"{ticks / 100:.2f}")
PRICES = st.one_of(
    NEAR,
    NEAR,
    st.integers(99_000, 101_000).map(lambda ticks: f"{ticks / 100:.8f}"),
    st.integers(1, 10**9).map(lambda ticks: f"{ticks / 100:.2f}"),
    st.sampled_from(["1000", "1000.0", "1000.00", "0.00000001", "999999999999999", "1000.000000000000001", "1000.123456789"]),
    st.decimals(min_value="1e-12", max_value="1e12", allow_nan=False, allow_infinity=False).map(lambda price: f"{price:f}"),
)
SIZES = st.one_of(
    st.sampled_from(["0", "0.00", "0.00000000"]),
    st.sampled_from(["1", "1.0", "0.5", "7.10", "12345678901.00000000", "999999999999999999", "0.000000000000000001"]),
    st.integers(1, 10**10).map(lambda lots: f"{lots / 10**5:.5f}"),
)
ODD = ["", "0", "0.0", "-1", "nan", "inf", "01", "00.5", "1.", ".5", "1e2", "1E-2", "+1", " 1", "1 ", "1_0", "0x1", "1\0", "٣"]
ODD += ["9" * 19, "9" * 40, "0." + "1" * 19, "1" * 10 + "." + "1" * 10, "1#", "12345678901234567890.0000", "1e999", "1e-999"]
LEVEL = st.tuples(PRICES, SIZES)
ODD_LEVEL = st.one_of(
    st.tuples(st.sampled_from(ODD), SIZES),
    st.tuples(PRICES, st.sampled_from(ODD)),
    st.tuples(PRICES),
    st.tuples(PRICES, SIZES, SIZES),
    st.tuples(PRICES, st.just(1)),
    st.lists(PRICES, min_size=2, max_size=2),
)


def step(levels: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any, Any, int]]:
    changes = st.lists(levels, max_size=20)
    kinds = st.sampled_from(["apply"] * 6 + ["replace", "truncate", "clear"])
    return st.tuples(kinds, changes, changes, st.sampled_from([0, 1, 2, 3, 5, 10, 20, 70, 500]))


def outcome(book: Any, kind: str, bids: Any, asks: Any, depth: int) -> Any:
    """What a call says, and what the book is afterwards."""
    raised: type[Exception] | None = None
    try:
        if kind == "truncate":
            book.truncate(depth)
        elif kind == "clear":
            book.clear()
        else:
            getattr(book, kind)(bids, asks)
    except Exception as error:
        raised = type(error)
    reads = [(book.bids(asked), book.asks(asked)) for asked in (depth, 1, 20, 1000)]
    return raised, reads, book.top(), book.sizes(), book.crossed()


def compare(steps: list[tuple[str, Any, Any, int]]) -> None:
    from arbkube.kernel._compiled import TickBook

    flat, text = TickBook(), TextBook()
    for kind, bids, asks, depth in steps:
        assert outcome(flat, kind, bids, asks, depth) == outcome(text, kind, bids, asks, depth)


@given(st.lists(step(LEVEL), max_size=12))
def test_the_flat_book_is_the_text_book(steps: list[tuple[str, Any, Any, int]]) -> None:
    compare(steps)


@settings(max_examples=50)
@given(st.lists(step(st.one_of(LEVEL, LEVEL, LEVEL, ODD_LEVEL)), max_size=12))
def test_what_ticks_cannot_hold_is_held_all_the_same(steps: list[tuple[str, Any, Any, int]]) -> None:
    compare(steps)


@settings(max_examples=50)
@given(st.data())
def test_a_price_that_wanders_far_takes_the_window_along(data: st.DataObject) -> None:
    """Steps of up to three windows in both directions, over books that are dense here and sparse there."""
    from arbkube.kernel._compiled import TickBook

    flat, text = TickBook(), TextBook()
    middle = 10**7
    for _ in range(data.draw(st.integers(1, 15))):
        middle = max(10**5, middle + data.draw(st.integers(-200_000, 200_000)))
        spread = data.draw(st.sampled_from([5, 300, 3000, 60_000]))
        away = st.integers(1, spread)
        size = st.sampled_from(["0.000", "1.000", "2.5", "3"])
        bids = [(f"{(middle - each) / 100:.2f}", data.draw(size)) for each in data.draw(st.lists(away, max_size=40))]
        asks = [(f"{(middle + each) / 100:.2f}", data.draw(size)) for each in data.draw(st.lists(away, max_size=40))]
        depth = data.draw(st.sampled_from([1, 20, 100]))
        assert outcome(flat, "apply", bids, asks, depth) == outcome(text, "apply", bids, asks, depth)
    assert flat.text is None


def test_a_book_grows_while_changes_fall_beyond_it() -> None:
    from arbkube.kernel._compiled import TickBook

    flat, text = TickBook(), TextBook()
    for book in (flat, text):
        book.apply([("500000.00", "1")], [("500000.01", "1")])
        for ticks in range(1, 200_000, 37):
            book.apply([(f"{500_000 - ticks / 100:.2f}", "2.0")], [(f"{500_000 + ticks / 100:.2f}", "3.0")])
    assert flat.sizes() == text.sizes()
    assert flat.bids(10**6) == text.bids(10**6)
    assert flat.asks(10**6) == text.asks(10**6)


def test_levels_told_again_are_the_same_objects() -> None:
    from arbkube.kernel._compiled import TickBook

    book = TickBook()
    book.apply([("5.0", "1"), ("4.0", "1")], [])
    first = book.bids(2)
    book.apply([("5.0", "2")], [])
    second = book.bids(2)
    assert second == [("5.0", "2"), ("4.0", "1")]
    assert second[1] is first[1]


def test_a_book_that_became_text_is_flat_again_once_emptied() -> None:
    from arbkube.kernel._compiled import TickBook

    book = TickBook()
    book.apply([("5.0", "1e2")], [])
    assert book.text is not None
    book.replace([("5.0", "1")], [])
    assert book.text is None
    assert book.bids(9) == [("5.0", "1")]


@given(
    st.one_of(SIZES, st.sampled_from(ODD), st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,20})?", fullmatch=True)),
    st.integers(0, 2**64 - 1),
    st.integers(-3, 20),
)
def test_contracts_become_the_same_units(text: str, coefficient: int, places: int) -> None:
    from arbkube.kernel._compiled import multiplied

    assert multiplied("27.50", 1, 2) == "0.2750"
    product = multiplied(text, coefficient, places)
    if product is not None:
        exact = Context(prec=100).multiply(Decimal(text), Decimal(coefficient).scaleb(-places))
        assert product == f"{exact:f}"
