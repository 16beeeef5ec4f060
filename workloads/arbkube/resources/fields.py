"""How a field declares itself: what it is for, hot or restart, which direction is safer, and what values it takes.

For: the one place that CRD generation, the validator, `arb plan` and the reference pages read. May not: do I/O.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Safer(StrEnum):
    """The direction of a limit that can only reduce risk. Where a limit may be left out, leaving it out is the looser end."""

    LOWER = "lower"
    HIGHER = "higher"


class Range(StrEnum):
    """What a decimal, edge or duration may be; msgspec's own bounds know only integers and floats."""

    ANY = "any"
    NOT_NEGATIVE = "zero or more"
    POSITIVE = "above zero"
    FRACTION = "from 0 to 1"


def field(
    doc: str,
    *,
    restart: bool = False,
    safer: Safer | None = None,
    within: Range = Range.ANY,
    keys: tuple[str, ...] = (),
) -> msgspec.Meta:
    """A field's declaration.

    Without `restart` it is hot: a change reaches running pods. A `restart` covers everything below the field. `safer` marks a
    limit. `keys` names what tells a list's elements apart: a list of objects has some, the elements of any other are a set.
    """
    return msgspec.Meta(description=doc, extra={"restart": restart, "safer": safer, "within": within, "keys": keys})
