"""A model check on the real script: lost, repeated and late messages, crashes, lost servers, changed plans, in any order.

What is explored is the code itself: holders (`blocks`) and script (`reserve.lua`), with a world around them that remembers each
executor's uses as its journal would. What must hold after every step:

- the sum of what is granted (on the server, in an executor's memory, or used: whichever is most) never rises above the
  capacity; and where the capacity was lowered below it, it never rises;
- what an executor holds is never more than the server holds for it, while the server is of the epoch that it trusts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from arbkube.control.protocol import Capacity
from arbkube.control.reservations.blocks import TURN_NS, Reply, Request, Reservations
from arbkube.control.reservations.pools import Pool
from tests.conftest import Valkey
from tests.control.reservations.world import Server, capacity, copy_of, state_of, terms, venue

X = venue("x")
NAMES = ("a", "b", "c")
ZERO = Decimal(0)


class Executor:
    """One strategy's executor: `used` is what its journal says, whether it runs or not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.token = 0
        self.used = ZERO
        self.holder: Reservations | None = None
        self.sent: list[Request] = []
        """Requests of any of its processes that may still arrive."""
        self.replies: list[tuple[Request, Reply]] = []

    def start(self) -> None:
        self.token += 1
        self.holder = Reservations(self.name, token=self.token, terms=terms(X, first=2))

    def crash(self) -> None:
        self.holder = None
        self.replies = []

    def claim(self) -> Decimal:
        """What it may spend, or has spent."""
        held = self.holder.held.get(X, ZERO) if self.holder is not None else ZERO
        return max(self.used, held)


class World:
    """The server, its plan and the executors."""

    def __init__(self, client: object, names: tuple[str, ...], amount: int) -> None:
        self.server = Server(client)  # type: ignore[arg-type]
        self.executors = {name: Executor(name) for name in names}
        self.amount = amount
        self.planned = set(names)
        self.now_ns = 0
        self.epoch = self.server.flush(self.pools())
        for executor in self.executors.values():
            executor.start()
        self.before = ZERO

    def pools(self) -> dict[Pool, Capacity]:
        return capacity(X, self.amount, *sorted(self.planned))

    def total(self) -> Decimal:
        granted = self.server.held(X)
        return sum((max(self.executors[name].claim(), self._said(name, granted)) for name in self.planned), ZERO)

    def _said(self, name: str, granted: dict[str, int]) -> Decimal:
        """What the server holds for it, or will when its declaration arrives: it was true when it was sent."""
        if name in granted:
            return X.amount(granted[name])
        declared = [request.asks[X].used for request in self.executors[name].sent if request.epoch == self.epoch]
        return X.amount(max(declared, default=0))

    def check(self) -> None:
        total = self.total()
        assert total <= max(self.before, Decimal(self.amount)), f"{total} of {self.amount} (before: {self.before})"
        self.before = total
        held = self.server.held(X)
        for name in self.planned:
            holder = self.executors[name].holder
            if holder is not None and holder._epoch == self.epoch and X in holder.held and name in held:
                assert holder.held[X] <= X.amount(held[name])

    # ---- what may happen ---------------------------------------------------------------------------------------

    def send(self, name: str) -> None:
        executor = self.executors[name]
        if executor.holder is not None:
            request = executor.holder.request({X: executor.used}, self.now_ns)
            if request is not None:
                executor.sent.append(request)

    def arrive(self, name: str, which: int, *, again: bool, lost: bool) -> None:
        """One of its requests is done by the server, perhaps not for the last time; perhaps the answer is lost."""
        executor = self.executors[name]
        if executor.sent:
            request = executor.sent[which % len(executor.sent)]
            if not again:
                executor.sent.remove(request)
            reply = self.server.do(request)
            if not lost and executor.holder is not None:
                executor.replies.append((request, reply))

    def answer(self, name: str) -> None:
        executor = self.executors[name]
        if executor.replies and executor.holder is not None:
            executor.holder.answered(*executor.replies.pop(), self.now_ns)

    def exchange(self, name: str) -> None:
        self.send(name)
        self.arrive(name, -1, again=False, lost=False)
        self.answer(name)

    def open(self, name: str, amount: int) -> None:
        executor = self.executors[name]
        if executor.holder is not None:
            need = {X: executor.used + amount}
            if executor.holder.covers(need):
                executor.used += amount
                executor.holder.spend()
            else:
                executor.holder.want(need)

    def settle(self, name: str, left: int) -> None:
        executor = self.executors[name]
        if executor.holder is not None:
            executor.used = min(executor.used, Decimal(left))

    def trust(self, name: str) -> None:
        holder = self.executors[name].holder
        if holder is not None:
            holder.trust(self.epoch)

    def lose(self) -> None:
        """Flushed, and seeded again from the durable state."""
        self.epoch = self.server.flush(self.pools())

    def replan(self, amount: int, planned: set[str]) -> None:
        self.amount, self.planned = amount, planned
        self.server.put(self.pools())
        self.before = max(self.total(), Decimal(amount))


Step = tuple[str, tuple[object, ...]]


def _do(world: World, step: Step) -> None:
    what, words = step
    match what, words:
        case "deliver", (str(name), int(which)):
            world.arrive(name, which, again=False, lost=False)
        case "deliver a copy", (str(name), int(which)):
            world.arrive(name, which, again=True, lost=False)
        case "lose the answer", (str(name),):
            world.send(name)
            world.arrive(name, -1, again=False, lost=True)
        case "restart", (str(name),):
            world.executors[name].crash()
            world.executors[name].start()
            world.trust(name)
        case "start", (str(name),):
            if world.executors[name].holder is None:
                world.executors[name].start()
                world.trust(name)
        case "crash", (str(name),):
            world.executors[name].crash()
        case "leave or come back", (str(name),):
            world.replan(world.amount, world.planned ^ {name})
        case "change", (int(amount),):
            world.replan(amount, world.planned)
        case "wait", ():
            world.now_ns += TURN_NS
        case _:
            getattr(world, what)(*words)
    world.check()


WEIGHTS = {
    "exchange": 24,
    "send": 3,
    "deliver": 3,
    "deliver a copy": 2,
    "lose the answer": 3,
    "answer": 3,
    "open": 14,
    "settle": 8,
    "trust": 6,
    "crash": 1,
    "start": 2,
    "restart": 1,
    "lose": 1,
    "change": 1,
    "leave or come back": 1,
    "wait": 2,
}


def _random_step(rng: random.Random) -> Step:
    what = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    name = rng.choice(NAMES)
    match what:
        case "open" | "settle":
            return what, (name, rng.randrange(1, 4) if what == "open" else rng.randrange(3))
        case "deliver" | "deliver a copy":
            return what, (name, rng.randrange(9))
        case "change":
            return what, (rng.randrange(9),)
        case "lose" | "wait":
            return what, ()
    return what, (name,)


def _run(client: object, steps: list[Step]) -> World:
    world = World(client, NAMES, 6)
    for step in [("trust", (name,)) for name in NAMES] + [("exchange", (name,)) for name in NAMES] + steps:
        _do(world, step)
    return world


def _fails(client: object, steps: list[Step]) -> str:
    try:
        _run(client, steps)
    except AssertionError as error:
        return str(error)
    return ""


def _walk(client: object, *, histories: int, length: int, seed: int) -> None:
    """Random histories; one that fails is made as short as leaving out single steps can make it."""
    rng = random.Random(seed)
    for _ in range(histories):
        steps = [_random_step(rng) for _ in range(length)]
        if _fails(client, steps):
            for i in reversed(range(len(steps))):
                if _fails(client, steps[:i] + steps[i + 1 :]):
                    del steps[i]
            pytest.fail("\n".join([_fails(client, steps), *map(str, steps)]))


def test_any_order_of_faults(valkey: Valkey) -> None:
    _walk(valkey.client, histories=150, length=120, seed=1)


@pytest.mark.soak
def test_reservations_under_any_order_of_faults(valkey: Valkey, record_property) -> None:
    """Random histories of three executors: messages lost, late and repeated, crashes, lost servers, changed plans."""
    histories, length = 20_000, 200
    _walk(valkey.client, histories=histories, length=length, seed=2)
    record_property("histories", histories)
    record_property("steps of each", length)


# ---- every order of a few steps ------------------------------------------------------------------------------------


class Snapshot:
    """The whole world at one moment, to go on from as often as one likes."""

    def __init__(self, world: World) -> None:
        client = world.server.client
        self.keys = {}
        for key in sorted(client.keys("*")):
            kind = client.type(key)
            self.keys[key] = client.hgetall(key) if kind == b"hash" else client.get(key)
        self.world = (world.epoch, world.before, world.server.number)
        self.executors = {
            name: (e.token, e.used, e.holder and copy_of(e.holder), list(e.sent), list(e.replies))
            for name, e in world.executors.items()
        }

    def identity(self) -> object:
        """Two worlds of the same identity have the same future."""
        holders = []
        for _, used, holder, sent, replies in self.executors.values():
            words = [] if holder is None else [holder.state, holder.held, holder._wanted, holder._turn, holder._pending]
            holders.append((str(used), repr(words), [state_of(str(s)) for s in sent], repr(replies)))
        return repr((sorted(self.keys.items()), self.world, holders))

    def restore(self, world: World) -> None:
        pipeline = world.server.client.pipeline()
        pipeline.flushall()
        for key, value in self.keys.items():
            if isinstance(value, dict):
                pipeline.hset(key, mapping=value)
            else:
                pipeline.set(key, value)
        pipeline.execute()
        world.epoch, world.before, world.server.number = self.world
        for name, (token, used, holder, sent, replies) in self.executors.items():
            e = world.executors[name]
            e.token, e.used, e.holder = token, used, holder and copy_of(holder)
            e.sent, e.replies = list(sent), list(replies)


def _steps(world: World) -> Iterator[Step]:
    """What may happen next; at most one message of each executor stays under way."""
    for name, executor in world.executors.items():
        if executor.holder is not None:
            yield "exchange", (name,)
            yield "lose the answer", (name,)
            yield "open", (name, 2)
            if executor.used:
                yield "settle", (name, 0)
            if not executor.sent:
                yield "send", (name,)
            if executor.holder._epoch != world.epoch:
                yield "trust", (name,)
        if executor.sent:
            yield "deliver", (name, 0)
        if executor.replies:
            yield "answer", (name,)
        if executor.token < 2:
            yield "restart", (name,)
    if world.server.number < 2:
        yield "lose", ()


def _search(valkey: Valkey, *, most: int, seed: int) -> tuple[int, int]:
    """Breadth first, from where one executor holds all there is. Worlds, and steps of the longest way followed whole."""
    world = World(valkey.client, ("a", "b"), 2)
    begin: list[Step] = [("trust", ("a",)), ("trust", ("b",)), *(("exchange", (name,)) for name in "abab")]
    for step in begin:
        _do(world, step)
    frontier, seen, depth = [Snapshot(world)], set(), 0
    rng = random.Random(seed)
    while frontier:
        following = []
        for snapshot in frontier:
            snapshot.restore(world)
            for step in list(_steps(world)):
                snapshot.restore(world)
                _do(world, step)
                reached = Snapshot(world)
                if (identity := reached.identity()) not in seen:
                    seen.add(identity)
                    following.append(reached)
                if len(seen) >= most:
                    return len(seen), depth
        rng.shuffle(following)
        frontier, depth = following, depth + 1
    return len(seen), depth


def test_every_order_of_a_few_steps(valkey: Valkey) -> None:
    worlds, depth = _search(valkey, most=2000, seed=1)
    assert worlds >= 2000
    assert depth >= 3


@pytest.mark.soak
def test_reservations_in_every_order_of_more_steps(valkey: Valkey, record_property) -> None:
    """Breadth first as far as there is time for."""
    started = time.monotonic()
    worlds, depth = _search(valkey, most=400_000, seed=1)
    record_property("worlds", worlds)
    record_property("whole depth", depth)
    record_property("worlds/s", round(worlds / (time.monotonic() - started)))
