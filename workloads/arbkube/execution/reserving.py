"""What an executor needs of the budgets that it shares with others, read from what it holds and what is under way.

For: the gate's last check, and what is declared to the control server. May not: keep a count of its own (a restart comes to the
same figures from the journal), do I/O or read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from arbkube.control.reservations.blocks import Reservations
from arbkube.control.reservations.demand import Levels, OpenLeg, levels
from arbkube.detection.model import Leg
from arbkube.execution.model import IntentState
from arbkube.execution.settling.live import Live
from arbkube.execution.settling.settler import Settler
from arbkube.execution.settling.situation import Situation
from arbkube.market.instruments import Side

_ZERO = Decimal(0)


class Reserving:
    """One engine's dealings with its blocks. Without reservations (a replay) every budget is unlimited."""

    def __init__(self, situation: Situation, settler: Settler, reservations: Reservations | None) -> None:
        self._situation = situation
        self._settler = settler
        self._reservations = reservations

    def covers(self, legs: tuple[Leg, ...], now_ns: int, max_mark_age_ns: int) -> bool:
        """Whether an Open of `legs`, and whatever may become of it, is within the blocks held; else it is asked for."""
        if self._reservations is None:
            return True
        needs = self._levels(self._reservations, legs, now_ns, max_mark_age_ns)
        if self._reservations.covers(needs):
            return True
        self._reservations.want(needs)
        return False

    def begun(self) -> None:
        """An Open that was covered has begun."""
        if self._reservations is not None:
            self._reservations.spend()

    def in_use(self, now_ns: int) -> Levels:
        """What is needed without another Open, on the last known books."""
        return {} if self._reservations is None else self._levels(self._reservations, (), now_ns, None)

    def _levels(self, reservations: Reservations, legs: tuple[Leg, ...], now_ns: int, max_mark_age_ns: int | None) -> Levels:
        terms, situation = reservations.terms, self._situation
        oldest_ns = now_ns - max((rate.window_ns for rate in terms.rates.values()), default=0)
        new = (
            OpenLeg(
                market=situation.markets[leg.feed, leg.symbol],
                side=leg.side,
                limit_price=leg.limit_price,
                left=leg.quantity,
            )
            for leg in legs
        )
        return levels(
            terms,
            inventory=situation.accounts.inventory,
            legs=[*self._under_way(), *new],
            sent=[
                ((order.feed, order.symbol), order.created_ns)
                for live in self._lately(oldest_ns)
                for order in live.orders.values()
            ],
            marks=situation.accounts.marks,
            books=situation.accounts.books,
            now_ns=now_ns,
            max_mark_age_ns=max_mark_age_ns,
        )

    def _under_way(self) -> Iterator[OpenLeg]:
        for live in self._settler.live.values():
            for i, leg in enumerate(live.intent.legs):
                market = self._situation.markets.get((leg.feed, leg.symbol))
                if market is None:
                    continue  # it cannot be traded any more; what it holds is in the inventory
                filled, state = live.net_filled(i), live.intent.state
                fees = live.base_fees(i, market.instrument.base) if leg.side is Side.BUY else _ZERO
                yield OpenLeg(
                    market=market,
                    side=leg.side,
                    limit_price=leg.limit_price,
                    left=_ZERO if state is IntentState.UNWINDING else max(_ZERO, leg.quantity - filled),
                    filled=_ZERO if state is IntentState.FLATTENING else max(_ZERO, filled - fees),
                    sent=sum(order.leg == i for order in live.orders.values()),
                )

    def _lately(self, oldest_ns: int) -> Iterable[Live]:
        """The intents whose orders may have been sent since then: settled ones stand in the order in which they were."""
        yield from self._settler.live.values()
        for live in reversed(self._settler.settled.values()):
            if live.intent.closed_ns is not None and live.intent.closed_ns < oldest_ns:
                return
            yield live
