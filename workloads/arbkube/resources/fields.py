"""How a field declares itself: what it is for, hot or restart, and which direction is safer.

For: the one place that CRD generation, the validator, `arb plan` and the reference pages read. May not: do I/O.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Safer(StrEnum):
    """The direction of a limit that can only reduce risk."""

    LOWER = "lower"
    HIGHER = "higher"


def field(doc: str, *, restart: bool = False, safer: Safer | None = None) -> msgspec.Meta:
    """A field's declaration. Without `restart` it is hot: a change reaches running pods. `safer` marks it as a limit."""
    extra: dict[str, object] = {"restart": restart}
    if safer is not None:
        extra["safer"] = safer.value
    return msgspec.Meta(description=doc, extra=extra)
