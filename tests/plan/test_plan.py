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
    FeedDocument,
    RecorderDocument,
    SimulatorDocument,
    StrategyDocument,
    decode_document,
    decode_limits,
    encode_document,
    encode_limits,
)
from arbkube.plan.planning import Role, plan
from arbkube.resources.changes import Effect, changes
from arbkube.resources.kinds import AmountLimit, ArbStrategySpec, RiskPolicySpec, StrategyRisk
from arbkube.resources.loading import Resources, load
from arbkube.resources.scalars import Bps, Duration
from arbkube.risk.limits import DIRECTIONS, Limits, limits_of, nowhere_looser, stricter
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
        Role.DETECTOR: StrategyDocument,
        Role.EXECUTOR: StrategyDocument,
        Role.RECORDER: RecorderDocument,
        Role.SIMULATOR: SimulatorDocument,
    }
    for workload in planned.workloads:
        document = planned.documents[workload.document]
        assert type(document) is kinds[workload.role]
        tag = {Role.DETECTOR: "Strategy", Role.EXECUTOR: "Strategy"}.get(workload.role, workload.role.value)
        assert json.loads(encode_document(document))["role"] == tag


def test_what_is_suspended_does_not_run() -> None:
    r = quickstart()
    replace = msgspec.structs.replace
    feeds = {name: replace(feed, spec=replace(feed.spec, suspend=True)) for name, feed in r.feeds.items()}
    names = [w.name for w in plan(replace(r, feeds=feeds)).workloads]
    assert "simulator" not in names
    assert not any(name.startswith("feed-") for name in names)
    assert "recorder" in names
    assert plan(Resources()).workloads == ()


def test_a_detector_and_its_executor_share_a_document() -> None:
    used = {workload.name: workload.document for workload in plan(quickstart()).workloads}
    assert used["detector-cross"] == used["executor-cross"] == "strategy-cross"


def test_a_risk_policy_changes_limits_and_no_revision() -> None:
    old = 'maxNotional: "1000"\n  maxExposureByVenue'
    before, after = quickstart(), quickstart((old, old.replace("1000", "9")))
    assert revisions(before) == revisions(after)
    document = plan(after).documents["strategy-cross"]
    assert isinstance(document, StrategyDocument)
    assert document.limits.max_notional == Decimal(9)


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
        ("exitEdge: 0bps", "exitEdge: 0.5bps", {"strategy-cross", "strategy-triangle"}),
        ("noise: 4bps", "noise: 5bps", {"feed-kraken", "simulator"}),
        ("require: [Checksum]", "require: []", {"feed-kraken"}),
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
    spec = ArbStrategySpec(feeds=(), risk=own)
    before, after = limits_of(spec, some), limits_of(spec, [*some, more])
    for name in ("max_notional", "max_daily_loss"):
        old, new, asked = getattr(before, name), getattr(after, name), getattr(more, name)
        assert new == min((value for value in (old, asked) if value is not None), default=None)
    for name in ("max_exposure_by_venue", "max_exposure_by_asset"):
        old, new = getattr(before, name), getattr(after, name)
        asked = {limit.name: limit.limit for limit in getattr(more, name)}
        assert new == {key: min(limits[key] for limits in (old, asked) if key in limits) for key in old | asked}
    assert after.max_mark_age_ns == (min(before.max_mark_age_ns, more.max_mark_age.ns) if some else more.max_mark_age.ns)


@settings(few, max_examples=300)
@given(st.data())
def test_what_declares_a_safer_direction_changes_limits_and_no_revision(data: st.DataObject) -> None:
    old = everything()
    new = data.draw(mutated(old))
    found = changes(old, new)
    if not all(change.safer for change in found):
        return
    assert revisions(old) == revisions(new), found
    if found[0].path == "spec.halt":
        assert plan(old).halts != plan(new).halts
    elif found[0].kind != "RiskPolicy":  # a policy need not be the one that binds

        def own(r: Resources) -> list[Limits]:
            return [
                limits_of(s.spec, (), {name: f.spec.integrity for name, f in r.feeds.items()}) for s in r.strategies.values()
            ]

        assert own(old) != own(new), found


def _any_limits() -> st.SearchStrategy[Limits]:
    named = st.dictionaries(st.sampled_from("abc"), st.integers(0, 5).map(Decimal), max_size=3)
    lengths = st.integers(1, 9).map(lambda n: Duration(f"{n}s"))
    rates = st.integers(1, 9).map(lambda n: Bps(f"{n}bps"))
    by_type = {
        "max_open_intents": st.integers(1, 5),
        "max_mark_age_ns": st.integers(1, 9),
        "max_exposure_by_venue": named,
        "max_exposure_by_asset": named,
        "max_age": st.dictionaries(st.sampled_from("abc"), lengths, max_size=3),
        "max_transit": st.dictionaries(st.sampled_from("abc"), lengths, max_size=3),
        "max_opportunity": st.integers(1, 9).map(Decimal),
        **dict.fromkeys(("enter_edge", "max_plausible_edge", "max_loss"), rates),
        **dict.fromkeys(("max_skew", "expire_after"), lengths),
    }
    return st.builds(Limits, **{name: by_type.get(name, amounts) for name in DIRECTIONS})


any_limits = _any_limits()


@few
@given(any_limits, any_limits, any_limits)
def test_the_stricter_of_limits_is_a_semilattice(a: Limits, b: Limits, c: Limits) -> None:
    assert stricter(a, b) == stricter(b, a)
    assert stricter(a, stricter(b, c)) == stricter(stricter(a, b), c)
    assert stricter(a, a) == a
    assert nowhere_looser(stricter(a, b), a)
    assert nowhere_looser(stricter(a, b), b)
    assert not (nowhere_looser(a, b) and nowhere_looser(b, a)) or a == b


@few
@given(any_limits)
def test_limits_read_back_as_they_were(limits: Limits) -> None:
    assert decode_limits(encode_limits(limits)) == limits


def test_each_limit_is_stricter_in_its_declared_direction() -> None:
    loose, tight = Limits(), Limits(enter_edge=Bps("6bps"), max_loss=Bps("49bps"), max_notional=Decimal(1))
    assert stricter(loose, tight) == tight
    assert nowhere_looser(tight, loose)
    assert not nowhere_looser(loose, tight)
    crossed = stricter(Limits(enter_edge=Bps("9bps")), Limits(max_age={"a": Duration("1s")}))
    assert crossed == Limits(enter_edge=Bps("9bps"), max_age={"a": Duration("1s")})
