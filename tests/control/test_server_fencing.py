"""What the control server lets a writer do: higher term, higher order, its own epoch; all at once or nothing."""

from __future__ import annotations

import asyncio
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbkube.control.halts import PERSON, Clear
from arbkube.control.protocol import (
    DropDocument,
    DropRevision,
    Epoch,
    Head,
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
from arbkube.control.writer import ControlWriter, Refused, ServerView, Superseded
from tests.control.server import ControlServer, shared

__all__ = ["shared"]

RUN_ID = "(the server's)"


def ref(order: Order) -> Ref:
    return Ref(order=order, digest=f"d{order.term}{order.serial}")


def head(term: int, serial: int, document: str = "strategy-x", digest: str = "") -> PutHead:
    order = Order(term, serial)
    return PutHead(Head(document=document, order=order, run=Ref(order=order, digest=digest or "d"), promoted=None))


def limits(term: int, serial: int, text: bytes = b"{}") -> PutLimits:
    return PutLimits(LimitsRecord(strategy="x", order=Order(term, serial), limits=msgspec.Raw(text)))


def revision(term: int, serial: int, content: bytes = b"{}") -> PutRevision:
    order = Order(term, serial)
    return PutRevision(
        Revision(document="strategy-x", ref=ref(order), version=1, content=msgspec.Raw(content), shapes={"w": "s"}, sources=())
    )


def epoch(number: int, incarnation: str = "i", run_id: str = RUN_ID) -> PutEpoch:
    return PutEpoch(Epoch(incarnation=incarnation, number=number, run_id=run_id))


def named(write: Write, run_id: str) -> Write:
    """The write with the server's own run id put in."""
    match write:
        case PutEpoch(said) if said.run_id == RUN_ID:
            return PutEpoch(msgspec.structs.replace(said, run_id=run_id))
    return write


def told(view: ServerView) -> object:
    """All of a view that a writer wrote, comparable."""
    return (
        view.term,
        view.epoch,
        view.heads,
        {name: (record.order, bytes(record.limits)) for name, record in view.limits.items()},
        {name: orders for name, orders in view.revisions.items() if orders},
    )


CASES = [
    # what stands there, who writes, what, outcome
    ("a first head", [], 5, [head(5, 1)], None),
    ("a higher serial", [head(5, 1)], 5, [head(5, 2)], None),
    ("a higher term with a lower serial", [head(5, 9)], 6, [head(6, 1)], None),
    ("the same again", [head(5, 1)], 5, [head(5, 1)], None),
    ("the same again, by the next writer", [head(5, 1)], 6, [head(5, 1)], None),
    ("a lower serial", [head(5, 2)], 5, [head(5, 1)], Refused),
    ("another of the same order", [head(5, 1)], 5, [head(5, 1, digest="other")], Refused),
    ("an older head by a newer writer", [head(5, 2)], 6, [head(4, 9)], Refused),
    ("a head of a term that is not the writer's yet", [], 5, [head(6, 1)], Refused),
    ("a lower term", [head(5, 1)], 4, [head(4, 9)], Superseded),
    ("a lower term that writes nothing", [head(5, 1)], 4, [], Superseded),
    ("a lower term's revision", [head(5, 1)], 4, [revision(4, 1)], Superseded),
    ("two of one key in order", [], 5, [head(5, 1), head(5, 2)], None),
    ("two of one key out of order", [], 5, [head(5, 2), head(5, 1)], Refused),
    ("limits of a higher order", [limits(5, 1)], 5, [limits(5, 2)], None),
    ("limits of a lower order", [limits(5, 2)], 5, [limits(5, 1)], Refused),
    ("other limits of the same order", [limits(5, 1)], 5, [limits(5, 1, b'{"a":1}')], Refused),
    ("a revision again", [revision(5, 1)], 5, [revision(5, 1)], None),
    ("an epoch", [], 5, [epoch(1)], None),
    ("the next epoch", [epoch(1)], 5, [epoch(2)], None),
    ("the same epoch again", [epoch(1)], 5, [epoch(1)], None),
    ("an older epoch", [epoch(2)], 5, [epoch(1)], Refused),
    ("another past's epoch", [epoch(2)], 5, [epoch(1, incarnation="other")], None),
    ("another process's epoch", [], 5, [epoch(1, run_id="0" * 40)], Refused),
    ("all but the last", [head(5, 1)], 6, [revision(6, 1), limits(6, 1), head(6, 2), epoch(1, run_id="0" * 40)], Refused),
    ("a dropped document begins anew", [head(5, 9), limits(5, 9)], 5, [DropDocument("strategy-x", "x"), head(5, 1)], None),
    ("a document's limits stay without its strategy", [limits(5, 9)], 5, [DropDocument("strategy-x"), limits(5, 1)], Refused),
    ("a dropped revision", [revision(5, 1)], 5, [DropRevision("strategy-x", Order(5, 1))], None),
]


@pytest.mark.parametrize(("before", "term", "writes", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_what_a_writer_may_do(
    shared: ControlServer, before: list[Write], term: int, writes: list[Write], outcome: type[Exception] | None
) -> None:
    shared.admin.flushall()
    writer = shared.writer()
    run_id = (await writer.look()).run_id
    await writer.write(5, [named(write, run_id) for write in before])
    stood = told(await writer.look())
    writes = [named(write, run_id) for write in writes]
    if outcome is None:
        await writer.write(term, writes)
        view = await writer.look()
        assert view.term == term
        for write in writes:
            match write:
                case PutHead(said) if said is [w for w in writes if isinstance(w, PutHead)][-1].head:
                    assert view.heads[said.document] == said
                case PutEpoch(said):
                    assert view.epoch == said
                case DropRevision(document, order):
                    assert order not in view.revisions.get(document, set())
    else:
        with pytest.raises(outcome):
            await writer.write(term, writes)
        assert told(await writer.look()) == stood, "all or nothing"
    await writer.close()


async def test_a_revision_is_never_replaced(shared: ControlServer) -> None:
    shared.admin.flushall()
    writer, link = shared.writer(), shared.link()
    await writer.write(1, [revision(1, 1, b'{"first":1}')])
    await writer.write(1, [revision(1, 1, b'{"second":2}')])
    held = await link.revision("strategy-x", ref(Order(1, 1)))
    assert held is not None
    assert bytes(held.content) == b'{"first":1}'
    assert await link.revision("strategy-x", Ref(order=Order(1, 1), digest="other")) is None
    assert await link.revision("strategy-x", ref(Order(1, 2))) is None
    assert await link.revision("strategy-y", ref(Order(1, 1))) is None
    await writer.close()
    await link.close()


KEYS = ("a", "b")
ONE_WRITE = st.one_of(
    st.builds(head, st.integers(1, 4), st.integers(1, 4), st.sampled_from(KEYS), st.sampled_from(["d", "e"])),
    st.builds(limits, st.integers(1, 4), st.integers(1, 4), st.sampled_from([b"{}", b"[]"])),
    st.builds(epoch, st.integers(1, 4), st.sampled_from(["i", "j"]), st.sampled_from([RUN_ID, RUN_ID, "0" * 40])),
    st.builds(DropDocument, st.sampled_from(KEYS), st.sampled_from([None, "x"])),
)


class Model:
    """The rules of the server, said plainly."""

    def __init__(self) -> None:
        self.term = 0
        self.held: dict[str, Head | LimitsRecord | Epoch] = {}

    def write(self, term: int, writes: list[Write], run_id: str) -> type[Exception] | None:
        if term < self.term:
            return Superseded
        held = dict(self.held)
        for write in writes:
            match write:
                case PutHead(value) if not self._may(held.get("h" + value.document), value, term):
                    return Refused
                case PutLimits(value) if not self._may(held.get("l" + value.strategy), value, term):
                    return Refused
                case PutEpoch(value):
                    old = held.get("epoch")
                    if value.run_id != run_id:
                        return Refused
                    if isinstance(old, Epoch) and old.incarnation == value.incarnation and old.number > value.number:
                        return Refused
                    held["epoch"] = value
                case PutHead(value):
                    held["h" + value.document] = value
                case PutLimits(value):
                    held["l" + value.strategy] = value
                case DropDocument(document, strategy):
                    held.pop("h" + document, None)
                    if strategy is not None:
                        held.pop("l" + strategy, None)
        self.term, self.held = term, held
        return None

    @staticmethod
    def _may(old: object, new: Head | LimitsRecord, term: int) -> bool:
        if new.order.term > term:
            return False
        if not isinstance(old, Head | LimitsRecord):
            return True
        return msgspec.json.encode(old) == msgspec.json.encode(new) or new.order > old.order


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(st.tuples(st.integers(1, 4), st.lists(ONE_WRITE, max_size=4)), max_size=8))
def test_the_script_follows_the_rules(shared: ControlServer, turns: list[tuple[int, list[Write]]]) -> None:
    async def play() -> None:
        shared.admin.flushall()
        writer, model = shared.writer(), Model()
        run_id = (await writer.look()).run_id
        for term, writes in turns:
            writes = [named(write, run_id) for write in writes]
            expected, got = model.write(term, writes, run_id), None
            try:
                await writer.write(term, writes)
            except (Superseded, Refused) as error:
                got = type(error)
            assert got is expected
            view = await writer.look()
            assert view.term == model.term
            assert view.epoch == model.held.get("epoch")
            assert view.heads == {key[1:]: value for key, value in model.held.items() if key.startswith("h")}
            assert view.limits.keys() == {key[1:] for key in model.held if key.startswith("l")}
        await writer.close()

    asyncio.run(play())


async def test_of_two_writers_exactly_the_higher_goes_on(shared: ControlServer) -> None:
    """Both write as fast as they can; the higher term begins somewhere in between."""
    shared.admin.flushall()
    done: dict[int, list[Order]] = {1: [], 2: []}

    async def write(term: int, writer: ControlWriter, began: asyncio.Event) -> None:
        for serial in count(1):
            try:
                await writer.write(term, [head(term, serial), limits(term, serial)])
            except Superseded:
                return
            done[term].append(Order(term, serial))
            if len(done[term]) >= 50:
                began.set()
            if term == 2 and serial == 100:
                return

    lower, higher, began = shared.writer(), shared.writer(), asyncio.Event()
    first = asyncio.create_task(write(1, lower, began))
    await began.wait()
    await write(2, higher, began)
    await asyncio.wait_for(first, 5)
    view = await higher.look()
    assert len(done[2]) == 100, "none of the higher term's was refused"
    assert view.heads["strategy-x"].order == view.limits["x"].order == done[2][-1] == Order(2, 100)
    assert view.term == 2
    await lower.close()
    await higher.close()


async def test_writers_of_one_term_lose_no_update(shared: ControlServer) -> None:
    """A mistake that must not be silent: of two writes with one order exactly one is accepted, the other is told."""
    shared.admin.flushall()
    writers = [shared.writer() for _ in range(4)]
    accepted: list[tuple[int, int]] = []

    async def write(number: int, writer: ControlWriter) -> None:
        for serial in range(1, 51):
            try:
                await writer.write(1, [head(1, serial, digest=f"by {number}")])
            except Refused:
                continue
            accepted.append((serial, number))

    await asyncio.gather(*(write(number, writer) for number, writer in enumerate(writers)))
    serials = [serial for serial, _ in accepted]
    assert len(serials) == len(set(serials))
    held = (await writers[0].look()).heads["strategy-x"]
    assert (held.order.serial, held.run.digest) == (50, f"by {dict(accepted)[50]}")
    for writer in writers:
        await writer.close()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(["append", "append", "flush", "look"]), max_size=12))
def test_a_writer_that_asks_for_what_is_new_sees_the_whole_log(shared: ControlServer, steps: list[str]) -> None:
    async def body() -> None:
        shared.admin.flushall()
        writer, ids = shared.writer(), count()
        for step in [*steps, "look"]:
            if step == "append":
                number = next(ids)
                clear = Clear(id=f"c{number}", halt="h", owner=PERSON, at_ns=number)
                await writer.append([clear])
            elif step == "flush":
                shared.admin.flushall()
            else:
                fresh = shared.writer()
                assert (await writer.look()).halts == (await fresh.look()).halts
                await fresh.close()
        await writer.close()

    asyncio.run(body())
