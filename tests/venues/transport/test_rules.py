"""Rules that no order could be made by end at the feed: whoever divides by a lot of zero further on would die of it."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from aiohttp import web

from arbkube.market.instruments import MarketType
from arbkube.resources.kinds import Endpoint, VenueFeedSpec
from arbkube.venues.sources import UNAVAILABLE, open_source

_ROW = {
    "instId": "BTC-USDT",
    "tickSz": "0.1",
    "lotSz": "0.00001",
    "minSz": "0.00001",
    "ctType": "",
    "ctVal": "",
    "ctMult": "",
    "ctValCcy": "",
    "settleCcy": "",
    "state": "live",
}


async def asked(**changes: str) -> list[str]:
    """The lots that a venue's rules give."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"code": "0", "msg": "", "data": [{**_ROW, **changes}]})

    app = web.Application()
    app.router.add_get("/api/v5/public/instruments", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    rest = f"http://127.0.0.1:{runner.addresses[0][1]}"
    spec = VenueFeedSpec(
        venue="okx",
        instruments=("BTC-USDT",),
        market=MarketType.SPOT,
        endpoint=Endpoint(rest=rest),
    )
    source = open_source("okx", spec, simulator="", rng=Random(1), on_change=lambda *_: None)
    try:
        return [str(instrument.lot) for instrument in await source.instruments(spec.instruments)]
    finally:
        await source.close()
        await runner.cleanup()


def test_sound_rules_pass() -> None:
    assert asyncio.run(asked()) == ["0.00001"]


@pytest.mark.parametrize("lot", ["0", "-1", "", "NaN", "Infinity", "many"])
def test_rules_that_make_no_sense_are_refused_by_name(lot: str) -> None:
    with pytest.raises(UNAVAILABLE, match="okx"):
        asyncio.run(asked(lotSz=lot))
