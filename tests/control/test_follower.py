"""A pod follows heads: it boots with what was found good, answers what is offered, and never goes back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbkube.control.follower import Follower, Problem
from arbkube.control.protocol import DOCUMENT_VERSIONS, Answer, Head, Order, Ref, Revision

BROKEN = Problem("no such instrument", "spec.feeds[0].instruments")


def ref(serial: int, digest: str = "", *, term: int = 1) -> Ref:
    return Ref(order=Order(term, serial), digest=digest or f"d{serial}")


def head(serial: int, run: Ref, promoted: Ref | None = None, candidate: Ref | None = None, canary: str = "") -> Head:
    return Head(
        document="doc",
        order=Order(1, serial),
        run=run,
        promoted=promoted,
        candidate=candidate,
        canaries=(canary,) if canary else (),
    )


def revision(ref: Ref, *, shape: str = "s", version: int = DOCUMENT_VERSIONS[-1]) -> Revision:
    shapes = {"w": shape}
    return Revision(document="doc", ref=ref, version=version, content=msgspec.Raw(b"{}"), shapes=shapes, sources=())


def follower() -> Follower:
    return Follower(pod="p", workload="w", shape="s")


def settle(f: Follower, problems: dict[str, Problem] | None = None) -> None:
    """Fetch what it wants and swap what is due, until nothing is left."""
    while (wanted := f.wants()) is not None:
        f.fetched(revision(wanted), (problems or {}).get(wanted.digest))
    while (due := f.due()) is not None:
        f.swapped(due.ref)


def booted(h: Head) -> Follower:
    f = follower()
    f.hear(h)
    settle(f)
    return f


def test_nothing_is_wanted_before_a_head_is_heard() -> None:
    f = follower()
    f.hear(None)
    assert (f.wants(), f.due(), f.heard, f.running) == (None, None, None, None)


def test_it_boots_with_what_is_promoted_though_every_pod_runs_the_candidate() -> None:
    f = follower()
    f.hear(head(9, run=ref(8), promoted=ref(5), candidate=ref(8)))
    assert f.wants() == ref(5)
    f.fetched(revision(ref(5)), None)
    assert f.due() == revision(ref(5))
    f.swapped(ref(5))
    # The candidate of that same head is prepared and answered, and not swapped in.
    assert f.wants() == ref(8)
    f.fetched(revision(ref(8)), None)
    assert (f.due(), f.running, f.candidate, f.answer) == (None, ref(5), ref(8), Answer.PREPARED)
    f.hear(head(10, run=ref(8), promoted=ref(5), candidate=ref(8)))
    settle(f)
    assert (f.running, f.candidate, f.answer) == (ref(8), ref(8), Answer.PREPARED)


def test_it_boots_with_the_head_where_nothing_was_ever_promoted() -> None:
    assert booted(head(1, run=ref(1))).running == ref(1)


def test_a_head_that_came_while_it_booted_is_followed() -> None:
    f = follower()
    f.hear(head(9, run=ref(8), promoted=ref(5)))
    f.fetched(revision(ref(5)), None)
    due = f.due()
    assert due is not None
    f.hear(head(10, run=ref(8), promoted=ref(5)))
    f.swapped(due.ref)
    f.hear(head(11, run=ref(8), promoted=ref(8)))
    settle(f)
    assert f.running == ref(8)


def test_a_candidate_is_answered_and_waits_for_its_head() -> None:
    f = booted(head(1, run=ref(1), promoted=ref(1)))
    f.hear(head(3, run=ref(1), promoted=ref(1), candidate=ref(2)))
    assert (f.candidate, f.answer) == (None, None)
    settle(f)
    assert (f.running, f.candidate, f.answer, f.problem) == (ref(1), ref(2), Answer.PREPARED, None)
    f.hear(head(4, run=ref(2), promoted=ref(1), candidate=ref(2)))
    assert f.wants() is None, "what was prepared is not fetched again"
    settle(f)
    assert f.running == ref(2)


def test_a_rejection_says_why_and_where_and_changes_nothing() -> None:
    f = booted(head(1, run=ref(1), promoted=ref(1)))
    f.hear(head(3, run=ref(1), promoted=ref(1), candidate=ref(2)))
    settle(f, {"d2": BROKEN})
    assert (f.running, f.candidate, f.answer, f.problem) == (ref(1), ref(2), Answer.REJECTED, BROKEN)
    f.hear(head(4, run=ref(2), promoted=ref(1), candidate=ref(2)))
    settle(f)
    assert (f.running, f.answer) == (ref(1), Answer.REJECTED), "not even where a head asks for it"
    f.hear(head(5, run=ref(1), promoted=ref(1)))
    assert (f.candidate, f.answer, f.problem) == (None, None, None)


def test_a_boot_that_fails_says_so_and_waits_for_another_head() -> None:
    f = follower()
    f.hear(head(1, run=ref(1)))
    settle(f, {"d1": BROKEN})
    assert (f.running, f.candidate, f.answer, f.problem) == (None, ref(1), Answer.REJECTED, BROKEN)
    f.hear(head(3, run=ref(2)))
    settle(f)
    assert (f.running, f.answer) == (ref(2), None)


def test_only_the_canary_runs_the_candidate() -> None:
    chosen, other = booted(head(1, run=ref(1), promoted=ref(1))), booted(head(1, run=ref(1), promoted=ref(1)))
    chosen.hear(head(3, run=ref(1), promoted=ref(1), candidate=ref(2), canary="p"))
    other.hear(head(3, run=ref(1), promoted=ref(1), candidate=ref(2), canary="q"))
    settle(chosen)
    settle(other)
    assert (chosen.running, other.running) == (ref(2), ref(1))
    chosen.hear(head(5, run=ref(4, "d1"), promoted=ref(4, "d1")))
    settle(chosen)
    assert chosen.running == ref(4, "d1"), "back to what is promoted, as a new revision"


def test_an_older_head_and_an_older_revision_are_refused() -> None:
    f = booted(head(5, run=ref(4), promoted=ref(4)))
    f.hear(head(3, run=ref(9), promoted=ref(9)))
    f.hear(head(5, run=ref(9), promoted=ref(9)))
    assert (f.heard, f.wants()) == (Order(1, 5), None)
    f.hear(head(6, run=ref(2), promoted=ref(2)))
    assert (f.heard, f.wants(), f.due()) == (Order(1, 6), None, None)
    assert f.running == ref(4)


def test_a_revision_of_another_pod_shape_is_left_alone() -> None:
    f = booted(head(1, run=ref(1), promoted=ref(1)))
    f.hear(head(3, run=ref(2), promoted=ref(2)))
    f.fetched(revision(ref(2), shape="other"), BROKEN)
    assert (f.wants(), f.due(), f.running, f.candidate, f.answer) == (None, None, ref(1), None, None)


def test_a_version_it_does_not_read_is_rejected() -> None:
    f = booted(head(1, run=ref(1), promoted=ref(1)))
    f.hear(head(3, run=ref(1), promoted=ref(1), candidate=ref(2)))
    f.fetched(revision(ref(2), version=DOCUMENT_VERSIONS[-1] + 1), None)
    assert f.answer is Answer.REJECTED
    assert f.problem is not None
    assert "version" in f.problem.reason


def test_what_comes_too_late_is_ignored() -> None:
    f = booted(head(1, run=ref(1), promoted=ref(1)))
    f.hear(head(3, run=ref(1), promoted=ref(1), candidate=ref(2)))
    f.hear(head(5, run=ref(1), promoted=ref(1), candidate=ref(4)))
    f.fetched(revision(ref(2)), BROKEN)
    assert (f.wants(), f.answer) == (ref(4), None)


_refs = st.builds(ref, st.integers(1, 6))
_heads = st.builds(
    head,
    st.integers(1, 30),
    run=_refs,
    promoted=st.none() | _refs,
    candidate=st.none() | _refs,
    canary=st.sampled_from(["", "p", "q"]),
)


@given(st.lists(st.tuples(_heads, st.sampled_from(["", "fetch", "swap", "both"]), st.booleans()), max_size=30))
def test_whatever_it_hears_it_never_goes_back_and_never_runs_what_it_rejected(
    steps: list[tuple[Head, str, bool]],
) -> None:
    f, applied, refused = follower(), [], set()
    heard: Order | None = None
    for said, act, broken in steps:
        f.hear(said)
        assert heard is None or (f.heard is not None and f.heard >= heard)
        heard = f.heard
        if act in ("fetch", "both") and (wanted := f.wants()):
            f.fetched(revision(wanted), BROKEN if broken else None)
            if f.answer is Answer.REJECTED and f.candidate == wanted:
                refused.add((heard, wanted))
        if act in ("swap", "both") and (due := f.due()):
            assert (heard, due.ref) not in refused
            f.swapped(due.ref)
            applied.append(due.ref.order)
    assert applied == sorted(set(applied))


@pytest.mark.parametrize("canary", ["", "p"])
def test_a_pod_that_is_left_in_peace_settles(canary: str) -> None:
    f = booted(head(3, run=ref(1), promoted=ref(1), candidate=ref(2), canary=canary))
    assert (f.wants(), f.due()) == (None, None)
