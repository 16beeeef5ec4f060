"""The walk over a cycle's ladders is the same in both forms, to the last bit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from arbkube.detection.cycles.bound import _SLACK, Bound, pure_walk
from tests.kernel.both import needs_compiled

pytestmark = needs_compiled

rates = st.floats(0.5, 2.0)
sizes = st.floats(0.1, 10.0)


@st.composite
def legs(draw: st.DrawFn) -> Any:
    levels = draw(st.integers(1, 6))
    depth = [0.0]
    for _ in range(levels):
        depth.append(depth[-1] + draw(sizes))
    row = st.lists(rates, min_size=levels, max_size=levels)
    locks = draw(st.one_of(st.none(), st.lists(st.floats(0.0, 60.0), min_size=levels, max_size=levels)))
    pay = draw(row)
    return SimpleNamespace(depth=depth, pay_at=pay, pay_rate=pay, get_rate=draw(row), values=draw(row), locks=locks)


@given(st.lists(legs(), min_size=1, max_size=5), st.floats(-0.1, 0.5), st.floats(0.0, 100.0))
def test_any_ladders_are_walked_alike(links: Any, enter: float, max_notional: float) -> None:
    from arbkube.kernel._compiled import walk

    found = walk(links, enter, max_notional, _SLACK)
    assert (None if found is None else Bound(*found)) == pure_walk(links, enter, max_notional)
