"""The kinds as plain data: what each field is, read off the types once.

For: the validator, `arb plan`, CRDs and reference pages, which all walk this and nothing else, so that they cannot disagree.
May not: do I/O or judge a value.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from arbkube.resources.fields import Range, Safer
from arbkube.resources.scalars import (
    BPS_LENGTH,
    BPS_PATTERN,
    DECIMAL_LENGTH,
    DECIMAL_PATTERN,
    DURATION_LENGTH,
    DURATION_PATTERN,
    SPELLINGS,
    Bps,
    Duration,
)


class Scalar(msgspec.Struct, frozen=True, kw_only=True):
    """A string, boolean, integer, or one of the scalars written as strings."""

    type: type
    """str, bool, int, Decimal, Duration or Bps."""
    pattern: str | None = None
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    within: Range = Range.ANY

    @property
    def title(self) -> str:
        """What it is, with an example, for messages and pages."""
        plain = {bool: "true or false", int: "a whole number"}
        return SPELLINGS[self.pattern] if self.pattern is not None else plain.get(self.type, "text")


class Choice(msgspec.Struct, frozen=True):
    """One of a fixed list of words."""

    enum: type[StrEnum]


class Many(msgspec.Struct, frozen=True, kw_only=True):
    """A list. Without `keys` its elements are a set; with them no two may agree in all of these fields. Order means nothing."""

    item: Shape
    min_length: int
    max_length: int
    keys: tuple[str, ...] = ()


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """A struct's fields, in the order they are declared."""

    struct: type[msgspec.Struct]
    doc: str
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field | None:
        """The field of this name as written in YAML."""
        return next((field for field in self.fields if field.name == name), None)


Shape = Scalar | Choice | Many | Object


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field and its declaration."""

    name: str
    """As written in YAML."""
    attribute: str
    """As in Python."""
    shape: Shape
    doc: str
    restart: bool
    safer: Safer | None
    required: bool
    default: Any
    """None where there is none."""


@cache
def shape_of(struct: type[msgspec.Struct]) -> Object:
    """The shape of a struct of `kinds`. Raises TypeError where a type has no shape."""
    return _object(inspect.type_info(struct))


def _object(info: inspect.Type) -> Object:
    assert isinstance(info, inspect.StructType)
    # A struct without a docstring of its own would show its base's.
    doc = info.cls.__dict__.get("__doc__") or ""
    return Object(struct=info.cls, doc=doc, fields=tuple(_field(field) for field in info.fields))


def _field(field: inspect.Field) -> Field:
    meta = field.type
    if not isinstance(meta, inspect.Metadata) or meta.extra is None:
        raise TypeError(f"{field.name} has no declaration")
    extra: dict[str, Any] = meta.extra
    return Field(
        name=field.encode_name,
        attribute=field.name,
        shape=_shape(meta.type, extra["within"], extra["keys"]),
        doc=(meta.extra_json_schema or {})["description"],
        restart=extra["restart"],
        safer=extra["safer"],
        required=field.required,
        default=None if field.required else field.default,
    )


def _shape(info: inspect.Type, within: Range, keys: tuple[str, ...]) -> Shape:
    match info:
        case inspect.Metadata(type=inner):
            return _shape(inner, within, keys)
        case inspect.UnionType(types=(inner, inspect.NoneType())):
            return _shape(inner, within, keys)
        case inspect.StructType():
            return _object(info)
        case inspect.EnumType(cls=enum) if issubclass(enum, StrEnum):
            return Choice(enum)
        case inspect.VarTupleType(item_type=item, min_length=low, max_length=high):
            if high is None:
                raise TypeError("a list needs a max_length: the API server bounds the cost of its rules by it")
            return Many(item=_shape(item, Range.ANY, ()), min_length=low or 0, max_length=high, keys=keys)
        case inspect.BoolType():
            return Scalar(type=bool)
        case inspect.IntType(ge=low, le=high):
            return Scalar(type=int, minimum=low, maximum=high)
        case inspect.StrType(pattern=pattern, max_length=high):
            return Scalar(type=str, pattern=pattern, max_length=high)
        case inspect.DecimalType():
            return Scalar(type=Decimal, pattern=DECIMAL_PATTERN, max_length=DECIMAL_LENGTH, within=within)
        case inspect.CustomType(cls=cls) if cls is Duration:
            return Scalar(type=Duration, pattern=DURATION_PATTERN, max_length=DURATION_LENGTH, within=within)
        case inspect.CustomType(cls=cls) if cls is Bps:
            return Scalar(type=Bps, pattern=BPS_PATTERN, max_length=BPS_LENGTH, within=within)
    raise TypeError(f"no shape for {info}")
