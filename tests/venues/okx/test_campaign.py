from __future__ import annotations

from random import Random

import pytest

from tests.venues.campaign import engine
from tests.venues.campaign.okx import OkxVenue
from tests.venues.okx.test_session import SPOT, SWAP

FULL = 10**6


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_frames_never_make_a_wrong_verified_book(seed: int, legacy: bool) -> None:
    report = engine.run(OkxVenue(Random(seed), [SPOT, SWAP], legacy=legacy), frames=6_000, seed=seed)
    assert report.verified > 1_000
    assert len(report.mutations) == (9 if legacy else 7)
    assert {"ChecksumMismatch" if legacy else "Gap", "MalformedFrame"} <= set(report.reasons)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_million_mutated_frames(legacy: bool) -> None:
    report = engine.run(OkxVenue(Random(7), [SPOT, SWAP], legacy=legacy), frames=FULL, seed=7)
    assert report.verified > FULL // 4
    assert report.grown_bytes < 8 << 20
