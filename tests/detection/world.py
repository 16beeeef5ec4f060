"""What the tests of detection share: markets, batches and detectors in a few words, and an exact walk of a book.

For: building inputs. The walk is written anew, level by level in fractions, so that it can disagree with the code under test.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil

from arbkube.detection.detector import Detector, DetectorConfig
from arbkube.detection.model import Balances
from arbkube.market.book import Level
from arbkube.market.frames import BookFrame, FrameBatch
from arbkube.market.instruments import FeeAsset, Fees, Instrument, Market, Side, parse_symbol
from arbkube.resources.kinds import CrossVenue, Cycle, Detection
from arbkube.resources.scalars import Bps, Duration

SECOND = 10**9
NOW = 1_700_000_000 * SECOND
PLENTY = Decimal(10**9)
CENT_OF_A_MILLIONTH = Fraction(1, 10**8)
"""What a fill's fee is rounded up to."""


def market(
    feed: str,
    symbol: str,
    *,
    taker: str = "0.001",
    charged_in: FeeAsset = FeeAsset.QUOTE,
    tick: str = "0.01",
    lot: str = "0.001",
    min_quantity: str = "0",
    min_notional: str = "0",
    tradable: bool = True,
) -> Market:
    base, quote, kind = parse_symbol(symbol)
    rules = Instrument(
        venue=feed,
        market=kind,
        symbol=symbol,
        native=symbol,
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_quantity=Decimal(min_quantity),
        min_notional=Decimal(min_notional),
        tradable=tradable,
    )
    fee = Decimal(taker)
    return Market(feed=feed, instrument=rules, fees=Fees(maker=fee, taker=fee, charged_in=charged_in, source="spec"))


def config(
    *markets: Market,
    cross_venue: CrossVenue | None = None,
    cycle: Cycle | None = None,
    profit_asset: str = "USDT",
    enter: str = "5bps",
    exit: str = "1bps",
    plausible: str = "300bps",
    skew: str = "1s",
    max_notional: str = "1000",
    max_age_ns: int = 2 * SECOND,
    max_transit_ns: int = SECOND // 2,
) -> DetectorConfig:
    feeds = {market.feed for market in markets}
    return DetectorConfig(
        strategy="s",
        strategy_uid="uid",
        revision="r1",
        cross_venue=cross_venue,
        cycle=cycle,
        profit_asset=profit_asset,
        detection=Detection(
            enter_edge=Bps(enter),
            exit_edge=Bps(exit),
            max_plausible_edge=Bps(plausible),
            max_skew=Duration(skew),
            max_notional=Decimal(max_notional),
        ),
        markets=markets,
        max_age_ns=dict.fromkeys(feeds, max_age_ns),
        max_transit_ns=dict.fromkeys(feeds, max_transit_ns),
    )


def levels(*pairs: tuple[object, object]) -> tuple[Level, ...]:
    return tuple((str(price), str(size)) for price, size in pairs)


class Tape:
    """Makes batches with growing sequence numbers."""

    def __init__(self) -> None:
        self.seq = 0

    def frame(
        self,
        feed: str,
        symbol: str,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        *,
        at: int = NOW,
        epoch: int = 1,
        withheld: str = "",
    ) -> BookFrame:
        self.seq += 1
        return BookFrame(
            feed=feed,
            symbol=symbol,
            epoch=epoch,
            seq=self.seq,
            bids=bids,
            asks=asks,
            truncated=True,
            venue_ns=at,
            recv_ns=at,
            withheld=withheld,
        )

    def batch(
        self,
        feed: str,
        *frames: BookFrame,
        at: int = NOW,
        epoch: int = 1,
        offset: int | None = 0,
        alive: dict[str, int] | None = None,
        excess: dict[str, int] | None = None,
    ) -> FrameBatch:
        return FrameBatch(
            feed=feed,
            epoch=epoch,
            sent_ns=at,
            clock_offset_ns=offset,
            alive_ns={frame.symbol: at for frame in frames} if alive is None else alive,
            excess_transit_ns={} if excess is None else excess,
            frames=frames,
        )

    def book(
        self, feed: str, symbol: str, bids: tuple[Level, ...], asks: tuple[Level, ...], *, at: int = NOW, withheld: str = ""
    ) -> FrameBatch:
        return self.batch(feed, self.frame(feed, symbol, bids, asks, at=at, withheld=withheld), at=at)


def rich(detector: Detector, amount: Decimal = PLENTY) -> Balances:
    """Enough of everything everywhere."""
    available: dict[str, dict[str, Decimal]] = {}
    for each in detector.config.markets:
        available.setdefault(each.feed, {}).update({each.instrument.base: amount, each.instrument.quote: amount})
    return Balances(strategy=detector.config.strategy, at_ns=NOW, available=available)


def walk(ladder: tuple[Level, ...], quantity: Fraction) -> list[tuple[Fraction, Fraction]] | None:
    """The fills (price, quantity) of taking `quantity`; None when the levels given do not hold it."""
    fills = []
    for price, size in ladder:
        taken = min(quantity, Fraction(size))
        if taken > 0:
            fills.append((Fraction(price), taken))
            quantity -= taken
    return fills if quantity == 0 else None


def value_of(fills: list[tuple[Fraction, Fraction]]) -> Fraction:
    return sum((price * quantity for price, quantity in fills), Fraction(0))


def rounded_fee(amount: Fraction) -> Fraction:
    return ceil(amount / CENT_OF_A_MILLIONTH) * CENT_OF_A_MILLIONTH


def flows(market: Market, side: Side, ladder: tuple[Level, ...], quantity: Fraction) -> tuple[Fraction, Fraction] | None:
    """What an order pays and gets in truth, every fill's fee rounded up by itself; None when the levels do not hold it."""
    fills = walk(ladder, quantity)
    if fills is None:
        return None
    taker = Fraction(market.fees.taker)
    in_base = side is Side.BUY and market.fees.charged_in is FeeAsset.RECEIVED
    fee = sum((rounded_fee(taker * amount * (1 if in_base else price)) for price, amount in fills), Fraction(0))
    value = value_of(fills)
    if side is Side.SELL:
        return quantity, value - fee
    return (value, quantity - fee) if in_base else (value + fee, quantity)


def conversion_rates(
    market: Market, book: tuple[tuple[Level, ...], ...], asset: str, amount: Fraction
) -> tuple[Fraction, Fraction, Fraction]:
    """What selling one unit of `asset` brings, what buying one costs, and up to which amount of the market's other asset.

    Both at the worst price that walking `amount` of the other asset reaches.
    """
    direct = market.instrument.base == asset
    taker = Fraction(market.fees.taker)
    worst, holds = [], []
    for side in book:
        total, reached = Fraction(0), None
        for price, size in side:
            total += Fraction(size) * (Fraction(price) if direct else 1)
            if reached is None and (total >= amount or (price, size) == side[-1]):
                reached = Fraction(price)
        assert reached is not None
        worst.append(reached)
        holds.append(min(amount, total))
    bid = worst[0] * (1 - taker)
    ask = worst[1] / (1 - taker) if market.fees.charged_in is FeeAsset.RECEIVED else worst[1] * (1 + taker)
    return (bid, ask, min(holds)) if direct else (1 / ask, 1 / bid, min(holds))
