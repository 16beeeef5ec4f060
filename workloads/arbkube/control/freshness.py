"""Whether an executor may still believe what it last heard from the control server: it fails closed.

For: the in-memory answer that every Open asks. May not: do I/O or read a clock.

The server is believed while its last whole answer was *asked for* less than `PATIENCE_NS` ago on a monotonic clock, and while
the epoch in that answer names the very server process that gave it. What the executor's own journal knows of epochs decides
whether a new one continues the old: another incarnation, or a lower number, is a past that was lost.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from arbkube.control.protocol import Epoch

PATIENCE_NS = 1_000_000_000
"""How long silence may last before Opens stop."""


class Doubt(StrEnum):
    """Why the control server is not believed just now."""

    UNHEARD = "Unheard"
    """It has not answered yet."""
    SILENT = "Silent"
    """No whole answer for a second."""
    UNSEEDED = "Unseeded"
    """It answers, but holds no epoch, or one of another server process: flushed, restarted or replaced."""
    BEHIND = "Behind"
    """Limits stand there that this executor could not apply."""


class KnownEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """The newest epoch an executor has journaled."""

    incarnation: str
    number: int


def continues(epoch: Epoch, known: KnownEpoch | None) -> bool:
    """Whether `epoch` goes on from what is known; if not, halts may have been lost that nobody here remembers."""
    return known is None or (epoch.incarnation == known.incarnation and epoch.number >= known.number)


class Freshness:
    """The state of belief. Tell it every whole answer; ask it before every Open."""

    def __init__(self) -> None:
        self._asked_ns: int | None = None
        self._seeded = False
        self.behind = False
        """Told by the owner: limits were published that it could not apply."""

    def answered(self, *, asked_ns: int, run_id: str, epoch: Epoch | None) -> None:
        """A whole answer came to what was asked at `asked_ns` on the monotonic clock."""
        if self._asked_ns is None or asked_ns > self._asked_ns:
            self._asked_ns = asked_ns
        self._seeded = epoch is not None and epoch.run_id == run_id

    def doubt(self, monotonic_ns: int) -> Doubt | None:
        """Why no Open may be sent now, or None."""
        if self._asked_ns is None:
            return Doubt.UNHEARD
        if monotonic_ns - self._asked_ns >= PATIENCE_NS:
            return Doubt.SILENT
        if not self._seeded:
            return Doubt.UNSEEDED
        return Doubt.BEHIND if self.behind else None
