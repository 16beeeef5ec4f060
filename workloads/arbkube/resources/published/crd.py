"""CustomResourceDefinitions from the types.

For: `crds/`, so that an API server refuses most of what the validator refuses. May not: do I/O.

Rules of `apiextensions.k8s.io/v1` that shape this file: a schema must be structural (a type at every level, no `$ref`, no
`additionalProperties: false`: unknown fields are refused by strict field validation, kubectl's default); lists that are sets
or maps say so by `x-kubernetes-list-type`; a default applies only where its parent is there, hence `default: {}` on blocks;
and the cost of a CEL rule is estimated from maxLength and maxItems, so every string and list that one touches has them.

What CEL cannot say exactly is left to the validator: comparisons of decimals, edges and durations (`exitEdge` ≤ `enterEdge`),
what a venue offers, and everything between objects.
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec
import yaml

from arbkube.resources.fields import Range
from arbkube.resources.kinds import API_VERSION, ArbStrategySpec, Endpoint, RiskPolicySpec, VenueFeedSpec
from arbkube.resources.scalars import NAME_LENGTH, NAME_PATTERN, Bps, Duration
from arbkube.resources.shape import Choice, Field, Many, Object, Scalar, Shape, shape_of

_Json = dict[str, Any]


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    plural: str
    short: str
    spec: type[msgspec.Struct]
    columns: tuple[tuple[str, str], ...]
    """(title, JSON path) of what `kubectl get` shows beside Ready and Age."""


KINDS = (
    _Kind(
        kind="VenueFeed",
        plural="venuefeeds",
        short="vf",
        spec=VenueFeedSpec,
        columns=(("Venue", ".spec.venue"), ("Market", ".spec.market")),
    ),
    _Kind(
        kind="ArbStrategy",
        plural="arbstrategies",
        short="arb",
        spec=ArbStrategySpec,
        columns=(("Mode", ".spec.execution.mode"),),
    ),
    _Kind(kind="RiskPolicy", plural="riskpolicies", short="risk", spec=RiskPolicySpec, columns=()),
)

_RULES: dict[type[msgspec.Struct], tuple[tuple[str, str], ...]] = {
    VenueFeedSpec: (
        ("!(has(self.simulated) && has(self.endpoint))", "simulated has an address of its own: leave out one of the two"),
        ("!(has(self.simulated) && self.venue.startsWith('ccxt:'))", "the simulator does not speak for ccxt venues"),
        (
            "self.instruments.all(i, i.endsWith('-PERP') == (self.market == 'Perpetual'))",
            "instruments of a Perpetual feed end in -PERP, and no others do",
        ),
        ("self.channels.exists(c, c == 'Book')", "channels must contain Book"),
    ),
    Endpoint: (("has(self.websocket) || has(self.rest)", "needs websocket or rest"),),
    ArbStrategySpec: (
        ("has(self.crossVenue) != has(self.cycle)", "exactly one of crossVenue and cycle says what the strategy is"),
        (
            "self.execution.paper.balances.exists(b, b.amount.matches('[1-9]'))",
            "execution.paper.balances needs a balance above zero",
        ),
        (
            "self.execution.paper.balances.all(b, self.feeds.exists(f, f.name == b.feed))",
            "execution.paper.balances names a feed that is not among the strategy's feeds",
        ),
    ),
}
"""CEL rules on the struct's own object: what holds between its fields."""

_NEGATIVE = "(self.startsWith('-') && self.matches('[1-9]'))"
_RANGES: dict[Range, str] = {
    Range.NOT_NEGATIVE: f"!{_NEGATIVE}",
    Range.POSITIVE: "self.matches('[1-9]') && !self.startsWith('-')",
    Range.FRACTION: r"self.matches('^(0(\\.[0-9]+)?|1(\\.0+)?)$')",
}
"""CEL on the text of a number; the pattern has made sure that it is one."""


def definitions() -> dict[str, str]:
    """The YAML text of each CRD, by file name."""
    return {f"{kind.plural}.yaml": _HEADER + _yaml(definition(kind)) for kind in KINDS}


def definition(kind: _Kind) -> _Json:
    """One CustomResourceDefinition."""
    group, version = API_VERSION.split("/")
    columns = [{"name": title, "type": "string", "jsonPath": path} for title, path in kind.columns]
    columns.append({"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'})
    columns.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}"},
        "spec": {
            "group": group,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": ["arbkube"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": _root(shape_of(kind.spec))},
                }
            ],
        },
    }


def _root(spec: Object) -> _Json:
    return {
        "type": "object",
        "description": spec.doc or "",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_LENGTH}},
            },
            "spec": _schema(spec),
            "status": _STATUS,
        },
    }


def _schema(shape: Shape) -> _Json:
    match shape:
        case Scalar():
            return _scalar(shape)
        case Choice(enum=enum):
            return {"type": "string", "enum": [member.value for member in enum]}
        case Many():
            return _many(shape)
        case Object():
            return _object(shape)


def _object(shape: Object) -> _Json:
    schema: _Json = {"type": "object"}
    if shape.doc:
        schema["description"] = shape.doc
    required = [field.name for field in shape.fields if field.required]
    if required:
        schema["required"] = required
    rules = _RULES.get(shape.struct, ())
    if rules:
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": message} for rule, message in rules]
    schema["properties"] = {field.name: _field(field) for field in shape.fields}
    return schema


def _field(field: Field) -> _Json:
    schema = {"description": field.doc, **_schema(field.shape)}
    schema["description"] = field.doc if not isinstance(field.shape, Object) else f"{field.doc} {field.shape.doc}".strip()
    if field.default is not None:
        schema["default"] = as_json(field.default)
    return schema


def _many(shape: Many) -> _Json:
    schema: _Json = {"type": "array", "maxItems": shape.max_length, "items": _schema(shape.item)}
    if shape.min_length:
        schema["minItems"] = shape.min_length
    schema["x-kubernetes-list-type"] = "map" if shape.keys else "set"
    if shape.keys:
        schema["x-kubernetes-list-map-keys"] = list(shape.keys)
    return schema


def _scalar(shape: Scalar) -> _Json:
    schema: _Json = {"type": {bool: "boolean", int: "integer"}.get(shape.type, "string")}
    for key, value in (
        ("pattern", shape.pattern),
        ("maxLength", shape.max_length),
        ("minimum", shape.minimum),
        ("maximum", shape.maximum),
    ):
        if value is not None:
            schema[key] = value
    if shape.within is not Range.ANY:
        schema["x-kubernetes-validations"] = [{"rule": _RANGES[shape.within], "message": f"must be {shape.within}"}]
    return schema


def as_json(value: object) -> Any:
    """A default as it would be written; a block says nothing, because its own fields have defaults."""
    match value:
        case msgspec.Struct():
            return {}
        case tuple():
            return [as_json(part) for part in value]
        case Enum():
            return value.value
        case Decimal() | Duration() | Bps():
            return str(value)
    return value


_CONDITION: _Json = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": {"type": "string", "maxLength": 316, "description": "What is judged, e.g. Ready."},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "minimum": 0,
            "description": "The generation of the spec that was judged.",
        },
        "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When status last changed."},
        "reason": {
            "type": "string",
            "maxLength": 1024,
            "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            "description": "Why, in one word for programs.",
        },
        "message": {"type": "string", "maxLength": 32768, "description": "Why, in a sentence for people."},
    },
}
_STATUS: _Json = {
    "type": "object",
    "description": "What was observed; never read as configuration.",
    "properties": {
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "minimum": 0,
            "description": "The generation of the spec that this status is about.",
        },
        "conditions": {
            "type": "array",
            "maxItems": 20,
            "description": "One of each type, e.g. Ready.",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}
_HEADER = "# Generated from workloads/arbkube/resources by `make crds`; do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """No aliases: a reader of a CRD should not have to look for an anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(value: _Json) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
