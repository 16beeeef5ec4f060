"""Typed specs made from the kinds' own declarations, for property tests: a new field is tested the day it is declared."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from arbkube.resources.fields import Range
from arbkube.resources.kinds import (
    ArbStrategy,
    ArbStrategySpec,
    Metadata,
    RiskPolicy,
    RiskPolicySpec,
    VenueFeed,
    VenueFeedSpec,
)
from arbkube.resources.loading import Resources, load, uid_of
from arbkube.resources.meaning import canonical, meaning
from arbkube.resources.scalars import (
    ASSET_PATTERN,
    HTTP_PATTERN,
    NAME_PATTERN,
    QUANTITY_PATTERN,
    SYMBOL_PATTERN,
    VENUE_OR_ASSET_PATTERN,
    VENUE_PATTERN,
    WEBSOCKET_PATTERN,
    Bps,
    Duration,
)
from arbkube.resources.shape import Choice, Field, Many, Object, Scalar, Shape, shape_of

ROOT = Path(__file__).parents[2]
GOOD = Path(__file__).parent / "corpus" / "good"
FEEDS = ("binance", "kraken", "okx")
KINDS = {
    "VenueFeed": (VenueFeed, VenueFeedSpec),
    "ArbStrategy": (ArbStrategy, ArbStrategySpec),
    "RiskPolicy": (RiskPolicy, RiskPolicySpec),
}

_TEXTS = {
    NAME_PATTERN: FEEDS,
    ASSET_PATTERN: ("USDT", "BTC", "ETH", "1INCH"),
    SYMBOL_PATTERN: ("BTC-USDT", "ETH-USDT", "ETH-BTC", "BTC-USDT-PERP"),
    VENUE_PATTERN: ("binance", "kraken", "okx", "ccxt:gate"),
    VENUE_OR_ASSET_PATTERN: ("binance", "kraken", "BTC", "ccxt:gate"),
    WEBSOCKET_PATTERN: ("ws://127.0.0.1:9001", "wss://ws.example.com:8443/ws/v5"),
    HTTP_PATTERN: ("http://127.0.0.1:9001", "https://example.com/api"),
    QUANTITY_PATTERN: ("250m", "1", "128Mi", "0.5Gi"),
}
"""Texts of each pattern; drawing them from the pattern itself takes hypothesis far too long."""
_decimals = st.integers(1, 10**6).map(lambda n: str(Decimal(n) / 1000))
_fractions = st.integers(0, 1000).map(lambda n: str(Decimal(n) / 1000))
_durations = st.tuples(st.integers(1, 99999), st.sampled_from(["ms", "s", "m", "h", "d"])).map(lambda p: f"{p[0]}{p[1]}")


def values(shape: Shape) -> st.SearchStrategy[Any]:
    """Values of `shape` that structure allows."""
    match shape:
        case Choice(enum=enum):
            return st.sampled_from(list(enum))
        case Many():
            identity = (lambda item: tuple(getattr(item, key) for key in shape.keys)) if shape.keys else None
            most = min(shape.max_length, 3)
            items = st.lists(values(shape.item), min_size=shape.min_length, max_size=most, unique_by=identity or str)
            return items.map(tuple)
        case Object(struct=struct, fields=fields):
            return st.builds(struct, **{field.attribute: field_values(field) for field in fields})
        case Scalar():
            return _scalars(shape)


def field_values(field: Field) -> st.SearchStrategy[Any]:
    inner = values(field.shape)
    return st.none() | inner if field.default is None and not field.required else inner


def _scalars(shape: Scalar) -> st.SearchStrategy[Any]:
    if shape.type is bool:
        return st.booleans()
    if shape.type is int:
        assert shape.minimum is not None
        assert shape.maximum is not None
        return st.integers(shape.minimum, shape.maximum)
    if shape.type is Duration:
        return _durations.map(Duration)
    texts = _fractions if shape.within is Range.FRACTION else _decimals
    if shape.type is Decimal:
        return texts.map(Decimal)
    if shape.type is Bps:
        return texts.map(lambda text: Bps(text + "bps"))
    assert shape.pattern is not None
    return st.sampled_from(_TEXTS[shape.pattern])


def objects(kind: str, name: str) -> st.SearchStrategy[Any]:
    """An object of `kind`."""
    whole, spec = KINDS[kind]

    def made(value: Any) -> Any:
        return whole(metadata=Metadata(name=name, uid=uid_of("default", kind, name)), spec=value)

    return values(shape_of(spec)).map(made)


def resources() -> st.SearchStrategy[Resources]:
    """Three feeds, two strategies and two policies."""

    def named(kind: str, *names: str) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({name: objects(kind, name) for name in names})

    return st.builds(
        Resources,
        feeds=named("VenueFeed", *FEEDS),
        strategies=named("ArbStrategy", "a", "b"),
        policies=named("RiskPolicy", "p", "q"),
    )


@cache
def everything() -> Resources:
    """Resources with every optional block present on some object and absent on another, nothing suspended."""
    files = [*(ROOT / "manifests" / "quickstart").glob("*.yaml")]
    files += [GOOD / f"{name}.yaml" for name in ("feed-full", "policy-full")]
    texts = {file.name: file.read_text() for file in files}
    strategy = (GOOD / "cross-venue-full.yaml").read_text().split("---\n")[-1]
    texts["full"] = strategy.replace("{name: cross}", "{name: full}").replace("suspend: true", "suspend: false")
    texts["policy-full.yaml"] = texts["policy-full.yaml"].replace("{name: desk}", "{name: full}")
    texts["feed-full.yaml"] = texts["feed-full.yaml"].replace("recording:", "# recording:")
    loaded = load(texts)
    assert loaded.violations == []
    return loaded.resources


def written(value: Any) -> Any:
    """A spec as its author would write it, every field in place."""
    match value:
        case msgspec.Struct():
            fields = msgspec.structs.fields(value)
            parts = {field.encode_name: getattr(value, field.name) for field in fields}
            return {name: written(part) for name, part in parts.items() if part is not None}
        case tuple():
            return [written(part) for part in value]
        case bool() | int():
            return value
        case Decimal():
            return format(value, "f")
    return str(value)


@st.composite
def mutated(draw: st.DrawFn, old: Resources) -> Resources:
    """`old` with one field of one object meaning something else."""
    group = draw(st.sampled_from(["feeds", "strategies", "policies"]))
    whole = getattr(old, group)
    name = draw(st.sampled_from(sorted(whole)))
    kind: type[msgspec.Struct] = type(whole[name].spec)
    spec = _mutated(draw, shape_of(kind), whole[name].spec)
    changed = msgspec.structs.replace(whole[name], spec=spec)
    return msgspec.structs.replace(old, **{group: whole | {name: changed}})


def _mutated(draw: st.DrawFn, shape: Object, value: Any) -> Any:
    field = draw(st.sampled_from(shape.fields))
    old = getattr(value, field.attribute)
    if isinstance(field.shape, Object) and old is not None and draw(st.booleans()):
        new = _mutated(draw, field.shape, old)
    else:
        new = draw(field_values(field).filter(lambda new: canonical(meaning(new)) != canonical(meaning(old))))
    return msgspec.structs.replace(value, **{field.attribute: new})


def leaves(shape: Object) -> list[Field]:
    """Every field at any depth."""
    found = []
    for field in shape.fields:
        found.append(field)
        inner = field.shape.item if isinstance(field.shape, Many) else field.shape
        if isinstance(inner, Object):
            found += leaves(inner)
    return found
