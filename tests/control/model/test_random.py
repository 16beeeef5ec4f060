"""Long histories with everything at once: more pods, more documents, every fault at any moment.

Hypothesis chooses what happens; after each step what has to hold is checked, and at the end all is left in peace and must come
to rest. `make test` runs a few hundred histories, `make soak` many thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from arbkube.control.halts import Clear, Entry, Halt, HaltReason, Level, Log
from arbkube.control.rollout.table import Phase
from arbkube.resources.kinds import HaltMode
from tests.control.model import checks
from tests.control.model.world import DOC, SECOND, Step, World, alternatives, begun

_WISHES = [f"{letter}{edge}{shape}" for letter in "ABCRSD" for edge in (5, 10, 20) for shape in ("", "+")]
_PODS = ["detector", "detector2", "executor", "executor2"]


class Histories(RuleBasedStateMachine):
    """One world, and what happens to it."""

    @initialize(begins=st.booleans())
    def begin(self, begins: bool) -> None:
        self.world = begun() if begins else World()
        self.said: dict[str, Entry] = {}

    def _do(self, step: Step) -> None:
        self.world = self.world.after(step)

    @rule(data=st.data())
    def goes_on(self, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(1, 12), label="steps")):
            steps = list(alternatives(self.world))
            if not steps:
                return
            self._do(data.draw(st.sampled_from(steps), label="step"))

    @rule(seconds=st.integers(1, 9))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self._do(Step("tick"))

    @rule(name=st.sampled_from(_WISHES))
    def is_wanted(self, name: str) -> None:
        self._do(Step("want", name))

    @rule()
    def may_be_tried_again(self) -> None:
        self._do(Step("retry"))

    @rule(name=st.sampled_from(["w1", "w2"]))
    def writer_starts_or_ends(self, name: str) -> None:
        self._do(Step("kill" if name in self.world.writers else "start", name))

    @rule(name=st.sampled_from(_PODS), stays=st.booleans())
    def pod_comes_or_ends(self, name: str, stays: bool) -> None:
        self._do(Step("come" if stays or name not in self.world.pods else "go", name))

    @precondition(lambda self: self.world.server.acks)
    @rule(data=st.data())
    def ack_expires(self, data: st.DataObject) -> None:
        self._do(Step("expire", data.draw(st.sampled_from(sorted(self.world.server.acks)))))

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data(), what=st.sampled_from(["ack_late", "poll_old"]))
    def message_is_late(self, data: st.DataObject, what: str) -> None:
        self._do(Step(what, data.draw(st.sampled_from(sorted(self.world.pods)))))

    @rule(what=st.sampled_from(["flush", "back_up", "restore"]))
    def server_changes(self, what: str) -> None:
        self._do(Step(what))

    @rule(owner=st.sampled_from(["Person", "Breaker/DailyLoss/x"]), clears=st.booleans())
    def somebody_halts_or_clears(self, owner: str, clears: bool) -> None:
        name, now_ns = f"h{len(self.said)}", self.world.now_ns
        halts = [entry for entry in self.said.values() if isinstance(entry, Halt)]
        entry: Entry = (
            Clear(id=name, halt=halts[-1].id, owner=owner, at_ns=now_ns)
            if clears and halts
            else Halt(
                id=name,
                level=Level.ALL,
                subject="",
                mode=HaltMode.STOP_NEW,
                owner=owner,
                reason=HaltReason.COMMANDED,
                at_ns=now_ns,
            )
        )
        self.said[name] = entry
        self.world = self.world.clone()
        self.world.halt(entry)
        # Who says it waits until an executor holds it: what nobody else holds can be lost with the server.
        self.world.journal = (*self.world.journal, entry)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        rested = self.world.settled()
        checks.rest(rested)
        assert {halt.id for halt in Log(rested.server.halts).active()} == {h.id for h in Log(self.said.values()).active()}


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_long_histories() -> None:
    run(60, 25)


@pytest.mark.soak
def test_long_histories_of_the_rollout_protocol(record_property: Callable[[str, object], None]) -> None:
    examples, steps = 3000, 50
    run(examples, steps)
    record_property("histories", examples)
    record_property("steps each", steps)


@pytest.mark.parametrize("wish", ["A10", "B20", "C5+"])
@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("seconds", [0, 9000], ids=["above", "below"])
def test_a_lost_state_comes_to_rest_whatever_pods_still_hold(wish: str, flushed: bool, seconds: int) -> None:
    world = begun()
    world.want("B10")
    world = world.settled()
    world.lose_store()
    world.now_ns += seconds * SECOND
    if flushed:
        world.flush()
    world.want(wish)
    rested = world.settled()
    checks.rest(rested)
    assert rested.store is not None
    assert rested.store.documents[DOC].phase is Phase.SYNCED
