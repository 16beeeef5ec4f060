"""What differs between two sets of resources, and what each difference costs: hot or a restart, safer or looser.

For: `arb plan`, which says so before anything is applied. A field's own declaration decides; nothing here knows a field.
May not: do I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from arbkube.resources.fields import Safer
from arbkube.resources.kinds import ArbStrategySpec, RiskPolicySpec, VenueFeedSpec
from arbkube.resources.loading import Resources
from arbkube.resources.meaning import canonical, meaning
from arbkube.resources.shape import Field, Many, Object, shape_of
from arbkube.resources.violations import Path, spell

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class Effect(StrEnum):
    """What a change does to running pods."""

    HOT = "Hot"
    """It reaches them as they run."""
    RESTART = "Restart"
    """Pods are started, stopped or replaced."""


class Direction(StrEnum):
    """What a change does to a limit."""

    TIGHTENS = "Tightens"
    """It can only reduce risk."""
    LOOSENS = "Loosens"
    """It may add risk."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference. An empty `path` is the whole object; `old` and `new` are for reading, None where there is nothing."""

    kind: str
    name: str
    path: str
    old: str | None
    new: str | None
    effect: Effect
    safer: Direction | None


class _Difference(msgspec.Struct, frozen=True):
    path: Path
    old: Any
    new: Any
    effect: Effect
    safer: Direction | None


def changes(old: Resources, new: Resources) -> list[Change]:
    """Every difference in meaning, by kind, name and path."""
    found = list(_objects("VenueFeed", shape_of(VenueFeedSpec), old.feeds, new.feeds))
    found += _objects("ArbStrategy", shape_of(ArbStrategySpec), old.strategies, new.strategies)
    found += _objects("RiskPolicy", shape_of(RiskPolicySpec), old.policies, new.policies)
    return found


def restarting(spec: msgspec.Struct, *, without: tuple[str, ...] = ()) -> dict[str, object]:
    """The meaning of every field declared a restart, by path; not of those below the top-level fields `without`."""
    shape = shape_of(type(spec))
    kept = msgspec.structs.replace(shape, fields=tuple(field for field in shape.fields if field.name not in without))
    return dict(_restarting(kept, spec, ("spec",)))


def without_limits(spec: _Struct) -> _Struct:
    """`spec` with every field that declares a safer direction at its default, or as it is where it has none."""
    changed: dict[str, object] = {}
    for field in shape_of(type(spec)).fields:
        value = getattr(spec, field.attribute)
        if field.safer is not None and not field.required:
            changed[field.attribute] = field.default
        elif isinstance(field.shape, Object) and value is not None:
            changed[field.attribute] = without_limits(value)
    return msgspec.structs.replace(spec, **changed)


def _restarting(shape: Object, spec: Any, path: Path) -> Iterator[tuple[str, object]]:
    for field in shape.fields:
        value, here = getattr(spec, field.attribute), (*path, field.name)
        if field.restart:
            yield spell(here), meaning(value)
        elif isinstance(field.shape, Object) and value is not None:
            yield from _restarting(field.shape, value, here)


def _objects(kind: str, shape: Object, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if name in old and name in new:
            for d in _inside(shape, old[name].spec, new[name].spec, ("spec",)):
                yield _change(kind, name, d)
        else:
            before, after = old.get(name), new.get(name)
            policy = kind == "RiskPolicy"
            effect = Effect.HOT if policy else Effect.RESTART
            safer = None if not policy else Direction.TIGHTENS if before is None else Direction.LOOSENS
            spec = _Difference((), before and before.spec, after and after.spec, effect, safer)
            yield _change(kind, name, spec)


def _change(kind: str, name: str, d: _Difference) -> Change:
    return Change(kind=kind, name=name, path=spell(d.path), old=_text(d.old), new=_text(d.new), effect=d.effect, safer=d.safer)


def _inside(shape: Object, old: Any, new: Any, path: Path) -> Iterator[_Difference]:
    for field in shape.fields:
        yield from _field(field, getattr(old, field.attribute), getattr(new, field.attribute), (*path, field.name))


def _field(field: Field, old: Any, new: Any, path: Path) -> Iterator[_Difference]:
    if meaning(old) == meaning(new):
        return
    effect = Effect.RESTART if field.restart else Effect.HOT
    if isinstance(field.shape, Object) and old is not None and new is not None:
        for inner in _inside(field.shape, old, new, path):
            yield msgspec.structs.replace(inner, effect=Effect.RESTART) if field.restart else inner
    elif isinstance(field.shape, Many) and field.shape.keys:
        yield from _elements(field.shape, effect, old, new, path)
    else:
        yield _Difference(path, old, new, effect, _direction(field.safer, old, new))


def _elements(shape: Many, effect: Effect, old: Any, new: Any, path: Path) -> Iterator[_Difference]:
    assert isinstance(shape.item, Object)
    before, after = _keyed(shape, old), _keyed(shape, new)
    is_limit = any(field.safer for field in shape.item.fields)
    for key in sorted(before.keys() | after.keys()):
        here = (*path, f"[{key}]")
        if key in before and key in after:
            for inner in _inside(shape.item, before[key], after[key], here):
                yield msgspec.structs.replace(inner, effect=effect)
        else:
            direction = Direction.TIGHTENS if key in after else Direction.LOOSENS
            yield _Difference(here, before.get(key), after.get(key), effect, direction if is_limit else None)


def _keyed(shape: Many, items: tuple[Any, ...]) -> dict[str, Any]:
    return {" ".join(str(getattr(item, key)) for key in shape.keys): item for item in items}


def _direction(safer: Safer | None, old: Any, new: Any) -> Direction | None:
    """Which way a limit moved; one that is not there is the loosest."""
    if safer is None:
        return None
    if old is None or new is None:
        return Direction.TIGHTENS if old is None else Direction.LOOSENS
    return Direction.TIGHTENS if (new < old) == (safer is Safer.LOWER) else Direction.LOOSENS


def _text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case tuple():
            return ", ".join(sorted(_text(part) or "" for part in value))
        case msgspec.Struct():
            return canonical(_as_written(value))
        case bool():
            return str(value).lower()
        case Decimal():
            return format(value, "f")
    return str(value)


def _as_written(value: Any) -> Any:
    match value:
        case msgspec.Struct():
            names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            parts = {name: getattr(value, attribute) for name, attribute in names}
            return {name: _as_written(part) for name, part in parts.items() if part is not None}
        case tuple():
            return [_as_written(part) for part in value]
        case bool() | int():
            return value
        case Decimal():
            return format(value, "f")
    return str(value)
