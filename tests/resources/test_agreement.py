"""Whatever the validator takes, an API server takes as well: the CRDs are never stricter than what they are made from."""

from __future__ import annotations

import msgspec
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbkube.resources.changes import changes
from arbkube.resources.kinds import API_VERSION
from arbkube.resources.loading import Resources, load
from arbkube.resources.meaning import meaning
from tests.resources.apiserver import refusals
from tests.resources.made import everything, mutated, written

ours = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def manifests(r: Resources) -> list[dict[str, object]]:
    found = []
    for whole in (r.feeds, r.strategies, r.policies):
        for name, resource in whole.items():
            head = {"apiVersion": API_VERSION, "kind": type(resource).__name__, "metadata": {"name": name}}
            found.append(head | {"spec": written(resource.spec)})
    return found


def test_everything_written_out_means_the_same() -> None:
    loaded = load({"all": yaml.safe_dump_all(manifests(everything()))})
    assert loaded.violations == []
    assert meaning(loaded.resources) == meaning(everything())
    assert changes(loaded.resources, everything()) == []


@ours
@given(st.data())
def test_what_the_validator_takes_the_api_server_takes(data: st.DataObject) -> None:
    new = data.draw(mutated(everything()))
    made = manifests(new)
    loaded = load({"all": yaml.safe_dump_all(made)})
    blamed = {(v.kind, v.name) for v in loaded.violations}
    for manifest in made:
        name = manifest["metadata"]["name"]  # type: ignore[index]
        if (manifest["kind"], name) not in blamed:
            assert refusals(manifest) == []
    if not loaded.violations:
        assert meaning(loaded.resources) == meaning(new)


@ours
@given(st.data())
def test_every_unknown_field_is_refused_by_both_at_its_place(data: st.DataObject) -> None:
    manifest = data.draw(st.sampled_from(manifests(everything())))
    blocks: list[tuple[str, dict[str, object]]] = []

    def collect(value: object, path: str) -> None:
        if isinstance(value, dict):
            blocks.append((path, value))
            for name, part in value.items():
                collect(part, f"{path}.{name}")
        elif isinstance(value, list):
            for index, part in enumerate(value):
                collect(part, f"{path}[{index}]")

    made = msgspec.json.decode(msgspec.json.encode(manifest))
    collect(made["spec"], "spec")
    path, block = data.draw(st.sampled_from(blocks))
    block["nonsense"] = 1
    assert (f"{path}.nonsense", "UnknownField") in {(v.path, v.reason) for v in load({"m": yaml.safe_dump(made)}).violations}
    assert (f"{path}.nonsense", "unknown field") in refusals(made)
