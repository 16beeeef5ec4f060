"""Episodes: when a chance begins and ends, that it is taken once, and what is worth saying about it.

For: `Chance` (what is remembered of one identity) and `Judge` (what follows from each look at it). May not: search, or read a
clock. The state table is in `docs/detection.md`; `edge` below is that of the best levels, which no size can better.

    state  | lost, or edge < exitEdge | exitEdge ≤ edge < enterEdge | edge ≥ enterEdge, skipped | edge ≥ enterEdge, sized
    Idle   | Idle                     | Idle                        | Open                      | Taken: opportunity
    Open   | Idle: said               | Open                        | Open                      | Taken: opportunity
    Taken  | Idle: said               | Taken (EpisodeOpen)         | Taken (EpisodeOpen)       | Taken (EpisodeOpen)

Legs that are skewed lose nothing of an episode: fresh books one update apart say neither that it lasts nor that it is over, and
a leg that stays behind is stale soon.

What is said is bounded. An opportunity and the end of its episode always are. Anything else is said when its reason is new
for the identity, or when the reason changed, the edge has been above zero and above exitEdge since something was last said,
and that was QUIET_NS ago.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from enum import Enum

from arbkube.detection.books import Book
from arbkube.detection.ladder import EXACT
from arbkube.detection.model import Leg, LegSeen, Opportunity, Sighting, SkipReason, identity_of, opportunity_id
from arbkube.detection.sizing import Sized, SizedLeg
from arbkube.market.instruments import Side

QUIET_NS = 10**9
"""A change that is not about an opportunity is said at most this often for one identity."""

EDGE_SLACK = 1e-9
"""Floats only propose: an edge this little below `enterEdge` is still sized, and exact arithmetic decides."""

_BPS_UNIT = Decimal("1e-6")
_NEVER = float("-inf")


def bps(edge: float) -> Decimal:
    """A fraction as basis points, rounded down."""
    return EXACT.multiply(Decimal(edge), Decimal(10000)).quantize(_BPS_UNIT, ROUND_FLOOR, EXACT)


class State(Enum):
    """Where the episode of an identity stands."""

    IDLE = 0
    OPEN = 1
    TAKEN = 2


class Chance:
    """What is remembered of one identity. `closest` is its best edge ever, `peak` its best of the episode."""

    __slots__ = (
        "_interesting",
        "_known",
        "closest",
        "identity",
        "legs",
        "opened_ns",
        "peak",
        "reason",
        "said",
        "said_ns",
        "state",
    )

    def __init__(self, strategy: str, legs: tuple[tuple[Book, Side], ...]) -> None:
        self.legs = legs
        self.identity = identity_of(strategy, tuple((book.feed.name, book.symbol, side) for book, side in legs))
        self.state = State.IDLE
        self.opened_ns = 0
        self.reason: SkipReason | None = None
        self.closest = _NEVER
        self.peak = _NEVER
        self.said: SkipReason | None = None
        self.said_ns = 0
        self._known: set[SkipReason] = set()
        self._interesting = False

    def resume(self, old: Chance) -> None:
        """Remember what `old`, the same identity under another configuration, remembers."""
        for name in Chance.__slots__:
            if name not in ("identity", "legs"):
                setattr(self, name, getattr(old, name))

    def looked_at(self, edge: float, floor: float) -> None:
        """Note the edge of fresh books."""
        self.closest = max(self.closest, edge)
        self.peak = max(self.peak, edge)
        self._interesting = self._interesting or edge > floor

    def news(self, reason: SkipReason, now_ns: int) -> bool:
        """Whether a skip for `reason` is worth saying; notes that it is said."""
        if reason is self.said:
            return False
        if reason in self._known and (not self._interesting or now_ns - self.said_ns < QUIET_NS):
            return False
        self.saying(reason, now_ns)
        return True

    def saying(self, reason: SkipReason | None, now_ns: int) -> None:
        """Note that something is said, so that the same is not said again."""
        if reason is not None:
            self._known.add(reason)
        self.said = reason
        self.said_ns = now_ns
        self._interesting = False


class Judge:
    """Draws the conclusion from each look at a chance, counts it, and collects what is to be said.

    Thresholds are fractions. `counts` has every look by the reason it ended with, those that gave an opportunity in
    `opportunities` instead.
    """

    def __init__(
        self, *, strategy: str, strategy_uid: str, revision: str, profit_asset: str, enter_edge: Decimal, exit_edge: Decimal
    ) -> None:
        self.strategy = strategy
        self.strategy_uid = strategy_uid
        self.revision = revision
        self.profit_asset = profit_asset
        self.enter_edge = enter_edge
        self.exit = float(exit_edge)
        self.enter = float(enter_edge) - EDGE_SLACK
        self._floor = max(0.0, self.exit)
        self.counts: dict[str, int] = {reason.value: 0 for reason in SkipReason}
        self.opportunities = 0
        self.open: dict[Chance, None] = {}
        """Chances in an episode, the oldest first."""
        self._said: list[Sighting] = []

    def resume(self, chance: Chance, old: Chance) -> None:
        """`chance` goes on where `old` is, the same identity under another configuration."""
        chance.resume(old)
        if chance.state is not State.IDLE:
            self.open[chance] = None

    def collect(self) -> list[Sighting]:
        """What has been said since the last call."""
        said, self._said = self._said, []
        return said

    def lost(self, chance: Chance, reason: SkipReason, now_ns: int) -> None:
        """No edge can be known now. Legs that are skewed for a moment end nothing: it would begin anew at every update."""
        if reason is SkipReason.SKEWED_LEGS and chance.state is not State.IDLE:
            self._stay(chance, chance.peak, reason, now_ns)
            return
        self.counts[reason.value] += 1
        self._end(chance, reason, None, now_ns)

    def below(self, chance: Chance, edge: float, reason: SkipReason, now_ns: int) -> None:
        """The edge is below enterEdge; `reason` says so, or why the pair would not be taken at any edge."""
        chance.looked_at(edge, self._floor)
        if chance.state is State.IDLE or edge < self.exit:
            self.counts[reason.value] += 1
            self._end(chance, reason, edge, now_ns)
        else:
            self._stay(chance, edge, reason, now_ns)

    def skipped(self, chance: Chance, edge: float, reason: SkipReason, now_ns: int) -> None:
        """The edge is at least enterEdge, but there is something else."""
        chance.looked_at(edge, self._floor)
        if chance.state is State.IDLE:
            self._begin(chance, edge, now_ns)
        self._stay(chance, edge, reason, now_ns)

    def taken(self, chance: Chance, edge: float, sized: Sized, now_ns: int) -> bool:
        """All checks passed: an opportunity, unless rounding against us took the average edge below enterEdge."""
        edge_bps = EXACT.divide(sized.profit * 10000, sized.notional).quantize(_BPS_UNIT, ROUND_FLOOR, EXACT)
        if edge_bps < self.enter_edge * 10000 or sized.profit <= 0:
            self.skipped(chance, edge, SkipReason.BELOW_ENTER_EDGE, now_ns)
            return False
        chance.looked_at(edge, self._floor)
        if chance.state is State.IDLE:
            self._begin(chance, edge, now_ns)
        chance.state = State.TAKEN
        chance.reason = None
        chance.saying(None, now_ns)
        self.opportunities += 1
        opportunity = self._opportunity(chance, sized, edge_bps, now_ns)
        self._said.append(self._sighting(chance, edge_bps, None, now_ns, opportunity))
        return True

    def _begin(self, chance: Chance, edge: float, now_ns: int) -> None:
        chance.state = State.OPEN
        chance.opened_ns = now_ns
        chance.peak = edge
        self.open[chance] = None

    def _stay(self, chance: Chance, edge: float, reason: SkipReason, now_ns: int) -> None:
        if chance.state is State.TAKEN or reason is SkipReason.EPISODE_OPEN:
            self.counts[SkipReason.EPISODE_OPEN.value] += 1
            chance.reason = SkipReason.EPISODE_OPEN
            return
        self.counts[reason.value] += 1
        chance.reason = reason
        if chance.news(reason, now_ns):
            self._said.append(self._sighting(chance, bps(edge), reason, now_ns))

    def _end(self, chance: Chance, reason: SkipReason, edge: float | None, now_ns: int) -> None:
        chance.reason = reason
        if chance.state is State.IDLE:
            if chance.news(reason, now_ns):
                self._said.append(self._sighting(chance, None if edge is None else bps(edge), reason, now_ns))
            return
        if chance.state is State.TAKEN:
            chance.saying(reason, now_ns)
            self._said.append(self._sighting(chance, bps(chance.peak), reason, now_ns))
        elif chance.news(reason, now_ns):
            self._said.append(self._sighting(chance, bps(chance.peak), reason, now_ns))
        chance.state = State.IDLE
        del self.open[chance]

    def _sighting(
        self,
        chance: Chance,
        edge_bps: Decimal | None,
        reason: SkipReason | None,
        now_ns: int,
        opportunity: Opportunity | None = None,
    ) -> Sighting:
        legs = tuple(
            LegSeen(feed=book.feed.name, symbol=book.symbol, side=side, age_ns=book.age_ns(now_ns))
            for book, side in chance.legs
        )
        return Sighting(
            strategy=self.strategy,
            identity=chance.identity,
            at_ns=now_ns,
            legs=legs,
            net_edge_bps=edge_bps,
            reason=reason,
            opportunity=opportunity,
        )

    def _opportunity(self, chance: Chance, sized: Sized, edge_bps: Decimal, now_ns: int) -> Opportunity:
        return Opportunity(
            id=opportunity_id(chance.identity, chance.opened_ns),
            identity=chance.identity,
            strategy=self.strategy,
            strategy_uid=self.strategy_uid,
            revision=self.revision,
            detected_ns=now_ns,
            recv_ns=max(leg.book.recv_ns() for leg in sized.legs),
            legs=tuple(_leg(leg, now_ns) for leg in sized.legs),
            profit_asset=self.profit_asset,
            notional=sized.notional,
            expected_profit=sized.profit,
            net_edge_bps=edge_bps,
        )


def _leg(leg: SizedLeg, now_ns: int) -> Leg:
    frame, age_ns = leg.book.frame, leg.book.age_ns(now_ns)
    if frame is None or age_ns is None:
        raise ValueError(f"{leg.book.symbol} on {leg.book.feed.name} was sized without a fresh book")
    return Leg(
        feed=leg.book.feed.name,
        symbol=leg.book.symbol,
        side=leg.side,
        quantity=leg.quantity,
        limit_price=leg.limit,
        value=leg.value,
        fee=leg.fee,
        frame_epoch=frame.epoch,
        frame_seq=frame.seq,
        age_ns=age_ns,
    )
