"""What may be seen of a book: no more than is proven, and no less is claimed to be missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbkube.market.verified import VerifiedBook, WithheldReason

BIDS = [(f"{price}", "1") for price in range(100, 90, -1)]
ASKS = [(f"{price}", "1") for price in range(101, 111)]


def made(*, covered: int | None = None, levels: int = 10) -> VerifiedBook:
    book = VerifiedBook("BTC-USDT", covered_depth=covered)
    book.book.replace(BIDS[:levels], ASKS[:levels])
    book.prove(1, 2)
    return book


def test_a_whole_book_is_not_truncated() -> None:
    assert made().levels(20) == (tuple(BIDS), tuple(ASKS), False)
    assert made().levels(3)[2] is True


@pytest.mark.parametrize(("levels", "truncated"), [(9, False), (10, True)])
def test_what_a_venue_keeps_up_to_date_may_end_anywhere(levels: int, truncated: bool) -> None:
    """Ten covered levels and ten held: whether there is an eleventh is not known, so its absence must not be claimed."""
    assert made(covered=10, levels=levels).levels(20)[2] is truncated


def test_levels_beyond_the_proof_are_never_shown() -> None:
    bids, asks, truncated = made(covered=4).levels(20)
    assert (bids, asks, truncated) == (tuple(BIDS[:4]), tuple(ASKS[:4]), True)


def test_prices_beyond_a_snapshots_range_are_never_shown() -> None:
    book = made()
    book.bid_floor, book.ask_cap = 97.0, 103.0
    bids, asks, truncated = book.levels(20)
    assert ([price for price, _ in bids], [price for price, _ in asks]) == (["100", "99", "98", "97"], ["101", "102", "103"])
    assert truncated


@given(st.integers(1, 12), st.one_of(st.none(), st.integers(1, 12)), st.floats(90, 101), st.floats(100, 111))
def test_what_is_shown_is_the_best_without_a_hole(depth: int, covered: int | None, floor: float, cap: float) -> None:
    book = made(covered=covered)
    book.bid_floor, book.ask_cap = floor, cap
    bids, asks, truncated = book.levels(depth)
    assert bids == tuple(BIDS[: len(bids)])
    assert asks == tuple(ASKS[: len(asks)])
    assert all(float(price) >= floor for price, _ in bids)
    assert all(float(price) <= cap for price, _ in asks)
    assert len(bids) <= min(depth, covered or depth)
    assert truncated


def test_withheld_and_halted_books_show_nothing() -> None:
    book = made()
    assert book.frame(feed="f", epoch=1, depth=5).withheld == ""
    book.tradable = False
    frame = book.frame(feed="f", epoch=1, depth=5)
    assert (frame.bids, frame.asks, frame.withheld, frame.truncated) == ((), (), WithheldReason.NOT_TRADABLE.value, True)
    book.tradable = True
    seq = book.seq
    assert book.withhold(WithheldReason.GAP)
    assert not book.withhold(WithheldReason.GAP), "the same reason again is no news"
    assert book.seq == seq + 1
    assert book.frame(feed="f", epoch=1, depth=5).bids == ()


def test_only_a_return_counts_as_a_resync() -> None:
    book = made()
    assert book.counts.resyncs == 0
    book.withhold(WithheldReason.GAP)
    book.prove(3, 4)
    assert book.counts.resyncs == 1


def test_a_forgotten_book_keeps_no_bounds() -> None:
    book = made()
    book.bid_floor, book.ask_cap = 97.0, 103.0
    book.forget()
    book.book.replace(BIDS, ASKS)
    assert book.levels(20) == (tuple(BIDS), tuple(ASKS), False)


@pytest.mark.parametrize("size", ["inf", "-inf", "nan", "-1", "", "1e400"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_size_that_no_order_has_is_refused(size: str, side: int) -> None:
    book = made()
    changes: list[list[tuple[str, str]]] = [[], []]
    changes[side] = [("100.5", size)]
    with pytest.raises(ValueError):
        book.book.apply(*changes)
