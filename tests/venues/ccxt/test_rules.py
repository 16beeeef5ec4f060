"""What is made of ccxt's structures: exact, complete or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from arbkube.market.instruments import FeeAsset, MarketType
from arbkube.venues.ccxt import rules

SPOT = {
    "id": "BTC_USDT",
    "symbol": "BTC/USDT",
    "base": "BTC",
    "quote": "USDT",
    "active": True,
    "maker": 0.002,
    "taker": 0.0025,
    "feeSide": "get",
    "contractSize": None,
    "precision": {"price": 0.1, "amount": 1e-06},
    "limits": {"amount": {"min": 1e-05, "max": None}, "cost": {"min": 3.0, "max": None}, "price": {"min": None}},
}
SWAP = {
    **SPOT,
    "id": "BTC_USDT_SWAP",
    "symbol": "BTC/USDT:USDT",
    "swap": True,
    "linear": True,
    "contractSize": 0.0001,
    "precision": {"price": 0.1, "amount": 1.0},
    "limits": {"amount": {"min": 1.0}, "cost": {"min": None}},
    "feeSide": "quote",
}


def test_spot_rules_are_exact() -> None:
    made = rules.instrument("ccxt:gate", "BTC-USDT", SPOT, rules.TICK_SIZE)
    assert made.market is MarketType.SPOT
    assert (made.native, made.base, made.quote) == ("BTC_USDT", "BTC", "USDT")
    assert (made.tick, made.lot, made.min_quantity, made.min_notional) == (
        Decimal("0.1"),
        Decimal("0.000001"),
        Decimal("0.00001"),
        Decimal(3),
    )
    assert made.tradable


def test_contracts_become_base_units_in_rules_and_books() -> None:
    made = rules.instrument("ccxt:gate", "BTC-USDT-PERP", SWAP, rules.TICK_SIZE)
    assert (made.contract_size, made.lot, made.min_quantity) == (Decimal("0.0001"),) * 3
    book = {"bids": [[60000.1, 25.0]], "asks": [[60000.2, 3.0, 7]], "timestamp": 1700000000123}
    snapshot = rules.snapshot(book, made, 20)
    assert snapshot.bids == (("60000.1", "0.00250"),)
    assert snapshot.asks == (("60000.2", "0.00030"),)
    assert snapshot.venue_ns == 1700000000123 * 10**6


def test_decimal_places_are_steps_too() -> None:
    market = {**SPOT, "precision": {"price": 2, "amount": 5}}
    made = rules.instrument("ccxt:x", "BTC-USDT", market, rules.DECIMAL_PLACES)
    assert (made.tick, made.lot) == (Decimal("0.01"), Decimal("0.00001"))


@pytest.mark.parametrize(
    ("market", "mode"), [({**SPOT, "precision": {"price": None, "amount": 1e-6}}, rules.TICK_SIZE), (SPOT, 3)]
)
def test_a_step_that_is_not_stated_is_not_guessed(market: rules.Market, mode: int) -> None:
    with pytest.raises(ValueError, match=r"no (price|amount) step for BTC-USDT"):
        rules.instrument("ccxt:x", "BTC-USDT", market, mode)


def test_an_inverse_contract_is_refused() -> None:
    with pytest.raises(ValueError, match="not a linear perpetual"):
        rules.instrument("ccxt:x", "BTC-USDT-PERP", {**SWAP, "linear": False}, rules.TICK_SIZE)


def test_fees_are_the_highest_and_never_guessed() -> None:
    made = rules.fees("ccxt:gate", [SPOT, {**SPOT, "taker": 0.003}])
    assert (made.maker, made.taker, made.charged_in) == (Decimal("0.002"), Decimal("0.003"), FeeAsset.RECEIVED)
    assert rules.fees("ccxt:gate", [SPOT, SWAP]).charged_in is FeeAsset.QUOTE
    with pytest.raises(ValueError, match=r"set spec\.fees"):
        rules.fees("ccxt:x", [{**SPOT, "taker": None}])


def test_tiny_numbers_are_written_out() -> None:
    made = rules.instrument("ccxt:x", "BTC-USDT", SPOT, rules.TICK_SIZE)
    snapshot = rules.snapshot({"bids": [[1e-08, 5e-07]], "asks": []}, made, 5)
    assert snapshot.bids == (("0.00000001", "0.0000005"),)
    assert snapshot.venue_ns == 0


@pytest.mark.parametrize(("symbol", "name"), [("BTC-USDT", "BTC/USDT"), ("ETH-USDC-PERP", "ETH/USDC:USDC")])
def test_unified_names(symbol: str, name: str) -> None:
    assert rules.unified(symbol) == name
