"""What a halt, and a control server that is not believed, do to orders: asked before each Open, never by what reduces."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbkube.control.freshness import Doubt
from arbkube.control.halts import PERSON, Clear, Entry, Halt, HaltReason, Level, Scope
from arbkube.execution.model import Purpose
from arbkube.execution.protocols import JournalUnavailable
from arbkube.market.instruments import Side
from arbkube.resources.kinds import HaltMode, LegOrder, PartialPolicy
from arbkube.risk.halting import Halting
from tests.execution.world import MS, SECOND, START, World, config, leg

BUY, SELL = leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90")
DOC = Path(__file__).parents[2] / "docs" / "control.md"


def halt(
    number: int = 1,
    *,
    level: Level = Level.STRATEGY,
    subject: str = "test",
    mode: HaltMode = HaltMode.STOP_NEW,
    owner: str = PERSON,
) -> Halt:
    return Halt(
        id=f"h{number}", level=level, subject=subject, mode=mode, owner=owner, reason=HaltReason.COMMANDED, at_ns=START + number
    )


def clear(number: int = 1, owner: str = PERSON) -> Clear:
    return Clear(id=f"c{number}{owner}", halt=f"h{number}", owner=owner, at_ns=START + 100 + number)


def cheap_and_dear(world: World) -> None:
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "9"),), asks=(("101.10", "5"),))


def fresh(path: Path | str = ":memory:", **changes) -> World:
    world = World(path, config(**changes)).start()
    cheap_and_dear(world)
    return world


def say(world: World, *entries: Entry) -> None:
    world.outcomes += world.driver.on_halts(entries, world.now_ns)


def purposes(world: World) -> list[str]:
    return [row[0] for row in world.rows("SELECT purpose FROM orders ORDER BY rowid")]


# ---- the gate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doubt", list(Doubt))
def test_no_open_while_the_control_server_is_doubted(doubt):
    world = fresh()
    world.doubt = doubt
    world.take(BUY, SELL)
    assert world.reasons() == ["ControlDoubted"]
    assert purposes(world) == []
    world.doubt = None
    world.take(BUY, SELL)
    assert purposes(world) == ["Open", "Open"]


@pytest.mark.parametrize(
    ("level", "subject", "refused"),
    [
        (Level.ALL, "", True),
        (Level.STRATEGY, "test", True),
        (Level.STRATEGY, "other", False),
        (Level.VENUE, "venue-b", True),
        (Level.VENUE, "venue-c", False),
        (Level.VENUE, "b", False),
    ],
)
@pytest.mark.parametrize("mode", list(HaltMode))
def test_a_halt_covers_its_level(level, subject, refused, mode):
    world = fresh()
    say(world, halt(level=level, subject=subject, mode=mode))
    world.take(BUY, SELL)
    assert world.reasons() == (["Halted"] if refused else [])
    assert [one.id for one in world.driver.halts] == (["h1"] if refused else [])
    if refused:
        say(world, clear())
        world.run(1 * MS)
        world.take(BUY, SELL, name="after")
    assert len(purposes(world)) == 2


def test_absence_clears_nothing_and_only_the_owner_or_a_person_clears():
    world = fresh()
    say(world, halt(owner="Breaker/DailyLoss/test"))
    say(world)
    say(world, clear(owner="Breaker/StuckIntent/test"))
    world.take(BUY, SELL)
    assert world.reasons() == ["Halted"]
    say(world, clear(owner="Breaker/DailyLoss/test"))
    world.take(BUY, SELL, name="after")
    assert world.reasons() == ["Halted"]
    assert len(purposes(world)) == 2


def test_a_clear_may_come_before_its_halt():
    world = fresh()
    say(world, clear())
    say(world, halt())
    assert world.driver.halts == ()


# ---- between journal and send ------------------------------------------------------------------------------------


def test_a_halt_between_journal_and_send_sends_nothing_and_is_journaled_so():
    world = fresh()
    write = world.store.write

    def then_halted(record):
        write(record)
        if record.new_intent is not None:
            world.engine.on_halts((halt(),), world.now_ns)

    world.store.write = then_halted  # type: ignore[method-assign]
    world.take(BUY, SELL)
    assert world.rows("SELECT state, reason FROM orders") == [("Rejected", "Halted")] * 2
    assert world.intents() == [("Done", "Missed", "")]
    assert world.broker.next_deadline() is None


def test_doubt_between_journal_and_send_sends_nothing():
    world = fresh()
    answers = iter([None, Doubt.SILENT, Doubt.SILENT])
    world.driver._doubt = lambda _: next(answers, Doubt.SILENT)
    world.take(BUY, SELL)
    assert world.rows("SELECT state, reason FROM orders") == [("Rejected", "ControlDoubted")] * 2
    assert world.intents() == [("Done", "Missed", "")]


def test_one_leg_sent_before_the_halt_is_brought_back():
    world = fresh(on_partial=PartialPolicy.UNWIND)
    submit = world.broker.submit

    def then_halted(order, now_ns):
        submit(order, now_ns)
        if order.purpose is Purpose.OPEN:
            world.engine.on_halts((halt(),), now_ns)

    world.broker.submit = then_halted  # type: ignore[method-assign]
    world.take(BUY, SELL)
    world.run(300 * MS)
    assert world.rows("SELECT leg, state, reason FROM orders WHERE purpose = 'Open' ORDER BY leg") == [
        (0, "Filled", ""),
        (1, "Rejected", "Halted"),
    ]
    assert purposes(world).count("Unwind") == 1
    assert world.intents() == [("Done", "Unwound", "")]


# ---- purposes × modes --------------------------------------------------------------------------------------------


def sequential(policy: PartialPolicy) -> World:
    world = fresh(legs=LegOrder.SEQUENTIAL, on_partial=policy)
    world.take(BUY, SELL)
    assert purposes(world) == ["Open"]
    return world


@pytest.mark.parametrize(
    ("mode", "policy", "then", "outcome"),
    [
        (None, PartialPolicy.COMPLETE, "Open", "Filled"),
        (HaltMode.STOP_NEW, PartialPolicy.COMPLETE, "Complete", "Completed"),
        (HaltMode.STOP_NEW, PartialPolicy.UNWIND, "Unwind", "Unwound"),
        (HaltMode.CANCEL_OPEN, PartialPolicy.COMPLETE, "Unwind", "Unwound"),
        (HaltMode.CANCEL_OPEN, PartialPolicy.UNWIND, "Unwind", "Unwound"),
        (HaltMode.FLATTEN, PartialPolicy.COMPLETE, "Unwind", "Unwound"),
        ("doubt", PartialPolicy.COMPLETE, "Complete", "Completed"),
        ("doubt", PartialPolicy.UNWIND, "Unwind", "Unwound"),
    ],
)
def test_the_following_leg_of_a_sequential_intent(mode, policy, then, outcome):
    world = sequential(policy)
    if mode == "doubt":
        world.doubt = Doubt.SILENT
    elif mode is not None:
        say(world, halt(mode=mode))
    world.run(100 * MS)
    assert purposes(world)[:2] == ["Open", then]
    world.run(300 * MS)
    assert world.intents()[0][1] == outcome


@pytest.mark.parametrize("mode", [HaltMode.CANCEL_OPEN, HaltMode.STOP_NEW])
def test_what_simultaneous_legs_filled_unevenly_is_completed_unless_it_is_cancelled(mode):
    world = fresh()
    world.take(BUY, SELL)
    world.run(5 * MS)
    world.book("b", bids=(("101.00", "1"),), asks=(("101.10", "5"),))
    say(world, halt(mode=mode))
    world.run(20 * MS)
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "9"),), asks=(("101.10", "5"),))
    world.run(500 * MS)
    assert purposes(world)[2:] == (["Complete"] if mode is HaltMode.STOP_NEW else ["Unwind"])


def test_an_even_intent_stays_when_it_is_cancelled():
    world = fresh()
    world.take(BUY, SELL)
    say(world, halt(mode=HaltMode.CANCEL_OPEN))
    world.run(100 * MS)
    assert world.intents() == [("Done", "Filled", "")]
    assert purposes(world) == ["Open", "Open"]


# ---- what is journaled -------------------------------------------------------------------------------------------


def test_halts_are_journaled_and_hold_over_a_restart_without_any_server(tmp_path):
    world = fresh(tmp_path / "x.db")
    say(world, halt(1), halt(2, level=Level.VENUE, subject="venue-a"), clear(1))
    say(world, halt(1))
    assert world.store.halts() == world.driver.entries
    second = World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    assert second.driver.entries == world.driver.entries
    assert [one.id for one in second.driver.halts] == ["h2"]
    cheap_and_dear(second)
    second.take(BUY, SELL)
    assert second.reasons() == ["Halted"]


def test_a_halt_holds_at_once_even_where_it_cannot_be_journaled(tmp_path):
    world = fresh(tmp_path / "x.db")
    write = world.store.write

    def broken(record):
        raise JournalUnavailable("x.db: the disk is full")

    world.store.write = broken  # type: ignore[method-assign]
    say(world, halt())
    assert [one.id for one in world.driver.halts] == ["h1"]
    assert world.store.halts() == ()
    world.store.write = write  # type: ignore[method-assign]
    world.run(600 * MS)
    assert [one.id for one in world.store.halts()] == ["h1"]


# ---- the table of docs/control.md --------------------------------------------------------------------------------


def documented() -> list[list[str]]:
    section = DOC.read_text(encoding="utf-8").split("<!-- table: halts -->")[1].split("<!-- end -->")[0]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in section.strip().splitlines()[2:]]


@pytest.mark.parametrize("row", documented(), ids=lambda row: " ".join(row[:2]))
def test_the_documented_table_of_levels_modes_and_purposes_is_what_happens(row):
    level, mode, *allowed = row
    subject = {Level.ALL: "", Level.VENUE: "venue-b", Level.STRATEGY: "test"}[Level(level)]
    halting = Halting("test", {"a": "venue-a", "b": "venue-b"})
    halting.hear((halt(level=Level(level), subject=subject, mode=HaltMode(mode)),))
    assert halting.mode(("a", "b")) is HaltMode(mode)
    world = fresh()
    say(world, halt(level=Level(level), subject=subject, mode=HaltMode(mode)))
    world.take(BUY, SELL)
    opens = "no" if world.reasons() == ["Halted"] else "yes"
    world = sequential(PartialPolicy.COMPLETE)
    say(world, halt(level=Level(level), subject=subject, mode=HaltMode(mode)))
    world.run(400 * MS)
    completes = "by policy" if "Complete" in purposes(world) else "no"
    world = sequential(PartialPolicy.UNWIND)
    say(world, halt(level=Level(level), subject=subject, mode=HaltMode(mode)))
    world.run(400 * MS)
    unwinds = "yes" if "Unwind" in purposes(world) else "no"
    flattens = world.rows("SELECT count(*) FROM intents WHERE identity LIKE 'Flatten:%'") == [(1,)]
    covered = sorted(halting.covered(halting.active[0]))
    assert [opens, completes, unwinds, ("feeds " + ", ".join(covered)) if flattens else "no"] == allowed


def test_every_level_and_mode_is_documented():
    assert [row[:2] for row in documented()] == [[level.value, mode.value] for level in Level for mode in HaltMode]


def test_a_scope_may_change_under_a_halt():
    halting = Halting("test", {"a": "venue-a"})
    halting.hear((halt(level=Level.VENUE, subject="venue-b"),))
    assert not halting.active
    halting.concern(Scope(strategy="test", venue_of={"a": "venue-a", "b": "venue-b"}))
    assert [one.id for one in halting.active] == ["h1"]
