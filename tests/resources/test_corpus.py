"""One corpus proves that the validator and the CRDs agree on what is good and what is bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from arbkube.resources.loading import load
from arbkube.resources.violations import Reason, describe_violations
from tests.resources.apiserver import ROOT, refusals

CORPUS = Path(__file__).parent / "corpus"
GOOD = sorted((CORPUS / "good").glob("*.yaml"))
BAD = sorted((CORPUS / "bad").glob("*.yaml"))
MANIFESTS = [
    *sorted(path for path in (ROOT / "manifests").iterdir() if path.name != "examples"),
    *sorted((ROOT / "manifests" / "examples").glob("*.yaml")),
]


def documents(text: str) -> list[Any]:
    found = [document for document in yaml.safe_load_all(text) if document is not None]
    return [item for document in found for item in (document["items"] if document.get("kind") == "List" else [document])]


def expected(path: Path) -> tuple[set[tuple[str, str]], str]:
    lines = [line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("# ")]
    pairs = {tuple(line.removeprefix("expect: ").split(" ")) for line in lines if line.startswith("expect: ")}
    (crd,) = [line.removeprefix("crd: ") for line in lines if line.startswith("crd: ")]
    return {("" if place == "-" else place, reason) for place, reason in pairs}, crd


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_is_taken_by_both(path: Path) -> None:
    text = path.read_text()
    loaded = load({path.name: text})
    assert describe_violations(loaded.violations) == []
    assert [refusals(document) for document in documents(text)] == [[] for _ in documents(text)]
    r = loaded.resources
    assert len(r.feeds) + len(r.strategies) + len(r.policies) == len(documents(text))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_is_refused_for_the_reasons_it_names(path: Path) -> None:
    pairs, crd = expected(path)
    violations = load({path.name: path.read_text()}).violations
    assert {(v.path, v.reason.value) for v in violations} == pairs
    assert crd in ("yes", "no", "unseen")


@pytest.mark.parametrize("path", [path for path in BAD if expected(path)[1] != "unseen"], ids=lambda path: path.stem)
def test_bad_is_refused_by_the_crd_where_it_can(path: Path) -> None:
    pairs, crd = expected(path)
    found = [refusal for document in documents(path.read_text()) for refusal in refusals(document)]
    if crd == "no":
        assert found == []
        return
    assert found
    for place, message in found:
        # A rule stands on the object that holds the fields it compares.
        assert place or message == "no such resource"
        assert any(wanted.startswith(place) or place.startswith(wanted) for wanted, _ in pairs), (place, message)


def test_every_reason_has_a_bad_example() -> None:
    named = {reason for path in BAD for _, reason in expected(path)[0]}
    assert named == {reason.value for reason in Reason}


def test_the_corpus_is_not_smaller_than_it_was() -> None:
    assert len(GOOD) >= 12
    assert len(BAD) >= 40


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_good(path: Path) -> None:
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    assert files
    texts = {file.name: file.read_text() for file in files}
    assert describe_violations(load(texts).violations) == []
    for text in texts.values():
        assert [refusals(document) for document in documents(text)] == [[] for _ in documents(text)]
