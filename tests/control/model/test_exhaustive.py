"""Every order in which things can happen, for small bounds: breadth first, each world once.

A case begins with a promoted document that two pods run, and says which faults may strike on a path, each at any step. The
search spreads from every world on the way that a rollout takes when nothing fails, so that each phase is reached however early
it stops: `make test` stops a case at some hundred worlds, `make soak` at tens of thousands. Of the worlds visited, some are
also left in peace, and must come to rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import pytest

from arbkube.control.rollout.table import Phase
from tests.control.model import checks
from tests.control.model.world import DOC, Step, World, alternatives, begun

Faults = tuple[Step, ...]


class Explored(NamedTuple):
    """How far it went."""

    worlds: int
    rested: int
    depth: int
    whole: bool


def possible(world: World, fault: Step) -> bool:
    """Whether a fault can strike."""
    match fault.what:
        case "kill":
            return fault.whom in world.writers
        case "start":
            return fault.whom not in world.writers
        case "crash" | "go" | "ack_late":
            return fault.whom in world.pods
        case "poll_old":
            return fault.whom in world.pods and world.old_head is not None
        case "come":
            return fault.whom not in world.pods
        case "expire":
            return fault.whom in world.server.acks
    return True


def explore(first: World, faults: Faults, *, strikes: int, limit: int, rest_every: int) -> Explored:
    """Visit every world that can be reached with each of `faults` once, and no more than `strikes` of them on a path."""
    way = first.way()
    waiting: deque[tuple[World, Faults, int, tuple[Step, ...]]] = deque((world, faults, strikes, ()) for world in way)
    visited = {(world.key(), faults, strikes) for world in way}
    worlds = rested = depth = 0
    while waiting and worlds < limit:
        world, left, more, path = waiting.popleft()
        worlds, depth = worlds + 1, len(path)
        try:
            if worlds % rest_every == 0:
                rested += 1
                checks.rest(world.settled())
            steps = [(step, left, more) for step in alternatives(world)]
            steps.append((Step("tick"), left, more))
            if more:
                steps += [(fault, tuple(f for f in left if f != fault), more - 1) for fault in left if possible(world, fault)]
            for step, remaining, budget in steps:
                if step.what == "tick" and world.now_ns - first.now_ns >= 12_000_000_000:
                    continue
                after = world.after(step)
                key = (after.key(), remaining, budget)
                if key not in visited:
                    visited.add(key)
                    waiting.append((after, remaining, budget, (*path, step)))
        except AssertionError as error:
            error.add_note("after " + ", ".join(f"{step.what} {step.whom}".strip() for step in path))
            raise
    return Explored(worlds, rested, depth, not waiting)


def wishing(*names: str) -> Callable[[], World]:
    def make() -> World:
        world = begun()
        world.back_up()
        for name in names:
            world.want(name)
        return world

    return make


def at_the_beginning() -> World:
    world = World()
    world.come("detector")
    world.come("executor")
    world.start("w1")
    return world


CASES: dict[str, tuple[Callable[[], World], Faults, int]] = {
    "the first document": (at_the_beginning, (Step("kill", "w1"), Step("start", "w1"), Step("crash", "executor")), 2),
    "a document": (wishing("B20"), (Step("kill", "w1"), Step("start", "w1"), Step("crash", "executor")), 3),
    "a document that a pod rejects": (wishing("R20"), (Step("go", "detector"), Step("want", "B10"), Step("retry")), 2),
    "a document that kills": (wishing("D5"), (Step("want", "A10"), Step("expire", "executor")), 2),
    "a document that makes sick": (wishing("S5"), (Step("flush"), Step("expire", "executor")), 2),
    "another document meanwhile": (wishing("B10"), (Step("want", "C10"), Step("want", "A10"), Step("crash", "detector")), 2),
    "tighter and looser": (wishing("A20"), (Step("want", "A5"), Step("want", "B10"), Step("crash", "executor")), 2),
    "two writers": (wishing("B5"), (Step("start", "w2"), Step("start", "w3"), Step("want", "C20")), 2),
    "a flushed server": (wishing("B10"), (Step("flush"), Step("kill", "w1"), Step("start", "w1")), 3),
    "a restored server": (wishing("B10"), (Step("restore"), Step("poll_old", "executor"), Step("start", "w2")), 2),
    "late acks": (wishing("B10"), (Step("ack_late", "executor"), Step("ack_late", "detector"), Step("want", "C10")), 2),
    "pods come and go": (wishing("B10"), (Step("come", "executor2"), Step("go", "executor"), Step("crash", "detector")), 2),
    "pods of another shape": (wishing("B10"), (Step("want", "C5+"), Step("want", "A10"), Step("crash", "executor")), 2),
}


@pytest.mark.parametrize("case", CASES)
def test_every_order(case: str) -> None:
    make, faults, strikes = CASES[case]
    explored = explore(make(), faults, strikes=strikes, limit=600, rest_every=40)
    assert explored.rested >= 10


def test_a_pod_that_comes_at_any_moment_takes_part() -> None:
    for world in wishing("B10")().way():
        world.come("executor2")
        rested = world.settled()
        checks.rest(rested)
        assert rested.store is not None
        assert rested.store.documents[DOC].phase is Phase.SYNCED
        assert {ref.digest for ref in rested.running() if ref} == {"B10"}


def test_a_pod_that_ends_at_any_moment_of_a_loosening_leaves_the_limits_as_they_were() -> None:
    phases = set()
    for world in wishing("B5")().way():
        world.crash("executor")
        rested = world.settled()
        checks.rest(rested)
        assert rested.store is not None
        phases.add(rested.store.documents[DOC].phase)
    assert phases == {Phase.ROLLED_BACK, Phase.SYNCED}


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES)
def test_every_order_of_the_rollout_protocol(case: str, record_property: Callable[[str, object], None]) -> None:
    make, faults, strikes = CASES[case]
    explored = explore(make(), faults, strikes=strikes, limit=20_000, rest_every=20)
    for name, value in explored._asdict().items():
        record_property(name, value)
