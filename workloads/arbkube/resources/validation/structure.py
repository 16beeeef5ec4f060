"""From plain YAML values to the typed structs of `kinds`, every structural violation listed at once.

For: unknown and missing fields, types, spellings, ranges, lengths, duplicates; the same that the CRD's schema refuses, and the
few that it cannot see. May not: do I/O, know a venue, or compare fields with each other (see `rules`).

Reading goes on after a violation: what is broken is left out or takes its default, and its path is remembered, so that rules
about the rest still run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from arbkube.resources.fields import Range
from arbkube.resources.scalars import Bps, Duration
from arbkube.resources.shape import Choice, Field, Many, Object, Scalar, Shape
from arbkube.resources.validation import hints
from arbkube.resources.violations import Path, Problem, Reason, spell


class _Broken:
    """The value of what could not be read."""


BROKEN: Final = _Broken()

_RANGES: dict[Range, Callable[[Decimal], bool]] = {
    Range.ANY: lambda _: True,
    Range.NOT_NEGATIVE: lambda number: number >= 0,
    Range.POSITIVE: lambda number: number > 0,
    Range.FRACTION: lambda number: 0 <= number <= 1,
}


class Reader:
    """Reads one object; `problems` grows as it goes."""

    def __init__(self, root: Object) -> None:
        self.problems: list[Problem] = []
        self._root = root

    def read(self, shape: Shape, value: object, path: Path) -> Any:
        """The typed value of `value`, or BROKEN."""
        match shape:
            case Scalar():
                return self._scalar(shape, value, path)
            case Choice():
                return self._choice(shape, value, path)
            case Many():
                return self._many(shape, value, path)
            case Object():
                return self._object(shape, value, path)

    def broken(self) -> set[Path]:
        """The paths of all that was left out or replaced by a default."""
        return {problem.path for problem in self.problems if problem.reason is not Reason.UNKNOWN_FIELD}

    def _refuse(self, path: Path, reason: Reason, message: str) -> _Broken:
        self.problems.append(Problem(path, reason, message))
        return BROKEN

    def _object(self, shape: Object, value: object, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._refuse(path, Reason.WRONG_TYPE, f"must be an object with fields, is {_named(value)}")
        for name in value:
            if shape.field(name) is None:
                self._refuse((*path, name), Reason.UNKNOWN_FIELD, f"no such field{self._elsewhere(shape, name)}")
        values: dict[str, Any] = {}
        for field in shape.fields:
            read = self._field(field, value, (*path, field.name))
            values[field.attribute] = field.default if read is BROKEN else read
        return shape.struct(**values)

    def _field(self, field: Field, values: dict[str, Any], path: Path) -> Any:
        if field.name not in values:
            return self._refuse(path, Reason.MISSING, f"is required: {field.doc}") if field.required else field.default
        if values[field.name] is None:
            return self._refuse(path, Reason.NO_VALUE, "has no value: write one, or leave the field out")
        return self.read(field.shape, values[field.name], path)

    def _elsewhere(self, shape: Object, name: str) -> str:
        guess = hints.did_you_mean(name, [field.name for field in shape.fields])
        places = _places(self._root, name, ("spec",))
        return guess or (f" (there is {' and '.join(places)})" if places else "")

    def _many(self, shape: Many, value: object, path: Path) -> Any:
        if not isinstance(value, list):
            return self._refuse(path, Reason.WRONG_TYPE, f"must be a list, is {_named(value)}")
        if len(value) < shape.min_length:
            self._refuse(path, Reason.TOO_FEW, f"needs at least {shape.min_length}, has {len(value)}")
        if len(value) > shape.max_length:
            return self._refuse(path, Reason.TOO_MANY, f"takes at most {shape.max_length}, has {len(value)}")
        items = []
        seen: dict[object, int] = {}
        for index, part in enumerate(value):
            here = (*path, index)
            if part is None:
                self._refuse(here, Reason.NO_VALUE, "has no value")
                continue
            before = len(self.problems)
            item = self.read(shape.item, part, here)
            if item is BROKEN or any(problem.reason is not Reason.UNKNOWN_FIELD for problem in self.problems[before:]):
                continue
            identity = tuple(getattr(item, key) for key in shape.keys) if shape.keys else item
            if identity in seen:
                what = " and ".join(map(str, identity)) if isinstance(identity, tuple) else str(identity)
                self._refuse(here, Reason.DUPLICATE_ITEM, f"{what} is already at {spell((*path, seen[identity]))}")
                continue
            seen[identity] = index
            items.append(item)
        return tuple(items)

    def _choice(self, shape: Choice, value: object, path: Path) -> Any:
        words = [member.value for member in shape.enum]
        if value in words:
            return shape.enum(value)
        known = f"must be {' or '.join(words)}"
        if not isinstance(value, str):
            return self._refuse(path, Reason.WRONG_TYPE, f"{known}, is {_named(value)}")
        return self._refuse(path, Reason.UNKNOWN_VALUE, f"{known}, is {value!r}{hints.did_you_mean(value, words)}")

    def _scalar(self, shape: Scalar, value: object, path: Path) -> Any:
        written = shape.type if shape.type in (bool, int) else str
        if type(value) is not written:
            message = f"must be {shape.title}, is {_named(value)}{hints.for_value(shape, value)}"
            return self._refuse(path, Reason.WRONG_TYPE, message)
        if isinstance(value, str):
            return self._text(shape, value, path)
        if shape.type is int and isinstance(value, int):
            low, high = shape.minimum, shape.maximum
            if (low is not None and value < low) or (high is not None and value > high):
                return self._refuse(path, Reason.OUT_OF_RANGE, f"must be from {low} to {high}, is {value}")
        return value

    def _text(self, shape: Scalar, text: str, path: Path) -> Any:
        if shape.max_length is not None and len(text) > shape.max_length:
            return self._refuse(path, Reason.TOO_LONG, f"takes at most {shape.max_length} characters, has {len(text)}")
        if shape.pattern is not None and re.fullmatch(shape.pattern, text) is None:
            return self._refuse(path, Reason.BAD_FORMAT, f"{text!r} is not {shape.title}{hints.for_text(shape, text)}")
        value = shape.type(text)
        if not _RANGES[shape.within](_number(value)):
            return self._refuse(path, Reason.OUT_OF_RANGE, f"must be {shape.within}, is {text}")
        return value


def _number(value: object) -> Decimal:
    match value:
        case Decimal():
            return value
        case Bps():
            return value.fraction
        case Duration():
            return Decimal(value.ns)
    return Decimal(0)


def _named(value: object) -> str:
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value!r}"
        case list():
            return "a list"
        case dict():
            return "an object"
    return "nothing"


def _places(shape: Shape, name: str, path: Path) -> list[str]:
    """Where else a field of this name is."""
    match shape:
        case Object():
            found = []
            for field in shape.fields:
                if field.name == name:
                    found.append(spell((*path, name)))
                found += _places(field.shape, name, (*path, field.name))
            return found
        case Many():
            return _places(shape.item, name, path)
    return []
