"""The two forms side by side: the same calls to each, and everything that can be seen of each compared.

For: tests of equality. `making(form)` builds whatever has two forms in the one that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from arbkube import kernel
from arbkube.kernel import Form
from arbkube.market.verified import BookCounts, VerifiedBook
from arbkube.venues.session import Session

needs_compiled = pytest.mark.skipif(kernel.why is kernel.Why.NOT_BUILT, reason="the compiled form was not built here")

DEPTHS = (1, 20, 400)


@contextmanager
def making(form: Form) -> Iterator[None]:
    """What is built inside has this form."""
    before, kernel.form = kernel.form, form
    try:
        yield
    finally:
        kernel.form = before


def book_state(book: VerifiedBook) -> tuple[Any, ...]:
    """All that a reader can know of a book."""
    return (
        book.withheld,
        book.was_verified,
        book.seq,
        book.venue_ns,
        book.recv_ns,
        book.bid_floor,
        book.ask_cap,
        book.covered_depth,
        [getattr(book.counts, field) for field in BookCounts.__struct_fields__],
        book.top(),
        *(book.levels(depth) for depth in DEPTHS[:2]),
        book.book.sizes(),
        book.book.crossed(),
    )


def session_state(session: Session) -> tuple[Any, ...]:
    """All that a driver can see, and what is pending."""
    return (
        session.alive_ns,
        session.connected,
        session.rng.getstate(),
        session._resync_at,
        list(session.changed),
        [book_state(book) for book in session.books.values()],
    )


class Differs(AssertionError):
    """The forms are not the same."""


class BothSessions:
    """Two sessions in lockstep that look like one: whatever is called on it is called on both, and both must look the same."""

    def __init__(self, compiled: Session, pure: Session) -> None:
        self.compiled = compiled
        self.pure = pure

    def __getattr__(self, name: str) -> Any:
        one, other = getattr(self.compiled, name), getattr(self.pure, name)
        if not callable(one):
            return one

        def both(*args: Any, **keywords: Any) -> Any:
            said, said_too = one(*args, **keywords), other(*args, **keywords)
            states = session_state(self.compiled), session_state(self.pure)
            if states[0] != states[1]:
                differing = [pair for pair in zip(*states, strict=True) if pair[0] != pair[1]]
                raise Differs(f"after {name}{args!r:.2000}: {differing}")
            if name == "take_changed":
                said, said_too = [book.symbol for book in said], [book.symbol for book in said_too]
            if said != said_too:
                raise Differs(f"{name}{args!r:.2000} said {said} and {said_too}")
            return said

        return both
