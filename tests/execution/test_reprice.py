"""On the very books on which the detector decided, the executor finds the same chance, no smaller and no dearer."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from arbkube.detection.detector import Detector, DetectorConfig
from arbkube.detection.model import Balances, Opportunity
from arbkube.market.instruments import FeeAsset, Market, Side
from arbkube.resources.kinds import CrossVenue, Cycle, Detection
from arbkube.resources.scalars import Bps
from tests.execution.world import SECOND, START, World, batch, config, leg, market, opportunity

PAIRS = (
    market("a", taker="0.0002"),
    market("b", taker="0.0003", lot="0.002", charged_in=FeeAsset.RECEIVED),
    market("b", "BTC-USDC", taker="0.0003", lot="0.003", charged_in=FeeAsset.RECEIVED),
    market("a", "USDC-USDT", taker="0.0001", lot="0.01"),
)
RING = (
    market("a", taker="0.0001"),
    market("a", "ETH-BTC", taker="0.0001", lot="0.01", min_notional="0.0001"),
    market("a", "ETH-USDT", taker="0.0001", lot="0.001"),
)
CENTRES = {"BTC-USDT": "100", "BTC-USDC": "100", "USDC-USDT": "1", "ETH-BTC": "0.1", "ETH-USDT": "10"}


def books(dice: random.Random, markets: tuple[Market, ...]):
    for each in markets:
        symbol = each.instrument.symbol
        middle = Decimal(CENTRES[symbol]) * (1 + Decimal(dice.randrange(-40, 41)) / 10000)
        step = Decimal(CENTRES[symbol]) / 10000
        depth = "100000" if symbol == "USDC-USDT" else None
        sides = [
            tuple(
                (str(middle + sign * step * (i + 1)), depth or str(Decimal(dice.randrange(10, 3000)) / 1000)) for i in range(4)
            )
            for sign in (-1, 1)
        ]
        yield batch(each.feed, START, symbol=symbol, bids=sides[0], asks=sides[1])


@pytest.mark.parametrize(
    ("markets", "strategy"),
    [(PAIRS, {"cross_venue": CrossVenue(instruments=("BTC-USDT",))}), (RING, {"cycle": Cycle(start_assets=("USDT",))})],
)
def test_what_the_detector_found_is_found_again(markets, strategy):
    dice = random.Random(5)
    found = 0
    for _ in range(250):
        opportunities = seen(dice, markets, strategy)
        for world, chance in opportunities:
            found += 1
            repriced = world.engine._reprice(chance, world.config.limits, START)
            planned, again = chance.legs, repriced.legs
            assert [leg.quantity for leg in again] == [leg.quantity for leg in planned], chance.identity
            assert [leg.limit_price for leg in again] == [leg.limit_price for leg in planned]
            assert [leg.value for leg in again] == [leg.value for leg in planned]
            if len({leg.symbol.split("-")[1] for leg in planned}) == 1:
                assert abs(repriced.expected_profit - chance.expected_profit) <= Decimal("0.0001") * repriced.notional
            assert repriced.expected_profit >= chance.expected_profit - Decimal("0.0001") * repriced.notional
    assert found > 50


def test_legs_of_a_ring_shrink_in_proportion():
    world = World(":memory:", config(markets=RING)).start()
    for symbol, bid, ask, size in (
        ("BTC-USDT", "99.90", "100.00", "50"),
        ("ETH-BTC", "0.09", "0.10", "1.005"),
        ("ETH-USDT", "11.00", "11.10", "50"),
    ):
        world.book("a", symbol=symbol, bids=((bid, size),), asks=((ask, size),))
    planned = (
        leg("a", Side.BUY, "0.2", "100.00"),
        leg("a", Side.BUY, "2", "0.10", "ETH-BTC"),
        leg("a", Side.SELL, "2", "11.00", "ETH-USDT"),
    )
    repriced = world.engine._reprice(opportunity(world.now_ns, *planned), world.config.limits, world.now_ns)
    # 1.005 of 2 ETH are left: half of each, and whole lots of 0.001, 0.01 and 0.001.
    assert [leg.quantity for leg in repriced.legs] == [Decimal("0.1"), Decimal(1), Decimal("1.005")]


def seen(dice: random.Random, markets: tuple[Market, ...], strategy) -> list[tuple[World, Opportunity]]:
    detection = Detection(enter_edge=Bps("1bps"), exit_edge=Bps("0bps"), max_notional=Decimal(500))
    detector = Detector(
        DetectorConfig(
            strategy="test",
            strategy_uid="uid",
            revision="r1",
            profit_asset="USDT",
            detection=detection,
            markets=markets,
            max_age_ns={"a": SECOND, "b": SECOND},
            max_transit_ns={"a": SECOND, "b": SECOND},
            **{"cross_venue": None, "cycle": None, **strategy},
        )
    )
    balances = {(feed, asset): "100000" for feed in "ab" for asset in ("USDT", "BTC", "USDC", "ETH")}
    world = World(":memory:", config(markets=markets, balances=balances)).start()
    detector.on_balances(Balances(strategy="test", at_ns=START, available=world.engine.available()), START)
    sightings = []
    for each in books(dice, markets):
        world.engine.on_batch(each, START)
        sightings += detector.on_batch(each, START)
    world.store.close()
    return [(world, sighting.opportunity) for sighting in sightings if sighting.opportunity is not None]
