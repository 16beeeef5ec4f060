"""docs/venues.md says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arbkube.market.instruments import MarketType
from arbkube.market.verified import WithheldReason
from arbkube.venues import catalog
from arbkube.venues.registry import adapter

PAGE = (Path(__file__).parent.parent.parent / "docs" / "venues.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
MARKETS = [(venue, market) for venue in catalog.VENUES for market in catalog.markets(venue)]


@pytest.mark.parametrize(("venue", "market"), MARKETS)
def test_every_market_is_listed_with_its_proofs(venue: str, market: MarketType) -> None:
    (row,) = [row for row in ROWS if row[0] == f"`{venue}`" and market.value in row[1].split(", ")]
    assert set(row[2].split(", ")) == {proof.value for proof in catalog.proofs(venue, market)}
    assert adapter(venue, market).proofs == catalog.proofs(venue, market)


def test_every_reason_is_explained() -> None:
    assert {reason.value for reason in WithheldReason} <= set(re.findall(r"`(\w+)`", PAGE))
