"""From resources to what must run: the one plan that serves the laptop and the cluster.

For: `arb up`, `arb plan` and the operator, which only apply what stands here. One feed a VenueFeed, one detector and one
executor an ArbStrategy, one recorder a namespace, one simulator where a feed asks for it; what is suspended does not run.
May not: do I/O, or depend on the order of anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from arbkube.plan.documents import (
    Document,
    FeedDocument,
    RecordedFeed,
    RecorderDocument,
    SimulatedFeed,
    SimulatorDocument,
    Source,
    StrategyDocument,
    StrategyFeed,
    revision_of,
)
from arbkube.resources.changes import restarting, without_limits
from arbkube.resources.kinds import (
    ArbStrategy,
    ArbStrategySpec,
    HaltMode,
    Resource,
    ResourceAmounts,
    Rollout,
    VenueFeed,
    VenueFeedSpec,
)
from arbkube.resources.kinds import Workload as PodShape
from arbkube.resources.loading import Resources
from arbkube.resources.meaning import digest
from arbkube.risk.limits import limits_of

_Spec = TypeVar("_Spec", VenueFeedSpec, ArbStrategySpec)


class Role(StrEnum):
    """What a pod does."""

    FEED = "Feed"
    DETECTOR = "Detector"
    EXECUTOR = "Executor"
    RECORDER = "Recorder"
    SIMULATOR = "Simulator"


class ResourceRef(msgspec.Struct, frozen=True, order=True):
    """An object that a workload runs for."""

    kind: str
    name: str


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One pod, or locally one process."""

    name: str
    """A DNS label, unique in the namespace."""
    role: Role
    resources: tuple[ResourceRef, ...]
    document: str
    """The name of its document in `Plan.documents`."""
    shape: str
    """Digest of every field that is declared a restart and concerns this pod: where it differs, the pod is replaced."""
    requests: ResourceAmounts = ResourceAmounts()
    limits: ResourceAmounts = ResourceAmounts()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that runs in a namespace, by name."""

    workloads: tuple[Workload, ...]
    documents: dict[str, Document]
    sources: dict[str, tuple[Source, ...]]
    """By document: the resources it was rendered from."""
    rollouts: dict[str, Rollout]
    """By document: how a change of it reaches its pods."""
    halts: dict[str, HaltMode]
    """By strategy: the halts that its spec asks for."""


def plan(resources: Resources) -> Plan:
    """What must run for `resources`, which hold no violation."""
    feeds = {name: feed for name, feed in sorted(resources.feeds.items()) if not feed.spec.suspend}
    strategies = {name: s for name, s in sorted(resources.strategies.items()) if not s.spec.suspend}
    pairs = [_feed(feed) for feed in feeds.values()]
    for strategy in strategies.values():
        pairs += _strategy(strategy, resources)
    if pairs:
        pairs.append(_recorder(feeds, strategies))
    simulated = {name: feed for name, feed in feeds.items() if feed.spec.simulated is not None}
    if simulated:
        pairs.append(_simulator(simulated))
    pairs.sort(key=lambda pair: pair[0].name)
    documents = {workload.document: document for workload, document in pairs}
    return Plan(
        workloads=tuple(workload for workload, _ in pairs),
        documents=documents,
        sources={name: tuple(sorted(_sources(document, resources))) for name, document in documents.items()},
        rollouts={
            name: strategies[document.strategy].spec.rollout if isinstance(document, StrategyDocument) else Rollout()
            for name, document in documents.items()
        },
        halts={name: strategy.spec.halt_mode for name, strategy in strategies.items() if strategy.spec.halt},
    )


def _sources(document: Document, resources: Resources) -> Iterator[Source]:
    match document:
        case FeedDocument(name=name):
            yield _source(resources.feeds[name])
        case StrategyDocument(strategy=name, feeds=feeds):
            yield _source(resources.strategies[name])
            yield from (_source(resources.feeds[feed]) for feed in feeds)
            yield from map(_source, resources.policies.values())
        case RecorderDocument(feeds=feeds, strategies=strategies):
            yield from (_source(resources.feeds[feed]) for feed in feeds)
            yield from (_source(resources.strategies[strategy]) for strategy in strategies)
        case SimulatorDocument(feeds=feeds):
            yield from (_source(resources.feeds[feed]) for feed in feeds)


def _source(resource: Resource) -> Source:
    meta = resource.metadata
    return Source(kind=type(resource).__name__, name=meta.name, uid=meta.uid, generation=meta.generation)


_Pair = tuple[Workload, Document]


def _feed(feed: VenueFeed) -> _Pair:
    name, spec = feed.metadata.name, _configuration(feed.spec)
    document = FeedDocument(name=name, spec=spec, revision=revision_of(name, spec))
    return _workload(Role.FEED, feed, restarting(feed.spec, without=("workload",))), document


def _strategy(strategy: ArbStrategy, resources: Resources) -> Iterator[_Pair]:
    spec, feeds = _configuration(strategy.spec), {ref.name: resources.feeds[ref.name] for ref in strategy.spec.feeds}
    name, uid, seen = strategy.metadata.name, strategy.metadata.uid, {ref: _seen(feeds[ref]) for ref in sorted(feeds)}
    document = StrategyDocument(
        strategy=name,
        uid=uid,
        spec=spec,
        feeds=seen,
        limits=limits_of(
            strategy.spec,
            (policy.spec for policy in resources.policies.values()),
            {ref: feed.spec.integrity for ref, feed in feeds.items()},
        ),
        revision=revision_of(name, uid, spec, seen),
    )
    # Mode and accounts are an executor's: a detector outlives a change of them.
    detector = restarting(strategy.spec, without=("workload", "execution"))
    executor = restarting(strategy.spec, without=("workload",))
    yield _workload(Role.DETECTOR, strategy, detector), document
    yield _workload(Role.EXECUTOR, strategy, executor), document


def _recorder(feeds: dict[str, VenueFeed], strategies: dict[str, ArbStrategy]) -> _Pair:
    recorded = {
        name: RecordedFeed(
            venue=feed.spec.venue,
            market=feed.spec.market,
            instruments=_sorted(feed.spec.instruments),
            recording=feed.spec.recording,
        )
        for name, feed in feeds.items()
        if feed.spec.recording is not None
    }
    names = tuple(strategies)
    document = RecorderDocument(feeds=recorded, strategies=names, revision=revision_of(recorded, names))
    return _namespaced(Role.RECORDER, (), {}), document


def _simulator(feeds: dict[str, VenueFeed]) -> _Pair:
    served = {
        name: SimulatedFeed(
            venue=feed.spec.venue,
            market=feed.spec.market,
            instruments=_sorted(feed.spec.instruments),
            simulated=feed.spec.simulated,
        )
        for name, feed in feeds.items()
        if feed.spec.simulated is not None
    }
    shape = {name: (feed.venue, feed.market, feed.simulated) for name, feed in served.items()}
    refs = tuple(ResourceRef("VenueFeed", name) for name in served)
    return _namespaced(Role.SIMULATOR, refs, shape), SimulatorDocument(feeds=served, revision=revision_of(served))


def _workload(role: Role, owner: VenueFeed | ArbStrategy, shape: dict[str, object]) -> Workload:
    return Workload(
        name=f"{role.lower()}-{owner.metadata.name}",
        role=role,
        resources=(ResourceRef(type(owner).__name__, owner.metadata.name),),
        document=f"{'feed' if isinstance(owner, VenueFeed) else 'strategy'}-{owner.metadata.name}",
        shape=digest(shape),
        requests=owner.spec.workload.requests,
        limits=owner.spec.workload.limits,
    )


def _namespaced(role: Role, refs: tuple[ResourceRef, ...], shape: dict[str, Any]) -> Workload:
    name = role.lower()
    return Workload(name=name, role=role, resources=refs, document=name, shape=digest(shape))


def _seen(feed: VenueFeed) -> StrategyFeed:
    spec = feed.spec
    return StrategyFeed(venue=spec.venue, market=spec.market, instruments=_sorted(spec.instruments), fees=spec.fees)


def _sorted(instruments: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(instruments))


def _configuration(spec: _Spec) -> _Spec:
    """What of a spec its pods are configured by: neither their shape, nor limits and halts, nor how it is rolled out."""
    spec = msgspec.structs.replace(without_limits(spec), workload=PodShape())
    if isinstance(spec, ArbStrategySpec):
        spec = msgspec.structs.replace(spec, halt_mode=HaltMode.STOP_NEW, rollout=Rollout())
    return spec
