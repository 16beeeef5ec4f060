"""The CRDs on a real API server: they install as they are, and it judges the corpus as our validator and emulation do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbkube.resources.kinds import API_VERSION
from arbkube.resources.loading import load
from e2e.tests.kube import PLURALS, Answer, Kube
from tests.resources.apiserver import refusals
from tests.resources.made import everything, mutated, written
from tests.resources.test_corpus import BAD, GOOD, MANIFESTS, documents, expected

pytestmark = pytest.mark.usefixtures("definitions")


def verdicts(kube: Kube, text: str, namespace: str) -> list[tuple[Any, Answer]]:
    """Each object of `text` with what the API server says to it, in the test's own namespace."""
    found = []
    for document in documents(text):
        if isinstance(document.get("metadata"), dict):
            document["metadata"].pop("namespace", None)
        found.append((document, kube.would_create(document, namespace)))
    return found


def agree(document: Any, answer: Answer) -> None:
    """The emulation that `make test` uses gives the verdict that the server gave, for reasons at the same places."""
    emulated = refusals(document)
    assert (answer.code == 201) == (emulated == []), (document, answer.body, emulated)
    named = {place for place, _ in emulated}
    assert all(any(place.startswith(p) or p.startswith(place) for p in named) for place in answer.places), (
        answer.body,
        emulated,
    )


def test_the_server_takes_the_definitions_without_complaint(kube: Kube) -> None:
    for plural in PLURALS.values():
        conditions = kube.ask("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.arbkube.io").body[
            "status"
        ]
        state = {c["type"]: (c["status"], c.get("message", "")) for c in conditions["conditions"]}
        assert state["Established"][0] == "True"
        assert state["NamesAccepted"][0] == "True"
        assert "NonStructuralSchema" not in state, state


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_is_taken(kube: Kube, namespace: str, path: Path) -> None:
    for document, answer in verdicts(kube, path.read_text(), namespace):
        assert answer.code == 201, answer.body
        agree(document, answer)


@pytest.mark.parametrize("path", [path for path in BAD if expected(path)[1] != "unseen"], ids=lambda path: path.stem)
def test_bad_is_refused_where_the_corpus_says_so(kube: Kube, namespace: str, path: Path) -> None:
    pairs, crd = expected(path)
    found = verdicts(kube, path.read_text(), namespace)
    refused = [answer for _, answer in found if answer.code != 201]
    assert bool(refused) == (crd == "yes"), [answer.body for answer in refused]
    for document, answer in found:
        agree(document, answer)
        assert all(any(w.startswith(place) or place.startswith(w) for w, _ in pairs) for place in answer.places), answer.body


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_shipped_manifests_apply_with_kubectl(kube: Kube, namespace: str, path: Path) -> None:
    said = kube("apply", "--namespace", namespace, "--server-side", "--dry-run=server", "--filename", path)
    assert len(said.splitlines()) == sum(
        len(documents(f.read_text())) for f in ([path] if path.is_file() else path.glob("*.yaml"))
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_validator_takes_the_server_takes(kube: Kube, namespace: str, data: st.DataObject) -> None:
    """Resources made from the kinds' own declarations, mutated at random; both verdicts also agree with the emulation."""
    new = data.draw(mutated(everything()))
    made = []
    for whole in (new.feeds, new.strategies, new.policies):
        for name, resource in whole.items():
            head = {"apiVersion": API_VERSION, "kind": type(resource).__name__, "metadata": {"name": name}}
            made.append(msgspec.json.decode(msgspec.json.encode(head | {"spec": written(resource.spec)})))
    blamed = {(v.kind, v.name) for v in load({"all": yaml.safe_dump_all(made)}).violations}
    for manifest in made:
        answer = kube.would_create(manifest, namespace)
        agree(manifest, answer)
        if (manifest["kind"], manifest["metadata"]["name"]) not in blamed:
            assert answer.code == 201, answer.body
