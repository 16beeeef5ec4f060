"""Rings are scored alike in both forms, to the last bit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbkube.detection.cycles.scores import NOWHERE, PureScores
from tests.kernel.both import needs_compiled

pytestmark = needs_compiled

HOPS = 6
places = st.integers(0, HOPS)
graphs = st.lists(st.lists(st.tuples(places, places, places), max_size=12), min_size=HOPS, max_size=HOPS)
weights = st.one_of(st.just(NOWHERE), st.sampled_from([0.0, 0.1, -0.1, 1e-17]), st.floats(-50, 50))
steps = st.lists(st.tuples(st.integers(0, HOPS - 1), weights, st.floats(-3, 3), weights), max_size=30)


@given(graphs, steps)
def test_any_weights_give_the_same_scores(
    graph: list[list[tuple[int, int, int]]], steps: list[tuple[int, float, float, float]]
) -> None:
    from arbkube.kernel._compiled import RingScores

    compiled, pure = RingScores(graph), PureScores(graph)
    for hop, weight, threshold, record in steps:
        compiled.weigh(hop, weight)
        pure.weigh(hop, weight)
        for each, rings in enumerate(graph):
            if rings:
                seen, expected = compiled.glance(each, threshold, record), pure.glance(each, threshold, record)
                assert seen == expected
                assert list(seen[3]) == list(expected[3]), "in the order of the rings"
