"""The control server killed, flushed, set back, hung, slow and cut off: what a link passes on is never older than its question.

The truth is what the writer was told: once the server acknowledged epoch n, no answer to a later question may show less, unless
the server itself was flushed or set back meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import msgspec
import pytest
from redis.exceptions import RedisError

from arbkube.control.acl import User
from arbkube.control.freshness import PATIENCE_NS, Doubt, Freshness
from arbkube.control.halts import PERSON, Clear, Entry, Halt, HaltReason, Level, Log
from arbkube.control.link import ControlLink, Snapshot
from arbkube.control.protocol import Ack, DropDocument, Epoch, Head, Order, PutEpoch, PutHead, Ref
from arbkube.control.writer import ControlWriter
from arbkube.resources.kinds import HaltMode
from tests.control.server import ControlServer, Way, server, until

__all__ = ["server"]

AWAY = (RedisError, OSError, TimeoutError)


def halt(number: int) -> Halt:
    return Halt(
        id=f"{number:016x}",
        level=Level.STRATEGY,
        subject="x",
        mode=HaltMode.STOP_NEW,
        owner=PERSON,
        reason=HaltReason.COMMANDED,
        at_ns=number,
    )


class Pod:
    """What an executor holds: its belief, and all entries it was ever told of."""

    def __init__(self, link: ControlLink) -> None:
        self.link = link
        self.heard: list[Snapshot] = []
        self.heard_ns: list[int] = []
        self.freshness = Freshness()
        self.log = Log()

    @property
    def last(self) -> Snapshot:
        return self.heard[-1]

    @property
    def doubt(self) -> Doubt | None:
        return self.freshness.doubt(time.monotonic_ns())

    async def hear(self, snapshot: Snapshot) -> None:
        self.heard.append(snapshot)
        self.heard_ns.append(time.monotonic_ns())
        self.freshness.answered(asked_ns=snapshot.asked_ns, run_id=snapshot.run_id, epoch=snapshot.epoch)
        self.log.add(snapshot.halts)


@asynccontextmanager
async def listening(link: ControlLink) -> AsyncIterator[Pod]:
    pod = Pod(link)
    running = asyncio.create_task(link.run(pod.hear))
    try:
        yield pod
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await link.close()


async def seed(writer: ControlWriter, number: int, mirror: Log | None = None) -> Epoch:
    """As every writer does: first the union of the logs, the epoch last."""
    view = await writer.look()
    if mirror is not None:
        mirror.add(view.halts)
        await writer.append(mirror.entries)
    epoch = Epoch(incarnation="i", number=number, run_id=view.run_id)
    await writer.write(max(1, view.term), [PutEpoch(epoch)])
    return epoch


async def insist(act: Callable[[], object], seconds: float = 15.0) -> None:
    """Until it succeeds once."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await act()  # type: ignore[misc]
            except AWAY:
                await asyncio.sleep(0.02)
            else:
                return


async def test_what_is_said_is_heard_at_once_and_what_is_not_within_a_poll(server: ControlServer) -> None:
    writer = server.writer()
    async with listening(server.link()) as pod:
        await until(lambda: pod.heard)
        assert pod.last.epoch is None
        assert pod.doubt is Doubt.UNSEEDED
        epoch = await seed(writer, 1)
        began = time.monotonic()
        await until(lambda: pod.last.epoch == epoch)
        assert time.monotonic() - began < 0.15, "pushed, not polled"
        assert pod.doubt is None
        order = Order(1, 1)
        head = Head(document="strategy-x", order=order, run=Ref(order=order, digest="d"), promoted=None)
        server.admin.set("head:strategy-x", msgspec.json.encode(head))  # and nothing is said
        began = time.monotonic()
        await until(lambda: pod.last.head == head)
        assert time.monotonic() - began < 0.5
        server.admin.set("head:strategy-x", b'{"of": "another release"}')
        await until(lambda: pod.doubt is Doubt.SILENT)
        await writer.write(1, [DropDocument("strategy-x"), PutHead(head)])
        await until(lambda: pod.doubt is None)
    await writer.close()


async def test_killed_and_started_again_on_the_same_data(server: ControlServer) -> None:
    writer = server.writer()
    await seed(writer, 1)
    await writer.append([halt(1), halt(2)])
    async with listening(server.link()) as pod:
        await until(lambda: pod.heard and pod.doubt is None)
        first = pod.last.run_id
        server.kill()
        killed = time.monotonic()
        await until(lambda: pod.doubt is Doubt.SILENT)
        assert time.monotonic() - killed < 1.2
        server.start()
        returned = time.monotonic()
        await until(lambda: pod.last.run_id != first)
        assert time.monotonic() - returned < 2
        again = next(snapshot for snapshot in pod.heard if snapshot.run_id != first)
        assert [entry.id for entry in again.halts] == [halt(1).id, halt(2).id], "the whole log again"
        assert again.epoch is not None
        assert again.epoch.run_id == first
        assert pod.doubt is Doubt.UNSEEDED
        await insist(lambda: seed(writer, 2))
        await until(lambda: pod.doubt is None)
    await writer.close()


async def test_flushed(server: ControlServer) -> None:
    writer, mirror = server.writer(), Log()
    await seed(writer, 1)
    await writer.append([halt(number) for number in range(5)])
    mirror.add((await writer.look()).halts)
    async with listening(server.link()) as pod:
        await until(lambda: len(pod.log.entries) == 5)
        server.admin.flushall()
        await until(lambda: pod.doubt is Doubt.UNSEEDED, 1.0)
        assert pod.last.epoch is None
        # The new log is longer than the old one and begins differently: nothing of it may be missed.
        await writer.append([halt(number) for number in range(10, 20)])
        await seed(writer, 2, mirror)
        await until(lambda: pod.doubt is None)
        assert len(pod.log.entries) == 15
    await writer.close()


async def test_flushed_and_filled_again_between_two_polls(server: ControlServer) -> None:
    """Same process, same epoch, a longer log: only the entries tell that it is another one."""
    writer = server.writer()
    epoch = await seed(writer, 1)
    await writer.append([halt(1), halt(2)])
    async with listening(server.link()) as pod:
        await until(lambda: len(pod.log.entries) == 2)
        pipeline = server.admin.pipeline(transaction=True)
        pipeline.flushall()
        pipeline.set("epoch", msgspec.json.encode(epoch))
        pipeline.rpush("halts", *(msgspec.json.encode(halt(number)) for number in (7, 8, 9)))
        pipeline.execute()
        await until(lambda: len(pod.log.entries) == 5)
    await writer.close()


async def test_set_back_to_an_older_file(server: ControlServer) -> None:
    writer = server.writer()
    await seed(writer, 1)
    await writer.append([halt(1)])
    old = server.keep()
    await seed(writer, 2)
    await writer.append([halt(2)])
    mirror = Log((await writer.look()).halts)
    async with listening(server.link()) as pod:
        await until(lambda: len(pod.log.entries) == 2 and pod.doubt is None)
        server.put_back(old)
        await until(lambda: pod.last.epoch is not None and pod.last.epoch.number == 1)
        assert pod.doubt is Doubt.UNSEEDED, "an epoch that names another process"
        assert len(pod.log.entries) == 2, "what was once heard is not forgotten"
        await insist(lambda: seed(writer, 3, mirror))
        await until(lambda: pod.doubt is None)
        assert {entry.id for entry in (await writer.look()).halts} == {halt(1).id, halt(2).id}
    await writer.close()


async def test_a_server_that_hangs_is_silence_and_nothing_late_is_passed_on(server: ControlServer) -> None:
    writer = server.writer()
    await seed(writer, 1)
    async with listening(server.link()) as pod:
        await until(lambda: pod.heard and pod.doubt is None)
        server.pause()
        paused_ns = time.monotonic_ns()
        await until(lambda: pod.doubt is Doubt.SILENT)
        assert time.monotonic_ns() - paused_ns < PATIENCE_NS + 50_000_000
        for act in (pod.link.say_status("executor-x", b"{}", 1000), pod.link.append([halt(1)])):
            began = time.monotonic()
            with pytest.raises(AWAY):
                await act
            assert time.monotonic() - began < 1.3
        heard = len(pod.heard)
        await asyncio.sleep(1)
        assert len(pod.heard) == heard
        resumed_ns = time.monotonic_ns()
        server.resume()
        await until(lambda: pod.doubt is None)
        assert time.monotonic_ns() - resumed_ns < 2_000_000_000
        assert all(snapshot.asked_ns > resumed_ns - 500_000_000 for snapshot in pod.heard[heard:])
        # The append that timed out may have been carried out since; again it changes nothing.
        await pod.link.append([halt(1)])
        assert len((await writer.look()).halts) == 1
    await writer.close()


async def test_a_slow_server_is_heard_until_it_is_too_slow(server: ControlServer) -> None:
    writer = server.writer()
    await seed(writer, 1)
    async with Way(server) as way, listening(server.link(url=way.url)) as pod:
        await until(lambda: pod.heard and pod.doubt is None)
        way.delay_s = 0.1
        await asyncio.sleep(1.5)
        assert pod.doubt is None
        assert time.monotonic_ns() - pod.last.asked_ns < 700_000_000
        way.delay_s = 0.6
        await until(lambda: pod.doubt is Doubt.SILENT)
        way.delay_s = 0.0
        await until(lambda: pod.doubt is None)
    await writer.close()


async def test_an_answer_cut_anywhere_is_no_answer(server: ControlServer) -> None:
    """Whatever part of it came, the next whole answer is right, and nothing is passed on twice or left out."""
    writer, appended = server.writer(), 0
    await seed(writer, 1)
    async with Way(server) as way, listening(server.link(url=way.url)) as pod:
        await until(lambda: pod.heard)
        for cut in (0, 1, 5, 17, 60, 200, 333, 500, 700, 900, 1200, 1500):
            way.cut_after = cut
            appended += 3
            await writer.append([halt(number) for number in range(appended - 3, appended)])
            await until(lambda appended=appended: len(pod.log.entries) == appended)  # type: ignore[misc]
        told = [entry.id for snapshot in pod.heard for entry in snapshot.halts]
        assert told == [halt(number).id for number in range(appended)], "each once, in order"
    await writer.close()


async def test_an_answer_to_an_older_question_is_no_answer(server: ControlServer) -> None:
    writer = server.writer()
    async with Way(server) as way, listening(server.link(url=way.url)) as pod:
        await until(lambda: pod.heard)
        epoch = await seed(writer, 1)
        for number in range(2, 7):
            await until(lambda epoch=epoch: pod.last.epoch == epoch)  # type: ignore[misc]
            way.repeat = True
            epoch = msgspec.structs.replace(epoch, number=number)
            server.admin.set("epoch", msgspec.json.encode(epoch))  # and nothing is said, so that the next question is later
            known_ns = time.monotonic_ns()
            await until(lambda: not way.repeat)
            await until(lambda epoch=epoch: pod.heard and pod.last.epoch == epoch)  # type: ignore[misc]
            assert all(snapshot.epoch == epoch for snapshot in pod.heard if snapshot.asked_ns > known_ns)
    await writer.close()


async def test_an_ack_lives_as_long_as_it_is_renewed(server: ControlServer) -> None:
    writer, link = server.writer(), server.link()
    ack = Ack(pod="executor-x", workload="executor-x", role="executor", document="strategy-x", boot_id="b", running=None)
    await writer.news(1.0)
    said = asyncio.create_task(writer.news(5.0))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await link.acknowledge(ack, news=True)
    await said
    assert time.monotonic() - began < 1
    assert (await writer.look()).acks == {"executor-x": ack}
    quiet = time.monotonic()
    await link.acknowledge(ack, news=False)
    await writer.news(0.3)
    assert time.monotonic() - quiet >= 0.3
    await asyncio.sleep(3.1)
    assert (await writer.look()).acks == {}
    await link.close()
    await writer.close()


async def test_no_answer_is_older_than_its_question(server: ControlServer) -> None:
    """Faults at random while the epoch's number grows: held against what the writer knows to have been written."""
    rng = Random(20)
    writer = server.writer()
    written: list[tuple[int, int]] = []
    """(moment at which it was known to be written, number)."""
    lost_ns: list[int] = []
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with suppress(*AWAY):
                await seed(writer, number)
                written.append((time.monotonic_ns(), number))
            await asyncio.sleep(0.005)

    async with Way(server) as way, listening(server.link(url=way.url)) as pod:
        writing = asyncio.create_task(write())
        for turn in range(12):
            match turn % 6:
                case 0:
                    way.delay_s = rng.uniform(0, 0.3)
                    await asyncio.sleep(0.3)
                    way.delay_s = 0.0
                case 1:
                    way.cut_after = rng.randrange(1500)
                case 2:
                    lost_ns.append(time.monotonic_ns())
                    await asyncio.to_thread(server.admin.flushall)
                    lost_ns.append(time.monotonic_ns())
                case 3:
                    server.pause()
                    await asyncio.sleep(rng.uniform(0, 0.7))
                    server.resume()
                case 4:
                    server.kill()
                    await asyncio.to_thread(server.start)
                case 5:
                    way.cut()
            await asyncio.sleep(rng.uniform(0.1, 0.5))
        await asyncio.sleep(0.5)
        stop.set()
        await writing
    await writer.close()
    assert len(pod.heard) > 20
    judged = 0
    for snapshot, heard_ns in zip(pod.heard, pod.heard_ns, strict=True):
        if any(snapshot.asked_ns - 1_000_000_000 < at_ns < heard_ns for at_ns in lost_ns):
            continue
        known = max((number for at_ns, number in written if at_ns < snapshot.asked_ns), default=0)
        assert (snapshot.epoch.number if snapshot.epoch else 0) >= known
        judged += 1
    assert judged > 20
    asked = [snapshot.asked_ns for snapshot in pod.heard]
    assert asked == sorted(asked)


async def test_of_a_hundred_halts_none_is_lost(server: ControlServer) -> None:
    """Appended through every fault, flushes and older files included, by an executor and a person who try until they may stop.

    Done is what is on the server and what a second executor holds: from then on it must come back, whatever the server forgets,
    once the logs were joined.
    """
    rng = Random(4)
    operator, person = server.writer(), server.writer(User.PERSON)
    mirror, done = Log(), list[Entry]()
    stop = asyncio.Event()

    async def mirrored() -> None:
        number = 0
        while not stop.is_set():
            with suppress(*AWAY):
                view = await operator.look()
                mirror.add(view.halts)
                if view.epoch is None or view.epoch.run_id != view.run_id:
                    number += 1
                    for pod in (first, second):
                        await pod.link.append(pod.log.entries)
                    await seed(operator, number, mirror)
            await asyncio.sleep(0.02)

    async def command() -> None:
        for number in range(100):
            entry: Entry = halt(number)
            if number % 10 == 0:
                entry = Clear(id=f"c{number}", halt=halt(number - 1).id, owner=PERSON, at_ns=number)
            source = first.link if number % 2 else person
            while entry not in second.log.entries:
                with suppress(*AWAY):
                    await source.append([entry])
                with suppress(TimeoutError):
                    await until(lambda entry=entry: entry in second.log.entries, 0.3)  # type: ignore[misc]
            done.append(entry)
            await asyncio.sleep(0.02)

    async with listening(server.link()) as first, listening(server.link()) as second:
        tasks = [asyncio.create_task(mirrored()), asyncio.create_task(command())]
        for turn in range(8):
            old = await asyncio.to_thread(server.keep)
            await asyncio.sleep(rng.uniform(0.2, 0.5))
            match turn % 4:
                case 0:
                    server.kill()
                    await asyncio.to_thread(server.start)
                case 1:
                    await asyncio.to_thread(server.admin.flushall)
                case 2:
                    await asyncio.to_thread(server.put_back, old)
                case 3:
                    server.pause()
                    await asyncio.sleep(0.6)
                    server.resume()
        await asyncio.wait_for(tasks[1], 60)
        ended = time.monotonic()
        await until(lambda: first.doubt is None and second.doubt is None)
        assert time.monotonic() - ended < 10
        stop.set()
        await tasks[0]
        held = {entry.id for entry in (await operator.look()).halts}
        assert len(done) == 100
        assert {entry.id for entry in done} <= held
        assert {entry.id for entry in done} <= {entry.id for entry in first.log.entries}
    await operator.close()
    await person.close()
