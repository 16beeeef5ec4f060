"""Journal first, whatever the file does; and one executor at a time."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import pytest

from arbkube.execution.protocols import JournalUnavailable, LeaseLost, Record
from arbkube.execution.settling.settler import REMEMBER_NS
from arbkube.market.instruments import Side
from arbkube.resources.kinds import PartialPolicy
from arbkube.risk.limits import Limits
from tests.execution.world import MS, SECOND, World, config, ledger_fills, leg

BUY, SELL = leg("a", Side.BUY, "3", "100.00"), leg("b", Side.SELL, "3", "100.90")

RICH = {(feed, asset): "1000000" for feed in "ab" for asset in ("USDT", "BTC")}


def cheap_and_dear(world: World) -> None:
    world.book("a", bids=(("99.80", "5"),), asks=(("99.90", "9"),))
    world.book("b", bids=(("101.00", "9"),), asks=(("101.10", "5"),))


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "x.db", config()).start()
    cheap_and_dear(world)
    return world


def lock(path) -> sqlite3.Connection:
    """Another process's write transaction."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_locked_journal_refuses_the_open_and_nothing_is_sent(world, tmp_path):
    other = lock(tmp_path / "x.db")
    world.take(BUY, SELL)
    assert world.reasons() == ["JournalUnavailable"]
    assert "x.db" in world.driver.fault
    assert "another process" in world.driver.fault
    assert world.broker.next_deadline() is None
    assert world.engine.live_intents == ()
    other.execute("ROLLBACK")
    other.close()
    world.run(1 * MS)
    world.take(BUY, SELL)
    world.run(50 * MS)
    assert [row[1] for row in world.intents() if row[0] == "Done"].count("Filled") == 1
    assert world.driver.fault == ""


def test_a_renewed_lease_ends_the_fault_of_a_quiet_market(world, tmp_path):
    """Nothing else is written durably until the next opportunity, which may be hours away."""
    other = lock(tmp_path / "x.db")
    world.take(BUY, SELL)
    other.execute("ROLLBACK")
    other.close()
    assert world.driver.fault
    world.run(3 * SECOND)
    assert world.driver.fault == ""


def test_a_full_disk_refuses_opens_and_when_there_is_room_again_nothing_is_missing(tmp_path):
    """A file that may not grow is what SQLite makes of a full disk."""
    world = World(tmp_path / "x.db", config(limits=Limits(max_open_intents=100))).start()
    cheap_and_dear(world)
    database = world.store.database.connection
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 2}")
    for number in range(60):
        world.take(leg("a", Side.BUY, "0.1", "100.00"), leg("b", Side.SELL, "0.1", "100.90"), name=str(number))
        world.run(50 * MS)
        cheap_and_dear(world)
        if world.reasons().count("JournalUnavailable") > 3:
            break
    assert "JournalUnavailable" in world.reasons()
    assert "x.db: database or disk is full (the disk is full: free space" in world.driver.fault
    database.execute("PRAGMA max_page_count = 100000")
    for _ in range(40):
        world.run(250 * MS)
        cheap_and_dear(world)
    assert world.engine.live_intents == ()
    assert world.driver.fault == ""
    assert {fill.trade_id for fill in world.booked()} == {fill.trade_id for fill in ledger_fills(world.store)}
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 0


def test_what_cannot_be_written_halfway_waits_in_order_and_nothing_is_sent_before_it(world, tmp_path):
    world.take(BUY, SELL)
    sent = []
    submit = world.broker.submit

    def counted(order, now_ns):
        sent.append(order.id)
        submit(order, now_ns)

    world.broker.submit = counted
    world.run(5 * MS)
    world.book("b", bids=(("100.80", "9"),), asks=(("101.10", "5"),))
    reports: list[sqlite3.Connection] = []
    due = world.broker.due

    def due_then_locked(now_ns):
        found = due(now_ns)
        if found and not reports:
            reports.append(lock(tmp_path / "x.db"))
        return found

    world.broker.due = due_then_locked
    world.run(100 * MS)
    assert len(reports) == 1
    # The report is known, its fills are not written: the completion waits, Opens are refused.
    assert sent == []
    assert world.rows("SELECT count(*) FROM fills") == [(0,)]
    world.take(BUY, SELL, name="other")
    assert world.reasons()[-1] == "JournalUnavailable"
    reports[0].execute("ROLLBACK")
    reports[0].close()
    world.run(600 * MS)
    cheap_and_dear(world)
    world.run(600 * MS)
    assert len(sent) == 1
    assert world.intents()[0][:2] in (("Done", "Completed"), ("Done", "Unwound"))
    assert world.engine.accounts.inventory.by_asset()["BTC"] == 0
    assert world.rows("SELECT count(*) FROM fills")[0][0] >= 2


def test_the_paper_venue_executes_nothing_that_its_ledger_cannot_keep(world, tmp_path):
    world.take(BUY, SELL)
    other = lock(tmp_path / "x.db")
    world.run(50 * MS)
    assert world.broker.balances()[("a", "BTC")] == 10
    other.execute("ROLLBACK")
    other.close()
    world.run(500 * MS)
    assert world.broker.balances()[("a", "BTC")] == 13
    assert world.intents() == [("Done", "Filled", "")]


def test_an_order_whose_acceptance_was_lost_is_asked_for_and_then_given_up(world, tmp_path):
    accept = world.store.accept

    def failing(order):
        raise JournalUnavailable("x.db: the disk is full")

    world.store.accept = failing
    world.take(BUY, SELL)
    world.store.accept = accept
    world.run(5 * SECOND)
    assert world.rows("SELECT state FROM orders") == [("NotFound",), ("NotFound",)]
    assert world.intents() == [("Done", "Missed", "")]


def test_a_second_executor_is_refused_until_the_lease_runs_out(world, tmp_path):
    second = World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns + 4 * SECOND)
    with pytest.raises(LeaseLost, match=r"one holds the lease for another 1\.0 s"):
        second.start()
    second.now_ns += 1 * SECOND
    second.start()
    world.now_ns = second.now_ns
    with pytest.raises(LeaseLost):
        world.driver.on_time(world.now_ns)
    with pytest.raises(LeaseLost):
        world.store.write(Record())


def test_a_stopped_executor_leaves_the_lease_free(world, tmp_path):
    world.driver.stop(world.now_ns)
    World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns).start()


def test_an_overtaken_holder_never_takes_the_lease_back(world, tmp_path):
    """Stopped for longer than the lease lasts, and its successor is gone too: what it knows is out of date."""
    second = World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns + 5 * SECOND).start()
    second.driver.stop(second.now_ns)
    world.now_ns = second.now_ns + 1 * SECOND
    with pytest.raises(LeaseLost, match="another executor has taken the lease"):
        world.driver.on_time(world.now_ns)
    third = World(tmp_path / "x.db", config(), holder="three", now_ns=world.now_ns).start()
    assert third.store.load(0).unsettled == ()


def test_an_overtaken_holder_executes_nothing_on_paper(world, tmp_path):
    world.take(BUY, SELL)
    World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns + 5 * SECOND).start()
    world.now_ns += 30 * MS
    with pytest.raises(LeaseLost):
        world.book("a")
    assert ledger_fills(world.store) == []
    assert len(world.store.open_orders()) == 2


def test_a_successor_that_waited_knows_what_its_predecessor_did_meanwhile(world, tmp_path):
    world.take(BUY, SELL)
    second = World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns)
    with pytest.raises(LeaseLost):
        second.start()
    world.run(50 * MS)
    world.driver.stop(world.now_ns)
    second.now_ns = world.now_ns
    second.start()
    assert second.broker.next_deadline() is None  # those orders are over
    assert second.broker.balances() == world.broker.balances()
    assert second.engine.accounts.inventory.moved == world.engine.accounts.inventory.moved


def test_past_its_monotonic_deadline_nothing_opens(world):
    world.now_ns += 4_600 * MS  # a tenth of the time before the lease runs out
    world.take(BUY, SELL)
    assert world.reasons() == ["LeaseLost"]
    world.driver.on_time(world.now_ns)  # renewed: nobody else took it
    cheap_and_dear(world)
    world.take(BUY, SELL, name="other")
    assert len(world.engine.live_intents) == 1


def test_a_lease_that_runs_out_between_journal_and_send_sends_nothing(world):
    checks = iter([True, True, False, False])
    world.driver._may_send = lambda: next(checks, True)
    world.take(BUY, SELL)
    world.run(50 * MS)
    orders = world.rows("SELECT state, reason FROM orders WHERE purpose = 'Open' ORDER BY leg")
    assert orders[0] == ("Filled", "")
    assert orders[1] == ("Rejected", "LeaseLost")


def test_a_journaled_order_that_was_never_sent_is_settled_after_a_crash(world, tmp_path):
    def dies(order, now_ns):
        raise KeyboardInterrupt

    world.broker.submit = dies
    with pytest.raises(KeyboardInterrupt):
        world.take(BUY, SELL)
    assert world.rows("SELECT state FROM orders") == [("Journaled",), ("Journaled",)]
    second = World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    assert second.rows("SELECT state FROM intents WHERE outcome IS NULL") == [("Working",)]
    second.run(3 * SECOND)
    assert second.intents() == [("Done", "Missed", "")]
    assert second.rows("SELECT DISTINCT state FROM orders") == [("NotFound",)]


def test_the_risk_day_and_its_start_survive_a_restart(world, tmp_path):
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(50 * MS)
    day = 86_400 * SECOND
    world.now_ns = (world.now_ns // day + 1) * day
    world.driver.on_time(world.now_ns)
    won = world.arb()
    assert won > 0
    [(start,)] = world.rows("SELECT start FROM risk_days ORDER BY day DESC LIMIT 1")
    assert Decimal(start) == won
    second = World(tmp_path / "x.db", config(), holder="two", now_ns=world.now_ns + 6 * SECOND).start()
    assert second.engine._books.risk_day == world.engine._books.risk_day
    assert second.engine._books.lost_today(second.now_ns) == 0


def test_a_risk_day_never_goes_back_with_the_clock(world):
    cheap_and_dear(world)
    day = 86_400 * SECOND
    midnight = (world.now_ns // day + 1) * day
    world.now_ns = midnight
    world.driver.on_time(world.now_ns)
    before = world.rows("SELECT * FROM risk_days ORDER BY day")
    world.now_ns = midnight - 1
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.now_ns += 50 * MS
    world.driver.on_time(world.now_ns)
    assert world.arb() != 0
    world.now_ns = midnight - 1
    world.driver.on_time(world.now_ns)
    assert world.rows("SELECT * FROM risk_days ORDER BY day") == before


def test_a_risk_day_begins_on_fresh_marks(tmp_path):
    """What is held counts at what it is worth now, not at what it was when a venue fell silent."""
    world = World(tmp_path / "x.db", config(on_partial=PartialPolicy.UNWIND)).start()
    cheap_and_dear(world)
    world.take(BUY, SELL)
    world.run(5 * MS)
    world.book("a", bids=(("99.80", "5"),), asks=(("99.95", "2.996"),))
    world.run(50 * MS)
    assert world.engine.accounts.inventory.by_asset()["BTC"] != 0  # dust
    day = 86_400 * SECOND
    world.now_ns = (world.now_ns // day + 1) * day
    world.driver.on_time(world.now_ns)
    assert world.rows("SELECT count(*) FROM risk_days") == [(1,)]  # nobody has spoken for hours
    cheap_and_dear(world)
    world.driver.on_time(world.now_ns)
    assert world.rows("SELECT count(*) FROM risk_days") == [(2,)]


def test_a_busy_executor_forgets_settled_intents_as_well():
    world = World(":memory:", config(balances=RICH)).start()
    for number in range(200):
        world.book("a", bids=(("99.80", "5"),), asks=(("99.90", f"{5 + number % 2}"),))
        world.book("b", bids=(("101.00", f"{5 + number % 2}"),), asks=(("101.10", "5"),))
        world.take(leg("a", Side.BUY, "0.1", "100.00"), leg("b", Side.SELL, "0.1", "100.90"), name=str(number))
        world.run(5 * SECOND)
    assert world.rows("SELECT count(*) FROM intents WHERE outcome = 'Filled'") == [(200,)]
    assert len(world.engine._settler.settled) <= REMEMBER_NS // (5 * SECOND) + 1
    assert len(world.engine._settler._intent_of) == 2 * len(world.engine._settler.settled)


def test_a_repeated_opportunity_takes_nothing_from_the_intent_it_made(world):
    chance = world.take(BUY, SELL)
    world.run(50 * MS)
    cheap_and_dear(world)
    before = dict(world.engine._settler._intent_of)
    world.outcomes += world.driver.on_opportunity(chance, world.now_ns)
    assert world.reasons() == ["DuplicateIntent"]
    assert world.engine._settler._intent_of == before  # a late fill still finds its intent


def test_the_lease_is_renewed_when_the_clock_goes_back(tmp_path):
    clock = {"monotonic": 0}
    world = World(tmp_path / "x.db", config())
    world.driver._monotonic_ns = lambda: clock["monotonic"]
    world.start()
    for _ in range(40):
        clock["monotonic"] += 250 * MS
        world.now_ns += 250 * MS
        cheap_and_dear(world)
        world.now_ns -= 3600 * SECOND if clock["monotonic"] == 1 * SECOND else 0
    assert world.driver._may_send()


def test_while_the_journal_is_away_what_waits_does_not_grow(world, tmp_path):
    world.take(BUY, SELL)
    world.run(19 * MS)
    other = lock(tmp_path / "x.db")
    world.run(3 * SECOND)
    waiting = len(world.driver._line)
    world.run(15 * SECOND)
    assert len(world.driver._line) == waiting
    other.execute("ROLLBACK")
    other.close()
    world.run(3 * SECOND)
    assert not world.driver._line
    assert world.engine.live_intents == ()
