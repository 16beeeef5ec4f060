"""`arb up --for` on the quickstart: it ends by itself, trades, and its report equals the stores, to the last decimal."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import QUICKSTART, Up, arb, rows

STRATEGIES = ("cross", "triangle")
FOR_S = 14
ZERO = Decimal(0)

Finished = tuple[Up, dict[str, Any]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with Up(tmp_path_factory.mktemp("run"), QUICKSTART, "--for", f"{FOR_S}s") as up:
        yield up, up.finish(within=FOR_S + 60)


def moved(strategy: Path) -> dict[str, Decimal]:
    """What all fills of a journal moved, asset by asset, computed from the rows alone."""
    total: dict[str, Decimal] = {}

    def move(asset: str, amount: Decimal) -> None:
        total[asset] = total.get(asset, ZERO) + amount

    with localcontext() as context:
        context.prec = 60
        for fill in rows(strategy, "SELECT * FROM fills"):
            base, quote = fill["symbol"].split("-")
            sign = 1 if fill["side"] == "Buy" else -1
            assert fill["side"] in {"Buy", "Sell"}
            move(base, sign * Decimal(fill["quantity"]))
            move(quote, -sign * Decimal(fill["quantity"]) * Decimal(fill["price"]))
            move(fill["fee_asset"], -Decimal(fill["fee"]))
    return {asset: amount for asset, amount in total.items() if amount}


def test_it_ends_by_itself_and_says_paper(finished: Finished) -> None:
    up, report = finished
    assert FOR_S <= report["durationNs"] / 1e9 < FOR_S + 30
    assert report["mode"] == "Paper"
    assert "PAPER" in up.output
    assert report["restarts"] == {}
    assert not up.run_file(), "run.json outlived the run"


def test_feeds_are_verified(finished: Finished) -> None:
    _, report = finished
    for name, feed in report["feeds"].items():
        assert feed["messages"] > 100, name
        assert feed["gaps"] == feed["resyncs"] == feed["malformed"] == 0, name
        assert feed["withheld"] == {}, name
    assert report["feeds"]["binance"]["topsChecked"] > 100
    assert report["feeds"]["binance"]["topsMismatched"] == 0
    assert report["feeds"]["kraken"]["checksumsMatched"] > 100
    assert report["feeds"]["kraken"]["checksumsMismatched"] == 0


def test_every_round_trip_is_traceable(finished: Finished) -> None:
    up, report = finished
    assert report["roundTrips"] >= 10
    seen = rows(up.state / "journal" / "recorder.sqlite", "SELECT opportunity FROM sightings WHERE opportunity IS NOT NULL")
    known = {json.loads(row["opportunity"])["id"] for row in seen}
    counted = 0
    for name in STRATEGIES:
        journal = up.journal(name)
        for trip in report["strategies"][name]["execution"]["roundTrips"]:
            counted += 1
            assert trip["opportunity"] in known
            [intent] = rows(journal, "SELECT * FROM intents WHERE opportunity_id = ?", trip["opportunity"])
            assert intent["id"] == trip["intent"]
            orders = rows(journal, "SELECT * FROM orders WHERE intent_id = ?", intent["id"])
            assert {order["id"] for order in orders} == set(trip["orders"])
            fills = rows(journal, "SELECT * FROM fills WHERE intent_id = ?", intent["id"])
            assert {f"{fill['feed']}/{fill['trade_id']}" for fill in fills} == set(trip["fills"])
            assert {fill["order_id"] for fill in fills} <= {order["id"] for order in orders}
            for order in orders:
                filled = sum((Decimal(fill["quantity"]) for fill in fills if fill["order_id"] == order["id"]), ZERO)
                assert filled == Decimal(order["filled"]) <= Decimal(order["quantity"])
    assert counted == report["roundTrips"]


def test_pnl_is_the_sum_over_fills(finished: Finished) -> None:
    up, report = finished
    sums: dict[str, Decimal] = {}
    for name in STRATEGIES:
        figures = report["strategies"][name]["execution"]
        pnl = figures["pnl"]
        flows = moved(up.journal(name))
        assert {asset: Decimal(amount) for asset, amount in pnl["flows"].items()} == flows
        assert Decimal(pnl["cash"]) == flows.get("USDT", ZERO)
        last = rows(up.journal(name), "SELECT * FROM equity ORDER BY at_ns DESC LIMIT 1")[0]
        assert Decimal(last["cash"]) == Decimal(pnl["cash"]), "the last marks were taken after the last fill"
        residual = Decimal(last["residual"]) if set(flows) - {"USDT"} else ZERO
        assert Decimal(pnl["residual"]) == residual
        assert Decimal(pnl["arb"]) == Decimal(pnl["cash"]) + residual
        sums["USDT"] = sums.get("USDT", ZERO) + Decimal(pnl["arb"])
        assert figures["fills"] == len(rows(up.journal(name), "SELECT number FROM fills"))
    assert {asset: Decimal(amount) for asset, amount in report["pnl"].items()} == sums
    assert abs(sums["USDT"]) < 500, "coins that were bought or sold are valued as well"


def test_fees_are_the_sum_over_fills(finished: Finished) -> None:
    up, report = finished
    fees: dict[str, Decimal] = {}
    for name in STRATEGIES:
        for fill in rows(up.journal(name), "SELECT fee, fee_asset FROM fills"):
            fees[fill["fee_asset"]] = fees.get(fill["fee_asset"], ZERO) + Decimal(fill["fee"])
    assert {asset: Decimal(amount) for asset, amount in report["fees"].items()} == fees


def test_the_digest_is_that_of_the_rest(finished: Finished) -> None:
    _, report = finished
    rest = {key: value for key, value in report.items() if key != "digest"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(canonical.encode()).hexdigest() == report["digest"]


def test_a_second_run_reports_only_itself(finished: Finished, tmp_path: Path) -> None:
    """The journal goes on, the report begins anew."""
    up, first = finished
    report = tmp_path / "second.json"
    result = arb("up", "-f", QUICKSTART, "--for", "6s", "--state", up.state, "--report", report)
    assert result.returncode == 0, result.stderr
    second = json.loads(report.read_bytes())
    for name in STRATEGIES:
        before = {trip["intent"] for trip in first["strategies"][name]["execution"]["roundTrips"]}
        after = {trip["intent"] for trip in second["strategies"][name]["execution"]["roundTrips"]}
        assert not before & after
        whole = rows(up.journal(name), "SELECT count(*) AS n FROM fills")[0]["n"]
        figures = [report["strategies"][name]["execution"] for report in (first, second)]
        assert whole == figures[0]["fills"] + figures[1]["fills"]
    assert all(abs(Decimal(amount)) < 500 for amount in second["pnl"].values())


def test_identical_venues_do_not_trade(tmp_path: Path) -> None:
    """Nothing is planted: the quickstart with one venue's parameters on both, and no noise, finds nothing."""
    for file in QUICKSTART.glob("*.yaml"):
        text = re.sub(r"simulated:\n(    \w+: \S+\n)+", "simulated: {volatility: 6bps}\n", file.read_text())
        (tmp_path / file.name).write_text(text)
    with Up(tmp_path, tmp_path, "--for", "10s") as up:
        report = up.finish()
    assert report["strategies"]["cross"]["opportunities"]["BelowEnterEdge"] > 100, "it looked"
    assert report["fills"] == report["roundTrips"] == 0
    assert report["orders"] == {}
    assert report["pnl"] == {"USDT": "0"}
