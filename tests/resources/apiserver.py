"""What an API server does with an object under one of our CRDs, in the order it does it, for tests.

The `jsonschema` library judges types, patterns and bounds. What it lacks of a structural schema is done here: strict field
validation (unknown fields are refused, as kubectl asks by default), dropping of nulls, defaults, lists that are sets or maps,
and CEL rules, evaluated by `celpy`. Not done: CEL's cost limits and the metadata checks every object gets.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import yaml
from celpy.adapter import json_to_cel

ROOT = Path(__file__).parents[2]
_environment = celpy.Environment()

Refusal = tuple[str, str]
"""(path, what is wrong)"""


@cache
def schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """The schema of each kind, by (apiVersion, kind), from the committed files."""
    found = {}
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        version = spec["versions"][0]
        found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def refusals(manifest: Any) -> list[Refusal]:
    """Why an API server would refuse `manifest`; empty where it would take it."""
    key = (manifest.get("apiVersion"), manifest.get("kind"))
    if key not in schemas():
        return [("", "no such resource")]
    schema = schemas()[key]
    value = deepcopy(manifest)
    found = list(_unknown(schema, value, ""))
    _drop_nulls(schema, value)
    _default(schema, value)
    found += _structural(schema, value)
    # As there, rules run only on what the schema took: they may count on its types.
    return found or list(_rules(schema, value, ""))


def _unknown(schema: dict[str, Any], value: Any, path: str) -> Iterator[Refusal]:
    if isinstance(value, dict) and "properties" in schema:
        for name, part in value.items():
            if name in schema["properties"]:
                yield from _unknown(schema["properties"][name], part, f"{path}.{name}")
            elif path != ".metadata":
                yield (f"{path}.{name}"[1:], "unknown field")
    if isinstance(value, list) and "items" in schema:
        for index, part in enumerate(value):
            yield from _unknown(schema["items"], part, f"{path}[{index}]")


def _drop_nulls(schema: dict[str, Any], value: Any) -> None:
    for name, inner in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            if value[name] is None:
                del value[name]
            else:
                _drop_nulls(inner, value[name])
    if isinstance(value, list):
        for part in value:
            _drop_nulls(schema.get("items", {}), part)


def _default(schema: dict[str, Any], value: Any) -> None:
    for name, inner in schema.get("properties", {}).items():
        if isinstance(value, dict):
            if name not in value and "default" in inner:
                value[name] = deepcopy(inner["default"])
            if name in value:
                _default(inner, value[name])
    if isinstance(value, list):
        for part in value:
            _default(schema.get("items", {}), part)


def _structural(schema: dict[str, Any], value: Any) -> Iterator[Refusal]:
    for error in jsonschema.Draft4Validator(schema).iter_errors(value):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)[1:]
        if error.validator == "required":
            path = f"{path}.{error.message.split(chr(39))[1]}".strip(".")
        yield path, error.message
    yield from _lists(schema, value, "")


def _lists(schema: dict[str, Any], value: Any, path: str) -> Iterator[Refusal]:
    for name, inner in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            yield from _lists(inner, value[name], f"{path}.{name}")
    if isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen: list[Any] = []
        for index, part in enumerate(value):
            identity = [part.get(key) for key in keys] if keys and isinstance(part, dict) else part
            if identity in seen and schema.get("x-kubernetes-list-type") in ("set", "map"):
                yield (f"{path}[{index}]"[1:], "duplicate value")
            seen.append(identity)
            yield from _lists(schema.get("items", {}), part, f"{path}[{index}]")


def _rules(schema: dict[str, Any], value: Any, path: str) -> Iterator[Refusal]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if not _program(rule["rule"]).evaluate({"self": json_to_cel(value)}):
            yield path[1:], rule["message"]
    for name, inner in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            yield from _rules(inner, value[name], f"{path}.{name}")
    if isinstance(value, list):
        for index, part in enumerate(value):
            yield from _rules(schema.get("items", {}), part, f"{path}[{index}]")


@cache
def _program(rule: str) -> Any:
    return _environment.program(_environment.compile(rule))
