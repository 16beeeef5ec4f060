"""Kraken's trading rules and REST book, from dated examples of its own documents."""

from __future__ import annotations

from decimal import Decimal

import pytest

from arbkube.venues.kraken.adapter import KrakenAdapter
from arbkube.venues.session import Endpoint

# docs.kraken.com, "Get Tradable Asset Pairs", response example, read 2026-11-21: its first pair, fee ladders left out.
# XXBTZUSD (figures of "Instruments") and XDGUSD are added in the same form, for the names that WebSocket v2 changes.
PAIRS = b"""{"error":[],"result":{"XETHXXBT":{"altname":"ETHXBT","wsname":"ETH/XBT","aclass_base":"currency","base":"XETH",
"aclass_quote":"currency","quote":"XXBT","lot":"unit","cost_decimals":6,"pair_decimals":5,"lot_decimals":8,"lot_multiplier":1,
"fee_volume_currency":"ZUSD","margin_call":80,"margin_stop":40,"ordermin":"0.01","costmin":"0.00002","tick_size":"0.00001",
"status":"online","long_position_limit":1100,"short_position_limit":400},
"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","aclass_base":"currency","base":"XXBT","aclass_quote":"currency",
"quote":"ZUSD","lot":"unit","cost_decimals":5,"pair_decimals":1,"lot_decimals":8,"lot_multiplier":1,
"ordermin":"0.0001","costmin":"0.5","tick_size":"0.1","status":"online"},
"XDGUSD":{"altname":"XDGUSD","wsname":"XDG/USD","base":"XXDG","quote":"ZUSD","pair_decimals":7,"lot_decimals":8,
"ordermin":"50","costmin":"0.5","tick_size":"0.0000001","status":"cancel_only"}}}"""
# docs.kraken.com, "Get Order Book", response example, read 2026-11-21, cut to two levels a side.
DEPTH = b"""{"error":[],"result":{"XXBTZUSD":{"asks":[["30384.10000","2.059",1688671659],["30387.90000","1.500",1688671380]],
"bids":[["30297.00000","1.115",1688671636],["30296.70000","2.002",1688671674]]}}}"""
ERROR = b'{"error":["EGeneral:Too many requests"]}'

ADAPTER = KrakenAdapter()
AT = Endpoint("ws://host", "http://host")


def test_rules_under_the_names_of_websocket_v2() -> None:
    btc, cross, doge = ADAPTER.parse_instruments([PAIRS], ["BTC-USD", "ETH-BTC", "DOGE-USD"])
    assert (btc.native, btc.base, btc.quote) == ("BTC/USD", "BTC", "USD")
    assert (btc.tick, btc.lot) == (Decimal("0.1"), Decimal("1e-8"))
    assert (btc.min_quantity, btc.min_notional) == (Decimal("0.0001"), Decimal("0.5"))
    assert (cross.native, cross.tick) == ("ETH/BTC", Decimal("0.00001"))
    assert doge.native == "DOGE/USD"
    assert [instrument.tradable for instrument in (btc, cross, doge)] == [True, True, False]


def test_what_is_not_listed_is_named() -> None:
    with pytest.raises(ValueError, match="kraken Spot does not list XBT-USD, NO-PE"):
        ADAPTER.parse_instruments([PAIRS], ["BTC-USD", "XBT-USD", "NO-PE"])
    with pytest.raises(ValueError, match="Too many requests"):
        ADAPTER.parse_instruments([ERROR], ["BTC-USD"])


def test_rest_book() -> None:
    (btc,) = ADAPTER.parse_instruments([PAIRS], ["BTC-USD"])
    assert ADAPTER.snapshot_url(btc, 20, AT) == "http://host/0/public/Depth?pair=XBTUSD&count=20"
    snapshot = ADAPTER.parse_snapshot(DEPTH)
    assert snapshot.bids[0] == ("30297.00000", "1.115")
    assert snapshot.asks[1] == ("30387.90000", "1.500")
    with pytest.raises(ValueError, match="Too many requests"):
        ADAPTER.parse_snapshot(ERROR)
