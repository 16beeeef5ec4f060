"""The hot path in two forms: compiled, and pure Python where there is no compiled one. See docs/kernel.md.

For: the one place that says which form runs, chosen when the process starts: the compiled one wherever it was built, unless
`ARB_KERNEL=pure` is set. Both give the same results, bit for bit. May not: do I/O, or know what is done with a book.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING

from arbkube.market.book import Book, TextBook

if TYPE_CHECKING:
    from arbkube.market.verified import BookCounts

VARIABLE = "ARB_KERNEL"
"""Environment variable; the only value that means something is `pure`."""


class Form(StrEnum):
    """Which form runs."""

    COMPILED = "compiled"
    PURE = "pure"


class Why(StrEnum):
    """Why that form runs."""

    BUILT = "Built"
    """The compiled form was built for this Python and machine."""
    FORCED = "Forced"
    """The environment asks for the pure form."""
    NOT_BUILT = "NotBuilt"
    """There is no compiled form for this Python and machine: there was no C compiler when the package was installed."""


try:
    from arbkube.kernel import _compiled
except ImportError:
    form, why = Form.PURE, Why.NOT_BUILT
else:
    form, why = Form.COMPILED, Why.BUILT
    if os.environ.get(VARIABLE) == Form.PURE.value:
        form, why = Form.PURE, Why.FORCED
"""Which form runs, and why. Whoever builds something that has two forms asks here."""


def new_book() -> Book:
    """An empty book."""
    return TextBook() if form is Form.PURE else _compiled.TickBook()


def new_counts() -> BookCounts | None:
    """What a book counts, all zero, in a form that the compiled one counts in; None where the pure form runs."""
    return None if form is Form.PURE else _compiled.TickCounts()


def multiplied(text: str, coefficient: int, places: int) -> str | None:
    """The number in `text` times coefficient × 10^-places, with the places of both; None where only `Decimal` will do."""
    return None if form is Form.PURE else _compiled.multiplied(text, coefficient, places)
