"""Whether a pod can run a document: what it says of a candidate before anything changes.

For: the first thing that is wrong with a revision, with its path, by the rules that `arb validate` and the operator apply: a
document may come from another release, and what a pod swaps in it must have judged itself. May not: do I/O, or know a rule of
its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from arbkube.control.follower import Problem
from arbkube.control.protocol import Revision
from arbkube.plan.documents import Document, FeedDocument, StrategyDocument, decode_document
from arbkube.pods.assembly import with_limits
from arbkube.resources.kinds import ArbStrategySpec, VenueFeedSpec
from arbkube.resources.shape import shape_of
from arbkube.resources.validation import rules
from arbkube.resources.validation.structure import Reader
from arbkube.resources.violations import Problem as Violated
from arbkube.resources.violations import spell

UNREADABLE = "Unreadable"
"""The text is not a document of this release, or lacks what one must hold."""
OTHER_ROLE = "OtherRole"
"""It is a document, but another role's."""


class UnfitError(Exception):
    """A revision that this pod cannot run."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.path}: {problem.reason}" if problem.path else problem.reason)
        self.problem = problem


def read(revision: Revision, kind: type[msgspec.Struct]) -> Document:
    """The document of a revision, of `kind` and without fault. Raises UnfitError with the first fault and its path."""
    try:
        document = decode_document(bytes(revision.content))
    except msgspec.MsgspecError as error:
        message, _, path = str(error).partition(" - at `$")
        raise UnfitError(Problem(f"{UNREADABLE}: {message}", _path(path.rstrip("`")))) from error
    if not isinstance(document, kind):
        raise UnfitError(Problem(f"{OTHER_ROLE}: a {type(document).__name__}, not a {kind.__name__}"))
    for violated in _violations(document):
        raise UnfitError(Problem(f"{violated.reason}: {violated.message}", spell(violated.path)))
    return document


def _path(path: str) -> str:
    """`.spec.feeds[...].name` without its first dot; msgspec does not say which element it was."""
    return re.sub(r"^\.", "", path)


def _violations(document: Document) -> Iterator[Violated]:
    """What the rules for the resource say of what its document holds of it."""
    match document:
        case FeedDocument(spec=spec):
            yield from _resource(spec, rules.FEED_RULES)
        case StrategyDocument(feeds=feeds, limits=limits):
            limited = with_limits(document.spec, limits)
            yield from _resource(limited, rules.STRATEGY_RULES)
            yield from rules.unknown_feeds(limited, feeds)
            yield from rules.against_feeds(limited, _as_specs(document))
            missing = feeds.keys() - (limits.max_age.keys() & limits.max_transit.keys())
            if missing:
                raise UnfitError(Problem(f"{UNREADABLE}: no limits for {', '.join(sorted(missing))}", "limits.maxAge"))


def _as_specs(document: StrategyDocument) -> Mapping[str, VenueFeedSpec]:
    return {
        name: VenueFeedSpec(venue=feed.venue, market=feed.market, instruments=feed.instruments, fees=feed.fees)
        for name, feed in document.feeds.items()
    }


def _resource(spec: VenueFeedSpec | ArbStrategySpec, checks: tuple[rules.Rule, ...]) -> Iterator[Violated]:
    """Structure first, then the rules between fields."""
    shape = shape_of(type(spec))
    reader = Reader(shape)
    reader.read(shape, _plain(spec), ("spec",))
    yield from reader.problems
    yield from rules.check(checks, spec, reader.broken())


def _plain(value: Any) -> Any:
    """A spec as the YAML that it came from would read: what has no value is left out."""
    match value:
        case msgspec.Struct():
            return _plain(msgspec.to_builtins(value, enc_hook=str))
        case dict():
            return {name: _plain(part) for name, part in value.items() if part is not None}
        case list() | tuple():
            return [_plain(part) for part in value]
    return value
