"""The state table of episodes, row by row, and what is said of it. `docs/detection.md` holds the same table."""

from __future__ import annotations

import pytest

from arbkube.detection.detector import Detector
from arbkube.detection.model import Balances, Sighting, SkipReason
from arbkube.resources.kinds import CrossVenue
from tests.detection.world import NOW, SECOND, Tape, config, levels, market, rich

BUY_A = "s:buy BTC-USDT@a>sell BTC-USDT@b"
NO_TABLE = Balances(strategy="s", at_ns=NOW, available={})


class Play:
    """Two fee-free markets. The ask on `a` is 100, so that a bid of 100 + x on `b` is an edge of x per cent."""

    def __init__(self, *, balances: bool = True, enter: str = "50bps", exit: str = "20bps") -> None:
        markets = [market(feed, "BTC-USDT", taker="0", lot="0.1") for feed in "ab"]
        strategy = CrossVenue(instruments=("BTC-USDT",))
        self.detector = Detector(config(*markets, cross_venue=strategy, enter=enter, exit=exit))
        self.tape = Tape()
        self.now = NOW
        self.said: list[Sighting] = []
        if balances:
            self.say(self.detector.on_balances(rich(self.detector), self.now))
        else:
            self.say(self.detector.on_balances(NO_TABLE, self.now))
        self.say(
            self.detector.on_batch(self.tape.book("a", "BTC-USDT", levels((99, 1)), levels((100, 1)), at=self.now), self.now)
        )

    def say(self, sightings: list[Sighting]) -> list[Sighting]:
        """Keep what is said of the direction that is played."""
        mine = [sighting for sighting in sightings if sighting.identity == BUY_A]
        self.said += mine
        return mine

    def bid(self, bid: str, *, after_ns: int = 1000) -> list[Sighting]:
        self.now += after_ns
        book = self.tape.book("b", "BTC-USDT", levels((bid, 1)), levels((110, 1)), at=self.now)
        other = self.tape.batch("a", at=self.now, alive={"BTC-USDT": self.now})
        self.detector.on_batch(other, self.now)
        return self.say(self.detector.on_batch(book, self.now))

    def withhold(self) -> list[Sighting]:
        self.now += 1000
        book = self.tape.book("b", "BTC-USDT", (), (), at=self.now, withheld="Gap")
        return self.say(self.detector.on_batch(book, self.now))

    @property
    def reason(self) -> SkipReason | None:
        return self.detector.outcomes[BUY_A]


IDLE, BETWEEN, ABOVE = "100.1", "100.3", "100.7"


@pytest.mark.parametrize(
    ("bids", "opportunities", "reason"),
    [
        ([IDLE], 0, SkipReason.BELOW_ENTER_EDGE),
        ([BETWEEN], 0, SkipReason.BELOW_ENTER_EDGE),
        ([ABOVE], 1, None),
        ([ABOVE, ABOVE], 1, SkipReason.EPISODE_OPEN),
        ([ABOVE, BETWEEN], 1, SkipReason.EPISODE_OPEN),
        ([ABOVE, BETWEEN, ABOVE], 1, SkipReason.EPISODE_OPEN),
        ([ABOVE, IDLE], 1, SkipReason.BELOW_ENTER_EDGE),
        ([ABOVE, IDLE, BETWEEN], 1, SkipReason.BELOW_ENTER_EDGE),
        ([ABOVE, IDLE, ABOVE], 2, None),
        (["100.5"], 1, None),  # exactly enterEdge
        (["100.49"], 0, SkipReason.BELOW_ENTER_EDGE),
        ([ABOVE, "100.2"], 1, SkipReason.EPISODE_OPEN),  # exactly exitEdge does not end it
        ([ABOVE, "100.19"], 1, SkipReason.BELOW_ENTER_EDGE),
    ],
)
def test_table(bids: list[str], opportunities: int, reason: SkipReason | None) -> None:
    play = Play()
    for bid in bids:
        play.bid(bid)
    assert sum(sighting.opportunity is not None for sighting in play.said) == opportunities
    assert play.detector.opportunities == opportunities
    assert play.reason is reason


@pytest.mark.parametrize(
    ("bids", "reason"),
    [
        ([ABOVE], SkipReason.NO_BALANCE),
        ([ABOVE, BETWEEN], SkipReason.BELOW_ENTER_EDGE),  # still open: balances below would take it at once
        ([ABOVE, IDLE], SkipReason.BELOW_ENTER_EDGE),
    ],
)
def test_open_without_being_taken(bids: list[str], reason: SkipReason) -> None:
    play = Play(balances=False)
    for bid in bids:
        play.bid(bid)
    assert play.reason is reason
    assert play.detector.opportunities == 0
    play.say(play.detector.on_balances(rich(play.detector), play.now))
    taken = bids == [ABOVE]
    assert play.detector.opportunities == taken
    # The episode began with the first sight of the edge, and the opportunity is named after that.
    if taken:
        assert play.said[-1].opportunity is not None
        assert play.reason is None


def test_open_is_taken_at_the_first_moment_all_checks_pass() -> None:
    play = Play(balances=False)
    play.bid(ABOVE)
    play.bid(BETWEEN)
    play.detector.on_balances(rich(play.detector), play.now)
    assert play.detector.opportunities == 0, "between exit and enter nothing is taken"
    (said,) = play.bid(ABOVE)
    assert said.opportunity is not None


def test_five_hundred_ticks_make_one_opportunity() -> None:
    play = Play()
    for tick in range(500):
        play.bid(f"100.{7 + tick % 2}")
    assert play.detector.opportunities == 1
    assert play.detector.counts["EpisodeOpen"] == 499
    assert sum(sighting.opportunity is not None for sighting in play.said) == 1
    assert len(play.said) <= 2


def test_a_lost_book_ends_the_episode() -> None:
    play = Play()
    play.bid(ABOVE)
    (end,) = play.withhold()
    assert end.reason is SkipReason.NO_BOOK
    assert end.opportunity is None
    (again,) = play.bid(ABOVE)
    assert again.opportunity is not None
    first = next(sighting.opportunity for sighting in play.said if sighting.opportunity is not None)
    assert again.opportunity.id != first.id
    assert again.opportunity.identity == first.identity


def test_the_end_is_said_with_the_best_edge() -> None:
    play = Play()
    for bid in (ABOVE, "101.5", BETWEEN):
        play.bid(bid)
    (end,) = play.bid(IDLE)
    assert end.reason is SkipReason.BELOW_ENTER_EDGE
    assert end.net_edge_bps is not None
    assert 149 < end.net_edge_bps <= 150
    assert 149 < play.detector.closest[BUY_A] <= 150


def test_a_book_that_goes_stale_in_silence_ends_the_episode_on_time() -> None:
    play = Play()
    play.bid(ABOVE)
    deadline = play.detector.next_deadline()
    assert deadline == play.now + 2 * SECOND + 1
    assert play.detector.on_time(deadline - 1) == []
    said = play.detector.on_time(deadline)
    assert [sighting.reason for sighting in said] == [SkipReason.STALE_BOOK]
    assert play.detector.next_deadline() is None
    assert play.detector.on_time(deadline + 1) == []


def test_a_clock_that_is_no_longer_known_ends_the_episode() -> None:
    play = Play()
    play.bid(ABOVE)
    pulse = play.tape.batch("b", at=play.now, offset=None, alive={"BTC-USDT": play.now})
    (end,) = play.say(play.detector.on_batch(pulse, play.now))
    assert end.reason is SkipReason.CLOCK_UNKNOWN


def test_a_sign_of_life_prolongs_the_episode() -> None:
    play = Play()
    play.bid(ABOVE)
    play.now += 3 * SECOND // 2
    for feed in "ab":
        play.detector.on_batch(play.tape.batch(feed, at=play.now, alive={"BTC-USDT": play.now}), play.now)
    assert play.detector.next_deadline() == play.now + 2 * SECOND + 1
    assert play.detector.on_time(play.now + SECOND) == []


def test_what_is_said_is_bounded() -> None:
    """A thousand frames a second around zero, below enterEdge, with books lost in between."""
    play = Play(enter="5000bps")
    for tick in range(5_000):
        if tick % 7 == 0:
            play.withhold()
        else:
            play.bid(IDLE if tick % 2 else "99.9", after_ns=SECOND // 1000)
    # One for each reason at first, then at most one a second: the edge has been above zero.
    assert len(play.said) <= 3 + 5


def test_edges_that_were_never_positive_are_said_once_a_reason() -> None:
    play = Play()
    for tick in range(100):
        if tick % 3:
            play.bid("99.5", after_ns=2 * SECOND)
        else:
            play.withhold()
    assert [sighting.reason for sighting in play.said] == [SkipReason.NO_BOOK, SkipReason.BELOW_ENTER_EDGE]


def test_every_look_is_counted_once() -> None:
    play = Play()
    for tick in range(300):
        play.bid((IDLE, BETWEEN, ABOVE)[tick % 3])
    # Two directions, one look each a frame; the book of `a` at the start was one more.
    assert sum(play.detector.counts.values()) + play.detector.opportunities == 2 * 301
    assert play.detector.opportunities == 100
