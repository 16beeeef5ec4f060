"""What a decision is made from: what is wanted, and what was seen at one moment.

For: `decide`, which takes nothing else. May not: do I/O or read a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from arbkube.control.halts import Entry
from arbkube.control.protocol import Ack, Epoch, Head, LimitsRecord, Order
from arbkube.plan.documents import Document, Source, StrategyDocument, encode_document, encode_limits
from arbkube.plan.planning import Plan, Role
from arbkube.resources.kinds import HaltMode
from arbkube.resources.meaning import digest

Renderer = Callable[[Document], bytes]
"""Writes a document in one version."""
RENDERERS: Mapping[int, Renderer] = {1: encode_document}
"""By version, all that this release writes: the newest, and the one of the release before."""


class WantedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One document as it should be."""

    name: str
    digest: str
    """Of what the whole document means, its limits included, whatever version it is written in."""
    meaning: str
    """The document's own `revision`: its digest without limits."""
    contents: dict[int, bytes]
    """The document as JSON, by version."""
    shapes: dict[str, str]
    """Pod shape by workload: the workloads that read this document."""
    roles: dict[str, Role]
    """Role by workload."""
    sources: tuple[Source, ...]
    bake_ns: int
    deadline_ns: int
    strategy: str | None = None
    limits: bytes | None = None
    """As JSON, where the document is a strategy's."""
    since_ns: int = 0
    """When it was first wanted, UTC."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The whole desired state."""

    documents: dict[str, WantedDocument]
    halts: dict[str, HaltMode]
    """By strategy: what its spec asks for."""
    retries: frozenset[tuple[str, str]] = frozenset()
    """Document and digest that somebody allowed to be tried again, once."""


class PodSeen(msgspec.Struct, frozen=True):
    """A pod that exists, as whoever starts pods knows it."""

    workload: str
    started_ns: int
    """When its process was started, UTC; another one is another process."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The control server and the pods, as of one moment."""

    run_id: str
    term: int
    epoch: Epoch | None
    heads: Mapping[str, Head]
    limits: Mapping[str, LimitsRecord]
    revisions: Mapping[str, frozenset[Order]]
    acks: Mapping[str, Ack]
    halts: tuple[Entry, ...]
    pods: Mapping[str, PodSeen] | None
    """By name; None while nobody has said which pods exist, and then no rollout moves."""
    steady_ns: int = 0
    """Since when this has been seen without interruption, UTC: no deadline counts from before."""


def wanted_of(
    plan: Plan, *, now_ns: int, before: Wanted | None = None, renderers: Mapping[int, Renderer] = RENDERERS
) -> Wanted:
    """What `plan` asks for. A document that `before` wanted too keeps its `since_ns`."""
    documents = {}
    for name, document in plan.documents.items():
        readers = [workload for workload in plan.workloads if workload.document == name]
        rollout, meant = plan.rollouts[name], digest(document)
        earlier = before.documents.get(name) if before else None
        strategic = document if isinstance(document, StrategyDocument) else None
        documents[name] = WantedDocument(
            name=name,
            digest=meant,
            meaning=document.revision,
            contents={version: render(document) for version, render in renderers.items()},
            shapes={workload.name: workload.shape for workload in readers},
            roles={workload.name: workload.role for workload in readers},
            sources=plan.sources[name],
            bake_ns=rollout.bake.ns,
            deadline_ns=rollout.progress_deadline.ns,
            strategy=strategic.strategy if strategic else None,
            limits=encode_limits(strategic.limits) if strategic else None,
            since_ns=earlier.since_ns if earlier is not None and earlier.digest == meant else now_ns,
        )
    return Wanted(documents=documents, halts=dict(plan.halts))
