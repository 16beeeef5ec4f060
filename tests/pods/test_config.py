"""A pod and its configuration: in which order whatever comes, what it answers, and that it never runs what it should not."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from arbkube.control.protocol import Answer
from arbkube.plan.documents import StrategyDocument, encode_document
from arbkube.resources.scalars import Bps
from tests.cli.running import eventually, fetch
from tests.conftest import Valkey
from tests.pods.alone import Alone, Starter, announce
from tests.pods.publisher import Publisher, quickstart

DOCUMENT = "strategy-triangle"


@pytest.fixture
def unseeded(valkey: Valkey) -> Publisher:
    return Publisher(valkey, quickstart())


@pytest.fixture
def later(tmp_path: Path, valkey: Valkey, unseeded: Publisher) -> Iterator[Starter]:
    starter = Starter(tmp_path, valkey, unseeded)
    yield starter
    starter.end()


def edited(publisher: Publisher, **detection: str) -> StrategyDocument:
    """The strategy's document with edges changed."""
    document = publisher.strategy("triangle")
    spec = replace(document.spec, detection=replace(document.spec.detection, **{k: Bps(v) for k, v in detection.items()}))
    return replace(document, spec=spec, revision="edited")


def test_before_there_is_anything(later: Starter, unseeded: Publisher, valkey: Valkey) -> None:
    """It waits, says for what, and boots as soon as its document is there."""
    detector = later("detector-triangle")
    assert "it holds no strategy-triangle" in eventually(lambda: "holds no" in (r := detector.reason()) and r, "the reason", 10)
    ack = detector.acked(lambda _: True, "acks even so")
    assert (ack.running, ack.candidate, ack.epoch) == (None, None, None)
    unseeded.seed()
    announce(valkey, "kraken")
    said = detector.wait()
    assert said["config"]["phase"] == "Synced"
    assert said["mode"] == "PAPER"


def test_the_server_comes_last(tmp_path: Path) -> None:
    """Control and bus are not there yet: the pod waits, and needs nobody when they come."""
    folder = Path(tempfile.mkdtemp(prefix="arb-"))
    server = Valkey(folder)
    server.close()
    pod = Alone(tmp_path, server, Publisher(server, quickstart()), "recorder", "recorder")
    try:
        time.sleep(1.5)
        assert pod.process.poll() is None
        server = Valkey(folder)
        Publisher(server, quickstart()).seed()
        pod.valkey = server
        assert pod.wait()["config"]["running"] is not None
        assert pod.end() == 0
    finally:
        pod.process.kill()
        pod.process.wait()
        server.close()
        shutil.rmtree(folder)


def test_a_boot_while_a_candidate_is_baked(start: Starter, publisher: Publisher, valkey: Valkey) -> None:
    """It boots with what was promoted, though all others run the candidate, and follows the next head."""
    announce(valkey, "kraken")
    good = publisher.revision(DOCUMENT, publisher.strategy("triangle"))
    baking = publisher.revision(DOCUMENT, edited(publisher, exit_edge="0.5bps"))
    publisher.head(DOCUMENT, run=baking, promoted=good, candidate=baking)
    executor = start("executor-triangle")
    ack = executor.runs(good)
    ack = executor.acked(lambda ack: ack.answer is not None, "answers")
    assert (ack.running, ack.candidate, ack.answer) == (good, baking, Answer.PREPARED)
    time.sleep(0.5)
    executor.runs(good)
    head = publisher.head(DOCUMENT, run=baking, promoted=baking, candidate=None)
    assert executor.runs(baking).heard == head.order
    assert executor.heartbeat()["pid"] == executor.process.pid


@pytest.mark.parametrize(
    ("broken", "path", "reason"),
    [
        ({"exit_edge": "7bps"}, "spec.detection.exitEdge", "EdgeOrder"),
        ({"exit_edge": "-1bps", "enter_edge": "3bps"}, "", ""),
    ],
)
def test_a_candidate_is_judged_as_a_whole(
    start: Starter, publisher: Publisher, valkey: Valkey, broken: dict[str, str], path: str, reason: str
) -> None:
    """By the rules of `arb validate`, between fields as well; what is refused changes nothing."""
    announce(valkey, "kraken")
    detector = start("detector-triangle")
    before = detector.acked(lambda ack: ack.running is not None, "boots")
    assert before.running is not None
    candidate = publisher.revision(DOCUMENT, edited(publisher, **broken))
    publisher.head(DOCUMENT, candidate=candidate)
    ack = detector.acked(lambda ack: ack.answer is not None, "answers")
    assert (ack.candidate, ack.path) == (candidate, path)
    assert ack.reason.startswith(reason)
    assert ack.answer is (Answer.REJECTED if path else Answer.PREPARED)
    # A head that runs it all the same is not obeyed.
    publisher.head(DOCUMENT, run=candidate, candidate=None)
    if path:
        time.sleep(0.7)
        detector.runs(before.running)
        assert path in eventually(lambda: detector.heartbeat()["config"]["problem"], "the problem", 5)
    else:
        detector.runs(candidate)


def test_what_is_no_document_is_refused_with_its_path(start: Starter, publisher: Publisher, valkey: Valkey) -> None:
    announce(valkey, "kraken")
    detector = start("detector-triangle")
    detector.acked(lambda ack: ack.running is not None, "boots")
    text = encode_document(publisher.strategy("triangle"))
    cases = {
        text.replace(b'"maxLegs":3', b'"maxLegs":"three"'): ("spec.cycle.maxLegs", "Unreadable"),
        text.replace(b'"maxLegs":3', b'"maxLegs":3,"maxArms":3'): ("spec.cycle", "Unreadable"),
        encode_document(publisher.plan.documents["recorder"]): ("", "OtherRole"),
        text.replace(b'"maxAge":{"kraken":"2s"}', b'"maxAge":{}'): ("limits.maxAge", "Unreadable"),
    }
    assert len(cases) == 4, "each of them changed something"
    for content, (path, reason) in cases.items():
        assert content != text
        ref = publisher.revision(DOCUMENT, publisher.strategy("triangle"), content=content)
        publisher.head(DOCUMENT, candidate=ref)
        ack = detector.acked(lambda ack, ref=ref: ack.candidate == ref, "answers")  # type: ignore[misc]
        assert (ack.answer, ack.path) == (Answer.REJECTED, path)
        assert ack.reason.startswith(reason)
    ref = publisher.revision(DOCUMENT, publisher.strategy("triangle"), version=99)
    publisher.head(DOCUMENT, candidate=ref)
    assert "version" in detector.acked(lambda ack: ack.candidate == ref, "answers").reason


def test_a_revision_for_another_shape_is_left_alone(start: Starter, publisher: Publisher, valkey: Valkey) -> None:
    announce(valkey, "kraken")
    detector = start("detector-triangle")
    before = detector.acked(lambda ack: ack.running is not None, "boots").running
    assert before is not None
    other = {workload.name: "another" for workload in publisher.plan.workloads}
    ref = publisher.revision(DOCUMENT, edited(publisher, exit_edge="0.5bps"), shapes=other)
    publisher.head(DOCUMENT, run=ref, promoted=ref)
    time.sleep(0.7)
    detector.runs(before)
    detector.end(signal.SIGKILL)
    # A pod of the old shape that boots now says why it cannot.
    late = start("detector-triangle", "detector-late")
    assert "another shape" in eventually(lambda: "shape" in (r := late.reason()) and r, "the reason", 10)


def test_limits_are_stricter_of_document_and_record(start: Starter, publisher: Publisher, valkey: Valkey) -> None:
    announce(valkey, "kraken")
    executor = start("executor-triangle")
    executor.acked(lambda ack: ack.running is not None, "boots")
    limits = publisher.strategy("triangle").limits
    order = publisher.limits("triangle", replace(limits, enter_edge=Bps("9bps")))
    began = time.monotonic()
    executor.acked(lambda ack: ack.limits == order, "takes the limits")
    assert time.monotonic() - began < 1
    said = eventually(lambda: (h := executor.heartbeat())["config"]["limits"] == [order.term, order.serial] and h, "says so", 5)
    code, text = fetch(said["port"], "/metrics")
    assert code == 200
    assert f'arbkube_config_applied_serial{{what="limits"}} {float(order.serial)}' in text
    assert 'arbkube_control_doubt{doubt="Behind"} 0.0' in text
    # What cannot be read cannot be kept.
    record = msgspec.Raw(b'{"maxNothing":"1"}')
    publisher.raw_limits("triangle", record)
    eventually(lambda: executor.heartbeat()["config"]["doubt"] == "Behind", "doubts", 5)
    order = publisher.limits("triangle", limits)
    executor.acked(lambda ack: ack.limits == order, "takes the limits")
    eventually(lambda: executor.heartbeat()["config"]["doubt"] is None, "doubts no more", 5)
