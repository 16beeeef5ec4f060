"""Where a feed's books come from: an adapter on real sockets, or ccxt.

For: one interface to both, and choosing by the feed's spec. May not: know a venue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from random import Random
from typing import Protocol

import aiohttp

from arbkube.market.instruments import Fees, Instrument
from arbkube.resources.kinds import VenueFeedSpec
from arbkube.venues.catalog import CCXT
from arbkube.venues.recording import unusable_rules
from arbkube.venues.registry import adapter as adapter_of
from arbkube.venues.rest import VenueHttpError, fetch_instruments
from arbkube.venues.session import Adapter, Endpoint, Session, SessionOptions
from arbkube.venues.transport import FeedTransport, OnChange, Tap

UNAVAILABLE: tuple[type[Exception], ...] = (VenueHttpError, aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""What `instruments` raises while a venue cannot be reached or its answer cannot be used."""


class FeedSource(Protocol):
    """The books of one feed."""

    @property
    def sessions(self) -> list[Session]:
        """One a connection; empty before `run`."""

    @property
    def reconnects(self) -> int:
        """How often a connection was opened again."""

    async def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """The venue's own trading rules of `symbols`, asked for anew. Raises one of `UNAVAILABLE`."""

    def fees(self, symbols: Sequence[str]) -> Fees:
        """The account's fees. Call after `instruments`. Raises ValueError where nobody states any."""

    async def run(self, instruments: Sequence[Instrument]) -> None:
        """Keep every book until cancelled."""

    async def close(self) -> None:
        """Let go of every connection."""


class AdapterSource:
    """A feed whose venue has an adapter."""

    def __init__(
        self, spec: VenueFeedSpec, endpoint: Endpoint, adapter: Adapter, *, rng: Random, on_change: OnChange, tap: Tap | None
    ) -> None:
        self._spec = spec
        self._adapter = adapter
        self._options = SessionOptions(
            endpoint=endpoint,
            depth=spec.depth,
            channels=frozenset(spec.channels),
            require=frozenset(spec.integrity.require),
        )
        self._rng = rng
        self._on_change = on_change
        self._tap = tap
        self._http = aiohttp.ClientSession(headers={"User-Agent": "arbkube"})
        self._transport: FeedTransport | None = None

    @property
    def sessions(self) -> list[Session]:
        return self._transport.sessions if self._transport is not None else []

    @property
    def reconnects(self) -> int:
        return sum(max(0, connection.reconnects) for connection in self._transport.connections) if self._transport else 0

    async def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        return await _sound(self._spec.venue, fetch_instruments(self._http, self._adapter, symbols, self._options.endpoint))

    def fees(self, symbols: Sequence[str]) -> Fees:
        return fees_of(self._spec) or self._adapter.default_fees

    async def run(self, instruments: Sequence[Instrument]) -> None:
        self._transport = FeedTransport(
            self._http,
            self._adapter,
            instruments,
            self._options,
            rng=self._rng,
            on_change=self._on_change,
            tap=self._tap,
        )
        await self._transport.run()

    async def close(self) -> None:
        await self._http.close()


class CcxtFeedSource:
    """A feed of venue `ccxt:ID`; its fees may be stated in the spec."""

    def __init__(self, spec: VenueFeedSpec, *, rng: Random, on_change: OnChange) -> None:
        # An extra, and heavy: only a feed that needs it pays.
        from arbkube.venues.ccxt.source import CcxtSource, options

        self._spec = spec
        require = frozenset(spec.integrity.require)
        self._source = CcxtSource(spec.venue, options(spec.depth, require=require), rng=rng, on_change=on_change)

    @property
    def sessions(self) -> list[Session]:
        return self._source.sessions

    @property
    def reconnects(self) -> int:
        return sum(connection.reconnects for connection in self._source.connections)

    async def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        return await _sound(self._spec.venue, self._source.instruments(symbols))

    def fees(self, symbols: Sequence[str]) -> Fees:
        return fees_of(self._spec) or self._source.fees(symbols)

    async def run(self, instruments: Sequence[Instrument]) -> None:
        await self._source.run(instruments)

    async def close(self) -> None:
        await self._source.close()


async def _sound(venue: str, asked: Awaitable[list[Instrument]]) -> list[Instrument]:
    """The rules asked for, if orders can be made by them: whoever divides by a lot must find one. Raises ValueError."""
    try:
        found = await asked
    except ArithmeticError as error:
        raise ValueError(f"{venue} states a rule that is no number") from error
    unusable = unusable_rules(found)
    if unusable:
        raise ValueError(f"{venue} states rules that make no sense: {unusable}")
    return found


def fees_of(spec: VenueFeedSpec) -> Fees | None:
    """The fees that the spec states, if it does."""
    fees = spec.fees
    if fees is None:
        return None
    return Fees(maker=fees.maker.fraction, taker=fees.taker.fraction, charged_in=fees.charged_in, source="spec")


def endpoint_of(name: str, spec: VenueFeedSpec, adapter: Adapter, simulator: str) -> Endpoint:
    """Where the feed connects: the simulator if it asks for it, its override, or the venue's own addresses."""
    if spec.simulated is not None:
        if not simulator:
            raise ValueError(f"feed {name} is simulated, but no simulator was given: pass --simulator URL")
        return Endpoint(f"ws{simulator.removeprefix('http')}/{name}", f"{simulator}/{name}")
    override = spec.endpoint
    return Endpoint(
        (override and override.websocket) or adapter.endpoint.websocket, (override and override.rest) or adapter.endpoint.rest
    )


def open_source(
    name: str, spec: VenueFeedSpec, *, simulator: str, rng: Random, on_change: OnChange, tap: Tap | None = None
) -> FeedSource:
    """The source of a feed, to be closed by the caller; call within a running event loop.

    `tap` hears every raw event, where there are raw events: not with ccxt. Raises ValueError, and ImportError with the remedy
    when ccxt is wanted and not installed.
    """
    if spec.venue.startswith(CCXT):
        return CcxtFeedSource(spec, rng=rng, on_change=on_change)
    adapter = adapter_of(spec.venue, spec.market)
    return AdapterSource(spec, endpoint_of(name, spec, adapter, simulator), adapter, rng=rng, on_change=on_change, tap=tap)
