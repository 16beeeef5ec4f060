"""Text of any kind gives resources or violations with a line, never an exception or a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbkube.resources.loading import load
from arbkube.resources.validation.sources import parse
from arbkube.resources.violations import Reason, describe_violations, violations_as_json

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*/*.yaml"))
ours = settings(max_examples=300, deadline=None)


@ours
@given(st.text(alphabet="ab:-&*!<>[]{},\"'#?|\n\t 1x~%@\0\ufeff\ud7ff", max_size=60))
def test_any_text(text: str) -> None:
    loaded = load({"t": text})
    assert all(v.line >= 1 for v in loaded.violations)


@ours
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    load({"t": data})


@ours
@given(st.sampled_from(CORPUS), st.data())
def test_any_cut_or_damaged_file(path: Path, data: st.DataObject) -> None:
    text = path.read_text()
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, min(len(text), at + 20)))
    load({"t": text[:at] + data.draw(st.sampled_from(["", "\n", ": ", "- ", "{", "null", "&a *a ", '"'])) + text[until:]})


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 50_000, "\n".join(" " * i + "a:" for i in range(2_000))])
def test_deep_nesting_is_one_violation(text: str) -> None:
    (violation,) = load({"t": text}).violations
    assert violation.reason is Reason.TOO_LARGE


def test_yaml_1_1_scalars_are_read_as_kubectl_reads_them() -> None:
    (raw,), violations = parse("t", "a: yes\nb: 0x1F\nc: ~\nd: 2020-01-01\ne: !!str 5\nf: '5'\ng: 1.5\n")
    assert violations == []
    assert raw.value == {"a": True, "b": 31, "c": None, "d": "2020-01-01", "e": "5", "f": "5", "g": 1.5}


def test_a_merge_key_gives_way_to_what_is_written() -> None:
    (raw,), violations = parse("t", "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  x: 3\n  <<: [*a, *b]\n")
    assert violations == []
    assert raw.value["c"] == {"x": 3, "y": 1, "z": 2}


def test_a_violation_names_file_line_object_path_remedy_and_reason() -> None:
    text = "\n\napiVersion: arbkube.io/v1alpha1\nkind: VenueFeed\nmetadata:\n  name: a\nspec:\n  venue: okx\n  instruments:\n"
    violations = load({"feeds/a.yaml": text + "  - BTC-USDT\n  - ETHUSDT\n"}).violations
    message = "'ETHUSDT' is not an instrument, e.g. BTC-USDT or BTC-USDT-PERP: write ETH-USDT"
    assert describe_violations(violations) == [f"feeds/a.yaml:11: VenueFeed/a spec.instruments[1]: {message} [BadFormat]"]
    assert violations_as_json(violations) == [
        {
            "source": "feeds/a.yaml",
            "line": 11,
            "kind": "VenueFeed",
            "name": "a",
            "path": "spec.instruments[1]",
            "reason": "BadFormat",
            "message": message,
        }
    ]


def test_what_came_before_a_syntax_error_is_still_judged() -> None:
    text = "apiVersion: v0\nkind: VenueFeed\nmetadata: {name: a}\nspec: {venue: okx, instruments: [BTC-USDT]}\n---\na: [b\n"
    assert [v.reason for v in load({"t": text}).violations] == [Reason.UNKNOWN_VERSION, Reason.SYNTAX]


def test_a_uid_is_given_once_and_for_all() -> None:
    text = "apiVersion: arbkube.io/v1alpha1\nkind: RiskPolicy\nmetadata: {name: desk}\nspec: {maxMarkAge: 1s}\n"
    uid = load({"a": text}).resources.policies["desk"].metadata.uid
    assert uid == load({"b": "# moved\n" + text}).resources.policies["desk"].metadata.uid
    assert (
        uid != load({"a": text.replace("{name: desk}", "{name: desk, namespace: x}")}).resources.policies["desk"].metadata.uid
    )
