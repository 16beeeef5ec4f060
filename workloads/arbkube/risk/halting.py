"""What a strategy's halts come to for its orders, and the breakers that write into the same log.

For: holding the log that an executor has heard, and saying how far it forbids orders on given feeds; the entries that an
executor itself adds. May not: do I/O, read a clock, or lift a halt by any other way than the log's.

A halt concerns an order when it covers any feed of the order's whole intent: an arbitrage with one leg on a halted venue is
none. A breaker's halt has an id made from what tripped it, so that the same event told twice is one entry. The daily loss is
cleared by its own breaker when another risk day begins; nobody but a person clears the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arbkube.control.freshness import KnownEpoch
from arbkube.control.halts import PERSON, Clear, Entry, Halt, HaltReason, Level, Log, Scope, covers, entry_id
from arbkube.control.protocol import Epoch
from arbkube.resources.kinds import HaltMode


class Halting:
    """The log of one executor. `active` and `mode` follow it at once."""

    def __init__(self, strategy: str, venue_of: Mapping[str, str]) -> None:
        self._log = Log()
        self.concern(Scope(strategy=strategy, venue_of=venue_of))

    def concern(self, scope: Scope) -> None:
        """The strategy and the feeds whose halts count from now on."""
        self.scope = scope
        self._weigh()

    def hear(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """Take entries in; those that were new."""
        new = self._log.add(entries)
        if new:
            self._weigh()
        return new

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything heard, by time and id."""
        return self._log.entries

    def mode(self, feeds: Iterable[str]) -> HaltMode | None:
        """The most that a halt in force asks for of an intent on `feeds`; None where none concerns it."""
        if not self.active:
            return None
        feeds = tuple(feeds)
        modes = (halt.mode for halt in self.active if covers(halt, self.scope, feeds))
        return max(modes, key=lambda mode: mode.severity, default=None)

    def covered(self, halt: Halt) -> frozenset[str]:
        """The strategy's feeds that a halt covers."""
        return frozenset(feed for feed in self.scope.venue_of if covers(halt, self.scope, (feed,)))

    def _weigh(self) -> None:
        self.active = tuple(halt for halt in self._log.active() if covers(halt, self.scope))
        """Halts in force that concern the strategy."""


def daily_loss(strategy: str, day: str, detail: str, at_ns: int) -> Halt:
    """The breaker of `maxDailyLoss`: one halt a risk day."""
    owner = _daily_loss_owner(strategy)
    return Halt(
        id=entry_id(owner, day),
        level=Level.STRATEGY,
        subject=strategy,
        mode=HaltMode.STOP_NEW,
        owner=owner,
        reason=HaltReason.DAILY_LOSS,
        detail=detail,
        at_ns=at_ns,
    )


def clears_of_new_day(strategy: str, day: str, active: Iterable[Halt], at_ns: int) -> tuple[Clear, ...]:
    """The breaker's clears of the daily losses of other days than `day`, which has begun."""
    owner = _daily_loss_owner(strategy)
    todays = entry_id(owner, day)
    return tuple(
        Clear(id=entry_id("Clear", halt.id), halt=halt.id, owner=owner, detail=f"risk day {day} began", at_ns=at_ns)
        for halt in active
        if halt.owner == owner and halt.id != todays
    )


def stuck_intent(strategy: str, intent: str, at_ns: int) -> Halt:
    """The breaker of an intent that could not be unwound: it happened at `at_ns`."""
    owner = f"Breaker/StuckIntent/{strategy}"
    return Halt(
        id=entry_id(owner, intent, at_ns),
        level=Level.STRATEGY,
        subject=strategy,
        mode=HaltMode.STOP_NEW,
        owner=owner,
        reason=HaltReason.STUCK_INTENT,
        detail=intent,
        at_ns=at_ns,
    )


def state_lost(strategy: str, epoch: Epoch, known: KnownEpoch, at_ns: int) -> Halt:
    """A server whose epoch does not continue the one known here: halts may have been lost that nobody remembers."""
    detail = f"epoch {known.number} of {known.incarnation} was known, {epoch.number} of {epoch.incarnation} answers"
    return Halt(
        id=entry_id(HaltReason.STATE_LOST.value, strategy, epoch.incarnation, epoch.number, known.incarnation, known.number),
        level=Level.STRATEGY,
        subject=strategy,
        mode=HaltMode.STOP_NEW,
        owner=PERSON,
        reason=HaltReason.STATE_LOST,
        detail=detail,
        at_ns=at_ns,
    )


def _daily_loss_owner(strategy: str) -> str:
    return f"Breaker/DailyLoss/{strategy}"
