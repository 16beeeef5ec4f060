"""The latest books, and what an amount of an asset is worth on them.

For: conservative marks: what we own counts at the lowest best bid, what we owe at the highest best ask, of all fresh books of
the route to the profit asset. May not: do I/O, read a clock, or look deeper than the best level.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from arbkube.detection.ladder import ONE, down
from arbkube.market.book import Level
from arbkube.market.frames import BookFrame, FrameBatch
from arbkube.market.instruments import Market, MarketKey, MarketType, parse_symbol

MAX_HOPS = 3


def position_asset(symbol: str) -> str:
    """What a position in `symbol` is called: the base asset, or a perpetual's own symbol (it cannot be delivered for spot)."""
    base, _, market = parse_symbol(symbol)
    return symbol if market is MarketType.PERPETUAL else base


class LatestBooks:
    """The newest frame of each market and when its connection last proved to be alive, in the bus's time."""

    def __init__(self) -> None:
        self._frames: dict[MarketKey, BookFrame] = {}
        self._alive_ns: dict[MarketKey, int] = {}
        self._epochs: dict[str, int] = {}
        self._offsets: dict[str, int | None] = {}

    def apply(self, batch: FrameBatch) -> tuple[BookFrame, ...]:
        """Take a batch in; returns the frames that were newer than what was held.

        A new epoch is a new process of the feed: what the old one said is void, lest its pulses keep old books alive.
        """
        feed = batch.feed
        if self._epochs.get(feed) != batch.epoch:
            self._epochs[feed] = batch.epoch
            for known in (self._frames, self._alive_ns):
                for key in [key for key in known if key[0] == feed]:
                    known.pop(key)
        self._offsets[feed] = batch.clock_offset_ns
        for symbol, alive_ns in batch.alive_ns.items():
            self._alive_ns[(feed, symbol)] = alive_ns
        taken = []
        for frame in batch.frames:
            held = self._frames.get((feed, frame.symbol))
            if held is None or frame.seq > held.seq:
                self._frames[(feed, frame.symbol)] = frame
                taken.append(frame)
        return tuple(taken)

    def verified(self, key: MarketKey) -> BookFrame | None:
        """The market's newest frame, unless there is none or it is withheld."""
        frame = self._frames.get(key)
        return None if frame is None or frame.withheld else frame

    def age_ns(self, key: MarketKey, now_ns: int) -> int | None:
        """How long ago the book's connection proved to be alive; None while unknown (no pulse yet, or no measured clock)."""
        alive_ns, offset_ns = self._alive_ns.get(key), self._offsets.get(key[0])
        return None if alive_ns is None or offset_ns is None else now_ns - alive_ns + offset_ns

    def fresh(self, key: MarketKey, now_ns: int, max_age_ns: int) -> bool:
        """Whether the book's age is known and at most `max_age_ns`. As far in the future is no better: a clock has leapt."""
        age_ns = self.age_ns(key, now_ns)
        return age_ns is not None and -max_age_ns <= age_ns <= max_age_ns

    def received_ns(self, key: MarketKey) -> int | None:
        """When the book's last event was received; None without a verified book or a measured clock."""
        frame, offset_ns = self.verified(key), self._offsets.get(key[0])
        return None if frame is None or offset_ns is None else frame.recv_ns - offset_ns

    def best(self, key: MarketKey) -> tuple[Level, Level] | None:
        """Best bid and ask of a verified book with both sides."""
        frame = self.verified(key)
        return (frame.bids[0], frame.asks[0]) if frame is not None and frame.bids and frame.asks else None

    def ask_price(self, key: MarketKey) -> Decimal | None:
        """What one unit costs now at least: how a short is valued."""
        best = self.best(key)
        return None if best is None else Decimal(best[1][0])


class _Hop(msgspec.Struct, frozen=True):
    """From one asset to another: over the markets that sell it, or (inverse) over those that it buys."""

    keys: tuple[MarketKey, ...]
    inverse: bool


class Marks:
    """Values assets in the profit asset. Routes are the shortest ones over the markets given, found once.

    `former` markets, which are no longer traded, are asked where the others know no way: what is held there keeps its worth.
    """

    def __init__(self, markets: Iterable[Market], profit_asset: str, former: Iterable[Market] = ()) -> None:
        markets, former = tuple(markets), tuple(former)
        self.profit_asset = profit_asset
        self._maps = [_map_of(markets), _map_of((*markets, *former))] if former else [_map_of(markets)]
        self._routes: dict[str, tuple[_Hop, ...] | None] = {}
        self._after_fee = {market.key: ONE - market.fees.taker for market in (*former, *markets)}

    def worth(
        self,
        asset: str,
        amount: Decimal,
        books: LatestBooks,
        now_ns: int,
        max_age_ns: int | None,
        *,
        exchanged: bool = False,
    ) -> Decimal | None:
        """`amount` (below zero: owed) in the profit asset; None without a route of books at most `max_age_ns` old.

        With `max_age_ns` None the last known books count, however old. With `exchanged` it is no mark but what exchanging a
        little of it now would come to: on the best book of each step, its taker fee paid.
        """
        route = self._route(asset)
        if amount == 0 or route == ():
            return amount
        if route is None:
            return None
        for hop in route:
            price = self._price(hop, amount > 0, books, now_ns, max_age_ns, exchanged)
            if price is None:
                return None
            amount = down(amount / price if hop.inverse else amount * price)
        return amount

    def _price(
        self, hop: _Hop, owned: bool, books: LatestBooks, now_ns: int, max_age_ns: int | None, exchanged: bool
    ) -> Decimal | None:
        bid_side = owned is not hop.inverse
        found: Decimal | None = None
        for key in hop.keys:
            best = books.best(key)
            if best is None:
                continue
            if max_age_ns is not None and not books.fresh(key, now_ns, max_age_ns):
                continue
            price = Decimal(best[0][0] if bid_side else best[1][0])
            if exchanged:
                price = price * self._after_fee[key] if bid_side else price / self._after_fee[key]
            lowest = bid_side is not exchanged
            found = price if found is None else min(found, price) if lowest else max(found, price)
        return found

    def _route(self, asset: str) -> tuple[_Hop, ...] | None:
        if asset not in self._routes:
            found = (_shortest(hops, asset, self.profit_asset) for hops in self._maps)
            self._routes[asset] = next((route for route in found if route is not None), None)
        return self._routes[asset]


_Map = dict[tuple[str, str, bool], list[MarketKey]]
"""Hops from asset to asset (inverse or not) and the markets over which they lead."""


def _map_of(markets: Iterable[Market]) -> _Map:
    hops: _Map = {}
    for market in markets:
        base, quote = position_asset(market.instrument.symbol), market.instrument.quote
        hops.setdefault((base, quote, False), []).append(market.key)
        if market.instrument.market is MarketType.SPOT:
            hops.setdefault((quote, base, True), []).append(market.key)
    return hops


def _shortest(hops: _Map, asset: str, goal: str) -> tuple[_Hop, ...] | None:
    reached: dict[str, tuple[_Hop, ...]] = {asset: ()}
    for _ in range(MAX_HOPS):
        if goal in reached:
            break
        for (source, target, inverse), keys in hops.items():
            if source in reached and target not in reached:
                reached[target] = (*reached[source], _Hop(tuple(keys), inverse))
    return reached.get(goal)
