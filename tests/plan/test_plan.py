"""The plan: deterministic, indifferent to order, and its pods change exactly where a field is declared a restart."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbkube.plan.documents import (
    DetectorDocument,
    ExecutorDocument,
    FeedDocument,
    RecorderDocument,
    SimulatorDocument,
    decode_document,
    encode_document,
)
from arbkube.plan.planning import Role, plan
from arbkube.resources.changes import Effect, changes
from arbkube.resources.kinds import AmountLimit, RiskPolicySpec, StrategyRisk
from arbkube.resources.loading import Resources, load
from arbkube.resources.scalars import Duration
from arbkube.risk.limits import effective_limits
from tests.resources.made import everything, mutated, resources

QUICKSTART = Path(__file__).parents[2] / "manifests" / "quickstart"
few = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


def quickstart(edit: tuple[str, str] | None = None) -> Resources:
    texts = {path.name: path.read_text() for path in QUICKSTART.glob("*.yaml")}
    if edit:
        assert any(edit[0] in text for text in texts.values())
        texts = {name: text.replace(*edit) for name, text in texts.items()}
    loaded = load(texts)
    assert loaded.violations == []
    return loaded.resources


def revisions(r: Resources) -> dict[str, str]:
    return {name: document.revision for name, document in plan(r).documents.items()}


def test_quickstart_runs_two_feeds_two_strategies_a_recorder_and_a_simulator() -> None:
    planned = plan(quickstart())
    assert [(w.name, w.role) for w in planned.workloads] == [
        ("detector-cross", Role.DETECTOR),
        ("detector-triangle", Role.DETECTOR),
        ("executor-cross", Role.EXECUTOR),
        ("executor-triangle", Role.EXECUTOR),
        ("feed-binance", Role.FEED),
        ("feed-kraken", Role.FEED),
        ("recorder", Role.RECORDER),
        ("simulator", Role.SIMULATOR),
    ]
    assert set(planned.documents) == {w.document for w in planned.workloads}
    kinds = {
        Role.FEED: FeedDocument,
        Role.DETECTOR: DetectorDocument,
        Role.EXECUTOR: ExecutorDocument,
        Role.RECORDER: RecorderDocument,
        Role.SIMULATOR: SimulatorDocument,
    }
    for workload in planned.workloads:
        document = planned.documents[workload.document]
        assert type(document) is kinds[workload.role]
        assert json.loads(encode_document(document))["role"] == workload.role


def test_what_is_suspended_does_not_run() -> None:
    r = quickstart()
    replace = msgspec.structs.replace
    feeds = {name: replace(feed, spec=replace(feed.spec, suspend=True)) for name, feed in r.feeds.items()}
    names = [w.name for w in plan(replace(r, feeds=feeds)).workloads]
    assert "simulator" not in names
    assert not any(name.startswith("feed-") for name in names)
    assert "recorder" in names
    assert plan(Resources()).workloads == ()


def test_an_opportunity_and_its_executor_share_a_revision() -> None:
    planned = plan(quickstart())
    assert planned.documents["detector-cross"].revision == planned.documents["executor-cross"].revision


def test_a_risk_policy_changes_limits_and_no_revision() -> None:
    old = 'maxNotional: "1000"\n  maxExposureByVenue'
    before, after = quickstart(), quickstart((old, old.replace("1000", "9")))
    assert revisions(before) == revisions(after)
    executor = plan(after).documents["executor-cross"]
    assert isinstance(executor, ExecutorDocument)
    assert executor.limits.max_notional == Decimal(9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lag: 300ms", "lag: 300ms\n    updatesPerSecond: 20"),
        ("enterEdge: 1bps # net of fees on both legs", "enterEdge: 1.00bps"),
        ('maxNotional: "500"', 'maxNotional: "500.0"'),
        ("instruments: [BTC-USDT, ETH-USDT, ETH-BTC]", "instruments: [ETH-BTC, BTC-USDT, ETH-USDT]"),
        ("feeds: [{name: binance}, {name: kraken}]", "feeds: [{name: kraken}, {name: binance}]"),
        ("latency: 20ms", "latency: 20ms\n      rejectRate: '0'"),
        ("recording: {interval: 1s, retention: 1d}", "recording: {interval: 1000ms, retention: 24h}"),
    ],
)
def test_another_spelling_is_the_same_revision_and_the_same_pods(old: str, new: str) -> None:
    before, after = quickstart(), quickstart((old, new))
    assert revisions(before) == revisions(after)
    assert plan(before).workloads == plan(after).workloads
    assert changes(before, after) == []


@pytest.mark.parametrize(
    ("old", "new", "documents"),
    [
        ("enterEdge: 1bps # net of fees on both legs", "enterEdge: 2bps", {"detector-cross", "executor-cross"}),
        ("noise: 4bps", "noise: 5bps", {"feed-kraken", "simulator"}),
        (
            "require: [Checksum]",
            "require: []",
            {"feed-kraken", "detector-cross", "executor-cross", "detector-triangle", "executor-triangle"},
        ),
    ],
)
def test_a_change_of_meaning_is_a_new_revision_of_what_it_concerns(old: str, new: str, documents: set[str]) -> None:
    before, after = revisions(quickstart()), revisions(quickstart((old, new)))
    assert {name for name in before if before[name] != after[name]} == documents


@few
@given(resources(), st.randoms(use_true_random=False))
def test_the_plan_does_not_depend_on_order(r: Resources, random: object) -> None:
    def shuffled(objects: dict[str, object]) -> dict[str, object]:
        names = list(objects)
        random.shuffle(names)  # type: ignore[attr-defined]
        return {name: objects[name] for name in names}

    again = Resources(feeds=shuffled(r.feeds), strategies=shuffled(r.strategies), policies=shuffled(r.policies))  # type: ignore[arg-type]
    assert plan(again) == plan(r)
    assert list(plan(again).documents) == list(plan(r).documents)


@few
@given(resources())
def test_names_are_unique_dns_labels(r: Resources) -> None:
    names = [w.name for w in plan(r).workloads]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for name in names)


@few
@given(resources())
def test_documents_read_back_as_they_were(r: Resources) -> None:
    for document in plan(r).documents.values():
        assert decode_document(encode_document(document)) == document


@settings(few, max_examples=500)
@given(st.data())
def test_pods_change_exactly_where_a_field_is_declared_a_restart(data: st.DataObject) -> None:
    old = everything()
    new = data.draw(mutated(old))
    found = changes(old, new)
    assert found, "a change of meaning was not seen"
    assert len({(c.kind, c.name) for c in found}) == 1
    restarts = any(change.effect is Effect.RESTART for change in found)
    assert (plan(old).workloads != plan(new).workloads) == restarts, found


def test_unknown_and_mistyped_fields_of_a_document_are_refused() -> None:
    document = json.loads(encode_document(plan(quickstart()).documents["feed-kraken"]))
    with pytest.raises(msgspec.ValidationError, match="unknown field `x`"):
        decode_document(json.dumps(document | {"x": 1}))
    document["spec"]["integrity"]["maxAge"] = "soon"
    with pytest.raises(msgspec.ValidationError, match=r"spec.integrity.maxAge"):
        decode_document(json.dumps(document))


amounts = st.none() | st.integers(1, 5).map(Decimal)
limited = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), unique_by=lambda pair: pair[0]).map(
    lambda pairs: tuple(AmountLimit(name=name, limit=Decimal(limit)) for name, limit in pairs)
)
policies = st.builds(
    RiskPolicySpec,
    max_daily_loss=amounts,
    max_notional=amounts,
    max_exposure_by_venue=limited,
    max_exposure_by_asset=limited,
    max_mark_age=st.integers(1, 9).map(lambda n: Duration(f"{n}s")),
)


@few
@given(st.builds(StrategyRisk, max_notional=amounts, max_daily_loss=amounts), st.lists(policies, max_size=3), policies)
def test_another_policy_never_loosens_a_limit(own: StrategyRisk, some: list[RiskPolicySpec], more: RiskPolicySpec) -> None:
    before, after = effective_limits(own, some), effective_limits(own, [*some, more])
    for name in ("max_notional", "max_daily_loss"):
        old, new, asked = getattr(before, name), getattr(after, name), getattr(more, name)
        assert new == min((value for value in (old, asked) if value is not None), default=None)
    for name in ("max_exposure_by_venue", "max_exposure_by_asset"):
        old, new = getattr(before, name), getattr(after, name)
        asked = {limit.name: limit.limit for limit in getattr(more, name)}
        assert new == {key: min(limits[key] for limits in (old, asked) if key in limits) for key in old | asked}
    assert after.max_mark_age_ns == (min(before.max_mark_age_ns, more.max_mark_age.ns) if some else more.max_mark_age.ns)
