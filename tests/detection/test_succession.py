"""A detector that succeeds another: the same books, the same episodes, and nothing said twice or left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from arbkube.detection.detector import Detector, DetectorConfig
from arbkube.detection.model import Sighting, SkipReason
from arbkube.market.frames import FrameBatch
from arbkube.resources.kinds import CrossVenue, Cycle
from arbkube.resources.scalars import Bps
from tests.detection.world import NOW, Tape, config, levels, market, rich

PAIRS = config(
    *(market(feed, "BTC-USDT", taker="0", lot="0.1") for feed in "ab"),
    cross_venue=CrossVenue(instruments=("BTC-USDT",)),
    enter="50bps",
    exit="20bps",
)
RING = config(
    *(market(feed, symbol, taker="0", lot="0.0001") for feed in "ab" for symbol in ("BTC-USDT", "ETH-BTC", "ETH-USDT")),
    cycle=Cycle(start_assets=("USDT",)),
    enter="50bps",
    exit="20bps",
)
PRICES = {"BTC-USDT": 100.0, "ETH-BTC": 0.1, "ETH-USDT": 10.0}

Move = tuple[str, str, int]
"""Feed, symbol, and how far its book moves, in tenths of a per cent."""


def moves(settings: DetectorConfig) -> st.SearchStrategy[list[Move]]:
    keys = [market.key for market in settings.markets]
    return st.lists(st.tuples(st.sampled_from(keys), st.integers(-12, 12)).map(lambda m: (*m[0], m[1])), max_size=25)


def batches(made: list[Move]) -> list[FrameBatch]:
    """One after another, a millisecond apart, each feed alive throughout."""
    tape = Tape()
    found = []
    for number, (feed, symbol, tenths) in enumerate(made):
        bid = PRICES[symbol] * (1 + tenths / 1000)
        book = tape.frame(
            feed,
            symbol,
            levels((f"{bid:.6f}", 50)),
            levels((f"{bid * 1.0005:.6f}", 50)),
            at=NOW + number * 10**6,
        )
        found.append(tape.batch(feed, book, at=NOW + number * 10**6))
    return found


def opportunities(settings: DetectorConfig, told: list[FrameBatch], *, swaps: frozenset[int]) -> list[Sighting]:
    """What is said when the detector is replaced before each of the batches numbered in `swaps`."""
    detector = Detector(settings)
    said = detector.on_balances(rich(detector), NOW)
    for number, batch in enumerate(told):
        if number in swaps:
            successor = Detector(replace(settings, revision=f"r{number}"))
            said += successor.succeed(detector, batch.sent_ns - 1000)
            detector = successor
        said += detector.on_batch(batch, batch.sent_ns)
    return [sighting for sighting in said if sighting.opportunity is not None]


def same(settings: DetectorConfig, made: list[Move], swaps: frozenset[int]) -> None:
    told = batches(made)
    plain = opportunities(settings, told, swaps=frozenset())
    swapped = opportunities(settings, told, swaps=swaps)
    assert [(s.at_ns, s.opportunity.id) for s in swapped if s.opportunity] == [
        (s.at_ns, s.opportunity.id) for s in plain if s.opportunity
    ]


@given(made=moves(PAIRS), swaps=st.frozensets(st.integers(0, 25)))
def test_swaps_change_nothing_of_what_is_taken(made: list[Move], swaps: frozenset[int]) -> None:
    same(PAIRS, made, swaps)


@given(made=moves(RING), swaps=st.frozensets(st.integers(0, 25)))
def test_swaps_change_nothing_of_the_rings_that_are_taken(made: list[Move], swaps: frozenset[int]) -> None:
    """Nor is another choice of markets of a taken ring taken because of a swap."""
    same(RING, made, swaps)


def crossed() -> tuple[Detector, Tape]:
    """A detector whose one episode is taken."""
    detector, tape = Detector(PAIRS), Tape()
    detector.on_balances(rich(detector), NOW)
    detector.on_batch(tape.book("a", "BTC-USDT", levels((99, 1)), levels((100, 1))), NOW)
    [taken] = detector.on_batch(tape.book("b", "BTC-USDT", levels((101, 1)), levels((110, 1))), NOW)[:1]
    assert taken.opportunity is not None
    return detector, tape


def test_the_opportunity_carries_the_revision_it_was_decided_under() -> None:
    told = batches([("a", "BTC-USDT", 0), ("b", "BTC-USDT", 10)])
    [sighting] = opportunities(PAIRS, told, swaps=frozenset({1}))
    assert sighting.opportunity is not None
    assert sighting.opportunity.revision == "r1"


def test_an_episode_ends_by_the_new_configuration() -> None:
    old, _ = crossed()
    stricter = replace(PAIRS.detection, enter_edge=Bps("200bps"), exit_edge=Bps("150bps"))
    [end] = Detector(replace(PAIRS, detection=stricter)).succeed(old, NOW + 1000)
    assert (end.opportunity, end.reason) == (None, SkipReason.BELOW_ENTER_EDGE)


def test_an_episode_whose_market_is_gone_ends() -> None:
    old, _ = crossed()
    new = Detector(replace(PAIRS, markets=PAIRS.markets[:1]))
    [end] = new.succeed(old, NOW + 1000)
    assert (end.opportunity, end.reason) == (None, SkipReason.NO_BOOK)
    assert not new.outcomes


def test_what_the_old_one_never_looked_at_is_looked_at_at_once() -> None:
    """A new instrument has its books with the next batch; one that was known but not compared has them already."""
    old, _ = crossed()
    narrow = Detector(replace(PAIRS, cross_venue=CrossVenue(instruments=("ETH-USDT",))))
    assert [end.reason for end in narrow.succeed(old, NOW + 1000)] == [SkipReason.NO_BOOK]
    [again, *_] = Detector(PAIRS).succeed(narrow, NOW + 2000)
    assert again.opportunity is not None, "another episode, since the first one ended"
