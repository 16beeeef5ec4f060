"""Binance's trading rules, from dated examples of its own documents."""

from __future__ import annotations

from decimal import Decimal

import pytest

from arbkube.market.instruments import FeeAsset, MarketType
from arbkube.venues.binance.adapter import SpotAdapter, UsdMAdapter
from arbkube.venues.session import Endpoint

# developers.binance.com, "Exchange Information" (USDⓈ-M), response example, read 2026-11-21, without its comments and what
# it has besides `symbols`. A delivery contract is added in the same form.
USDM = b"""{"exchangeFilters":[],"serverTime":1565613908500,"symbols":[{"symbol":"BLZUSDT","pair":"BLZUSDT",
"contractType":"PERPETUAL","deliveryDate":4133404800000,"onboardDate":1598252400000,"status":"TRADING",
"maintMarginPercent":"2.5000","requiredMarginPercent":"5.0000","baseAsset":"BLZ","quoteAsset":"USDT","marginAsset":"USDT",
"pricePrecision":5,"quantityPrecision":0,"baseAssetPrecision":8,"quotePrecision":8,"underlyingType":"COIN",
"underlyingSubType":["STORAGE"],"settlePlan":0,"triggerProtect":"0.15","filters":[
{"filterType":"PRICE_FILTER","maxPrice":"300","minPrice":"0.0001","tickSize":"0.0001"},
{"filterType":"LOT_SIZE","maxQty":"10000000","minQty":"1","stepSize":"1"},
{"filterType":"MARKET_LOT_SIZE","maxQty":"590119","minQty":"1","stepSize":"1"},
{"filterType":"MAX_NUM_ORDERS","limit":200},{"filterType":"MAX_NUM_ALGO_ORDERS","limit":10},
{"filterType":"MIN_NOTIONAL","notional":"5.0"}]},
{"symbol":"BLZUSDT_261225","contractType":"CURRENT_QUARTER","status":"TRADING","baseAsset":"BLZ","quoteAsset":"USDT",
"filters":[]}]}"""
# dev.binance.vision, "Symbol Exchange info" (an answer of /api/v3/exchangeInfo), read 2026-11-21, and the same under the filter
# NOTIONAL that has taken the place of MIN_NOTIONAL, halted.
SPOT = b"""{"symbols":[{"symbol":"BNBUSDT","status":"TRADING","baseAsset":"BNB","baseAssetPrecision":8,"quoteAsset":"USDT",
"quotePrecision":8,"quoteAssetPrecision":8,"icebergAllowed":true,"isSpotTradingAllowed":true,"filters":[
{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"10000.00000000","tickSize":"0.01000000"},
{"filterType":"PERCENT_PRICE","multiplierUp":"5","multiplierDown":"0.2","avgPriceMins":5},
{"filterType":"LOT_SIZE","minQty":"0.01000000","maxQty":"9000.00000000","stepSize":"0.01000000"},
{"filterType":"MIN_NOTIONAL","minNotional":"10.00000000","applyToMarket":true,"avgPriceMins":5},
{"filterType":"MARKET_LOT_SIZE","minQty":"0.00000000","maxQty":"1000.00000000","stepSize":"0.00000000"}]},
{"symbol":"ETHUSDT","status":"BREAK","baseAsset":"ETH","quoteAsset":"USDT","filters":[
{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},
{"filterType":"LOT_SIZE","minQty":"0.00010000","maxQty":"9000.00000000","stepSize":"0.00010000"},
{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000"}]}]}"""

AT = Endpoint("ws://host", "http://host")


def test_spot_rules() -> None:
    adapter = SpotAdapter()
    bnb, eth = adapter.parse_instruments([SPOT], ["BNB-USDT", "ETH-USDT"])
    assert (bnb.native, bnb.tick, bnb.lot, bnb.min_quantity) == ("BNBUSDT", Decimal("0.01"), Decimal("0.01"), Decimal("0.01"))
    assert (bnb.min_notional, eth.min_notional) == (Decimal(10), Decimal(5))
    assert (bnb.tradable, eth.tradable) == (True, False)
    assert adapter.default_fees.charged_in is FeeAsset.RECEIVED


def test_usdm_rules_are_of_perpetuals_only() -> None:
    adapter = UsdMAdapter()
    (blz,) = adapter.parse_instruments([USDM], ["BLZ-USDT-PERP"])
    assert (blz.native, blz.market) == ("BLZUSDT", MarketType.PERPETUAL)
    assert (blz.tick, blz.lot, blz.min_quantity, blz.min_notional) == (Decimal("0.0001"), Decimal(1), Decimal(1), Decimal(5))
    with pytest.raises(ValueError, match="binance Perpetual does not list BTC-USDT-PERP"):
        adapter.parse_instruments([USDM], ["BLZ-USDT-PERP", "BTC-USDT-PERP"])


def test_addresses() -> None:
    spot, usdm = SpotAdapter(), UsdMAdapter()
    assert spot.instrument_urls(["BTC-USDT", "ETH-USDT"], AT) == [
        "http://host/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D"
    ]
    assert usdm.instrument_urls(["BTC-USDT-PERP"], AT) == ["http://host/fapi/v1/exchangeInfo"]
    (bnb, _) = spot.parse_instruments([SPOT], ["BNB-USDT", "ETH-USDT"])
    assert spot.snapshot_url(bnb, 20, AT) == "http://host/api/v3/depth?symbol=BNBUSDT&limit=100"
    assert spot.snapshot_url(bnb, 99_999, AT) == "http://host/api/v3/depth?symbol=BNBUSDT&limit=5000"
