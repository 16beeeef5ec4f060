"""Replays of the real recordings, against figures that were found without our code."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.replay.naive import best_edges, tops_checked
from tests.replay.support import FOLDER, PERPETUAL, SPOT, manifests, replay


@pytest.fixture(scope="module")
def pair(recordings: Path) -> tuple[Path, Path]:
    return recordings / FOLDER / SPOT, recordings / FOLDER / PERPETUAL


def nothing_lost(feed: dict[str, Any]) -> bool:
    lost = ("gaps", "resyncs", "malformed", "crossed", "topsMismatched", "checksumsMismatched")
    return not any(feed.get(name) for name in lost) and not feed["withheld"]


def test_with_real_fees_nothing_is_traded_and_the_report_says_how_close_it_was(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = replay(pair, tmp_path)
    spot, perpetual = report["feeds"]["binance"], report["feeds"]["binance-usdm"]
    assert nothing_lost(spot)
    assert nothing_lost(perpetual)
    assert tops_checked(pair[0]) == (3448, 0)
    # One more than by hand: the state that the snapshot and the diffs before it make is held against its top as well.
    assert (spot["topsChecked"], spot["topsMismatched"]) == (3449, 0)
    assert perpetual["topsChecked"] > 100

    assert report["fills"] == report["roundTrips"] == 0
    assert report["opportunities"]["Taken"] == 0
    assert report["opportunities"]["BasisNotAllowed"] > 10_000
    closest = report["strategies"]["default"]["closestBps"]
    by_hand = best_edges(*pair, spot_fee=0.001, perpetual_fee=0.0005)
    for ours, theirs in (
        ("default:buy BTC-USDT-PERP@binance-usdm>sell BTC-USDT@binance", "buy perp, sell spot"),
        ("default:buy BTC-USDT@binance>sell BTC-USDT-PERP@binance-usdm", "buy spot, sell perp"),
    ):
        # Ours is exact, in lots, and of books that were both fresh: never better than by hand.
        assert by_hand[theirs] - 0.05 < float(closest[ours]) <= by_hand[theirs] + 1e-6


def test_real_fees_with_basis_allowed_still_yield_no_trade(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = replay(pair, tmp_path, manifests=manifests(tmp_path, fee="10bps"))
    assert report["fills"] == 0
    assert report["opportunities"]["BelowEnterEdge"] > 10_000
    assert all(Decimal(edge) < 1 for edge in report["strategies"]["basis"]["closestBps"].values())


def test_without_fees_and_with_basis_allowed_it_trades_and_the_sums_hold(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = replay(pair, tmp_path, manifests=manifests(tmp_path))
    assert report["roundTrips"] >= 5
    assert report["strategies"]["basis"]["execution"]["pnl"]["residual"] is not None
    execution = report["strategies"]["basis"]["execution"]
    flows: dict[str, Decimal] = {}
    for trip in execution["roundTrips"]:
        for asset, amount in trip["flows"].items():
            flows[asset] = flows.get(asset, Decimal(0)) + Decimal(amount)
    pnl = execution["pnl"]
    if report["fills"] == sum(len(trip["fills"]) for trip in execution["roundTrips"]):
        assert {asset: str(amount) for asset, amount in flows.items() if amount} == pnl["flows"]
    assert Decimal(pnl["arb"]) == Decimal(pnl["cash"]) + Decimal(pnl["residual"])
    assert Decimal(pnl["cash"]) == Decimal(pnl["flows"].get("USDT", 0))
    assert all(Decimal(fee) == 0 for fee in report["fees"].values())
    fills = [fill for trip in execution["roundTrips"] for fill in trip["fills"]]
    assert len(fills) == len(set(fills))
    assert report["digest"] == hashlib.sha256(canonical(report)).hexdigest()


def canonical(report: dict[str, Any]) -> bytes:
    return msgspec.json.encode({key: value for key, value in report.items() if key != "digest"}, order="sorted")


def test_two_processes_give_the_same_bytes_which_name_no_place_or_time(pair: tuple[Path, Path], tmp_path: Path) -> None:
    reports = []
    for seed, name in (("1", "a"), ("31337", "b")):
        folder = tmp_path / name
        folder.mkdir()
        out = folder / "report.json"
        command = [sys.executable, "-m", "arbkube.cli.main", "replay", *map(str, pair)]
        command += ["-f", str(manifests(folder)), "--report", str(out)]
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo" if name == "b" else "UTC"},
            check=True,
            capture_output=True,
        )
        reports.append(out.read_bytes())
    assert reports[0] == reports[1]
    text = reports[0].decode()
    assert b'"roundTrips": 0' not in reports[0], "it must have traded to say anything"
    for forbidden in (str(tmp_path), str(pair[0].parent), SPOT, socket.gethostname(), "/", "2026-11-"):
        assert forbidden not in text.replace("@binance/", "").replace("spot/", "").replace("perp/", ""), forbidden


def test_okx_replays_by_its_checksums(recordings: Path, tmp_path: Path) -> None:
    feed = replay([recordings / "okx" / "books.ws.txt"], tmp_path)["feeds"]["okx"]
    assert (feed["messages"], feed["checksumsMatched"], feed["checksumsMismatched"]) == (98, 98, 0)
    assert nothing_lost(feed)
    assert feed["instruments"] == ["BTC-USDT"]


def test_files_of_one_venue_make_one_feed(recordings: Path, tmp_path: Path) -> None:
    files = [recordings / FOLDER / SPOT, recordings / FOLDER / "spot-ethusdt.jsonl.gz"]
    report = replay(files, tmp_path)
    feed = report["feeds"]["binance"]
    assert feed["instruments"] == ["BTC-USDT", "ETH-USDT"]
    assert nothing_lost(feed)
    assert feed["topsChecked"] == 3449 + tops_checked(files[1])[0]
    assert feed["snapshotsRecorded"] == 2
