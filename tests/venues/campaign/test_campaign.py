"""A spoiled wire never makes a wrong verified book: every venue, in short always, 10⁶ frames of each kind by `make soak`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import arbkube.venues.kraken.session as kraken
import arbkube.venues.okx.session as okx
from arbkube.market.instruments import MarketType
from arbkube.venues.binance.session import BinanceSession
from arbkube.venues.bybit.session import BybitSession
from arbkube.venues.coinbase.session import CoinbaseSession
from arbkube.venues.okx.session import OkxSession
from tests.venues.campaign.bybit import BybitVenue
from tests.venues.campaign.engine import Report, Venue, Wrong, run
from tests.venues.campaign.generated import CoinbaseVenue, KrakenVenue
from tests.venues.campaign.okx import OkxVenue
from tests.venues.campaign.recorded import BinanceVenue

Property = Callable[[str, object], None]
Make = Callable[[Path, int], Venue]

VENUES: dict[str, Make] = {
    "binance-spot": lambda folder, seed: BinanceVenue(folder, MarketType.SPOT, seed),
    "binance-usdm": lambda folder, seed: BinanceVenue(folder, MarketType.PERPETUAL, seed),
    "coinbase-spot": lambda _, seed: CoinbaseVenue(seed),
    "kraken-spot": lambda _, seed: KrakenVenue(seed),
    "okx": lambda _, seed: OkxVenue(seed),
    "okx-2022": lambda _, seed: OkxVenue(seed, legacy=True),
    "bybit-linear": lambda _, seed: BybitVenue(seed),
}
SHORT = 8_000
MAY_GROW_BYTES = 8 * 2**20
"""What allocator and interpreter caches may add; a leak of one frame in ten would be more."""


class Agreeable(int):
    """A checksum that equals any other."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("rate", [0.005, 0.05])
def test_no_spoiled_frame_makes_a_wrong_book(name: str, rate: float, recordings: Path) -> None:
    report = run(VENUES[name](recordings, 7), frames=SHORT, seed=11, rate=rate)
    assert report.frames >= SHORT
    assert len(report.mutations) >= 7
    assert report.verified > SHORT // 10
    assert report.withheld
    assert report.grown_bytes < MAY_GROW_BYTES


def record(record_property: Property, report: Report) -> None:
    for figure, value in report.figures().items():
        record_property(figure, value)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", VENUES)
def test_a_million_frames_now_and_then_spoiled(name: str, recordings: Path, record_property: Property) -> None:
    report = run(VENUES[name](recordings, 7), frames=10**6, seed=13)
    assert report.grown_bytes < MAY_GROW_BYTES
    record(record_property, report)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", VENUES)
def test_a_million_spoiled_frames(name: str, recordings: Path, record_property: Property) -> None:
    report = run(VENUES[name](recordings, 7), frames=1_900_000, seed=17, rate=0.6)
    assert report.mutations.total() >= 10**6
    assert report.verified > 10**4
    assert report.grown_bytes < MAY_GROW_BYTES
    record(record_property, report)


def test_a_session_that_believes_any_chain_is_found_out(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BinanceSession, "_follows", staticmethod(lambda chain, event: chain.last >= 0))
    with pytest.raises(Wrong):
        run(VENUES["binance-spot"](recordings, 7), frames=SHORT, seed=11)


def test_a_session_that_counts_no_messages_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def uncounted(self: CoinbaseSession, frame: bytes, now_ns: int) -> None:
        self._chain.last = -1
        honest(self, frame, now_ns)

    honest = CoinbaseSession._frame
    monkeypatch.setattr(CoinbaseSession, "_frame", uncounted)
    with pytest.raises(Wrong):
        run(CoinbaseVenue(7), frames=SHORT, seed=11)


def test_a_session_without_its_checksum_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kraken, "checksum", lambda asks, bids: Agreeable())
    with pytest.raises(Wrong):
        run(KrakenVenue(7), frames=SHORT, seed=11)


def test_okx_without_its_chain_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unchained(self: OkxSession, book: Any, chain: Any, update: Any, now_ns: int) -> None:
        chain.last = -1
        honest(self, book, chain, update, now_ns)

    honest = OkxSession._update
    monkeypatch.setattr(OkxSession, "_update", unchained)
    with pytest.raises(Wrong):
        run(OkxVenue(7), frames=SHORT, seed=11)


def test_okx_without_its_checksum_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(okx, "checksum", lambda bids, asks: Agreeable())
    with pytest.raises(Wrong):
        run(OkxVenue(7, legacy=True), frames=SHORT, seed=11)


def test_bybit_without_its_chain_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unchained(self: BybitSession, book: Any, chain: Any, data: Any, ms: int, now_ns: int) -> None:
        if chain.last >= 0:
            chain.last = data.u - 1
        honest(self, book, chain, data, ms, now_ns)

    honest = BybitSession._delta
    monkeypatch.setattr(BybitSession, "_delta", unchained)
    with pytest.raises(Wrong):
        run(BybitVenue(7), frames=SHORT, seed=11)
