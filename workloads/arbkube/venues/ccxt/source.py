"""Books of a venue that ccxt can stream or poll.

For: `CcxtSource`, which stands where `FeedTransport` stands for venues with an adapter. ccxt keeps its sockets, its books and
its checks to itself, so that nothing here is sans-I/O and nothing can be proven: every book is the venue's word as ccxt
relays it, and a feed that requires a proof has it withheld. May not: hold keys, or be imported where ccxt is not wanted: ccxt
itself is imported when a source is made.

Liveness is the arrival of a book. ccxt tells nobody of its pings, so a market quieter than `integrity.maxAge` counts as
stale.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from random import Random
from typing import Any

import structlog

from arbkube.market.instruments import Fees, Instrument
from arbkube.market.verified import VerifiedBook
from arbkube.venues.catalog import CCXT
from arbkube.venues.ccxt import rules
from arbkube.venues.session import SECOND, UNREADABLE, Backoff, Endpoint, Session, SessionOptions

log = structlog.get_logger(__name__)

_POLL_INTERVAL_S = 1.0
_REQUEST_TIMEOUT_MS = 10_000

OnChange = Callable[[Session, Sequence[VerifiedBook]], None]


class CcxtSession(Session):
    """One instrument's book as ccxt relays it: whole books in through `polled`, nothing else."""

    def _subscribe(self, now_ns: int) -> None:
        """ccxt subscribes."""

    def _frame(self, frame: bytes, now_ns: int) -> None:
        raise ValueError("frames of ccxt's sockets are not ours")

    def _resync(self, symbol: str, now_ns: int) -> None:
        """ccxt resyncs."""


class _Watch:
    """One instrument and what became of watching it."""

    def __init__(self, instrument: Instrument, options: SessionOptions, rng: Random, venue: str) -> None:
        self.instrument = instrument
        self.session = CcxtSession([instrument], options, rng, venue)
        self.reconnects = 0
        self.backoff = Backoff(rng, base_ns=SECOND // 2, cap_ns=30 * SECOND, floor_ns=SECOND // 10)


class CcxtSource:
    """All books of one feed of venue `ccxt:ID`.

    Raises ValueError for an ID that ccxt does not know, and ImportError, with the remedy, without the extra.
    """

    def __init__(self, venue: str, options: SessionOptions, *, rng: Random, on_change: OnChange) -> None:
        self.venue = venue
        self.exchange = _exchange(venue)
        """ccxt's own object, closed by `close`."""
        self.connections: list[_Watch] = []
        self._options = options
        self._rng = rng
        self._on_change = on_change

    @property
    def sessions(self) -> list[Session]:
        return [watch.session for watch in self.connections]

    async def instruments(self, symbols: Sequence[str]) -> list[Instrument]:
        """The trading rules of `symbols`, asked for anew.

        Raises ValueError for those that are not listed or not stated in full, and OSError when the venue cannot be reached.
        """
        try:
            markets = await self.exchange.load_markets(True)
        except _failures() as error:
            raise OSError(f"{self.venue}: {type(error).__name__}: {error}") from error
        missing = [symbol for symbol in symbols if rules.unified(symbol) not in markets]
        if missing:
            raise ValueError(f"{self.venue} does not list {', '.join(missing)}")
        mode = self.exchange.precisionMode
        return [rules.instrument(self.venue, symbol, markets[rules.unified(symbol)], mode) for symbol in symbols]

    def fees(self, symbols: Sequence[str]) -> Fees:
        """The highest fees of `symbols`, after `instruments`. Raises ValueError where ccxt states none."""
        return rules.fees(self.venue, [self.exchange.markets[rules.unified(symbol)] for symbol in symbols])

    async def run(self, instruments: Sequence[Instrument]) -> None:
        """Keep every book until cancelled."""
        self.connections = [_Watch(instrument, self._options, self._rng, self.venue) for instrument in instruments]
        async with asyncio.TaskGroup() as group:
            for watch in self.connections:
                group.create_task(self._keep(watch))

    async def close(self) -> None:
        """Close ccxt's sockets."""
        await self.exchange.close()

    async def _keep(self, watch: _Watch) -> None:
        session = watch.session
        symbol = watch.instrument.symbol
        failures: tuple[type[Exception], ...] = (*_failures(), *UNREADABLE)
        streams = bool(self.exchange.has.get("watchOrderBook"))
        while True:
            try:
                if streams:
                    book = await self.exchange.watch_order_book(rules.unified(symbol))
                else:
                    book = await self.exchange.fetch_order_book(rules.unified(symbol))
                snapshot = rules.snapshot(book, watch.instrument, self._options.depth)
            except failures as error:
                watch.reconnects += 1
                log.warning("no book", venue=self.venue, symbol=symbol, error=f"{type(error).__name__}: {error}")
                session.closed(time.time_ns())
                self._tell(session)
                await asyncio.sleep(watch.backoff.next_ns() / SECOND)
                continue
            watch.backoff.reset()
            session.polled(symbol, snapshot, time.time_ns())
            session.take_actions()
            self._tell(session)
            if not streams:
                await asyncio.sleep(_POLL_INTERVAL_S)

    def _tell(self, session: Session) -> None:
        if session.changed:
            self._on_change(session, session.take_changed())


def options(depth: int, *, require: frozenset[Any] = frozenset()) -> SessionOptions:
    """What a feed may ask of ccxt: there is no address to override, ccxt has its own."""
    return SessionOptions(endpoint=Endpoint("", ""), depth=depth, require=require)


def _exchange(venue: str) -> Any:
    try:
        polling, streaming = import_module("ccxt.async_support"), import_module("ccxt.pro")
    except ImportError as error:
        raise ImportError(f"venue {venue} needs ccxt, which is not installed: pip install 'arbkube[ccxt]'") from error
    name = venue.removeprefix(CCXT)
    if name not in polling.exchanges:
        close = " or ".join(CCXT + match for match in get_close_matches(name, polling.exchanges))
        hint = f"did you mean {close}?" if close else "docs.ccxt.com lists those it knows"
        raise ValueError(f"ccxt {polling.__version__} knows no venue {name!r}: {hint}")
    made = getattr(streaming if name in streaming.exchanges else polling, name)
    return made({"enableRateLimit": True, "timeout": _REQUEST_TIMEOUT_MS})


def _failures() -> tuple[type[Exception], ...]:
    """What a venue that cannot be reached or answers nonsense makes ccxt raise."""
    base: type[Exception] = import_module("ccxt").BaseError
    return base, OSError, TimeoutError
