"""Examples from OKX's own documents, word for word but for white space and the ellipses they leave out.

Sources: okx.com/docs-v5, "WS / Order book channel" (as of 2026-07-07), "Public Data → Get instruments" (2026-07-03),
"Overview → WebSocket → Connect" (2026-07-08); the perpetuals' rows are live answers of 2026-08-01, shortened; CAPTURED are
frames of SOL-USDT seen on the wire on 2026-09-26, cut to two levels.
"""

from __future__ import annotations

SNAPSHOT = b"""{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{
"asks":[["8476.98","415","0","13"],["8477","7","0","2"],["8477.34","85","0","1"],["8477.56","1","0","1"],
["8505.84","8","0","1"],["8506.37","85","0","1"],["8506.49","2","0","1"],["8506.96","100","0","2"]],
"bids":[["8476.97","256","0","12"],["8475.55","101","0","1"],["8475.54","100","0","1"],["8475.3","1","0","1"],
["8447.32","6","0","1"],["8447.02","246","0","1"],["8446.83","24","0","1"],["8446","95","0","3"]],
"ts":"1597026383085","checksum":0,"prevSeqId":-1,"seqId":123456}]}"""

UPDATE = b"""{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{
"asks":[["8476.98","415","0","13"],["8477","7","0","2"],["8477.34","85","0","1"],["8477.56","1","0","1"],
["8505.84","8","0","1"],["8506.37","85","0","1"],["8506.49","2","0","1"],["8506.96","100","0","2"]],
"bids":[["8476.97","256","0","12"],["8475.55","101","0","1"],["8475.54","100","0","1"],["8475.3","1","0","1"],
["8447.32","6","0","1"],["8447.02","246","0","1"],["8446.83","24","0","1"],["8446","95","0","3"]],
"ts":"1597026383085","checksum":0,"prevSeqId":123456,"seqId":123457}]}"""

TOP = b"""{"arg":{"channel":"bbo-tbt","instId":"BCH-USDT-SWAP"},"data":[{"asks":[["111.06","55154","0","2"]],
"bids":[["111.05","57745","0","2"]],"ts":"1670324386802","seqId":363996337}]}"""

SUBSCRIBED = b'{"id":"1512","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}'

REFUSED = rb"""{"id":"1512","event":"error","code":"60012","msg":"Invalid request: {\"op\": \"subscribe\", \"argss\":[{
\"channel\" : \"books\", \"instId\" : \"BTC-USD-191227\"}]}","connId":"a4d3ae55"}""".replace(b"\n", b" ")

SEQUENCE = ((-1, 10), (10, 15), (15, 15), (15, 3), (3, 5))
"""(prevSeqId, seqId) of the document's example: snapshot, normal, no update, sequence reset, normal."""

CAPTURED = (
    b'{"arg":{"channel":"books","instId":"SOL-USDT"},"action":"snapshot","data":[{"asks":[["120.67","90.475897","0","6"],'
    b'["120.68","83.806786","0","7"]],"bids":[["120.66","28.448458","0","3"],["120.65","46.716665","0","3"]],'
    b'"ts":"1790394877200","checksum":0,"seqId":32032594283,"prevSeqId":-1}]}',
    b'{"arg":{"channel":"books","instId":"SOL-USDT"},"action":"update","data":[{"asks":[["120.67","60.475897","0","5"]],'
    b'"bids":[["120.66","0","0","0"]],"ts":"1790394877300","checksum":0,"seqId":32032594315,"prevSeqId":32032594283}]}',
)

SPOT_INSTRUMENTS = b"""{"code":"0","msg":"","data":[{"alias":"","auctionEndTime":"","baseCcy":"BTC","category":"1","ctMult":"",
"ctType":"","ctVal":"","ctValCcy":"","contTdSwTime":"1704876947000","expTime":"","futureSettlement":false,"groupId":"1",
"instFamily":"","instId":"BTC-USDT","instType":"SPOT","lever":"10","listTime":"1606468572000","lotSz":"0.00000001",
"maxIcebergSz":"9999999999.0000000000000000","maxLmtAmt":"1000000","maxLmtSz":"9999999999","maxMktAmt":"1000000","maxMktSz":"",
"maxStopSz":"","maxTriggerSz":"9999999999.0000000000000000","maxTwapSz":"9999999999.0000000000000000","minSz":"0.00001",
"optType":"","openType":"call_auction","preMktSwTime":"","quoteCcy":"USDT","tradeQuoteCcyList":["USDT"],"settleCcy":"",
"state":"live","ruleType":"normal","stk":"","tickSz":"0.1","uly":"","instIdCode":1000000000,"instCategory":"1",
"upcChg":[{"param":"tickSz","newValue":"0.0001","effTime":"1704876947000"}]}]}"""

SWAP_INSTRUMENTS = b"""{"code":"0","msg":"","data":[
{"instId":"BTC-USDT-SWAP","instType":"SWAP","instFamily":"BTC-USDT","uly":"BTC-USDT","ctType":"linear","ctVal":"0.01",
"ctValCcy":"BTC","ctMult":"1","settleCcy":"USDT","tickSz":"0.1","lotSz":"0.01","minSz":"0.01","state":"live"},
{"instId":"BTC-USD-SWAP","instType":"SWAP","instFamily":"BTC-USD","uly":"BTC-USD","ctType":"inverse","ctVal":"100",
"ctValCcy":"USD","ctMult":"1","settleCcy":"BTC","tickSz":"0.1","lotSz":"0.1","minSz":"0.1","state":"live"},
{"instId":"PEPE-USDT-SWAP","instType":"SWAP","instFamily":"PEPE-USDT","uly":"PEPE-USDT","ctType":"linear","ctVal":"10000000",
"ctValCcy":"PEPE","ctMult":"1","settleCcy":"USDT","tickSz":"0.000000001","lotSz":"0.1","minSz":"0.1","state":"live"}]}"""
