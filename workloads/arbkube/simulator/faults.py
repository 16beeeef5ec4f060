"""Faults on demand: what can go wrong with a venue, each a small named thing.

For: `Faults`, what is wrong with one venue at the moment, and `Wire`, what that does to one connection's messages. The venue's
own state breaks in `model.Venue`, sockets in `server`. May not: do I/O or read a clock. docs/simulator.md has the table.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

import msgspec

from arbkube.simulator.exchange.base import Kind, Outgoing


class Fault(StrEnum):
    # On the wire: what one connection hears is not what the venue said.
    DROP = "drop"
    """The next `count` book messages are lost."""
    DUPLICATE = "duplicate"
    """The next `count` book messages come twice."""
    REORDER = "reorder"
    """The next `count` book messages each come after their successor."""
    DELAY = "delay"
    """For `duration_ms`, every message comes `by_ms` late, in order."""
    SILENT = "silent"
    """Open connections stay open, and nothing comes any more, not even pongs."""
    DISCONNECT = "disconnect"
    """Every connection is closed, and new ones are refused for `duration_ms`."""
    # At the venue: everybody hears the same, and it is wrong.
    GAP = "gap"
    """The book moves and the numbering with it `count` times, and nobody is told."""
    FROZEN = "frozen"
    """For `duration_ms` the book does not move; heartbeats and answers go on."""
    CROSSED = "crossed"
    """`count` updates leave a bid above the best ask, with all proofs in order."""
    SEQUENCE_RESET = "sequence-reset"
    """The numbering begins anew."""
    TICK_SIZE = "tick-size"
    """The tick becomes ten times smaller, on the wire and in the rules."""
    HALT = "halt"
    """For `duration_ms` the instrument is not tradable, and its book stands still."""
    CLOCK_SKEW = "clock-skew"
    """The venue's clock is off by `by_ms`, which may be negative, until another skew or a clear."""


class FaultRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /control/faults`. A duration of 0 means until cleared."""

    feed: str
    fault: Fault
    symbol: str = ""
    """Venue-neutral; empty means every instrument of the feed."""
    count: int = 1
    duration_ms: int = 0
    by_ms: int = 0


_COUNTED = frozenset(
    {Fault.DROP, Fault.DUPLICATE, Fault.REORDER, Fault.GAP, Fault.CROSSED, Fault.SEQUENCE_RESET, Fault.TICK_SIZE}
)
_LASTING = frozenset({Fault.DELAY, Fault.FROZEN, Fault.HALT, Fault.DISCONNECT})


class Faults:
    """What is wrong with one venue. Times are nanoseconds since the simulation began."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.skew_ns = 0
        self.delay_ns = 0
        self._symbols = symbols
        self._left: Counter[tuple[Fault, str]] = Counter()
        self._until: dict[tuple[Fault, str], float] = {}

    def enlist(self, symbols: tuple[str, ...]) -> None:
        """These are the instruments now."""
        self._symbols = symbols

    def inject(self, request: FaultRequest, now_ns: int) -> None:
        """Begin a fault. Raises ValueError for an instrument that is not there or figures that make no sense."""
        if request.symbol and request.symbol not in self._symbols:
            raise ValueError(f"{request.feed} has no {request.symbol}; there are: {', '.join(self._symbols)}")
        if request.count < 1 or request.duration_ms < 0:
            raise ValueError("count must be at least 1 and duration_ms not negative")
        fault = request.fault
        for symbol in [request.symbol] if request.symbol else self._symbols:
            if fault in _COUNTED:
                self._left[fault, symbol] = 1 if fault in (Fault.SEQUENCE_RESET, Fault.TICK_SIZE) else request.count
            elif fault in _LASTING and (request.duration_ms or fault is not Fault.DISCONNECT):
                self._until[fault, symbol] = now_ns + request.duration_ms * 10**6 if request.duration_ms else float("inf")
        if fault is Fault.DELAY:
            self.delay_ns = max(0, request.by_ms) * 10**6
        elif fault is Fault.CLOCK_SKEW:
            self.skew_ns = request.by_ms * 10**6

    def clear(self) -> None:
        """End every fault that is going on or still to come; what one has broken is for clients to repair."""
        self.skew_ns = self.delay_ns = 0
        self._left.clear()
        self._until.clear()

    def take(self, fault: Fault, symbol: str) -> bool:
        """Use up one of a counted fault, if there is one left."""
        if self._left[fault, symbol] > 0:
            self._left[fault, symbol] -= 1
            return True
        return False

    def active(self, fault: Fault, symbol: str, now_ns: int) -> bool:
        """Whether a lasting fault is going on."""
        return self._until.get((fault, symbol), 0) > now_ns

    def anywhere(self, fault: Fault, now_ns: int) -> bool:
        """Whether it is going on for any instrument."""
        return any(self.active(fault, symbol, now_ns) for symbol in self._symbols)


class Wire:
    """One connection's way out."""

    def __init__(self, faults: Faults) -> None:
        self.silent = False
        self._faults = faults
        self._held: list[Outgoing] = []
        self._free_ns = 0

    def carry(self, message: Outgoing, now_ns: int) -> list[tuple[int, Outgoing]]:
        """What leaves instead of `message`, each with its delay in ns."""
        if self.silent:
            return []
        messages = [message]
        if message.kind is Kind.BOOK:
            messages = self._mangle(message)
        delay_ns = self._faults.delay_ns if self._faults.anywhere(Fault.DELAY, now_ns) else 0
        # Never earlier than what went before: a connection keeps its order.
        self._free_ns = max(self._free_ns, now_ns + delay_ns)
        return [(self._free_ns - now_ns, one) for one in messages]

    def _mangle(self, message: Outgoing) -> list[Outgoing]:
        faults, symbol = self._faults, message.symbol
        if faults.take(Fault.DROP, symbol):
            return []
        held = [one for one in self._held if one.symbol == symbol]
        if not held and faults.take(Fault.REORDER, symbol):
            self._held.append(message)
            return []
        self._held = [one for one in self._held if one.symbol != symbol]
        return [message, *([message] if faults.take(Fault.DUPLICATE, symbol) else []), *held]
