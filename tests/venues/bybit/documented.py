"""Examples from Bybit's own documents, word for word but for white space and the ellipses they leave out.

Sources: bybit-exchange.github.io/docs/v5, "WebSocket Stream → Public → Orderbook" (the times are in the frames), "Connect",
"Market → Get Instruments Info" (2025-01-02 linear, 2025-10-09 spot), "Market → Get Orderbook".
"""

from __future__ import annotations

SNAPSHOT = b"""{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT",
"b":[["16493.50","0.006"],["16493.00","0.100"]],"a":[["16611.00","0.029"],["16612.00","0.213"]],
"u":18521288,"seq":7961638724},"cts":1672304484976}"""

DELTA = b"""{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1687940967466,"data":{"s":"BTCUSDT",
"b":[["30247.20","30.028"],["30245.40","0.224"],["30242.10","1.593"],["30240.30","1.305"],["30240.00","0"]],
"a":[["30248.70","0"],["30249.30","0.892"],["30249.50","1.778"],["30249.60","0"],["30251.90","2.947"],["30252.20","0.659"],
["30252.50","4.591"]],"u":177400507,"seq":66544703342},"cts":1687940967464}"""

PONGS = (
    b'{"success":true,"ret_msg":"pong","conn_id":"0970e817-426e-429a-a679-ff7f55e0b16a","op":"ping"}',
    b'{"req_id":"test","op":"pong","args":["1675418560633"],"conn_id":"cfcb4ocsvfriu23r3er0-1b"}',
)

SPOT_INSTRUMENT = b"""{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"symbolId":9,"symbol":"BTCUSDT",
"baseCoin":"BTC","quoteCoin":"USDT","innovation":"0","status":"Trading","marginTrading":"utaOnly","stTag":"0",
"lotSizeFilter":{"basePrecision":"0.000001","quotePrecision":"0.0000001","minOrderQty":"0.000011","maxOrderQty":"83",
"minOrderAmt":"5","maxOrderAmt":"8000000","maxLimitOrderQty":"83","maxMarketOrderQty":"41.5",
"postOnlyMaxLimitOrderSize":"60000"},"priceFilter":{"tickSize":"0.1"},
"riskParameters":{"priceLimitRatioX":"0.005","priceLimitRatioY":"0.01"},"symbolType":""}]},
"retExtInfo":{},"time":1760027412300}"""

LINEAR_INSTRUMENT = b"""{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"symbol":"BTCUSDT","symbolId":5,
"contractType":"LinearPerpetual","status":"Trading","baseCoin":"BTC","quoteCoin":"USDT","launchTime":"1585526400000",
"deliveryTime":"0","deliveryFeeRate":"","priceScale":"2",
"leverageFilter":{"minLeverage":"1","maxLeverage":"100.00","leverageStep":"0.01"},
"priceFilter":{"minPrice":"0.10","maxPrice":"1999999.80","tickSize":"0.10"},
"lotSizeFilter":{"maxOrderQty":"1190.000","minOrderQty":"0.001","qtyStep":"0.001","postOnlyMaxOrderQty":"1190.000",
"maxMktOrderQty":"500.000","minNotionalValue":"5"},"unifiedMarginTrade":true,"fundingInterval":480,"settleCoin":"USDT",
"copyTrading":"both","upperFundingRate":"0.00375","lowerFundingRate":"-0.00375","isPreListing":false,"preListingInfo":null,
"riskParameters":{"priceLimitRatioX":"0.01","priceLimitRatioY":"0.02"},"symbolType":""}],"nextPageCursor":""},
"retExtInfo":{},"time":1735809771618}"""

PRE_MARKET_INSTRUMENT = b"""{"retCode":0,"retMsg":"OK","result":{"category":"linear","list":[{"symbol":"BIOUSDT",
"contractType":"LinearPerpetual","status":"PreLaunch","baseCoin":"BIO","quoteCoin":"USDT","launchTime":"1735032510000",
"deliveryTime":"0","deliveryFeeRate":"","priceScale":"4",
"leverageFilter":{"minLeverage":"1","maxLeverage":"5.00","leverageStep":"0.01"},
"priceFilter":{"minPrice":"0.0001","maxPrice":"1999.9998","tickSize":"0.0001"},
"lotSizeFilter":{"maxOrderQty":"70000","minOrderQty":"1","qtyStep":"1","postOnlyMaxOrderQty":"70000",
"maxMktOrderQty":"14000","minNotionalValue":"5"},"settleCoin":"USDT"}],"nextPageCursor":"first%3DBIOUSDT%26last%3DBIOUSDT"},
"retExtInfo":{},"time":1735810114435}"""

ORDER_BOOK = b"""{"retCode":0,"retMsg":"OK","result":{"s":"BTCUSDT","a":[["16638.64","0.008479"]],
"b":[["16638.27","0.305749"]],"ts":1672765737733,"u":5277055},"retExtInfo":{},"time":1672765737734}"""
