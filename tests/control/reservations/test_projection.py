"""The capacities that the writer puts on the server: of the documents that run, under the limits in force."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from arbkube.control.protocol import Capacities, Order
from arbkube.control.reservations.pools import Kind, Pool
from arbkube.control.reservations.projection import in_force, lacking
from arbkube.control.rollout.decide import begin, decide
from arbkube.control.rollout.inputs import Seen, wanted_of
from arbkube.control.rollout.state import ControlState
from arbkube.plan.documents import StrategyDocument
from arbkube.risk.limits import Limits
from tests.control.fleet import plan_of
from tests.control.reservations.test_demand import document

OKX = Pool(Kind.VENUE, "USDT", "okx")
SEEN = Seen(run_id="r", term=0, epoch=None, heads={}, limits={}, revisions={}, acks={}, halts=(), pods={})


def limited(name: str, amount: int) -> StrategyDocument:
    limits = Limits(max_exposure_by_venue={"okx": Decimal(amount)})
    return replace(document(name, ("x", "okx")), limits=limits, revision=f"r-{name}")


def after(state: ControlState, *documents: StrategyDocument) -> ControlState:
    """The writer's state once it has decided on these."""
    return decide(state, wanted_of(plan_of(*documents), now_ns=1), SEEN, 2).state


def new_state() -> ControlState:
    return begin(ControlState(incarnation="i"), SEEN)


def test_what_runs_shares_its_pools_under_the_lowest_limit() -> None:
    state = after(new_state(), limited("one", 900), limited("two", 1000))
    found = in_force(state)
    assert (found[OKX].units, found[OKX].users) == (900_000_000, ("one", "two"))


def test_a_tightened_limit_lowers_its_pool_before_anything_rolls_out() -> None:
    state = after(new_state(), limited("one", 900))
    state = after(state, limited("one", 300))
    assert in_force(state)[OKX].units == 300_000_000


def test_a_loosened_limit_waits_for_its_rollout() -> None:
    state = after(new_state(), limited("one", 900))
    state = after(state, limited("one", 1300))
    assert in_force(state)[OKX].units == 900_000_000


def test_only_what_differs_is_written_and_always_above_what_is_there() -> None:
    state = after(new_state(), limited("one", 900))
    [first] = lacking(state, None)
    assert first.capacities.order == Order(state.term, 1)
    assert lacking(state, first.capacities) == ()
    [second] = lacking(after(state, limited("one", 300)), first.capacities)
    assert second.capacities.order == Order(state.term, 2)
    stale = Capacities(order=Order(state.term - 1, 77), pools={})
    [third] = lacking(state, stale)
    assert third.capacities.order == Order(state.term, 1)


def test_a_strategy_that_is_not_wanted_shares_nothing() -> None:
    state = after(new_state(), limited("one", 900), limited("two", 1000))
    assert in_force(after(state, limited("two", 1000)))[OKX].users == ("two",)
