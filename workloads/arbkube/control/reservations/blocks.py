"""An executor's side of the shared pools: the blocks it holds, and what it asks the control server next.

For: `covers`, the in-memory answer that every Open asks; taking blocks ahead, giving back, and declaring anew after another
epoch. May not: do I/O or read a clock (times are a monotonic clock's nanoseconds).

What is held here is never more than what the server holds for us: a block is made smaller here before the server hears of it,
and larger only by the server's answer. A request that was not answered is sent again, unchanged, until it is: the server does
the same request once. After another epoch nothing is held until the server has heard what is in use.

The life of a holder is TABLE; how large a block it asks for is decided by the first rule that fits:

| situation | asked for |
|---|---|
| others wait (or the capacity was lowered), and what we waited for came less than TURN_NS ago | that, as far as it is held |
| others wait, or the capacity was lowered | what is in use |
| an Open lacked it a moment ago | its need, and more for the next ones |
| no Open for IDLE_NS | what is in use and one Open |
| less than `opens` Opens are at hand, or more than three times as much | what is in use and 1.5 × `opens` Opens |
| otherwise | what is held |
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

import msgspec

from arbkube.control.protocol import Epoch
from arbkube.control.reservations.demand import ZERO, Levels, orders_of_leg
from arbkube.control.reservations.pools import Kind, Pool, Terms

T = TypeVar("T")

TURN_NS = 1_000_000_000
"""How long what was waited for may be kept for the next Open while others wait."""
WANT_NS = 3_000_000_000
"""How long an Open that was not covered is asked for: the next one of its kind finds the block there."""
IDLE_NS = 60_000_000_000
_AHEAD = Decimal("1.5")


class HolderState(StrEnum):
    """Where an executor stands with the server."""

    UNDECLARED = "Undeclared"
    """It has not said in this epoch what it uses: no Open is covered."""
    HOLDING = "Holding"
    """Opens are covered within the blocks it holds."""
    WAITING = "Waiting"
    """The same, and an Open was not covered: it waits for its turn."""
    OVERTAKEN = "Overtaken"
    """A later process of the same strategy has declared: no Open is covered."""


class HolderEvent(StrEnum):
    """What may happen to it."""

    EPOCH = "Epoch"
    """Another epoch is trusted."""
    DECLARED = "Declared"
    """The server answered a request of this epoch, and nothing is lacking."""
    LACKED = "Lacked"
    """An Open was not covered."""
    SATISFIED = "Satisfied"
    """What was waited for is held, can never be, or is wanted no more."""
    OVERTAKEN = "Overtaken"
    """The server knows a later process of this strategy."""


_S, _E = HolderState, HolderEvent
TABLE: dict[tuple[HolderState, HolderEvent], HolderState] = {
    (_S.UNDECLARED, _E.EPOCH): _S.UNDECLARED,
    (_S.UNDECLARED, _E.DECLARED): _S.HOLDING,
    (_S.UNDECLARED, _E.OVERTAKEN): _S.OVERTAKEN,
    (_S.HOLDING, _E.EPOCH): _S.UNDECLARED,
    (_S.HOLDING, _E.DECLARED): _S.HOLDING,
    (_S.HOLDING, _E.LACKED): _S.WAITING,
    (_S.HOLDING, _E.OVERTAKEN): _S.OVERTAKEN,
    (_S.WAITING, _E.EPOCH): _S.UNDECLARED,
    (_S.WAITING, _E.LACKED): _S.WAITING,
    (_S.WAITING, _E.SATISFIED): _S.HOLDING,
    (_S.WAITING, _E.OVERTAKEN): _S.OVERTAKEN,
    (_S.OVERTAKEN, _E.EPOCH): _S.UNDECLARED,
}
"""What does not stand here cannot happen."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One pool of a request, in whole units."""

    used: int
    need: int = 0
    """What an Open lacked, to be given whole or not at all; 0 when none did."""
    target: int
    """The size of the block that is asked for: more than is held, as far as there is more, or less."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a holder says to the server, the same each time it is sent."""

    epoch: Epoch
    strategy: str
    token: int
    """Of the executor's lease: the server refuses an older process's requests."""
    number: int
    """Grows with every request of a process."""
    asks: dict[Pool, Ask]


class Verdict(StrEnum):
    """What the server says of a request."""

    DONE = "Done"
    OTHER_EPOCH = "OtherEpoch"
    """It is not, or no longer, the server of that epoch. Nothing was done."""
    OVERTAKEN = "Overtaken"
    """A later process of this strategy has declared. Nothing was done."""
    LATE = "Late"
    """A later request of this process was done. Nothing was done."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One pool as it stands after a request."""

    held: int
    capacity: int
    """0 where the pool does not exist, or is not shared by this strategy."""
    asked_back: bool
    """Others wait for it before us, or more is held than there is: give back what is free."""
    undeclared: tuple[str, ...]
    """Strategies that have not declared in this epoch: until they do, nothing new is granted."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The server's answer."""

    verdict: Verdict
    grants: dict[Pool, Grant] = {}


class Reservations:
    """One executor's blocks."""

    def __init__(self, strategy: str, *, terms: Terms, token: int = 0) -> None:
        self.state = HolderState.UNDECLARED
        self.token = token
        """Of the executor's lease, which is taken before an epoch is first trusted."""
        self.terms = terms
        """In force; replaced when limits or document change."""
        self.held: dict[Pool, Decimal] = {}
        self.grants: dict[Pool, Grant] = {}
        """As last heard."""
        self._strategy = strategy
        self._epoch: Epoch | None = None
        self._number = 0
        self._pending: Request | None = None
        self._wanted: dict[Pool, Decimal] = {}
        self._want_until_ns: int | None = None
        """None until it is asked for the first time."""
        self._turn: dict[Pool, Decimal] = {}
        self._turn_until_ns = 0
        self._opened = False
        """Since the last request."""
        self._opened_ns: int | None = None
        self._step: dict[Pool, Decimal] = {}

    # ---- in memory, on the way of every Open -------------------------------------------------------------------

    def covers(self, needs: Levels) -> bool:
        """Whether everything needed is within the blocks held. No I/O, nothing changes."""
        if self.state in (HolderState.UNDECLARED, HolderState.OVERTAKEN):
            return False
        held = self.held
        return all(need is not None and need <= held.get(pool, -1) for pool, need in needs.items())

    def spend(self) -> None:
        """An Open that was covered begins: what it uses shows in the levels from now on, and is gone from them when it ends."""
        self._opened = True
        self._turn = {}
        if self.state is HolderState.WAITING and self.covers(self._wanted):
            self._no_longer_wanted()

    def want(self, needs: Levels) -> None:
        """An Open was not covered: ask for what it needs."""
        if self.state in (HolderState.UNDECLARED, HolderState.OVERTAKEN):
            return  # another request is due first
        self._wanted = {pool: need for pool, need in needs.items() if need is not None}
        self._want_until_ns = None
        self._happened(HolderEvent.LACKED)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is wanted by us or from us just now, and nothing was begun since the last request."""
        asked_back = any(grant.asked_back for grant in self.grants.values())
        return self.state is HolderState.HOLDING and not (self._opened or self._turn or self._wanted or asked_back)

    @property
    def undeclared(self) -> tuple[str, ...]:
        """The strategies whose executors have to declare before any pool of ours grants something new."""
        return tuple(sorted({strategy for grant in self.grants.values() for strategy in grant.undeclared}))

    # ---- the conversation --------------------------------------------------------------------------------------

    def trust(self, epoch: Epoch) -> None:
        """The epoch that is trusted now. Another one than before: the server may have lost what we hold."""
        if epoch == self._epoch:
            return
        self._epoch, self._pending = epoch, None
        self.held, self.grants = {}, {}
        self._wanted, self._turn = {}, {}
        self._happened(HolderEvent.EPOCH)

    def request(self, levels: Levels, now_ns: int) -> Request | None:
        """What to say now, on what is in use now; None where there is nothing to say or nobody to say it to."""
        if self._epoch is None or self.state is HolderState.OVERTAKEN:
            return None
        if self._pending is not None:
            return self._pending
        if self._opened:
            self._opened, self._opened_ns = False, now_ns
        if self._wanted and self._want_until_ns is None:
            self._want_until_ns = now_ns + WANT_NS
        elif self._wanted and self._want_until_ns is not None and now_ns >= self._want_until_ns:
            self._no_longer_wanted()
        if self._turn and now_ns >= self._turn_until_ns:
            self._turn = {}
        asks = {}
        for pool in sorted(self.terms.pools):
            used = levels.get(pool)
            if used is not None:
                asks[pool] = self._ask(pool, used, now_ns)
        if not asks:
            return None
        for pool, ask in asks.items():
            if pool in self.held:
                self.held[pool] = min(self.held[pool], pool.amount(ask.target))
        self._number += 1
        self._pending = Request(epoch=self._epoch, strategy=self._strategy, token=self.token, number=self._number, asks=asks)
        return self._pending

    def answered(self, request: Request, reply: Reply, now_ns: int) -> None:
        """The server's answer to `request`. An answer to what is no longer asked counts for nothing."""
        if request is not self._pending:
            return
        self._pending = None
        if reply.verdict is Verdict.OVERTAKEN:
            self.held, self.grants = {}, {}
            self._happened(HolderEvent.OVERTAKEN)
        if reply.verdict is not Verdict.DONE:
            return
        heard = {pool: pool.amount(grant.held) for pool, grant in reply.grants.items()}
        self.grants = self._of_terms(self.grants) | reply.grants
        self.held = self._of_terms(self.held) | heard
        if self.state is not HolderState.WAITING:
            self._happened(HolderEvent.DECLARED)
            return
        if self.covers(self._wanted):
            self._turn, self._turn_until_ns = self._wanted, now_ns + TURN_NS
            self._no_longer_wanted()
        elif any(pool.units_up(need) > self._capacity(pool) for pool, need in self._wanted.items()):
            self._no_longer_wanted()

    # ---- inside ------------------------------------------------------------------------------------------------

    def _ask(self, pool: Pool, used: Decimal, now_ns: int) -> Ask:
        held, step = self.held.get(pool), self._step.get(pool) or _first_need(pool, self.terms)
        if held is None:  # declare
            return Ask(used=pool.units_up(used), target=pool.units_up(used))
        grant = self.grants.get(pool)
        asked_back = grant is not None and grant.asked_back
        need = self._wanted.get(pool, ZERO)
        if need > used:
            self._step[pool] = step = max(step, need - used)
        ahead = step * self.terms.opens
        block = used + _AHEAD * ahead
        if asked_back:
            target = min(held, self._turn.get(pool, ZERO))
        elif need:
            target = max(need, block)
        elif self._opened_ns is not None and now_ns >= self._opened_ns + IDLE_NS:
            target = min(held, used + step)
        elif not ahead <= held - used <= 3 * ahead:
            target = block
        else:
            target = held
        return Ask(used=pool.units_up(used), need=pool.units_up(need), target=pool.units_up(max(target, used)))

    def _of_terms(self, by_pool: dict[Pool, T]) -> dict[Pool, T]:
        return {pool: value for pool, value in by_pool.items() if pool in self.terms.pools}

    def _capacity(self, pool: Pool) -> int:
        grant = self.grants.get(pool)
        return 0 if grant is None else grant.capacity

    def _no_longer_wanted(self) -> None:
        self._wanted = {}
        if self.state is HolderState.WAITING:
            self._happened(HolderEvent.SATISFIED)

    def _happened(self, event: HolderEvent) -> None:
        self.state = TABLE[self.state, event]


def _first_need(pool: Pool, terms: Terms) -> Decimal:
    """What an Open is thought to need before one was seen."""
    match pool.kind:
        case Kind.VENUE | Kind.ASSET:
            return terms.legs * terms.first_need
        case Kind.RATE:
            return Decimal(terms.legs * orders_of_leg(terms))
        case Kind.BALANCE:
            return ZERO
