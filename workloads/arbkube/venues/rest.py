"""A venue's REST endpoint: the trading rules, and what sessions fetch.

For: `fetch_instruments`, and `RestGate`, which keeps a feed within what a venue bears. May not: know a venue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp
import structlog

from arbkube.market.instruments import Instrument
from arbkube.venues.session import Adapter, Endpoint

log = structlog.get_logger(__name__)

_TIMEOUT_S = 10.0
_AT_ONCE = 4
_PAUSE_S = 30.0
"""How long nothing is asked after a venue said that we ask too much, unless it says how long itself."""
_LONGEST_PAUSE_S = 3600.0


class VenueHttpError(Exception):
    """A REST answer other than 200.

    `status` is the HTTP status, `retry_after_s` what the venue said of when to come back, if it did; the message has the
    address's path and the body's beginning.
    """

    def __init__(self, url: str, status: int, body: bytes, retry_after_s: float | None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        super().__init__(f"HTTP {status} from {url.split('?')[0]}: {body[:200].decode(errors='replace')}")


async def get(http: aiohttp.ClientSession, url: str) -> bytes:
    """The body of `url`. Raises VenueHttpError, aiohttp.ClientError or TimeoutError."""
    async with http.get(url, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as response:
        body = await response.read()
        if response.status != 200:
            after = response.headers.get("Retry-After", "")
            raise VenueHttpError(url, response.status, body, float(after) if after.isdecimal() else None)
        return body


async def fetch_instruments(
    http: aiohttp.ClientSession, adapter: Adapter, symbols: Sequence[str], endpoint: Endpoint
) -> list[Instrument]:
    """The venue's own trading rules of `symbols`. Raises as `get`, and ValueError for symbols it does not list."""
    bodies = [await get(http, url) for url in adapter.instrument_urls(symbols, endpoint)]
    return adapter.parse_instruments(bodies, symbols)


class RestGate:
    """One feed's way to its venue's REST endpoint: few requests at once, and none while the venue wants to be left alone."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._pause_until = 0.0

    async def get(self, url: str) -> bytes | None:
        """The body of `url`, or None where there is none."""
        async with self._places:
            while (pause := self._pause_until - time.monotonic()) > 0:  # noqa: ASYNC110 — it may have grown meanwhile
                await asyncio.sleep(pause)
            try:
                return await get(self._http, url)
            except VenueHttpError as error:
                if error.status in (418, 429):
                    asked = _PAUSE_S if error.retry_after_s is None else error.retry_after_s
                    self._pause_until = time.monotonic() + min(asked, _LONGEST_PAUSE_S)
                log.warning("REST request refused", error=str(error))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("REST request failed", url=url.split("?")[0], error=f"{type(error).__name__}: {error}")
            return None
