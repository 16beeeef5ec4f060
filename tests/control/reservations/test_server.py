"""What the server's script does with one request: fencing, declaring, taking, giving back, waiting for one's turn."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbkube.control.protocol import Capacity
from arbkube.control.reservations.blocks import TURN_NS, WANT_NS, HolderState, Request, Reservations, Verdict
from tests.conftest import Valkey
from tests.control.reservations.world import Server, ask, capacity, terms, venue

X, Y = venue("x"), venue("y")
NONE = {X: Decimal(0)}


@pytest.fixture
def server(valkey: Valkey) -> Server:
    return Server(valkey.client)


def holder(server: Server, name: str, *, token: int = 1, first: int = 2) -> Reservations:
    """A holder that trusts the server's last epoch."""
    made = Reservations(name, token=token, terms=terms(X, first=first))
    made.trust(server.seed() if not server.number else _epoch(server))
    return made


def _epoch(server: Server):
    server.number -= 1
    return server.seed()


def request(server: Server, made: Reservations, used: int = 0, now_ns: int = 0) -> Request:
    wanted = made.request({X: Decimal(used)}, now_ns)
    assert wanted is not None
    return wanted


def test_a_block_is_taken_ahead_and_covers_opens_in_memory(server: Server) -> None:
    server.put(capacity(X, 10, "a"))
    a = holder(server, "a")
    assert not a.covers({X: Decimal(0)}), "nothing is covered before it has declared"
    ask(server, a, NONE)
    assert a.covers({X: Decimal(0)})
    assert not a.covers({X: Decimal(2)})
    ask(server, a, NONE)
    assert a.held == {X: Decimal(3)}
    assert a.covers({X: Decimal(3)})
    assert not a.covers({X: Decimal("3.000001")})


def test_nothing_is_granted_until_all_have_declared(server: Server) -> None:
    server.put(capacity(X, 10, "a", "b"))
    a, b = holder(server, "a"), holder(server, "b")
    for _ in range(2):
        ask(server, a, {X: Decimal(1)})
    reply = ask(server, a, {X: Decimal(1)})
    assert reply is not None
    assert reply.grants[X].undeclared == ("b",)
    assert a.held == {X: Decimal(1)}, "what is declared is held, and no more"
    ask(server, b, NONE)
    ask(server, a, {X: Decimal(1)})
    assert a.held == {X: Decimal(4)}


def test_a_strategy_that_left_the_plan_neither_blocks_nor_holds(server: Server) -> None:
    server.put(capacity(X, 4, "a", "b"))
    a, b = holder(server, "a"), holder(server, "b")
    for made in (a, b, a, b):
        ask(server, made, NONE)
    assert server.held(X) == {"a": 3_000_000, "b": 1_000_000}
    server.put(capacity(X, 4, "b"))
    reply = ask(server, a, NONE)
    assert reply is not None
    assert reply.grants[X].capacity == 0
    assert not a.covers({X: Decimal(1)})
    ask(server, b, NONE)
    assert server.held(X) == {"b": 3_000_000}
    server.put(capacity(X, 4, "a", "b"))
    ask(server, b, NONE)
    assert a.request(NONE, 0) is not None
    assert not a.covers({X: Decimal(1)}), "who comes back declares before it holds anything"


def test_a_pool_that_does_not_exist_covers_nothing(server: Server) -> None:
    a = holder(server, "a")
    ask(server, a, NONE)
    assert a.covers({X: Decimal(0)})
    assert not a.covers({X: Decimal("0.1")})


@pytest.mark.parametrize("change", ["incarnation", "number", "run_id"])
def test_a_request_of_another_epoch_does_nothing(server: Server, change: str) -> None:
    server.put(capacity(X, 10, "a"))
    a = holder(server, "a")
    good = request(server, a)
    other = replace(good.epoch, **{change: 7 if change == "number" else "f" * 40})
    assert server.do(replace(good, epoch=other)).verdict is Verdict.OTHER_EPOCH
    assert server.held(X) == {}


def test_without_an_epoch_or_on_another_process_nothing_is_done(server: Server) -> None:
    server.put(capacity(X, 10, "a"))
    a = holder(server, "a")
    sent = request(server, a)
    server.run_id = "0" * 40
    assert server.do(replace(sent, epoch=_epoch(server))).verdict is Verdict.OTHER_EPOCH, "an older file under a new process"
    server.client.delete("epoch")
    assert server.do(sent).verdict is Verdict.OTHER_EPOCH
    assert server.held(X) == {}


def test_an_older_process_is_refused_and_its_block_is_the_later_ones(server: Server) -> None:
    server.put(capacity(X, 10, "a"))
    old = holder(server, "a")
    for _ in range(2):
        ask(server, old, {X: Decimal(1)})
    late = request(server, old, used=1)
    new = holder(server, "a", token=2)
    ask(server, new, {X: Decimal(1)})
    assert new.held == {X: Decimal(1)}
    reply = server.do(late)
    assert reply.verdict is Verdict.OVERTAKEN
    old.answered(late, reply, 0)
    assert old.state is HolderState.OVERTAKEN
    assert not old.covers(NONE)
    assert server.held(X) == {"a": 1_000_000}


def test_a_request_is_done_once_however_often_it_comes(server: Server) -> None:
    server.put(capacity(X, 10, "a"))
    a = holder(server, "a")
    ask(server, a, NONE)
    take = request(server, a)
    assert server.do(take).grants[X].held == 3_000_000
    assert server.do(take).grants[X].held == 3_000_000
    a.answered(take, server.do(take), 0)
    back = replace(take, number=take.number + 1, asks={X: replace(take.asks[X], target=0)})
    assert server.do(back).grants[X].held == 0
    assert server.do(take).verdict is Verdict.LATE, "a late copy of an older request changes nothing"
    assert server.held(X) == {"a": 0}


def test_polls_that_change_nothing_write_nothing(server: Server) -> None:
    server.put(capacity(X, 10, "a", "b"))
    a, b = holder(server, "a"), holder(server, "b")
    for made in (a, b, a, b):
        ask(server, made, NONE)
    before = server.client.info("persistence")["rdb_changes_since_last_save"]
    for made in (a, b) * 5:
        ask(server, made, NONE)
    assert server.client.info("persistence")["rdb_changes_since_last_save"] == before


def test_who_waits_is_served_before_who_takes_ahead(server: Server) -> None:
    server.put(capacity(X, 6, "a", "b"))
    a, b = holder(server, "a", first=4), holder(server, "b", first=4)
    for made in (a, b, a, b):
        ask(server, made, NONE)
    assert (a.held, b.held) == ({X: Decimal(6)}, {X: Decimal(0)})
    b.want({X: Decimal(4)})
    ask(server, b, NONE)
    assert server.client.get("waiting:b") is not None
    reply = ask(server, a, {X: Decimal(1)})
    assert reply is not None
    assert reply.grants[X].asked_back
    ask(server, a, {X: Decimal(1)})
    assert a.held == {X: Decimal(1)}, "what is free is given back"
    ask(server, a, {X: Decimal(1)})
    assert a.held == {X: Decimal(1)}, "and not taken again before who waits"
    ask(server, b, NONE)
    assert b.held[X] >= 4
    assert b.state is HolderState.HOLDING


def test_a_turn_is_kept_for_a_while_even_when_others_wait(server: Server) -> None:
    server.put(capacity(X, 4, "a", "b"))
    a, b = holder(server, "a", first=4), holder(server, "b", first=4)
    for made in (a, b, a):
        ask(server, made, NONE)
    b.want({X: Decimal(4)})
    for made in (b, a, a, b):
        ask(server, made, NONE)
    assert b.held == {X: Decimal(4)}
    a.want({X: Decimal(4)})
    ask(server, a, NONE, 1)
    for _ in range(3):
        ask(server, b, NONE, TURN_NS - 1)
    assert b.held == {X: Decimal(4)}
    for _ in range(2):
        ask(server, b, NONE, TURN_NS)
    assert b.held == {X: Decimal(0)}
    ask(server, a, NONE, TURN_NS)
    assert a.held == {X: Decimal(4)}


def test_an_open_is_given_all_its_pools_or_none(server: Server) -> None:
    server.put({X: Capacity(units=4_000_000, users=("a", "b")), Y: Capacity(units=4_000_000, users=("a", "b"))})
    both = {X: Decimal(0), Y: Decimal(0)}
    a, b = (Reservations(name, token=1, terms=terms(X, Y)) for name in "ab")
    epoch = server.seed()
    for made in (a, b):
        made.trust(epoch)
        ask(server, made, both)
    ask(server, a, {X: Decimal(0), Y: Decimal(3)})
    b.want({X: Decimal(2), Y: Decimal(2)})
    ask(server, b, both)
    assert b.held == both
    assert server.held(X)["b"] == 0, "half of what it needs would only be in others' way"


def test_what_can_never_be_is_not_waited_for(server: Server) -> None:
    server.put(capacity(X, 4, "a", "b"))
    a, b = holder(server, "a"), holder(server, "b")
    for made in (a, b):
        ask(server, made, NONE)
    a.want({X: Decimal(5)})
    ask(server, a, NONE)
    assert a.state is HolderState.HOLDING
    assert server.client.get("waiting:a") is None
    ask(server, b, NONE)
    assert b.held == {X: Decimal(3)}


def test_who_no_longer_wants_is_forgotten(server: Server) -> None:
    server.put(capacity(X, 2, "a", "b"))
    a, b = holder(server, "a"), holder(server, "b")
    for made in (a, b):
        ask(server, made, NONE)
    ask(server, a, {X: Decimal(2)})
    b.want({X: Decimal(1)})
    ask(server, b, NONE)
    assert 0 < server.client.pttl("waiting:b") <= 1000, "a holder that died while it waited is in nobody's way"
    ask(server, b, NONE, WANT_NS)
    assert b.state is HolderState.HOLDING
    assert server.client.get("waiting:b") is None


def test_a_lowered_capacity_takes_back_what_is_free_and_nothing_that_is_used(server: Server) -> None:
    server.put(capacity(X, 10, "a", "b"))
    a, b = holder(server, "a"), holder(server, "b")
    for made in (a, b, a, b):
        ask(server, made, NONE)
    assert server.held(X) == {"a": 3_000_000, "b": 3_000_000}
    server.put(capacity(X, 2, "a", "b"))
    a.want({X: Decimal(4)})
    for made in (a, b) * 2:
        ask(server, made, {X: Decimal(1)})
    assert server.held(X) == {"a": 1_000_000, "b": 1_000_000}
    for made in (a, b) * 2:
        ask(server, made, {X: Decimal(1)})
    assert not a.covers({X: Decimal("1.1")})


def test_amounts_are_exact_up_to_the_most_there_can_be(server: Server) -> None:
    server.put(capacity(X, 10**30, "a"))
    a = holder(server, "a")
    ask(server, a, NONE)
    need = Decimal(2**53 - 2).scaleb(-6)
    a.want({X: need})
    ask(server, a, NONE)
    assert a.held == {X: Decimal(2**53 - 1).scaleb(-6)}
    assert a.covers({X: need})
