"""What can be wrong with what a trader wrote: each reason is a documented constant, each violation names its place.

For: the validator, `arb validate`, `arb plan`, and the operator's status, which all say the same words. May not: do I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

Path = tuple[str | int, ...]


class Reason(StrEnum):
    """Why a resource is refused."""

    SYNTAX = "Syntax"
    """The text is not YAML, or uses a tag of its own."""
    DUPLICATE_KEY = "DuplicateKey"
    """A mapping has one key twice; YAML readers disagree on which counts."""
    TOO_LARGE = "TooLarge"
    """Nested too deeply, or aliases that unfold into more than any resource could need."""
    UNKNOWN_VERSION = "UnknownVersion"
    """The `apiVersion` is not `arbkube.io/v1alpha1`."""
    UNKNOWN_KIND = "UnknownKind"
    """The `kind` is none of VenueFeed, ArbStrategy, RiskPolicy."""
    DUPLICATE_OBJECT = "DuplicateObject"
    """Two objects have one kind and name."""
    MIXED_NAMESPACES = "MixedNamespaces"
    """Objects of several namespaces; no reference crosses one, so each is loaded by itself."""
    UNKNOWN_FIELD = "UnknownField"
    """There is no such field."""
    MISSING = "Missing"
    """A required field is not there."""
    NO_VALUE = "NoValue"
    """A field is written without a value; unset limits are never guessed."""
    WRONG_TYPE = "WrongType"
    """A value of another type is wanted, e.g. a decimal as a quoted string."""
    BAD_FORMAT = "BadFormat"
    """The text is not spelled as its type wants."""
    UNKNOWN_VALUE = "UnknownValue"
    """The value is not one of the list."""
    OUT_OF_RANGE = "OutOfRange"
    """The number is outside its range."""
    TOO_LONG = "TooLong"
    """The text is longer than allowed."""
    TOO_FEW = "TooFew"
    """The list has too few elements."""
    TOO_MANY = "TooMany"
    """The list has too many elements."""
    DUPLICATE_ITEM = "DuplicateItem"
    """Two elements of a list are the same, or have the same name."""
    EXACTLY_ONE = "ExactlyOne"
    """Exactly one of several fields must be there."""
    EXCLUSIVE = "Exclusive"
    """Two fields exclude each other."""
    EMPTY = "Empty"
    """A block says nothing: one of its fields must be there."""
    UNKNOWN_VENUE = "UnknownVenue"
    """No adapter has this name."""
    MARKET_NOT_OFFERED = "MarketNotOffered"
    """The venue has no such market, or its adapter does not speak it."""
    WRONG_MARKET = "WrongMarket"
    """An instrument's form is not that of the feed's market: perpetuals end in -PERP, spot instruments do not."""
    BAD_INSTRUMENT = "BadInstrument"
    """Base and quote are the same asset, or the asset is spelled as only one venue spells it."""
    PROOF_NOT_OFFERED = "ProofNotOffered"
    """A proof is demanded that the venue cannot give: every book would be withheld."""
    CHANNEL_NOT_OFFERED = "ChannelNotOffered"
    """A channel that this venue's protocol cannot serve for what it is meant for."""
    BOOK_REQUIRED = "BookRequired"
    """Channels without `Book`."""
    NOT_SIMULATED = "NotSimulated"
    """The simulator does not speak this venue's protocol."""
    EDGE_ORDER = "EdgeOrder"
    """`exitEdge` ≤ `enterEdge` ≤ `maxPlausibleEdge` does not hold."""
    NO_SUCH_FEED = "NoSuchFeed"
    """A feed is named that does not exist, or that the strategy does not use."""
    NOT_COMPARABLE = "NotComparable"
    """Fewer than two of the strategy's feeds offer the instrument: there is nothing to compare."""
    NO_CYCLE = "NoCycle"
    """No cycle from this asset through the feeds' spot instruments is short enough."""
    ASSET_NOT_TRADED = "AssetNotTraded"
    """No instrument of these feeds has the asset."""
    NO_BALANCE = "NoBalance"
    """A paper strategy without a balance above zero could never trade."""


class Violation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong. `line` counts from 1; `path` reads like `spec.feeds[1].name` and is empty for a whole text."""

    source: str
    line: int
    kind: str = ""
    name: str = ""
    path: str = ""
    reason: Reason
    message: str


class Problem(msgspec.Struct, frozen=True):
    """A violation before it is known in which object it stands."""

    path: Path
    reason: Reason
    message: str


def spell(path: Path) -> str:
    """A path as a person writes it: `spec.feeds[1].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else part if not text or part.startswith("[") else f".{part}"
    return text


def in_order(violations: Iterable[Violation]) -> list[Violation]:
    """By file, then as one reads it."""
    return sorted(violations, key=lambda v: (v.source, v.line, v.path, v.reason, v.message))


def describe_violations(violations: Sequence[Violation]) -> list[str]:
    """Lines for a terminal: `file:line: Kind/name path: message [Reason]`."""
    lines = []
    for v in violations:
        what = f"{v.kind}/{v.name} " if v.kind and v.name else f"{v.kind} " if v.kind else ""
        place = f"{what}{v.path}".strip()
        lines.append(f"{v.source}:{v.line}: {place}{': ' if place else ''}{v.message} [{v.reason}]")
    return lines


def violations_as_json(violations: Sequence[Violation]) -> list[dict[str, object]]:
    """The same as objects that any JSON encoder takes; empty fields are left out."""
    return [msgspec.to_builtins(v) for v in violations]
