"""What holds for the detector as a whole: the same calls give the same answers, and only what a batch touches is looked at."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbkube.detection.books import Book, Feed
from arbkube.detection.cycles.rings import Graph
from arbkube.detection.detector import Detector
from arbkube.detection.model import Sighting
from arbkube.market.frames import FrameBatch
from arbkube.market.instruments import FeeAsset, Market
from arbkube.resources.kinds import CrossVenue, Cycle
from tests.detection.world import NOW, SECOND, Tape, config, levels, market, rich


def session(seed: int) -> tuple[Detector, list[Sighting]]:
    """A random market with losses, pulses, silence and crossing prices, for both kinds of strategy."""
    random = Random(seed)
    symbols = ("BTC-USDT", "ETH-USDT", "ETH-BTC", "BTC-USD", "USDT-USD")
    worth = {"BTC": 100.0, "ETH": 10.0, "USDT": 1.0, "USD": 1.0}
    markets = [market(feed, symbol, taker="0.0005", lot="0.01") for feed in "abc" for symbol in symbols]
    strategy = {"cross_venue": CrossVenue(instruments=("BTC-USDT", "ETH-USDT"))} if seed % 2 else {}
    cycle = {} if seed % 2 else {"cycle": Cycle(start_assets=("USDT", "BTC"), max_legs=4)}
    detector = Detector(config(*markets, **strategy, **cycle))  # type: ignore[arg-type]
    tape, said, now = Tape(), list[Sighting](), NOW
    for step in range(600):
        now += random.randint(1, SECOND // 50)
        each = random.choice(markets)
        rules = each.instrument
        middle = worth[rules.base] / worth[rules.quote] * random.gauss(1, 0.002)
        bids = levels(*((f"{middle * (1 - place * 2e-4):.6f}", random.randint(1, 9)) for place in range(1, 5)))
        asks = levels(*((f"{middle * (1 + place * 2e-4):.6f}", random.randint(1, 9)) for place in range(1, 5)))
        kind = random.random()
        if step == 100:
            said += detector.on_balances(rich(detector), now)
        alive = dict.fromkeys(symbols, now)
        if kind < 0.05:
            batch: FrameBatch = tape.batch(each.feed, tape.frame(each.feed, rules.symbol, (), (), withheld="Gap"), alive=alive)
        elif kind < 0.1:
            batch = tape.batch(each.feed, alive=alive)
        else:
            batch = tape.batch(each.feed, tape.frame(each.feed, rules.symbol, bids, asks, at=now), alive=alive)
        said += detector.on_batch(batch, now)
        deadline = detector.next_deadline()
        if deadline is not None and deadline <= now:
            said += detector.on_time(now)
    return detector, said


@pytest.mark.parametrize("seed", range(4))
def test_the_same_calls_give_the_same_answers(seed: int) -> None:
    first, first_said = session(seed)
    second, second_said = session(seed)
    assert first_said == second_said
    assert (first.counts, first.opportunities, first.closest) == (second.counts, second.opportunities, second.closest)
    assert first.opportunities > 0


@pytest.mark.parametrize("seed", range(4))
def test_an_opportunity_stands_for_itself(seed: int) -> None:
    """Ids are unique, every episode has at most one, and one identity's are never twice in a row without an end between."""
    _, said = session(seed)
    taken = [sighting.opportunity for sighting in said if sighting.opportunity is not None]
    assert len({opportunity.id for opportunity in taken}) == len(taken)
    open_now: set[str] = set()
    for sighting in said:
        if sighting.opportunity is not None:
            assert sighting.identity not in open_now
            open_now.add(sighting.identity)
        elif sighting.reason is not None:
            open_now.discard(sighting.identity)


def test_only_what_a_batch_touches_is_looked_at() -> None:
    markets = [market(feed, symbol) for feed in "abcde" for symbol in ("BTC-USDT", "ETH-USDT", "XRP-USDT")]
    strategy = CrossVenue(instruments=("BTC-USDT", "ETH-USDT", "XRP-USDT"))
    detector = Detector(config(*markets, cross_venue=strategy))
    tape = Tape()
    for each in markets:
        detector.on_batch(tape.book(each.feed, each.instrument.symbol, levels((99, 1)), levels((100, 1))), NOW)
    before = sum(detector.counts.values())
    detector.on_batch(tape.book("a", "BTC-USDT", levels((98, 1)), levels((99, 1))), NOW)
    assert sum(detector.counts.values()) - before == 8, "four other feeds, two directions"
    detector.on_batch(tape.batch("a", alive={"BTC-USDT": NOW}), NOW)
    assert sum(detector.counts.values()) - before == 8, "a pulse moves nothing"


def test_pairs_need_two_feeds_and_one_named_market() -> None:
    markets = [
        market("a", "BTC-USDT"),
        market("a", "BTC-USD"),
        market("b", "BTC-USD"),
        market("b", "ETH-USDT"),
        market("c", "BTC-USD"),
    ]
    detector = Detector(config(*markets, cross_venue=CrossVenue(instruments=("BTC-USDT", "ETH-USDT"))))
    assert set(detector.outcomes) == {
        "s:buy BTC-USDT@a>sell BTC-USD@b",
        "s:buy BTC-USD@b>sell BTC-USDT@a",
        "s:buy BTC-USDT@a>sell BTC-USD@c",
        "s:buy BTC-USD@c>sell BTC-USDT@a",
    }


@given(
    st.sets(st.sampled_from([f"{base}-{quote}" for base, quote in permutations("ABCDEF", 2)]), max_size=14),
    st.lists(st.sampled_from("ABC"), min_size=1, max_size=2, unique=True),
    st.sampled_from([3, 4]),
)
def test_rings_are_all_simple_cycles_once(symbols: set[str], starts: list[str], max_legs: int) -> None:
    feed = Feed("a", max_age_ns=1, max_transit_ns=1)
    books = [Book(place, market("a", symbol), feed) for place, symbol in enumerate(sorted(symbols))]
    graph = Graph(books, tuple(starts), max_legs)
    joined = {frozenset(symbol.split("-")) for symbol in symbols}
    expected = set()
    for length in range(3, max_legs + 1):
        for path in permutations("ABCDEF", length):
            begins = [asset for asset in starts if asset in path]
            closed = all(frozenset((path[place], path[(place + 1) % length])) in joined for place in range(length))
            if closed and begins and path[0] == begins[0]:
                expected.add(path)
    found = [tuple(hop.source for hop in ring.hops) for hop in graph._hops.values() for ring in hop.through]
    assert set(found) == expected
    assert graph.rings == len(expected)
    assert len(found) == sum(len(path) for path in expected), "each hop of a ring knows it once"


def test_parallel_markets_one_at_a_time_and_the_best_that_can_be_taken() -> None:
    """The best choice of markets lacks balance: the next best is taken, and while it is, no other of the same ring is."""
    markets: list[Market] = [market(feed, "BTC-USDT", taker="0") for feed in "ab"]
    markets += [market("a", symbol, taker="0", charged_in=FeeAsset.RECEIVED) for symbol in ("ETH-BTC", "ETH-USDT")]
    detector = Detector(config(*markets, cycle=Cycle(start_assets=("USDT",)), max_notional="50"))
    balances = rich(detector)
    balances.available["b"].clear()
    detector.on_balances(balances, NOW)
    tape = Tape()
    detector.on_batch(tape.book("a", "BTC-USDT", levels((99, 5)), levels(("100", 5))), NOW)
    detector.on_batch(tape.book("b", "BTC-USDT", levels((99, 5)), levels(("99.9", 5))), NOW)
    detector.on_batch(tape.book("a", "ETH-BTC", levels(("0.099", 50)), levels(("0.1", 50))), NOW)
    said = detector.on_batch(tape.book("a", "ETH-USDT", levels(("10.1", 50)), levels((12, 50))), NOW)
    forward = [sighting for sighting in said if "buy BTC" in sighting.identity]
    assert [(sighting.reason, sighting.identity.split(">")[0]) for sighting in forward] == [
        ("NoBalance", "s:buy BTC-USDT@b"),
        (None, "s:buy BTC-USDT@a"),
    ]
    said = detector.on_balances(rich(detector), NOW)
    assert detector.opportunities == 1
    detector.on_batch(tape.book("b", "BTC-USDT", levels((99, 5)), levels(("99.8", 5))), NOW)
    assert detector.opportunities == 1


def test_a_storm_is_looked_at_a_few_rings_at_a_time() -> None:
    """One wrong price makes many rings promising; those not looked at now are when a market of theirs moves again."""
    coins = [f"C{number}" for number in range(20)]
    symbols = ["BTC-USDT"] + [f"{coin}-{quote}" for coin in coins for quote in ("USDT", "BTC")]
    markets = [market("a", symbol, taker="0") for symbol in symbols]
    detector = Detector(config(*markets, cycle=Cycle(start_assets=("USDT",)), max_notional="50"))
    detector.on_balances(rich(detector), NOW)
    tape = Tape()
    for symbol in symbols:
        price = 100.0 if symbol == "BTC-USDT" else 1.0 if symbol.endswith("USDT") else 0.01
        book = levels((f"{price * 0.9999:.8f}", 500)), levels((f"{price * 1.0001:.8f}", 500))
        detector.on_batch(tape.book("a", symbol, *book), NOW)
    assert detector.opportunities == 0
    wrong = [levels(("101", 500)), levels(("101.01", 500))]
    taken = []
    for _ in range(7):
        said = detector.on_batch(tape.book("a", "BTC-USDT", *wrong), NOW)
        taken.append(sum(sighting.opportunity is not None for sighting in said))
    assert taken[:5] == [4, 4, 4, 4, 4]
    assert taken[5:] == [0, 0]
    assert detector.opportunities == 20
