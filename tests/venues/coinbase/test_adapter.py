"""Coinbase's trading rules and REST book, in the documented form."""

from __future__ import annotations

from decimal import Decimal

import pytest

from arbkube.market.instruments import FeeAsset
from arbkube.venues.coinbase.adapter import CoinbaseAdapter
from arbkube.venues.session import Endpoint

# docs.cdp.coinbase.com, "List Public Products", response example, read 2026-11-21, up to `new_at`. Its placeholders stand as
# they are; `product_type` and `status` are none that exists.
DOCUMENTED = b"""{"products":[{"product_id":"BTC-USD","price":"140.21","price_percentage_change_24h":"9.43%",
"volume_24h":"1908432","volume_percentage_change_24h":"9.43%","base_increment":"0.00000001","quote_increment":"0.00000001",
"quote_min_size":"0.00000001","quote_max_size":"1000","base_min_size":"0.00000001","base_max_size":"1000",
"base_name":"Bitcoin","quote_name":"US Dollar","watched":true,"is_disabled":false,"new":true,"status":"<string>",
"cancel_only":true,"limit_only":true,"post_only":true,"trading_disabled":false,"auction_mode":true,
"product_type":"UNKNOWN_PRODUCT_TYPE","quote_currency_id":"USD","base_currency_id":"BTC","fcm_trading_session_details":{
"is_session_open":true,"open_time":"<string>","close_time":"<string>"},"mid_market_price":"140.22","alias":"BTC-USD",
"alias_to":["BTC-USDC"],"base_display_symbol":"BTC","quote_display_symbol":"USD","view_only":true,
"price_increment":"0.00000001","display_name":"BTC PERP","product_venue":"neptune",
"approximate_quote_24h_volume":"1908432","new_at":"2021-07-01T00:00:00.000Z"}]}"""
# The same with values as a live product has them.
PRODUCTS = (
    DOCUMENTED.replace(b'"UNKNOWN_PRODUCT_TYPE"', b'"SPOT"')
    .replace(b'"status":"<string>"', b'"status":"online"')
    .replace(b'"cancel_only":true', b'"cancel_only":false')
    .replace(b'"post_only":true', b'"post_only":false')
    .replace(b'"auction_mode":true', b'"auction_mode":false')
    .replace(b'"price_increment":"0.00000001"', b'"price_increment":"0.01"')
    .replace(b'"quote_min_size":"0.00000001"', b'"quote_min_size":"1"')
)
# docs.cdp.coinbase.com, "Get Public Product Book", the documented structure, read 2026-11-21.
BOOK = b"""{"pricebook":{"product_id":"BTC-USD","bids":[{"price":"67000.01","size":"0.5"},{"price":"67000","size":"1"}],
"asks":[{"price":"67000.02","size":"0.25"}],"time":"2026-11-21T10:00:00.250Z"},"last":"67000.01","mid_market":"67000.015",
"spread_bps":"0.0015","spread_absolute":"0.01"}"""

ADAPTER = CoinbaseAdapter()
AT = Endpoint("ws://host", "http://host")


def test_rules() -> None:
    (btc,) = ADAPTER.parse_instruments([PRODUCTS], ["BTC-USD"])
    assert (btc.symbol, btc.native, btc.base, btc.quote) == ("BTC-USD", "BTC-USD", "BTC", "USD")
    assert (btc.tick, btc.lot) == (Decimal("0.01"), Decimal("1e-8"))
    assert (btc.min_quantity, btc.min_notional) == (Decimal("1e-8"), Decimal(1))
    assert btc.tradable


@pytest.mark.parametrize("flag", ["is_disabled", "trading_disabled", "cancel_only", "post_only", "auction_mode"])
def test_a_product_that_takes_no_taker_is_not_tradable(flag: str) -> None:
    body = PRODUCTS.replace(f'"{flag}":false'.encode(), f'"{flag}":true'.encode())
    assert not ADAPTER.parse_instruments([body], ["BTC-USD"])[0].tradable


def test_what_is_not_listed_is_named() -> None:
    with pytest.raises(ValueError, match="coinbase Spot does not list BTC-USD, X-USD"):
        ADAPTER.parse_instruments([DOCUMENTED], ["BTC-USD", "X-USD"])


def test_addresses() -> None:
    assert ADAPTER.instrument_urls(["BTC-USD", "ETH-USD"], AT) == [
        "http://host/api/v3/brokerage/market/products?product_type=SPOT&product_ids=BTC-USD&product_ids=ETH-USD"
    ]
    (btc,) = ADAPTER.parse_instruments([PRODUCTS], ["BTC-USD"])
    assert ADAPTER.snapshot_url(btc, 20, AT) == "http://host/api/v3/brokerage/market/product_book?product_id=BTC-USD&limit=20"


def test_rest_book() -> None:
    snapshot = ADAPTER.parse_snapshot(BOOK)
    assert snapshot.bids == (("67000.01", "0.5"), ("67000", "1"))
    assert snapshot.asks == (("67000.02", "0.25"),)
    assert snapshot.venue_ns == 1795255200250000000


def test_fees_are_dated_and_charged_in_quote() -> None:
    fees = ADAPTER.default_fees
    assert (fees.maker, fees.taker, fees.charged_in) == (Decimal("0.006"), Decimal("0.012"), FeeAsset.QUOTE)
    assert "2026-11" in fees.source
