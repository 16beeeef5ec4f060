"""Every difference in meaning is named once, with its cost and the way it moves a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbkube.resources.changes import Change, Direction, Effect, changes
from arbkube.resources.fields import Safer
from arbkube.resources.loading import Resources, load
from arbkube.resources.scalars import Bps, Duration
from arbkube.resources.shape import Many, Object, shape_of
from tests.resources.made import KINDS, everything, leaves, mutated
from tests.resources.test_corpus import GOOD


def edited(*edits: tuple[str, str]) -> list[Change]:
    texts = {path.stem: path.read_text() for path in GOOD if path.stem in ("cross-venue-full", "policy-full")}
    after = dict(texts)
    for old, new in edits:
        assert any(old in text for text in after.values())
        after = {name: text.replace(old, new) for name, text in after.items()}
    loaded = load(after)
    assert loaded.violations == []
    return changes(load(texts).resources, loaded.resources)


@pytest.mark.parametrize(
    ("old", "new", "path", "effect", "safer"),
    [
        ("enterEdge: 0.75bps", "enterEdge: 1bps", "spec.detection.enterEdge", Effect.HOT, Direction.TIGHTENS),
        ("enterEdge: 0.75bps", "enterEdge: 0.5bps", "spec.detection.enterEdge", Effect.HOT, Direction.LOOSENS),
        ("exitEdge: -1bps", "exitEdge: 0bps", "spec.detection.exitEdge", Effect.HOT, None),
        ("expireAfter: 1s", "expireAfter: 999ms", "spec.execution.expireAfter", Effect.HOT, Direction.TIGHTENS),
        ('maxDailyLoss: "25"', 'maxDailyLoss: "26"', "spec.risk.maxDailyLoss", Effect.HOT, Direction.LOOSENS),
        (', maxDailyLoss: "25"', "", "spec.risk.maxDailyLoss", Effect.HOT, Direction.LOOSENS),
        ("maxOpenIntents: 3", "maxOpenIntents: 2", "spec.risk.maxOpenIntents", Effect.HOT, Direction.TIGHTENS),
        ("cpu: 100m", "cpu: 200m", "spec.workload.requests.cpu", Effect.RESTART, None),
        ("suspend: true", "suspend: false", "spec.suspend", Effect.RESTART, None),
        ('amount: "1000"', 'amount: "1001"', "spec.execution.paper.balances[binance USDT].amount", Effect.RESTART, None),
        (', {name: "ccxt:gate", limit: "0"}', "", "spec.maxExposureByVenue[ccxt:gate]", Effect.HOT, Direction.LOOSENS),
        ("{name: 1INCH", "{name: SOL", "spec.maxExposureByAsset[1INCH]", Effect.HOT, Direction.LOOSENS),
        ('BTC, limit: "1000"', 'BTC, limit: "9"', "spec.maxExposureByAsset[BTC].limit", Effect.HOT, Direction.TIGHTENS),
    ],
)
def test_one_edit(old: str, new: str, path: str, effect: Effect, safer: Direction | None) -> None:
    found = {change.path: change for change in edited((old, new))}
    assert (found[path].effect, found[path].safer) == (effect, safer)


def test_old_and_new_are_readable() -> None:
    (change,) = edited(("expireAfter: 1s", "expireAfter: 250ms"))
    assert (change.kind, change.name, change.old, change.new) == ("ArbStrategy", "cross", "1s", "250ms")


def test_whole_objects_come_and_go() -> None:
    r = everything()
    came = changes(Resources(), r)
    assert {(c.kind, c.effect, c.safer) for c in came} == {
        ("VenueFeed", Effect.RESTART, None),
        ("ArbStrategy", Effect.RESTART, None),
        ("RiskPolicy", Effect.HOT, Direction.TIGHTENS),
    }
    assert all(c.path == "" and c.old is None and c.new is not None for c in came)
    assert {c.safer for c in changes(r, Resources()) if c.kind == "RiskPolicy"} == {Direction.LOOSENS}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_taking_a_change_back_is_the_same_change_the_other_way(data: st.DataObject) -> None:
    old = everything()
    new = data.draw(mutated(old))
    other = {None: None, Direction.TIGHTENS: Direction.LOOSENS, Direction.LOOSENS: Direction.TIGHTENS}
    there = [(c.path, c.old, c.new, c.effect, c.safer) for c in changes(old, new)]
    back = [(c.path, c.new, c.old, c.effect, other[c.safer]) for c in changes(new, old)]
    assert there == back
    assert changes(new, new) == []


@pytest.mark.parametrize("kind", KINDS)
def test_declarations_are_consistent(kind: str) -> None:
    def walk(shape: Object, visit: Callable[[Any, bool], None], listed: bool = False) -> None:
        for field in shape.fields:
            visit(field, listed)
            inner = field.shape.item if isinstance(field.shape, Many) else field.shape
            if isinstance(inner, Object):
                walk(inner, visit, listed or isinstance(field.shape, Many))

    def visit(field: Any, listed: bool) -> None:
        assert field.doc.endswith((".", "`.")), f"{field.name} has no sentence"
        # An element has no pods of its own: the list that holds it declares what a change costs.
        assert not (field.restart and listed), field.name
        if isinstance(field.shape, Many):
            assert bool(field.shape.keys) == isinstance(field.shape.item, Object), field.name
        if isinstance(field.shape, Object) and field.default is not None:
            assert field.default == field.shape.struct(), f"{field.name}: a block's default is its fields' defaults"

    walk(shape_of(KINDS[kind][1]), visit)


def test_every_limit_of_the_contract_declares_its_safer_direction() -> None:
    limits = {
        field.name: field.safer for _, spec in KINDS.values() for field in leaves(shape_of(spec)) if field.safer is not None
    }
    assert limits.pop("enterEdge") is limits.pop("halt") is Safer.HIGHER
    assert set(limits.values()) == {Safer.LOWER}
    assert {"maxNotional", "maxDailyLoss", "maxPosition", "maxAge", "maxSkew", "limit", "maxMarkAge"} <= set(limits)


@pytest.mark.parametrize("text", ["5", "5s\n", " 5s", "1.5s", "05s", "-1s", "100000s", "5us", "٥s", ""])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        Duration(text)


@pytest.mark.parametrize("text", ["5", "5bps\n", "5%", "+5bps", "05bps", "1e1bps", ".5bps", "5 bps", ""])
def test_not_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="not an edge or rate"):
        Bps(text)
