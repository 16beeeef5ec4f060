"""From texts to typed, valid resources, or to every reason why not.

For: `arb validate`, `arb plan`, `arb up`, and the operator, which hands in what it read from the API server. May not: do I/O:
texts are handed in by name.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from arbkube.resources.kinds import (
    API_VERSION,
    ArbStrategy,
    ArbStrategySpec,
    Metadata,
    RiskPolicy,
    RiskPolicySpec,
    VenueFeed,
    VenueFeedSpec,
)
from arbkube.resources.scalars import NAME_LENGTH, NAME_PATTERN, NAMESPACE_PATTERN
from arbkube.resources.shape import Scalar, shape_of
from arbkube.resources.validation import rules
from arbkube.resources.validation.hints import did_you_mean
from arbkube.resources.validation.sources import Raw, parse
from arbkube.resources.validation.structure import BROKEN, Reader
from arbkube.resources.violations import Path, Problem, Reason, Violation, in_order, spell

_IDENTITIES = uuid.uuid5(uuid.NAMESPACE_DNS, "arbkube.io")
_NAME = Scalar(type=str, pattern=NAME_PATTERN, max_length=NAME_LENGTH)
_TEXT = Scalar(type=str)
_NAMESPACE = Scalar(type=str, pattern=NAMESPACE_PATTERN, max_length=63)


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of one namespace, by name."""

    feeds: dict[str, VenueFeed] = {}
    strategies: dict[str, ArbStrategy] = {}
    policies: dict[str, RiskPolicy] = {}


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. `resources` holds only objects whose structure is right; use none of them while there are violations."""

    resources: Resources
    violations: list[Violation]


class _Kind(msgspec.Struct, frozen=True):
    spec: type[msgspec.Struct]
    rules: tuple[rules.Rule, ...]


_KINDS = {
    "VenueFeed": _Kind(VenueFeedSpec, rules.FEED_RULES),
    "ArbStrategy": _Kind(ArbStrategySpec, rules.STRATEGY_RULES),
    "RiskPolicy": _Kind(RiskPolicySpec, rules.POLICY_RULES),
}


class _Object(msgspec.Struct, kw_only=True):
    """One object on its way to being typed."""

    raw: Raw
    kind: str
    name: str
    metadata: Metadata
    spec: Any
    broken: set[Path]

    @property
    def readable(self) -> bool:
        return not self.broken


def load(texts: Mapping[str, str | bytes]) -> Loaded:
    """Read the YAML `texts`, keyed by the name that violations give as their source."""
    violations: list[Violation] = []
    objects: list[_Object] = []
    for source in sorted(texts):
        raws, found = parse(source, texts[source])
        violations += found
        for raw in raws:
            for document in _unlisted(raw):
                read, found = _read(document)
                violations += found
                objects += [read] if read else []
    violations += _together(objects)
    violations += _across(objects)
    whole = {kind: {o.name: o for o in reversed(objects) if o.kind == kind and o.readable} for kind in _KINDS}
    resources = Resources(
        feeds={name: VenueFeed(metadata=o.metadata, spec=o.spec) for name, o in sorted(whole["VenueFeed"].items())},
        strategies={name: ArbStrategy(metadata=o.metadata, spec=o.spec) for name, o in sorted(whole["ArbStrategy"].items())},
        policies={name: RiskPolicy(metadata=o.metadata, spec=o.spec) for name, o in sorted(whole["RiskPolicy"].items())},
    )
    return Loaded(resources=resources, violations=in_order(violations))


def uid_of(namespace: str, kind: str, name: str) -> str:
    """The uid of an object that no API server gave one: always the same, so that a replay repeats."""
    return str(uuid.uuid5(_IDENTITIES, f"{namespace}/{kind}/{name}"))


def _unlisted(raw: Raw) -> Iterator[Raw]:
    """A document, or the items of a `kind: List`."""
    if isinstance(raw.value, dict) and raw.value.get("kind") == "List" and isinstance(raw.value.get("items"), list):
        for index, item in enumerate(raw.value["items"]):
            yield from _unlisted(raw.part(("items", index), item))
    else:
        yield raw


def _read(raw: Raw) -> tuple[_Object | None, list[Violation]]:
    value = raw.value
    if not isinstance(value, dict):
        return None, list(
            _placed(raw, "", "", [Problem((), Reason.WRONG_TYPE, "a document must be an object with kind and spec")])
        )
    kind = value.get("kind")
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    problems = list(_header(value))
    if known is None:
        return None, list(_placed(raw, str(kind or ""), "", problems))
    shape = shape_of(known.spec)
    reader = Reader(shape)
    metadata = _metadata(reader, str(kind), value.get("metadata"))
    spec = reader.read(shape, value["spec"], ("spec",)) if value.get("spec") is not None else BROKEN
    broken = reader.broken()
    problems += reader.problems
    if spec is not BROKEN:
        problems += rules.check(known.rules, spec, broken)
    read = None
    if metadata is not None:
        whole = broken if spec is not BROKEN else broken | {("spec",)}
        read = _Object(raw=raw, kind=str(kind), name=metadata.name, metadata=metadata, spec=spec, broken=whole)
    return read, list(_placed(raw, str(kind), metadata.name if metadata else "", problems))


def _header(value: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong outside metadata and spec."""
    version, kind = value.get("apiVersion"), value.get("kind")
    if version != API_VERSION:
        found = f"is {version!r}" if "apiVersion" in value else "is missing"
        yield Problem(("apiVersion",), Reason.UNKNOWN_VERSION, f"must be {API_VERSION}, {found}")
    if not isinstance(kind, str) or kind not in _KINDS:
        found = f"is {kind!r}{did_you_mean(str(kind), _KINDS)}" if "kind" in value else "is missing"
        yield Problem(("kind",), Reason.UNKNOWN_KIND, f"must be {', '.join(_KINDS)}, {found}")
        return
    if value.get("spec") is None:
        yield Problem(("spec",), Reason.MISSING, "is required")
    for name in value.keys() - {"apiVersion", "kind", "metadata", "spec", "status"}:
        hint = did_you_mean(name, ("metadata", "spec")) or f" (is it meant to be below spec? there is spec.{name})"
        there = shape_of(_KINDS[kind].spec).field(name) is not None
        yield Problem((name,), Reason.UNKNOWN_FIELD, f"no such field{hint if there or 'did' in hint else ''}")


def _metadata(reader: Reader, kind: str, value: object) -> Metadata | None:
    """What is used of the metadata, or None where it has no name that could be read."""
    where: Path = ("metadata",)
    if not isinstance(value, dict) or value.get("name") is None:
        reader.problems.append(Problem((*where, "name"), Reason.MISSING, "is required: references go by name"))
        return None
    name = reader.read(_NAME, value["name"], (*where, "name"))
    namespace = reader.read(_NAMESPACE, value.get("namespace") or "default", (*where, "namespace"))
    texts = {field: _texts(reader, value.get(field) or {}, (*where, field)) for field in ("labels", "annotations")}
    if name is BROKEN or namespace is BROKEN:
        return None
    generation = value.get("generation")
    return Metadata(
        name=name,
        namespace=namespace,
        uid=str(value.get("uid") or uid_of(namespace, kind, name)),
        generation=generation if type(generation) is int else 1,
        **texts,
    )


def _texts(reader: Reader, value: object, path: Path) -> dict[str, str]:
    if not isinstance(value, dict):
        reader.problems.append(Problem(path, Reason.WRONG_TYPE, "must be an object with text values"))
        return {}
    read = {key: reader.read(_TEXT, text, (*path, key)) for key, text in value.items()}
    return {key: text for key, text in read.items() if text is not BROKEN}


def _placed(raw: Raw, kind: str, name: str, problems: Iterable[Problem]) -> Iterator[Violation]:
    for p in problems:
        yield Violation(
            source=raw.source,
            line=raw.line(p.path),
            kind=kind,
            name=name,
            path=spell(p.path),
            reason=p.reason,
            message=p.message,
        )


def _together(objects: list[_Object]) -> Iterator[Violation]:
    """What is wrong with the objects as a set: two of one name, or of several namespaces."""
    first: dict[tuple[str, str], _Object] = {}
    for o in objects:
        where = ("metadata", "name")
        earlier = first.setdefault((o.kind, o.name), o)
        if earlier is not o:
            place = f"{earlier.raw.source}:{earlier.raw.line(where)}"
            problem = Problem(where, Reason.DUPLICATE_OBJECT, f"there is another {o.kind} {o.name}, at {place}")
            yield from _placed(o.raw, o.kind, o.name, [problem])
        home = objects[0]
        if o.metadata.namespace != home.metadata.namespace:
            message = f"{o.metadata.namespace}, but {home.raw.source} has {home.metadata.namespace}; load each by itself"
            problem = Problem(("metadata", "namespace"), Reason.MIXED_NAMESPACES, message)
            yield from _placed(o.raw, o.kind, o.name, [problem])


def _across(objects: list[_Object]) -> Iterator[Violation]:
    """What strategies ask of feeds."""
    feeds = {o.name: o for o in objects if o.kind == "VenueFeed"}
    for o in objects:
        if o.kind != "ArbStrategy" or o.spec is BROKEN or any(path[:2] == ("spec", "feeds") for path in o.broken):
            continue
        problems = list(rules.unknown_feeds(o.spec, feeds))
        used = {ref.name: feeds[ref.name] for ref in o.spec.feeds if ref.name in feeds}
        if not problems and o.readable and all(feed.readable for feed in used.values()):
            problems += rules.against_feeds(o.spec, {name: feed.spec for name, feed in used.items()})
        yield from _placed(o.raw, o.kind, o.name, problems)
