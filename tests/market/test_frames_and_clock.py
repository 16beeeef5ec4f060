"""Conflation keeps what is known, frames survive the wire, transit is judged by its rolling least, rounding is against us."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbkube.market.clock import TransitGauge
from arbkube.market.frames import BookFrame, FrameBatch, conflate, decode, encode
from arbkube.market.instruments import Instrument, MarketType, Side, parse_symbol

SECOND = 10**9

levels = st.lists(st.tuples(st.sampled_from(["1.0", "2.50", "1e-8"]), st.just("3")), max_size=3).map(tuple)
frames = st.builds(
    BookFrame,
    feed=st.just("one"),
    symbol=st.sampled_from(["A-B", "C-D", "E-F-PERP"]),
    epoch=st.just(0),
    seq=st.just(0),
    bids=levels,
    asks=levels,
    truncated=st.booleans(),
    venue_ns=st.integers(0, 2**62),
    recv_ns=st.integers(0, 2**62),
    withheld=st.sampled_from(["", "Gap"]),
)
batches = st.builds(
    FrameBatch,
    feed=st.sampled_from(["one", "two"]),
    epoch=st.just(0),
    sent_ns=st.integers(0, 2**62),
    clock_offset_ns=st.none() | st.integers(-(2**40), 2**40),
    alive_ns=st.dictionaries(st.sampled_from(["A-B", "C-D"]), st.integers(0, 2**62)),
    excess_transit_ns=st.dictionaries(st.sampled_from(["A-B", "C-D"]), st.integers(0, 2**62)),
    frames=st.lists(frames, max_size=4).map(tuple),
)


class Knowledge:
    """All that a reader may know of what it was told: a new epoch is a new feed."""

    def __init__(self) -> None:
        self.feeds: dict[str, dict[str, object]] = {}

    def hear(self, batch: FrameBatch) -> None:
        known = self.feeds.get(batch.feed)
        if known is None or known["epoch"] != batch.epoch:
            known = self.feeds[batch.feed] = {"epoch": batch.epoch, "alive": {}, "excess": {}, "books": {}}
        known["sent"], known["offset"] = batch.sent_ns, batch.clock_offset_ns
        known["alive"] |= batch.alive_ns  # type: ignore[operator]
        known["excess"] |= batch.excess_transit_ns  # type: ignore[operator]
        known["books"] |= {frame.symbol: frame for frame in batch.frames}  # type: ignore[operator]


def numbered(several: list[FrameBatch], restarts: list[bool]) -> list[FrameBatch]:
    """The epochs and sequences that feeds would give: both only grow."""
    epoch, made = {"one": 1, "two": 1}, []
    for seq, batch in enumerate(several):
        epoch[batch.feed] += seq < len(restarts) and restarts[seq]
        now = epoch[batch.feed]
        told = tuple(msgspec.structs.replace(frame, feed=batch.feed, epoch=now, seq=seq) for frame in batch.frames)
        made.append(msgspec.structs.replace(batch, epoch=now, frames=told))
    return made


@given(several=st.lists(batches, max_size=12), restarts=st.lists(st.booleans(), max_size=12))
def test_conflation_is_the_same_knowledge_in_fewer_batches(several: list[FrameBatch], restarts: list[bool]) -> None:
    told = numbered(several, restarts)
    fewer = conflate(told)
    one_by_one, at_once = Knowledge(), Knowledge()
    for batch in told:
        one_by_one.hear(batch)
    for batch in fewer:
        at_once.hear(batch)
    assert at_once.feeds == one_by_one.feeds
    assert len(fewer) == len({(batch.feed, batch.epoch) for batch in told})
    for batch in fewer:
        symbols = [frame.symbol for frame in batch.frames]
        assert len(symbols) == len(set(symbols))
    assert conflate(fewer) == fewer


@given(batch=batches)
def test_a_batch_survives_the_wire(batch: FrameBatch) -> None:
    assert decode(encode(batch)) == batch


@given(data=st.binary(max_size=50))
def test_what_is_no_batch_raises_what_readers_expect(data: bytes) -> None:
    try:
        decode(data)
    except msgspec.MsgspecError:
        return
    raise AssertionError("random bytes are no batch")


@given(steps=st.lists(st.tuples(st.integers(0, 25 * SECOND), st.integers(0, SECOND)), min_size=1, max_size=60))
def test_excess_transit_is_above_the_least_of_about_a_minute(steps: list[tuple[int, int]]) -> None:
    gauge, offset = TransitGauge(), -123 * SECOND
    seen: list[tuple[int, int]] = []
    recv_ns = 1_700_000_000 * SECOND
    for after, delay in steps:
        recv_ns += after
        seen.append((recv_ns, delay))
        excess = gauge.excess(recv_ns - delay + offset, recv_ns)
        # The window moves in steps of ten seconds: it holds at least fifty and at most sixty.
        certain = min(d for at, d in seen if at > recv_ns - 50 * SECOND)
        possible = min(d for at, d in seen if at > recv_ns - 60 * SECOND)
        assert delay - certain <= excess <= delay - possible


def test_an_event_out_of_order_does_not_age_the_window() -> None:
    gauge, now = TransitGauge(), 1_700_000_000 * SECOND
    assert gauge.excess(now - 10, now) == 0
    for turn in range(8):
        gauge.excess(now - 20 * SECOND - 5000, now - 20 * SECOND)
        assert gauge.excess(now + turn - 1010, now + turn) == 1000


def test_a_venue_without_a_clock_has_no_excess() -> None:
    assert TransitGauge().excess(0, 5) == 0


def instrument(tick: str, lot: str) -> Instrument:
    return Instrument(
        venue="x",
        market=MarketType.SPOT,
        symbol="A-B",
        native="AB",
        base="A",
        quote="B",
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_quantity=Decimal(lot),
        min_notional=Decimal(5),
    )


steps = st.sampled_from(["0.01", "0.00001", "0.5", "1", "10", "0.003"])
amounts = st.decimals("0", "1000000", places=8)


@given(tick=steps, price=amounts)
def test_prices_move_against_us_by_less_than_a_tick(tick: str, price: Decimal) -> None:
    ours = instrument(tick, "1")
    bought, sold = ours.price_against_us(price, Side.BUY), ours.price_against_us(price, Side.SELL)
    assert price <= bought < price + ours.tick
    assert price - ours.tick < sold <= price
    assert bought % ours.tick == sold % ours.tick == 0


@given(lot=steps, quantity=amounts, price=amounts)
def test_quantities_are_whole_lots_and_never_more(lot: str, quantity: Decimal, price: Decimal) -> None:
    ours = instrument("0.01", lot)
    down = ours.quantity_down(quantity)
    assert quantity - ours.lot < down <= quantity
    assert down % ours.lot == 0
    assert ours.orderable(down, price) == (down >= ours.lot and down * price >= 5)
    assert not ours.orderable(down + ours.lot / 2, Decimal(10**9))


@pytest.mark.parametrize("symbol", ["", "BTC", "-", "BTC-", "-USDT", "BTC-USDT-SPOT", "BTC-USDT-PERP-X", "BTC--PERP"])
def test_what_is_no_instrument_says_how_to_write_one(symbol: str) -> None:
    with pytest.raises(ValueError, match="write BASE-QUOTE or BASE-QUOTE-PERP"):
        parse_symbol(symbol)
