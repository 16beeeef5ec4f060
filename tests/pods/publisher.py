"""A writer that says what it is told: heads, revisions, limits, epochs and halts on a real control server.

For: tests that put a pod into a situation, also one that no controller would bring about. May not: decide anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from arbkube.control.acl import User
from arbkube.control.halts import Entry
from arbkube.control.protocol import (
    Ack,
    Epoch,
    Head,
    LimitsRecord,
    Order,
    PutCapacities,
    PutEpoch,
    PutHead,
    PutLimits,
    PutRevision,
    Ref,
    Revision,
    Write,
)
from arbkube.control.reservations.pools import capacities, record
from arbkube.control.writer import ControlWriter, ServerView
from arbkube.plan.documents import Document, StrategyDocument, encode_document, encode_limits
from arbkube.plan.planning import Plan, plan
from arbkube.resources.loading import load
from arbkube.resources.meaning import digest
from arbkube.risk.limits import Limits
from tests.cli.running import QUICKSTART
from tests.conftest import Valkey

INCARNATION = "first"


def quickstart(*edits: tuple[str, str]) -> Plan:
    """The quickstart's plan with texts of its manifests replaced; each must be there."""
    texts = {file.name: file.read_text() for file in QUICKSTART.glob("*.yaml")}
    for old, new in edits:
        assert any(old in text for text in texts.values()), old
        texts = {name: text.replace(old, new) for name, text in texts.items()}
    loaded = load(texts)
    assert not loaded.violations, loaded.violations
    return plan(loaded.resources)


class Publisher:
    """Writes with term 1 and ever growing serials, each call on a connection of its own."""

    def __init__(self, valkey: Valkey, planned: Plan) -> None:
        self.plan = planned
        self.valkey = valkey
        self._serial = 0
        self._heads: dict[str, Head] = {}

    # ---- what stands there ---------------------------------------------------------------------------------------

    def look(self) -> ServerView:
        return self._do(lambda writer: writer.look())

    def ack(self, pod: str) -> Ack | None:
        return self.look().acks.get(pod)

    # ---- what is said --------------------------------------------------------------------------------------------

    def seed(self, *, number: int = 1, incarnation: str = INCARNATION) -> None:
        """Every document of the plan as run and promoted, as if nothing else had ever been, then the epoch."""
        self._heads.clear()
        self.share("cross")
        for name, document in self.plan.documents.items():
            ref = self.revision(name, document)
            self.head(name, run=ref, promoted=ref)
        self.epoch(number, incarnation)

    def share(self, *strategies: str) -> None:
        """The budgets of these strategies: all of their executors must run, or nothing is granted."""
        documents = [self.strategy(name) for name in strategies]
        pools = capacities((document, document.limits) for document in documents)
        self.write(PutCapacities(record(self._order(), pools)))

    def epoch(self, number: int, incarnation: str = INCARNATION) -> None:
        run_id = self.look().run_id
        self.write(PutEpoch(Epoch(incarnation=incarnation, number=number, run_id=run_id)))

    def revision(self, name: str, document: Document, *, content: bytes | None = None, **changed: Any) -> Ref:
        """Store a revision; `content` is another text than the document's own."""
        ref = Ref(order=self._order(), digest=digest(document))
        shapes = {workload.name: workload.shape for workload in self.plan.workloads if workload.document == name}
        text = msgspec.Raw(content if content is not None else encode_document(document))
        revision = Revision(document=name, ref=ref, version=1, content=text, shapes=shapes, sources=())
        self.write(PutRevision(msgspec.structs.replace(revision, **changed)))
        return ref

    def head(self, name: str, **said: Any) -> Head:
        """Say a head; what is not said stays as it was."""
        before = self._heads.get(name)
        if before is None:
            head = Head(document=name, order=self._order(), **{"promoted": None, **said})
        else:
            head = msgspec.structs.replace(before, order=self._order(), **said)
        self._heads[name] = head
        self.write(PutHead(head))
        return head

    def change(self, changed: Plan, name: str) -> Ref:
        """Commit the document of `changed` to all pods, without asking; its ref."""
        self.plan = changed
        ref = self.revision(name, changed.documents[name])
        self.head(name, run=ref, candidate=None)
        return ref

    def limits(self, strategy: str, limits: Limits) -> Order:
        return self.raw_limits(strategy, msgspec.Raw(encode_limits(limits)))

    def raw_limits(self, strategy: str, text: msgspec.Raw) -> Order:
        record = LimitsRecord(strategy=strategy, order=self._order(), limits=text)
        self.write(PutLimits(record))
        return record.order

    def halts(self, *entries: Entry) -> None:
        self._do(lambda writer: writer.append(entries))

    def write(self, *writes: Write) -> None:
        self._do(lambda writer: writer.write(1, writes))

    def strategy(self, name: str) -> StrategyDocument:
        document = self.plan.documents[f"strategy-{name}"]
        assert isinstance(document, StrategyDocument)
        return document

    def _order(self) -> Order:
        self._serial += 1
        return Order(1, self._serial)

    def _do(self, what: Callable[[ControlWriter], Awaitable[Any]]) -> Any:
        async def done() -> Any:
            writer = ControlWriter(self.valkey.url, credentials=self.valkey.credentials, user=User.OPERATOR)
            try:
                return await what(writer)
            finally:
                await writer.close()

        return asyncio.run(done())
