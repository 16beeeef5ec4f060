"""YAML text as plain objects that remember where each of their parts stood.

For: violations that name a line. Reads YAML 1.1 as kubectl does, but refuses what silently loses meaning: duplicate keys, tags,
keys that are not text. Anchors and merge keys work. May not: do I/O or know the kinds.

The parser's events are composed here and not by PyYAML's composer, whose C form overflows its stack on deep nesting and keeps
the last of two equal keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from arbkube.resources.violations import Path, Problem, Reason, Violation, spell

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 50
_MAX_NODES = 200_000
_STANDARD = "tag:yaml.org,2002:"
_MERGE = _STANDARD + "merge"
_KEPT_AS_TEXT = (_STANDARD + "timestamp", _STANDARD + "binary", _STANDARD + "value")
_SCALARS = {
    _STANDARD + name: yaml.constructor.SafeConstructor.yaml_constructors[_STANDARD + name]
    for name in ("str", "int", "float", "bool", "null")
}
_resolver: Any = yaml.resolver.Resolver()
_constructor = yaml.constructor.SafeConstructor()


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """One document, or one item of a `kind: List`. `lines` maps the path of every part to its line, counted from 1."""

    source: str
    value: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """Where `path` stands, or what it would stand in."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def part(self, path: Path, value: Any) -> Raw:
        """What stands at `path`, as a document of its own."""
        lines = {key[len(path) :]: line for key, line in self.lines.items() if key[: len(path)] == path}
        return Raw(source=self.source, value=value, lines=lines)


class _Node(msgspec.Struct):
    line: int
    kind: str
    """`scalar`, `merge` (the key `<<`), `seq`, or `map`, whose items are key, value, key, value, …"""
    scalar: Any = None
    items: list[_Node] = []


class _RefusedError(Exception):
    def __init__(self, line: int, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.line, self.reason, self.message = line, reason, message


def parse(source: str, text: str | bytes) -> tuple[list[Raw], list[Violation]]:
    """The documents of `text`, empty ones left out, and what is wrong with it as YAML. Nothing after a syntax error is read."""
    raws: list[Raw] = []
    violations: list[Violation] = []

    def refuse(line: int, reason: Reason, message: str, path: Path = ()) -> None:
        violations.append(Violation(source=source, line=line, path=spell(path), reason=reason, message=message))

    try:
        for node in _Composer(yaml.parse(text, Loader=_LOADER)).documents():
            unfolded = _Unfolded(node)
            raw = Raw(source=source, value=unfolded.value, lines=unfolded.lines)
            for problem in unfolded.problems:
                refuse(raw.line(problem.path), problem.reason, problem.message, problem.path)
            if raw.value is not None:
                raws.append(raw)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "; indent with spaces, not tabs" if "cannot start any token" in str(error.problem) else ""
        refuse(mark.line + 1 if mark else 1, Reason.SYNTAX, f"not YAML: {error.problem or error.context}{hint}")
    except yaml.YAMLError as error:
        refuse(1, Reason.SYNTAX, "not YAML: " + " ".join(str(error).split()))
    except _RefusedError as error:
        refuse(error.line, error.reason, error.message)
    return raws, violations


class _Composer:
    """From parser events to nodes; an alias gives the node of its anchor."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, _Node] = {}

    def documents(self) -> Iterator[_Node]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                yield self._node(next(self._events), 0)

    def _node(self, event: Any, depth: int) -> _Node:
        line = event.start_mark.line + 1
        if depth > _MAX_DEPTH:
            raise _RefusedError(line, Reason.TOO_LARGE, f"nested more than {_MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _RefusedError(line, Reason.SYNTAX, f"alias *{event.anchor} has no anchor before it, or stands inside it")
            return self._anchors[event.anchor]
        if event.tag and event.tag != "!" and not event.tag.startswith(_STANDARD):
            raise _RefusedError(line, Reason.SYNTAX, f"the tag {event.tag} means nothing here")
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(line, *_scalar(event, line))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = _Node(line, "seq", items=list(self._until(yaml.SequenceEndEvent, depth)))
        else:
            parts = list(self._until(yaml.MappingEndEvent, depth))
            node = _Node(line, "map", items=parts)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _until(self, end: type[yaml.Event], depth: int) -> Iterator[_Node]:
        while not isinstance(event := next(self._events), end):
            yield self._node(event, depth + 1)


def _scalar(event: Any, line: int) -> tuple[str, Any]:
    tag = event.tag if event.tag not in (None, "!") else _resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
    if tag == _MERGE:
        return "merge", event.value
    if tag in _KEPT_AS_TEXT:
        return "scalar", event.value
    construct = _SCALARS.get(tag)
    try:
        if construct is not None:
            return "scalar", construct(_constructor, yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
    except (ValueError, KeyError, IndexError):
        pass
    raise _RefusedError(line, Reason.SYNTAX, f"{event.value!r} does not go with the tag {tag.replace(_STANDARD, '!!')}")


class _Unfolded:
    """A node with its aliases and merges unfolded into plain lists and mappings."""

    def __init__(self, node: _Node) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.value = self._value(node, ())

    def _value(self, node: _Node, path: Path) -> Any:
        self.lines.setdefault(path, node.line)
        if len(self.lines) > _MAX_NODES or len(path) > _MAX_DEPTH:
            raise _RefusedError(node.line, Reason.TOO_LARGE, "its aliases unfold into more than any resource needs")
        if node.kind == "seq":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.kind == "map":
            return self._mapping(node, path)
        return node.scalar

    def _mapping(self, node: _Node, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = {}
        merged: list[_Node] = []
        for key, item in zip(node.items[::2], node.items[1::2], strict=True):
            if key.kind == "merge":
                merged += item.items if item.kind == "seq" else [item]
                continue
            if not isinstance(key.scalar, str):
                hint = f"; quote it, YAML reads it as {key.scalar!r}" if key.kind == "scalar" else ""
                self.problems.append(Problem(path, Reason.SYNTAX, f"a key must be text{hint}"))
                continue
            here = (*path, key.scalar)
            if key.scalar in value:
                message = f"{key.scalar!r} is already there, on line {self.lines[here]}"
                self.lines[here] = key.line
                self.problems.append(Problem(here, Reason.DUPLICATE_KEY, message))
                continue
            self.lines[here] = key.line
            value[key.scalar] = self._value(item, here)
        for base in merged:
            if base.kind != "map":
                self.problems.append(Problem(path, Reason.SYNTAX, "<< merges mappings only"))
                continue
            for name, inherited in self._mapping(base, path).items():
                value.setdefault(name, inherited)
        return value
