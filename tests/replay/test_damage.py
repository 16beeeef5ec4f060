"""Recordings edited by hand: frames gone, doubled, swapped, late, out of time; and input that cannot be replayed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from arbkube.cli.common.errors import ArbError
from arbkube.venues.defaults import default_instruments
from arbkube.venues.recording import Recording
from tests.replay.support import FOLDER, PERPETUAL, SPOT, head, is_diff, manifests, replay, write

LINES = 6000


@pytest.fixture(scope="module")
def spot(recordings: Path) -> list[bytes]:
    return head(recordings / FOLDER / SPOT, LINES)


def diffs(lines: list[bytes]) -> list[int]:
    return [index for index, line in enumerate(lines) if is_diff(line)]


def removed(lines: list[bytes]) -> list[bytes]:
    at = diffs(lines)[150]
    return lines[:at] + lines[at + 1 :]


def doubled(lines: list[bytes]) -> list[bytes]:
    at = diffs(lines)[150]
    return [*lines[: at + 1], lines[at], *lines[at + 1 :]]


def swapped(lines: list[bytes]) -> list[bytes]:
    """Two neighbouring diffs change places; the times stay in order."""
    first, second = diffs(lines)[150:152]
    made = list(lines)
    times = [line.split(b" ", 1)[0] for line in (lines[first], lines[second])]
    frames = [line.split(b" ", 1)[1] for line in (lines[second], lines[first])]
    made[first], made[second] = (b" ".join(part) for part in zip(times, frames, strict=True))
    return made


def cut(lines: list[bytes]) -> list[bytes]:
    at = diffs(lines)[150]
    return [*lines[:at], lines[at][:200] + b"\n", *lines[at + 1 :]]


@pytest.mark.parametrize(
    ("edit", "counted", "gaps"), [(removed, "gaps", 1), (doubled, "duplicates", 0), (swapped, "gaps", 1), (cut, "malformed", 1)]
)
def test_an_edited_frame_is_detected_resynced_and_reported(
    spot: list[bytes],
    tmp_path: Path,
    edit: Callable[[list[bytes]], list[bytes]],
    counted: str,
    gaps: int,
) -> None:
    """What is gone is missing in the rebuilt snapshot too: the venue's tops may find that out, and it is built again."""
    whole = replay([write(tmp_path / "whole.txt", spot)], tmp_path)["feeds"]["binance"]
    feed = replay([write(tmp_path / "edited.txt", edit(spot))], tmp_path)["feeds"]["binance"]
    assert feed[counted] == whole[counted] + 1
    assert feed["gaps"] == gaps
    assert feed["resyncs"] == gaps + feed["topsMismatched"]
    # Two frames that changed places are both there: nothing is missing in the end.
    assert edit in (removed, cut) or feed["topsMismatched"] == 0
    assert feed["topsChecked"] > whole["topsChecked"] - 40
    assert feed["withheld"] == {}


def test_a_wrong_level_is_noticed_by_the_venues_own_top(spot: list[bytes], tmp_path: Path) -> None:
    """A best bid that the venue never sent: the very next comparison says so, and a new snapshot mends it."""
    at = diffs(spot)[150]
    frame = spot[at]
    top = re.search(rb'"b":"([0-9.]+)"', next(line for line in reversed(spot[:at]) if b'"A":' in line))
    assert top is not None
    forged = frame.replace(b'"b":[', b'"b":[["%.8f","9.00000000"],' % (float(top[1]) - 0.001), 1)
    edited = [
        *spot[:at],
        forged.replace(b'"a":[', b'"a":[["%.8f","1.00000000"],' % (float(top[1]) + 0.001), 1),
        *spot[at + 1 :],
    ]
    feed = replay([write(tmp_path / "forged.txt", edited)], tmp_path)["feeds"]["binance"]
    assert feed["topsMismatched"] >= 1
    assert feed["resyncs"] >= 1


def test_many_gaps_are_each_mended(spot: list[bytes], tmp_path: Path) -> None:
    indices = diffs(spot)
    gone = set(indices[20 : len(indices) - 20 : 25])
    edited = [line for index, line in enumerate(spot) if index not in gone]
    feed = replay([write(tmp_path / "holes.txt", edited)], tmp_path)["feeds"]["binance"]
    # Some fall into the time in which the book is withheld already.
    assert len(gone) // 2 < feed["gaps"] <= len(gone)
    assert feed["gaps"] <= feed["resyncs"]
    assert feed["withheld"] == {}


def shifted(lines: list[bytes], by_ns: Callable[[int], int]) -> list[bytes]:
    made = []
    for index, line in enumerate(lines):
        ns, frame = line.split(b" ", 1)
        made.append(b"%d %s" % (int(ns) + by_ns(index), frame))
    return made


def test_a_clock_that_steps_back_changes_nothing_but_time(spot: list[bytes], tmp_path: Path) -> None:
    edited = shifted(spot, lambda index: -(10**9) if 3000 <= index < 3100 else 0)
    feed = replay([write(tmp_path / "back.txt", edited)], tmp_path)["feeds"]["binance"]
    whole = replay([write(tmp_path / "whole.txt", spot)], tmp_path)["feeds"]["binance"]
    assert feed == whole


def test_an_hour_of_silence_is_lived_through(spot: list[bytes], tmp_path: Path) -> None:
    edited = shifted(spot, lambda index: 3600 * 10**9 if index >= 3000 else 0)
    report = replay([write(tmp_path / "hour.txt", edited)], tmp_path)
    assert report["durationNs"] > 3600 * 10**9
    assert report["feeds"]["binance"]["gaps"] == 0


def test_a_leap_of_a_day_is_damage(spot: list[bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "leap.txt", shifted(spot, lambda index: 86400 * 10**9 if index >= 3000 else 0))
    with pytest.raises(ArbError, match=r"^leap\.txt: line 3001: .* a day or more after"):
        replay([path], tmp_path)
    assert not (tmp_path / "report.json").exists()


def test_recordings_of_different_times_are_refused(spot: list[bytes], recordings: Path, tmp_path: Path) -> None:
    early = write(tmp_path / "early.txt", shifted(spot, lambda index: -(10**9) * 86400 * 400))
    with pytest.raises(ArbError, match=r"^usdm-btcusdt\.jsonl\.gz: .* replay apart"):
        replay([early, recordings / FOLDER / PERPETUAL], tmp_path)


def test_a_damaged_file_is_one_error_and_no_report(spot: list[bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "bad.txt", [*spot[:1000], b"garbage\n", *spot[1000:]])
    with pytest.raises(ArbError, match=r"^bad\.txt: line 1001: not a recorded event: expected `NS FRAME`"):
        replay([path], tmp_path)
    assert not (tmp_path / "report.json").exists()


def test_the_same_file_twice_is_refused(spot: list[bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "one.txt", spot[:500])
    with pytest.raises(ArbError, match="BTC-USDT of feed binance is in an earlier file as well"):
        replay([path, path], tmp_path)


def test_manifests_that_do_not_fit_are_refused(spot: list[bytes], recordings: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "one.txt", spot[:500])
    with pytest.raises(ArbError, match="no ArbStrategy has all its feeds among the recordings"):
        replay([path], tmp_path, manifests=manifests(tmp_path))
    with pytest.raises(ArbError, match=r"books\.ws\.txt: wants one VenueFeed for okx Spot .* the manifests have none"):
        replay([recordings / "okx" / "books.ws.txt"], tmp_path, manifests=manifests(tmp_path))


def instruments_file(folder: Path, *, native: str = "BTCUSDT", lot: str = "0.5", fees: bool = True) -> Path:
    (instrument,) = default_instruments("binance", Recording(folder / "one.txt").header.market, ("BTCUSDT",))
    rules = msgspec.to_builtins(msgspec.structs.replace(instrument, native=native))
    content = {"instruments": [{**rules, "lot": lot}]}
    if fees:
        content["fees"] = {"maker": "0", "taker": "0.007", "charged_in": "Quote", "source": "me"}  # type: ignore[assignment]
    path = folder / "instruments.json"
    path.write_bytes(msgspec.json.encode(content))
    return path


def test_rules_and_fees_come_from_the_instruments_file_where_the_recording_has_none(spot: list[bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "one.txt", spot[:500])
    feed = replay([path], tmp_path, instruments=instruments_file(tmp_path))["feeds"]["binance"]
    assert (feed["rules"], feed["fees"]["taker"], feed["fees"]["source"]) == ("instruments file", "0.007", "instruments file")
    feed = replay([path], tmp_path, instruments=instruments_file(tmp_path, fees=False))["feeds"]["binance"]
    assert feed["fees"]["source"].startswith("binance regular user")


def test_an_instruments_file_that_does_not_fit_is_refused(spot: list[bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "one.txt", spot[:500])
    with pytest.raises(ArbError, match="the instruments file has no rules for BTCUSDT on binance Spot"):
        replay([path], tmp_path, instruments=instruments_file(tmp_path, native="XRPUSDT"))
    with pytest.raises(ArbError, match="BTC-USDT has a lot of 0"):
        replay([path], tmp_path, instruments=instruments_file(tmp_path, lot="0"))
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(ArbError, match=r"bad\.json"):
        replay([path], tmp_path, instruments=bad)


def test_an_instrument_without_rules_names_the_remedy(spot: list[bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "odd.txt", [line.replace(b'"s":"BTCUSDT"', b'"s":"ODDUSDT"') for line in spot[:500]])
    with pytest.raises(ArbError, match=r"^odd\.txt: no trading rules known for ODDUSDT .* --instruments FILE"):
        replay([path], tmp_path)
