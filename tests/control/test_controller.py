"""The writer beside a real server and pods that follow: what reaches whom, and what survives what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arbkube.control.controller import Controller, DocumentStatus
from arbkube.control.halts import Halt, Log
from arbkube.control.protocol import Health
from arbkube.control.rollout.table import Phase, Reason
from arbkube.control.store import FileStateStore, StateTakenError, StateUnreadableError
from arbkube.control.writer import ControlWriter, Superseded
from arbkube.plan.documents import encode_document
from arbkube.resources.kinds import HaltMode
from arbkube.resources.scalars import Bps
from tests.conftest import Valkey
from tests.control.fleet import DOC, Fleet, fleet, plan_of, strategy


@pytest.fixture
async def f(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(valkey, tmp_path) as made:
        made.control()
        yield made


def synced(status: DocumentStatus) -> bool:
    """Whether what is wanted is promoted and every pod runs it."""
    acks = status.acks.values()
    run = status.run
    return (
        status.phase is Phase.SYNCED
        and run is not None
        and run.digest == status.wanted
        and all(ack is not None and ack.running == run for ack in acks)
    )


def rolled_back(status: DocumentStatus) -> bool:
    acks = status.acks.values()
    return status.phase is Phase.ROLLED_BACK and all(ack is not None and ack.running == status.run for ack in acks)


async def begin(f: Fleet, *, bake: str = "0s", copies: int = 1) -> DocumentStatus:
    plan = plan_of(strategy(), bake=bake)
    f.controller.want(plan)
    await f.start(plan, copies=copies)
    return await f.until(synced)


async def test_a_first_document_is_promoted_when_every_pod_runs_it(f: Fleet) -> None:
    status = await begin(f)
    assert (status.reason, status.promoted, status.candidate) == (Reason.TAKEN_UP, status.run, None)
    assert set(status.acks) == {"detector-cross", "executor-cross"}


async def test_an_edit_reaches_every_pod_without_a_restart(f: Fleet) -> None:
    before = await begin(f)
    f.controller.want(plan_of(strategy("EUR")))
    status = await f.until(synced)
    assert status.run != before.run
    assert status.propagation_ns is not None
    assert status.propagation_ns < 5_000_000_000
    assert {pod.document.spec.profit_asset for pod in f.pods.values() if pod.document} == {"EUR"}
    assert [line.phase for line in f.controller.history(DOC)][-4:] == [
        Phase.PREPARING,
        Phase.COMMITTING,
        Phase.BAKING,
        Phase.SYNCED,
    ]


async def test_a_rejection_says_who_why_and_where_and_changes_nothing(f: Fleet) -> None:
    before = await begin(f)
    f.pods["detector-cross"].refuses.add("EUR")
    f.controller.want(plan_of(strategy("EUR")))
    status = await f.until(lambda status: status.phase is Phase.ROLLED_BACK)
    assert status.reason is Reason.REJECTED
    assert status.detail == "detector-cross: no balance in EUR (spec.profitAsset)"
    assert {pod.follower.running for pod in f.pods.values()} == {before.run}
    # It is not tried again by itself, by no new look at the same files and by no rebuilt server.
    f.pods["detector-cross"].refuses.clear()
    f.controller.want(plan_of(strategy("EUR")))
    f.server.client.flushall()
    await asyncio.sleep(0.5)
    status = await f.until(rolled_back)
    assert {pod.follower.running for pod in f.pods.values()} == {before.run}
    f.controller.retry(DOC, status.wanted)
    await f.until(synced)


async def test_what_makes_a_pod_do_worse_is_taken_back_once(f: Fleet) -> None:
    before = await begin(f, bake="2s")
    f.pods["executor-cross"].health_under["EUR"] = Health(attempts=110, rejects=9, data_age_ns=0)
    f.controller.want(plan_of(strategy("EUR"), bake="2s"))
    status = await f.until(rolled_back)
    assert (status.reason, status.detail) == (Reason.REJECTS_ROSE, "executor-cross")
    assert before.run is not None
    assert status.run is not None
    assert (status.run.digest, status.run == before.run) == (before.run.digest, False)
    assert {pod.document.spec.profit_asset for pod in f.pods.values() if pod.document} == {"USDT"}
    assert list(status.rejected) == [status.wanted]


async def test_a_pod_that_restarts_fails_the_rollout_and_boots_with_what_was_good(f: Fleet) -> None:
    await begin(f, bake="30s")
    f.controller.want(plan_of(strategy("EUR"), bake="30s"))
    await f.until(lambda status: status.phase is Phase.BAKING)
    pod = f.pods["executor-cross"]
    await f.boot(pod.workload, pod.name)
    status = await f.until(rolled_back)
    assert (status.reason, status.detail) == (Reason.POD_RESTARTED, "executor-cross")


async def test_a_newer_document_supersedes_one_that_waits(f: Fleet) -> None:
    await begin(f)
    silent = f.pods["executor-cross"]
    await silent.stop()
    f.controller.want(plan_of(strategy("EUR"), deadline="1s"))
    status = await f.until(lambda status: status.phase is Phase.STALLED)
    assert status.reason is Reason.NOT_ANSWERED
    assert status.detail.startswith("executor-cross: no ")
    await f.boot(silent.workload, silent.name)
    f.controller.want(plan_of(strategy("GBP")))
    await f.until(synced)
    assert {pod.document.spec.profit_asset for pod in f.pods.values() if pod.document} == {"GBP"}


async def test_where_a_role_has_two_pods_one_goes_first(f: Fleet) -> None:
    await begin(f, copies=2)
    f.controller.want(plan_of(strategy("EUR")))
    await f.until(synced)
    history = f.controller.history(DOC)
    canary = next(line for line in history if line.phase is Phase.CANARY)
    assert canary.detail == "canary: detector-cross-0, executor-cross-0"
    assert [line.phase for line in history][-4:] == [Phase.CANARY_BAKING, Phase.COMMITTING, Phase.BAKING, Phase.SYNCED]


async def test_a_tightening_goes_at_once_and_a_loosening_with_the_rollout(f: Fleet) -> None:
    before = await begin(f)
    f.controller.want(plan_of(strategy(edge="20bps")))
    await f.until(lambda status: status.limits_propagation_ns is not None and status.limits != before.limits)
    assert {pod.in_force.enter_edge for pod in f.pods.values()} == {Bps("20bps")}
    status = await f.until(lambda status: status.phase is Phase.SYNCED)
    assert status.run == before.run, "no rollout"
    f.controller.want(plan_of(strategy(edge="12bps")))
    status = await f.until(synced)
    assert status.run != before.run, "a rollout"
    await f.until(lambda status: status.limits_propagation_ns is not None)
    assert {pod.in_force.enter_edge for pod in f.pods.values()} == {Bps("12bps")}


async def test_a_tightening_beside_a_broken_field_is_everywhere_and_survives_the_rollback(f: Fleet) -> None:
    before = await begin(f)
    f.pods["detector-cross"].refuses.add("EUR")
    f.controller.want(plan_of(strategy("EUR", edge="20bps", max_open_intents=5)))
    await f.until(rolled_back)
    await f.until(lambda status: status.limits_propagation_ns is not None and status.limits != before.limits)
    assert {(pod.in_force.enter_edge, pod.in_force.max_open_intents) for pod in f.pods.values()} == {(Bps("20bps"), 1)}


async def test_pods_of_another_shape_are_replaced_with_their_document(f: Fleet) -> None:
    await begin(f)
    plan = plan_of(strategy("EUR"), shape="t")
    f.controller.want(plan)
    await asyncio.sleep(0.3)
    assert {pod.document.spec.profit_asset for pod in f.pods.values() if pod.document} == {"USDT"}
    for workload in plan.workloads:
        await f.boot(workload, workload.name)
    await f.until(synced)


async def test_what_is_no_longer_in_the_plan_is_forgotten(f: Fleet) -> None:
    plan = plan_of(strategy(), strategy(name="other"))
    f.controller.want(plan)
    await f.start(plan)
    await f.until(synced, document="strategy-other")
    f.controller.want(plan_of(strategy()))
    await asyncio.sleep(0.3)
    keys = f.server.client.keys("*other*")
    assert set(keys) <= {b"ack:detector-other", b"ack:executor-other"}


async def test_old_revisions_are_collected(f: Fleet) -> None:
    await begin(f)
    for n in range(8):
        f.controller.want(plan_of(strategy(f"A{n}A")))
        await f.until(synced)
    await asyncio.sleep(0.3)
    assert f.server.client.hlen(f"revision:{DOC}") == 6
    assert len(f.controller.revisions(DOC)) == 6


async def test_a_flushed_server_is_seeded_anew(f: Fleet) -> None:
    before = await begin(f)
    f.server.client.flushall()
    while not f.server.client.exists("epoch"):
        await asyncio.sleep(0.01)
    status = await f.until(synced)
    assert status.run == before.run


async def test_the_halts_of_a_spec_are_set_and_cleared_by_their_owner(f: Fleet) -> None:
    await begin(f)
    view = ControlWriter(f.url, credentials=f.credentials, user="person")
    f.controller.want(plan_of(strategy(), halts={"cross": HaltMode.STOP_NEW}))
    halts: tuple[Halt, ...] = ()
    while not halts:
        await asyncio.sleep(0.01)
        halts = Log((await view.look()).halts).active()
    assert [(halt.owner, halt.subject, halt.mode) for halt in halts] == [("Spec/ArbStrategy/cross", "cross", HaltMode.STOP_NEW)]
    f.server.client.flushall()
    f.controller.want(plan_of(strategy()))
    while (log := Log((await view.look()).halts)).active() or not log.entries:
        await asyncio.sleep(0.01)
    assert len(log.entries) == 2, "the mirror brought the halt back, and its owner cleared it"
    await view.close()


async def test_a_second_writer_takes_over_and_the_first_one_stops(f: Fleet, tmp_path: Path) -> None:
    before = await begin(f)
    other = ControlWriter(f.url, credentials=f.credentials, user="operator")
    second = Controller(other, FileStateStore(f.state))
    second.want(plan_of(strategy("EUR")))
    running = asyncio.create_task(second.run())
    with pytest.raises((Superseded, StateTakenError)):
        await f.until(lambda _: False)
    second.observe(f.controller._pods or {})
    while (status := second.status().documents[DOC]).phase is not Phase.SYNCED or status.run == before.run:
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await other.close()


async def test_a_writer_that_was_killed_goes_on_where_it_was(f: Fleet) -> None:
    await begin(f)
    f.pods["detector-cross"].refuses.add("EUR")
    f.controller.want(plan_of(strategy("EUR")))
    rejected = (await f.until(rolled_back)).wanted
    await f.abandon()
    f.control().want(plan_of(strategy("EUR")))
    status = await f.until(rolled_back)
    assert list(status.rejected) == [rejected]
    f.controller.want(plan_of(strategy("GBP")))
    await f.until(synced)


async def test_a_lost_state_begins_anew_above_everything_that_was(f: Fleet) -> None:
    await begin(f)
    f.controller.want(plan_of(strategy("EUR")))
    await f.until(synced)
    await f.abandon()
    f.state.unlink()
    f.server.client.flushall()
    f.control().want(plan_of(strategy("GBP")))
    await f.until(synced)


async def test_a_state_that_cannot_be_read_is_named_and_left_alone(valkey: Valkey, tmp_path: Path) -> None:
    async with fleet(valkey, tmp_path) as f:
        f.state.write_text('{"incarnation": "x", "term": ')
        f.control()
        with pytest.raises(StateUnreadableError, match=r"control-state\.json"):
            await f.until(lambda _: False)
        assert f.state.read_text() == '{"incarnation": "x", "term": '
        assert not f.server.client.exists("epoch")


async def test_the_state_is_its_owners_alone(f: Fleet) -> None:
    await begin(f)
    assert f.state.stat().st_mode & 0o777 == 0o600


async def test_an_upgraded_writer_makes_no_new_revision_and_writes_what_every_pod_reads(f: Fleet) -> None:
    before = await begin(f)
    await f.abandon()
    f.control(renderers={1: encode_document, 2: lambda document: encode_document(document) + b" "})
    f.controller.want(plan_of(strategy()))
    assert (await f.until(synced)).run == before.run
    f.controller.want(plan_of(strategy("EUR")))
    await f.until(synced)
    assert {revision.version for revision in f.controller.revisions(DOC)} == {1}


async def test_without_a_version_that_all_read_nothing_is_offered(f: Fleet) -> None:
    before = await begin(f)
    f.pods["detector-cross"].versions = (7,)
    await asyncio.sleep(0.5)
    f.controller.want(plan_of(strategy("EUR")))
    status = await f.until(lambda status: status.phase is Phase.STALLED)
    assert status.reason is Reason.NO_COMMON_VERSION
    assert "detector-cross reads 7" in status.detail
    assert {pod.follower.running for pod in f.pods.values()} == {before.run}
    f.pods["detector-cross"].versions = (1,)
    await f.until(synced)
