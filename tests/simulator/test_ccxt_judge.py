"""An independent judge of our adapters and our simulator: ccxt's streaming classes, unchanged but for their URLs.

ccxt and our adapter watch the same simulated venue over real sockets. Whenever either has a new book, during updates, it is
held against the venue's true book of that very update.

Checksums are on where ccxt can compute them: not for Kraken, whose WebSocket v2 sends numbers, which ccxt's Python class parses
to floats and then tries to split as text (4.5.64: `kraken.format_number`); it turns that check off by default. Kraken's
checksums are computed by our adapter here, and held against the venue's own worked example in `test_exchanges`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arbkube.market.instruments import MarketType
from arbkube.market.verified import VerifiedBook
from tests.simulator.support import Key, KeyTap, Oracle, feed, running, time_key, until, watching

ccxtpro = pytest.importorskip("ccxt.pro", reason="ccxt is an extra: install arbkube[ccxt]")

POINTS = 1000
RATE = 400
DEPTH = 50
"""Bybit's smallest window above one level; the others show more."""

JUDGES: dict[str, tuple[str, MarketType, dict[str, object], int | None]] = {
    # ccxt's class: our venue and market, what it is told besides its URLs, the limit it subscribes with
    "binance": ("binance", MarketType.SPOT, {"fetchMarkets": {"types": ["spot"]}}, None),
    "binanceusdm": ("binance", MarketType.PERPETUAL, {}, None),
    "coinbase": ("coinbase", MarketType.SPOT, {}, None),
    "kraken": ("kraken", MarketType.SPOT, {"watchOrderBook": {"checksum": False}}, 100),
    "okx": ("okx", MarketType.SPOT, {"fetchMarkets": {"types": ["spot"]}}, None),
    "bybit": ("bybit", MarketType.SPOT, {"fetchMarkets": {"types": ["spot"]}}, 50),
}


def rebased(tree: Any, base: str) -> Any:
    """Every URL of `tree` with its scheme and host replaced."""
    if isinstance(tree, dict):
        return {name: rebased(branch, base) for name, branch in tree.items()}
    if isinstance(tree, str) and "://" in tree:
        scheme, _, rest = tree.partition("://")
        _, _, path = rest.partition("/")
        return f"{'ws' if scheme.startswith('ws') else 'http'}://{base}" + (f"/{path}" if path else "")
    return tree


def key_of(venue: str, book: Any) -> Key:
    """Which update ccxt's book is at, by what its class keeps of it."""
    if venue in ("binance", "okx"):
        return Key(book["nonce"])
    if venue == "bybit":
        return Key(book["timestamp"] - 1, 10**6)
    return time_key(book["datetime"])


@pytest.mark.parametrize("judge", JUDGES)
async def test_ccxt_our_adapter_and_the_oracle_agree_during_updates(judge: str) -> None:
    venue, market, options, limit = JUDGES[judge]
    one = feed(venue, market, rate=RATE)
    symbol = one.instruments[0]
    async with running(one, history=400) as simulator:
        oracle = Oracle(simulator, one)
        ours: set[Key] = set()
        theirs: set[Key] = set()
        tap = KeyTap(simulator, one)

        def check_ours(book: VerifiedBook) -> None:
            if book.symbol != symbol or book.withheld is not None:
                return
            bids, asks, _ = book.levels(DEPTH)
            proven = 10 if venue == "kraken" else DEPTH
            assert len(bids) == len(asks) == proven
            key = tap.last[symbol]
            assert (bids, asks) in [(truth.bids, truth.asks) for truth in oracle.truths(symbol, key, proven)], (key, bids[:3])
            ours.add(key)

        failures: list[BaseException] = []

        def guarded(book: VerifiedBook) -> None:
            try:
                check_ours(book)
            except AssertionError as error:
                failures.append(error)

        async with watching(simulator, one, on_book=guarded, tap=tap, depth=DEPTH):
            exchange = getattr(ccxtpro, judge)({"options": {"watchOrderBook": {"checksum": True}, **options}})
            exchange.urls["api"] = rebased(exchange.urls["api"], simulator.endpoint(one.name).rest.removeprefix("http://"))
            try:
                async with asyncio.timeout(60):
                    await exchange.load_markets()
                    unified = next(name for name, row in exchange.markets.items() if row["base"] == "BTC")
                    await exchange.watch_order_book(unified, limit)
                    while len(theirs) < POINTS:
                        book = await exchange.watch_order_book(unified, limit)
                        if venue == "kraken" and book["datetime"] is None:
                            continue  # ccxt keeps no time of a snapshot
                        key = key_of(venue, book)
                        truths = oracle.truths(symbol, key, DEPTH)
                        seen = [[tuple(level[:2]) for level in book[side][:DEPTH]] for side in ("bids", "asks")]
                        true = [[[(float(p), float(s)) for p, s in side] for side in (t.bids, t.asks)] for t in truths]
                        assert seen in true, (key, len(truths), seen[0][:3])
                        theirs.add(key)
                    await until(lambda: failures or len(ours) >= POINTS, what="our adapter has seen as much")
            finally:
                await exchange.close()
        assert not failures, failures[0]
        assert len(ours) >= POINTS
        assert len(theirs) >= POINTS
