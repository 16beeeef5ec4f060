"""A whole control plane in memory: the writers' and the pods' real decisions, around a server that fences as the scripts do.

For: stepping through every order in which things can happen. One document with its limits, two workloads, some pods, up to two
writers on one store. May not: soften anything: what the protocol has to hold is checked at every step, in `checks`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from arbkube.control.follower import Follower, Problem
from arbkube.control.halts import Entry
from arbkube.control.protocol import (
    Ack,
    DropDocument,
    DropRevision,
    Epoch,
    Head,
    Health,
    LimitsRecord,
    Order,
    PutEpoch,
    PutHead,
    PutLimits,
    PutRevision,
    Ref,
    Revision,
    Write,
)
from arbkube.control.rollout.decide import Decision, begin, decide, fresh
from arbkube.control.rollout.inputs import PodSeen, Seen, Wanted, WantedDocument
from arbkube.control.rollout.state import ControlState, encode_state
from arbkube.plan.documents import encode_limits
from arbkube.plan.planning import Role
from arbkube.resources.scalars import Bps
from arbkube.risk.limits import Limits
from tests.control.model import checks

SECOND = 1_000_000_000
DOC, STRATEGY = "strategy-x", "x"
ROLES = {"detector": Role.DETECTOR, "executor": Role.EXECUTOR}
BAKE, DEADLINE = 2 * SECOND, 6 * SECOND

GOOD = "ABC"
"""Documents that differ and harm nobody. The number after the letter is the edge that is demanded: more is stricter."""
REFUSED = "R"
"""A detector refuses it."""
SICK = "S"
"""Under it, an executor's orders are refused."""
DEADLY = "D"
"""An executor ends as soon as it runs it."""


def wanted(name: str, *, now_ns: int) -> Wanted:
    """The desired state `name`: a letter, the edge in basis points, and `+` where pods have another shape, e.g. `A10+`."""
    document = WantedDocument(
        name=DOC,
        digest=name,
        meaning=name[0],
        contents={1: msgspec.json.encode(name)},
        shapes=dict.fromkeys(ROLES, "other" if name.endswith("+") else "usual"),
        roles=ROLES,
        sources=(),
        bake_ns=BAKE,
        deadline_ns=DEADLINE,
        strategy=STRATEGY,
        limits=encode_limits(Limits(enter_edge=Bps(f"{name[1:].rstrip('+')}bps"))),
        since_ns=now_ns,
    )
    return Wanted(documents={DOC: document}, halts={})


class Superseded(Exception):
    """As the server says it."""


class Refused(Exception):
    """As the server says it."""


class Server:
    """What `scripts/*.lua` do. Everything in it is immutable or replaced."""

    def __init__(self) -> None:
        self.runs = 1
        self.term = 0
        self.epoch: Epoch | None = None
        self.head: Head | None = None
        self.limits: LimitsRecord | None = None
        self.revisions: dict[Order, Revision] = {}
        self.acks: dict[str, Ack] = {}
        self.halts: tuple[Entry, ...] = ()

    @property
    def run_id(self) -> str:
        return f"run-{self.runs}"

    def flushed(self) -> Server:
        """The same process without its data."""
        empty = Server()
        empty.runs = self.runs
        return empty

    def restored(self, old: Server) -> Server:
        """Another process, with the data of an older copy."""
        server = copy.copy(old)
        server.runs, server.acks = self.runs + 1, {}
        return server

    def append(self, entries: tuple[Entry, ...]) -> None:
        known = {entry.id for entry in self.halts}
        self.halts = (*self.halts, *(entry for entry in entries if entry.id not in known))

    def write(self, term: int, writes: tuple[Write, ...]) -> None:
        if term < self.term:
            raise Superseded
        head, limits, epoch, revisions = self.head, self.limits, self.epoch, dict(self.revisions)
        for write in writes:
            match write:
                case PutRevision(revision):
                    revisions.setdefault(revision.ref.order, revision)
                case PutHead(new):
                    assert new.order.term <= term
                    if head is not None and head != new and new.order <= head.order:
                        raise Refused
                    head = new
                case PutLimits(record):
                    if limits is not None and limits != record and record.order <= limits.order:
                        raise Refused
                    limits = record
                case PutEpoch(new_epoch):
                    if new_epoch.run_id != self.run_id:
                        raise Refused
                    same = epoch is not None and epoch.incarnation == new_epoch.incarnation
                    if epoch is not None and same and epoch != new_epoch and epoch.number >= new_epoch.number:
                        raise Refused
                    epoch = new_epoch
                case DropRevision(_, order):
                    revisions.pop(order, None)
                case DropDocument():
                    head, revisions, limits = None, {}, None
        self.term = term
        self.head, self.limits, self.epoch, self.revisions = head, limits, epoch, revisions


class Writer:
    """One writer's process: what it holds in memory."""

    def __init__(self, state: ControlState) -> None:
        self.state = state
        self.pending: Decision | None = None
        self.saved = False


class Pod:
    """One pod's process. A restart makes another one of the same name."""

    def __init__(self, name: str, workload: str, shape: str, boot: int, now_ns: int) -> None:
        self.name = name
        self.workload = workload
        self.boot = boot
        self.started_ns = now_ns + boot
        self.follower = Follower(pod=name, workload=workload, shape=shape)
        self.shape = shape
        self.limits: LimitsRecord | None = None
        self.applied: tuple[Order, ...] = ()
        self.journal: tuple[Entry, ...] = ()
        self.rejects = 0

    def clone(self) -> Pod:
        pod, pod.follower = copy.copy(self), copy.copy(self.follower)
        pod.follower._fetched = dict(self.follower._fetched)
        return pod

    def ack(self) -> Ack:
        follower, problem = self.follower, self.follower.problem
        return Ack(
            pod=self.name,
            workload=self.workload,
            role=ROLES[self.workload],
            document=DOC,
            boot_id=f"boot-{self.boot}",
            heard=follower.heard,
            running=follower.running,
            candidate=follower.candidate,
            answer=follower.answer,
            reason=problem.reason if problem else "",
            limits=self.limits.order if self.limits else None,
            health=Health(attempts=100 + self.rejects, rejects=self.rejects, data_age_ns=0),
        )


class Step(NamedTuple):
    """Something that may happen: the method of `World`, and its argument."""

    what: str
    whom: str = ""


class World:
    """Everything that there is at one moment."""

    def __init__(self, name: str = "A10") -> None:
        self.now_ns = 1000 * SECOND
        self.server = Server()
        self.copy = self.server
        self.store: ControlState | None = None
        self.placed: frozenset[str] = frozenset()
        """Digests that pods could not be asked about before they were told to run them."""
        self.writers: dict[str, Writer] = {}
        self.pods: dict[str, Pod] = {}
        self.late_acks: tuple[Ack, ...] = ()
        self.old_head: Head | None = None
        self.boots = 0
        self.wanted = wanted(name, now_ns=self.now_ns)
        self.journal: tuple[Entry, ...] = ()
        """What executors have written down of halts: durable, whatever happens to their pods."""

    def clone(self) -> World:
        world = copy.copy(self)
        world.server = copy.copy(self.server)
        world.server.acks = dict(self.server.acks)
        world.writers = {name: copy.copy(writer) for name, writer in self.writers.items()}
        world.pods = {name: pod.clone() for name, pod in self.pods.items()}
        return world

    def key(self) -> bytes:
        """Two worlds with the same key go on alike."""
        told = [
            [encode_state(writer.state), writer.saved, writer.pending and encode_state(writer.pending.state)]
            for writer in self.writers.values()
        ]
        pods = [
            [p.ack(), p.follower._booted_under, sorted(map(str, p.follower._fetched)), p.limits, p.boot, p.shape]
            for p in self.pods.values()
        ]
        servers = [
            [s.runs, s.term, s.epoch, s.head, s.limits, sorted(s.revisions), s.acks, s.halts] for s in (self.server, self.copy)
        ]
        whole = [servers, self.store, told, pods, list(self.pods), self.late_acks, self.old_head, self.now_ns, self.journal]
        return msgspec.json.encode([*whole, self.wanted.documents[DOC].digest, len(self.wanted.retries)], order="deterministic")

    def after(self, step: Step) -> World:
        """The world after something happened; raises AssertionError where the protocol does not hold."""
        world = self.clone()
        getattr(world, step.what)(*([step.whom] if step.whom else []))
        checks.step(self, world)
        return world

    # Writers.

    def start(self, name: str) -> None:
        """A writer's process starts: it loads, looks, and takes a term above all others."""
        state = self.store or fresh(f"state-{self.now_ns}", self.now_ns)
        state = begin(state, self.seen())
        self.writers[name] = Writer(self._save(state))

    def look(self, name: str) -> None:
        """It looks and decides."""
        writer = self.writers[name]
        if self.server.term > writer.state.term:
            del self.writers[name]
            return
        decision = decide(writer.state, self.wanted, self.seen(), self.now_ns)
        checks.decision(self, writer.state, decision)
        head = decision.state.documents[DOC].head
        if head is not None and head.promoted is None:
            self.placed |= {head.run.digest}
        writer.pending, writer.saved = decision, decision.state == writer.state
        if writer.saved:
            self.wanted = replace(self.wanted, retries=frozenset())
        if writer.saved and not decision.writes and not decision.entries:
            writer.pending = None

    def save(self, name: str) -> None:
        """It saves what it decided, unless another one has saved since."""
        writer = self.writers[name]
        assert writer.pending is not None
        if self.store is None or (self.store.term, self.store.saves) != (writer.state.term, writer.state.saves):
            del self.writers[name]
            return
        writer.state, writer.saved = self._save(writer.pending.state), True
        self.wanted = replace(self.wanted, retries=frozenset())

    def write(self, name: str) -> None:
        """It writes what it has saved."""
        writer = self.writers[name]
        assert writer.pending is not None
        assert writer.saved
        decision, writer.pending = writer.pending, None
        self.server.append(decision.entries)
        try:
            self.server.write(decision.state.term, decision.writes)
        except Superseded:
            del self.writers[name]
        except Refused:
            pass

    def kill(self, name: str) -> None:
        """It ends, wherever it was."""
        del self.writers[name]

    def _save(self, state: ControlState) -> ControlState:
        self.store = replace(state, saves=state.saves + 1)
        return self.store

    def seen(self) -> Seen:
        server = self.server
        return Seen(
            run_id=server.run_id,
            term=server.term,
            epoch=server.epoch,
            heads={DOC: server.head} if server.head else {},
            limits={STRATEGY: server.limits} if server.limits else {},
            revisions={DOC: frozenset(server.revisions)} if server.revisions else {},
            acks=dict(server.acks),
            halts=server.halts,
            pods={name: PodSeen(pod.workload, pod.started_ns) for name, pod in self.pods.items()},
        )

    # Pods.

    def poll(self, name: str) -> None:
        """A pod hears what the server holds, and fetches and judges what it is asked to."""
        self._hear(self.pods[name], self.server.head)

    def poll_old(self, name: str) -> None:
        """A pod hears a head from before."""
        self._hear(self.pods[name], self.old_head)

    def _hear(self, pod: Pod, head: Head | None) -> None:
        server = self.server
        pod.follower.hear(head)
        if server.limits is not None and (pod.limits is None or server.limits.order > pod.limits.order):
            pod.limits = server.limits
        if pod.workload == "executor":
            known = {entry.id for entry in self.journal}
            self.journal = (*self.journal, *(entry for entry in server.halts if entry.id not in known))
            server.append(self.journal)
        while (ref := pod.follower.wants()) is not None and ref.order in server.revisions:
            revision = server.revisions[ref.order]
            assert revision.ref == ref, "an order was given twice"
            refused = pod.workload == "detector" and revision.ref.digest.startswith(REFUSED)
            pod.follower.fetched(revision, Problem("refused", "spec") if refused else None)

    def swap(self, name: str) -> None:
        """A pod swaps to what is due."""
        pod = self.pods[name]
        revision = pod.follower.due()
        if revision is None:
            return
        pod.follower.swapped(revision.ref)
        pod.applied = (*pod.applied, revision.ref.order)
        executes = pod.workload == "executor"
        if executes and revision.ref.digest.startswith(SICK):
            pod.rejects += 50
        if executes and revision.ref.digest.startswith(DEADLY):
            self.crash(name)

    def ack(self, name: str) -> None:
        """A pod says what it holds."""
        self.server.acks[name] = self.pods[name].ack()

    def ack_late(self, name: str) -> None:
        """A pod says what it holds; it arrives at any time later, or never."""
        self.late_acks = (*self.late_acks, self.pods[name].ack())

    def deliver(self) -> None:
        """The first of the late acks arrives."""
        first, *self.late_acks = self.late_acks  # type: ignore[assignment]
        self.late_acks = tuple(self.late_acks)
        self.server.acks[first.pod] = first

    def expire(self, name: str) -> None:
        """An ack was not renewed in time."""
        del self.server.acks[name]

    def crash(self, name: str) -> None:
        """A pod ends and is started again in the shape that is wanted."""
        self.come(name)

    def come(self, name: str) -> None:
        """A pod is started; the letters of its name up to a digit are its workload."""
        self.boots += 1
        workload = name.rstrip("0123456789")
        shape = self.wanted.documents[DOC].shapes[workload]
        self.pods[name] = Pod(name, workload, shape, self.boots, self.now_ns)

    def go(self, name: str) -> None:
        """A pod ends for good."""
        del self.pods[name]

    # The rest of the world.

    def want(self, name: str) -> None:
        """Another document is wanted; pods of another shape than it asks for are replaced."""
        self.wanted = wanted(name, now_ns=self.now_ns)
        shapes = self.wanted.documents[DOC].shapes
        for pod in list(self.pods.values()):
            if pod.shape != shapes[pod.workload]:
                self.come(pod.name)

    def retry(self) -> None:
        """Somebody allows what is wanted to be tried again."""
        document = self.wanted.documents[DOC]
        self.wanted = replace(self.wanted, retries=frozenset({(DOC, document.digest)}))

    def halt(self, entry: Entry) -> None:
        """Somebody appends to the log."""
        self.server.append((entry,))

    def tick(self) -> None:
        """A second passes."""
        self.now_ns += SECOND

    def flush(self) -> None:
        """The server loses its data."""
        self.server = self.server.flushed()

    def back_up(self) -> None:
        """The server's data is copied, and so is the head that a slow answer may still carry."""
        self.copy = copy.copy(self.server)
        self.old_head = self.server.head

    def restore(self) -> None:
        """The server is replaced by one with the copy."""
        self.server = self.server.restored(self.copy)

    def lose_store(self) -> None:
        """The durable state is lost; what it alone remembered cannot hold any more."""
        self.store = None
        self.writers.clear()

    # How it goes on when nothing fails any more.

    def turn(self, name: str) -> None:
        """A whole turn of a writer."""
        self.look(name)
        writer = self.writers.get(name)
        if writer is not None and writer.pending is not None:
            if not writer.saved:
                self.save(name)
            if name in self.writers:
                self.write(name)

    def settled(self, rounds: int = 40) -> World:
        """The world after all faults stopped and everybody went on for a while, each step checked."""
        world = self.clone()
        world.late_acks = ()
        for workload in ROLES:
            if not any(pod.workload == workload for pod in world.pods.values()):
                world.come(workload)
        for name in list(world.server.acks):
            if name not in world.pods or world.server.acks[name].boot_id != f"boot-{world.pods[name].boot}":
                world.expire(name)
        living = {name: w for name, w in world.writers.items() if world.store and w.state.term == world.store.term}
        world.writers = living
        if not living:
            world.start("w1")
        for _ in range(rounds):
            before = world.clone()
            for _ in world.round():
                pass
            checks.step(before, world)
        return world

    def round(self) -> Iterator[None]:
        """Everybody goes on once, the one writer first; yields after each step."""
        (writer,) = self.writers or ("w1",)
        if writer not in self.writers:
            self.start(writer)
        self.turn(writer)
        yield
        for name in list(self.pods):
            for act in (self.poll, self.swap, self.ack):
                act(name)
                yield
        self.tick()

    def way(self, rounds: int = 7) -> list[World]:
        """The worlds on the way to rest when nothing fails."""
        world, worlds = self.clone(), [self]
        for _ in range(rounds):
            for _ in world.round():
                if world.key() != worlds[-1].key():
                    worlds.append(world.clone())
        return worlds

    def running(self) -> set[Ref | None]:
        """What the pods run."""
        return {pod.follower.running for pod in self.pods.values()}


def begun(name: str = "A10") -> World:
    """A world whose first document is promoted and run by a detector and an executor."""
    world = World(name)
    world.start("w1")
    for workload in ROLES:
        world.come(workload)
    world = world.settled(8)
    assert len(world.running()) == 1
    return world


def alternatives(world: World) -> Iterator[Step]:
    """What goes on by itself in `world`: every step of every writer and pod that changes something, or may."""
    for name, writer in world.writers.items():
        if writer.pending is None:
            yield Step("look", name)
        else:
            yield Step("write" if writer.saved else "save", name)
    for name, pod in world.pods.items():
        head = world.server.head
        news = head is not None and (pod.follower.heard is None or head.order > pod.follower.heard)
        limits = world.server.limits
        if news or pod.follower.wants() or (limits and (pod.limits is None or limits.order > pod.limits.order)):
            yield Step("poll", name)
        if pod.follower.due():
            yield Step("swap", name)
        if world.server.acks.get(name) != pod.ack():
            yield Step("ack", name)
    if world.late_acks:
        yield Step("deliver")
