"""The writer: what is wanted and seen goes in, and the control server is brought to what the decision says.

For: `arb up`, and the operator. Each turn gathers, decides purely, saves the state, then writes: whatever ends it between any
two of these, the next turn writes what is missing. May not: decide by itself, or go on after another writer took over.

A server that does not answer is waited for; no deadline of a rollout counts the time until it is back.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

import msgspec
import structlog
from msgspec.structs import replace
from redis.exceptions import RedisError

from arbkube.control.protocol import Ack, LimitsRecord, Ref, Revision
from arbkube.control.reservations.projection import lacking
from arbkube.control.rollout.decide import begin, decide, fresh
from arbkube.control.rollout.inputs import RENDERERS, PodSeen, Renderer, Seen, Wanted, wanted_of
from arbkube.control.rollout.projection import seeded
from arbkube.control.rollout.state import ControlState, Rejection, Transition
from arbkube.control.rollout.table import Phase, Reason
from arbkube.control.store import StateStore
from arbkube.control.writer import ControlWriter, ServerView, Superseded
from arbkube.plan.planning import Plan

log = structlog.get_logger(__name__)

TURN_S = 0.2
"""How long nothing may be heard before the writer looks by itself."""


class DocumentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where one document stands."""

    document: str
    phase: Phase
    reason: Reason
    detail: str
    since_ns: int
    """When this phase began, UTC."""
    run: Ref | None
    candidate: Ref | None
    promoted: Ref | None
    wanted: str
    """Digest of what is wanted."""
    acks: dict[str, Ack | None]
    """By pod; None where a pod exists and says nothing."""
    propagation_ns: int | None
    """From the last wish that every pod took up to the last ack of it."""
    limits: LimitsRecord | None
    limits_propagation_ns: int | None
    rejected: dict[str, Rejection]
    """By digest."""


class ControllerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything stands."""

    term: int
    trouble: str | None
    """Why nothing is written just now (the control server or the state's file), or None."""
    documents: dict[str, DocumentStatus]


class Controller:
    """One writer. `want` and `observe` may be called at any time, from the loop that `run` runs on."""

    def __init__(
        self,
        writer: ControlWriter,
        store: StateStore,
        *,
        renderers: Mapping[int, Renderer] = RENDERERS,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._writer = writer
        self._store = store
        self._renderers = renderers
        self._now_ns = now_ns
        self._state: ControlState | None = None
        self._wanted: Wanted | None = None
        self._pods: Mapping[str, PodSeen] | None = None
        self._view: ServerView | None = None
        self._retries: set[tuple[str, str]] = set()
        self._trouble: str | None = "has not answered yet"
        self._steady_ns = 0
        self._begun = False
        self._stirred = asyncio.Event()

    def want(self, plan: Plan) -> None:
        """The desired state, which holds no violation, from now on."""
        self._wanted = wanted_of(plan, now_ns=self._now_ns(), before=self._wanted, renderers=self._renderers)
        self._stirred.set()

    def retry(self, document: str, digest: str) -> None:
        """Allow a rejected digest to be tried once more, as soon as it is wanted."""
        self._retries.add((document, digest))
        self._stirred.set()

    def observe(self, pods: Mapping[str, PodSeen]) -> None:
        """The pods that exist now, by name. No rollout moves before the first call."""
        if pods != self._pods:
            self._pods = dict(pods)
            self._stirred.set()

    async def run(self) -> None:
        """Keep the server as it should be, until cancelled.

        Raises Superseded or StateTakenError where another writer is in charge, and StateUnreadableError.
        """
        self._state = self._store.load()
        news = asyncio.ensure_future(self._writer.news(TURN_S))
        stirred = asyncio.ensure_future(self._stirred.wait())
        try:
            while True:
                await self._attempt()
                await asyncio.wait((news, stirred), return_when=asyncio.FIRST_COMPLETED)
                if news.done():
                    news = asyncio.ensure_future(self._writer.news(TURN_S))
                if stirred.done():
                    self._stirred.clear()
                    stirred = asyncio.ensure_future(self._stirred.wait())
        finally:
            for waiting in (news, stirred):
                waiting.cancel()
            await asyncio.gather(news, stirred, return_exceptions=True)

    def status(self) -> ControllerStatus:
        """Where everything stands, as of the last turn."""
        state, wanted = self._state, self._wanted
        documents = {}
        for name, doc in (state.documents if state else {}).items():
            asked = wanted.documents.get(name) if wanted else None
            strategy = asked.strategy if asked else None
            limits = state.limits.get(strategy) if state and strategy else None
            acks = self._view.acks if self._view else {}
            pods = {pod for pod, seen in (self._pods or {}).items() if asked and seen.workload in asked.shapes}
            documents[name] = DocumentStatus(
                document=name,
                phase=doc.phase,
                reason=doc.reason,
                detail=doc.detail,
                since_ns=doc.since_ns,
                run=doc.head.run if doc.head else None,
                candidate=doc.head.candidate if doc.head else None,
                promoted=doc.head.promoted if doc.head else None,
                wanted=asked.digest if asked else "",
                acks={pod: acks.get(pod) for pod in sorted(pods)},
                propagation_ns=doc.propagation_ns,
                limits=limits.record if limits else None,
                limits_propagation_ns=limits.propagation_ns if limits else None,
                rejected=dict(state.rejected.get(name, {})) if state else {},
            )
        return ControllerStatus(term=state.term if state else 0, trouble=self._trouble, documents=documents)

    def history(self, document: str) -> tuple[Transition, ...]:
        """What happened to a document, the oldest first."""
        return self._state.history.get(document, ()) if self._state else ()

    def revisions(self, document: str) -> tuple[Revision, ...]:
        """The revisions of a document that are kept, by order."""
        doc = self._state.documents.get(document) if self._state else None
        return tuple(stored.revision for stored in doc.revisions) if doc else ()

    async def _attempt(self) -> None:
        """One turn, or the trouble that kept it from being one."""
        try:
            view = await self._writer.look()
            await self._turn(view)
        except (RedisError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            trouble = f"{type(error).__name__}: {error}"
            if self._trouble != trouble:
                log.warning("control server is not written", trouble=trouble)
            self._trouble = trouble
        else:
            self._view = view
            if self._trouble is not None:
                self._trouble = None
                self._steady_ns = self._now_ns()

    async def _turn(self, view: ServerView) -> None:
        state = self._state or fresh(secrets.token_hex(8), self._now_ns())
        seen = self._seen(view)
        if not self._begun:
            state = self._save(begin(state, seen))
            self._begun = True
        elif view.term > state.term:
            raise Superseded(f"term {state.term}: superseded by term {view.term}")
        if not seeded(state, seen):
            # Pods have to be heard again first, however long ago a phase began.
            self._steady_ns = self._now_ns()
            seen = replace(seen, steady_ns=self._steady_ns)
        retries = frozenset(self._retries)
        wanted = replace(self._wanted, retries=retries) if self._wanted else None
        decision = decide(state, wanted, seen, self._now_ns())
        if decision.state != state:
            self._save(decision.state)
        if wanted is not None:
            self._retries -= retries
        for name, transition in decision.events:
            log.info(
                "rollout",
                document=name,
                phase=transition.phase,
                reason=transition.reason,
                detail=transition.detail,
                revision=str(transition.ref),
            )
        await self._writer.append(decision.entries)
        writes = (*lacking(decision.state, view.capacities), *decision.writes)
        if writes or view.term < decision.state.term:
            await self._writer.write(decision.state.term, writes)

    def _save(self, state: ControlState) -> ControlState:
        saved = replace(state, saves=state.saves + 1)
        self._store.save(saved)
        self._state = saved
        return saved

    def _seen(self, view: ServerView) -> Seen:
        return Seen(
            run_id=view.run_id,
            term=view.term,
            epoch=view.epoch,
            heads=view.heads,
            limits=view.limits,
            revisions={name: frozenset(orders) for name, orders in view.revisions.items()},
            acks=view.acks,
            halts=view.halts,
            pods=self._pods,
            steady_ns=self._steady_ns,
        )
