"""CRDs and reference pages are what the types say, and every word in them has a meaning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from arbkube.cli.published import generate
from arbkube.market.instruments import MarketType
from arbkube.resources.kinds import Proof
from arbkube.venues import catalog, registry
from tests.resources.apiserver import ROOT

CRDS = sorted((ROOT / "crds").glob("*.yaml"))
FORBIDDEN = {"$ref", "definitions", "patternProperties", "uniqueItems", "oneOf", "anyOf", "allOf", "not", "nullable"}


def blocks(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, inner in schema.get("properties", {}).items():
        found += blocks(inner, f"{path}.{name}")
    if "items" in schema:
        found += blocks(schema["items"], f"{path}[]")
    return found


def test_committed_files_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert generate.main(["--check"]) == 0


def test_a_stale_file_is_found_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert generate.main(["--check"]) == 1
    assert generate.main(["--write"]) == 0
    assert generate.main(["--check"]) == 0
    assert generate.main([]) == 2


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_the_schema_is_structural(path: Path) -> None:
    definition = yaml.safe_load(path.read_text())
    spec = definition["spec"]
    assert definition["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}" == f"{path.stem}.arbkube.io"
    schema = spec["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.Draft4Validator.check_schema(schema)
    for place, block in blocks(schema):
        assert "type" in block, place
        assert not FORBIDDEN & block.keys(), place
        if block["type"] == "array":
            assert "maxItems" in block, f"{place}: CEL's cost is estimated from it"
            kind, keys = block["x-kubernetes-list-type"], block.get("x-kubernetes-list-map-keys", [])
            assert (kind == "map") == (block["items"]["type"] == "object") == bool(keys), place
            assert set(keys) <= set(block["items"].get("required", [])), f"{place}: keys of a map list are required"
        if block["type"] == "string" and "x-kubernetes-validations" in block:
            assert "maxLength" in block, place
        if "default" in block and block["type"] != "object":
            jsonschema.Draft4Validator(block).validate(block["default"])


def test_every_word_has_a_meaning() -> None:
    text = (ROOT / "docs" / "reference" / "reasons.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|\s*\|$", text, re.MULTILINE) == []


def test_the_catalog_names_what_the_registry_serves() -> None:
    for venue in catalog.VENUES:
        for market in MarketType:
            if market in catalog.markets(venue):
                registry.adapter(venue, market)
                assert catalog.proofs(venue, market)
            else:
                with pytest.raises(ValueError, match="no adapter"):
                    registry.adapter(venue, market)


def test_what_is_not_in_the_catalog_proves_nothing() -> None:
    assert catalog.markets("ccxt:gate") == tuple(MarketType)
    assert catalog.proofs("ccxt:gate", MarketType.SPOT) == frozenset()
    assert catalog.markets("nowhere") == ()
    assert {proof for venue in catalog.VENUES for m in MarketType for proof in catalog.proofs(venue, m)} == set(Proof)
