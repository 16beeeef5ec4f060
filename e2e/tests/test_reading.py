"""What a person sees of the kinds through kubectl: explanations, columns, and a status that only the operator's door writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.tests.kube import API, PLURALS, Kube
from tests.resources.apiserver import ROOT

pytestmark = pytest.mark.usefixtures("definitions")
QUICKSTART = ROOT / "manifests" / "quickstart"


def levels(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field below `schema` with its own schema."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from levels(inner.get("items", inner), f"{path}.{name}")


@pytest.mark.parametrize("kind", sorted(PLURALS))
def test_every_field_is_explained(kube: Kube, kind: str) -> None:
    """What `kubectl explain` prints comes from the server's OpenAPI document; a field without a description prints <empty>."""
    schemas = kube.ask("GET", f"/openapi/v3{API}").body["components"]["schemas"]
    (schema,) = [found for name, found in schemas.items() if name.endswith(f".{kind}")]
    assert schema["description"]
    own = list(levels({"properties": {part: schema["properties"][part] for part in ("spec", "status")}}, kind))
    assert len(own) > 10
    assert [path for path, inner in own if not inner.get("description", "").strip()] == []


@pytest.mark.parametrize("path", ["arb", "arb.spec.execution.paper", "vf.spec.integrity", "risk.spec", "arb.status.conditions"])
def test_kubectl_explains(kube: Kube, path: str) -> None:
    said = kube("explain", path)
    assert "DESCRIPTION:" in said
    assert "<empty>" not in said
    assert "FIELDS:" in said


def test_columns_tell_what_there_is_and_how_it_is(kube: Kube, namespace: str) -> None:
    kube("apply", "--namespace", namespace, "--server-side", "--filename", QUICKSTART)
    said = kube("get", "arb,vf,risk", "--namespace", namespace)
    blocks = [block.splitlines() for block in said.strip().split("\n\n")]
    heads = [block[0].split() for block in blocks]
    assert heads[0] == ["NAME", "MODE", "READY", "AGE"]
    assert heads[1] == ["NAME", "VENUE", "MARKET", "READY", "AGE"]
    assert heads[2] == ["NAME", "READY", "AGE"]
    # Nobody has written a status yet: what is not known shows as nothing, never as ready.
    assert all(row.split()[1] == "Paper" and len(row.split()) == 3 for row in blocks[0][1:]), said
    assert {row.split()[2] for row in blocks[1][1:]} <= {"Spot", "Perpetual"}
    everything = kube("get", "arbkube", "--namespace", namespace, "--output", "name").split()
    assert len(everything) == sum(len(block) - 1 for block in blocks)


def test_status_is_written_through_its_own_door(kube: Kube, namespace: str) -> None:
    kube("apply", "--namespace", namespace, "--server-side", "--filename", QUICKSTART)
    (name, *_) = kube("get", "risk", "--namespace", namespace, "--output", "jsonpath={.items[*].metadata.name}").split()
    path = f"{API}/namespaces/{namespace}/riskpolicies/{name}"
    before = kube.ask("GET", path).body
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"status": {"observedGeneration": 1, "conditions": [ready]}}

    ignored = kube.ask("PATCH", path, status)
    assert ignored.code == 200
    assert "status" not in ignored.body
    spoiled = {"status": status["status"], "spec": {"suspend": True}}
    written = kube.ask("PATCH", f"{path}/status", spoiled)
    assert written.code == 200, written.body
    assert written.body["status"] == status["status"]
    assert written.body["spec"] == before["spec"]
    assert written.body["metadata"]["generation"] == before["metadata"]["generation"]
    # kubectl wait, Helm and Flux read exactly this.
    kube("wait", f"riskpolicies/{name}", "--namespace", namespace, "--for=condition=Ready", "--timeout=5s")
    assert kube("get", "risk", name, "--namespace", namespace, "--no-headers").split()[1] == "True"


def test_a_condition_without_its_reason_is_refused(kube: Kube, namespace: str) -> None:
    kube("apply", "--namespace", namespace, "--server-side", "--filename", QUICKSTART)
    (name, *_) = kube("get", "risk", "--namespace", namespace, "--output", "jsonpath={.items[*].metadata.name}").split()
    path = f"{API}/namespaces/{namespace}/riskpolicies/{name}/status?dryRun=All"
    partial = {"type": "Stalled", "status": "Maybe", "lastTransitionTime": "yesterday"}
    refused = kube.ask("PATCH", path, {"status": {"conditions": [partial]}})
    assert refused.code == 422
    assert {"status.conditions[0].reason", "status.conditions[0].message", "status.conditions[0].status"} <= refused.places
