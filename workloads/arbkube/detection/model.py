"""What detection says: opportunities, sightings and the fixed list of reasons why one is not taken.

For: the words that detector, executor, recorder, reports and docs share. May not: compute, do I/O or read a clock.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum

import msgspec

from arbkube.market.instruments import Side


class SkipReason(StrEnum):
    """Why something seen is not an opportunity. The same words stand in metrics, reports, the store and the docs."""

    NO_BOOK = "NoBook"
    """A leg has no verified book (none yet, or withheld)."""
    STALE_BOOK = "StaleBook"
    """A leg's connection has not proved to be alive within `maxAge`."""
    SLOW_TRANSIT = "SlowTransit"
    """A leg's last event took longer than the quickest recent one by more than `maxTransit`."""
    SKEWED_LEGS = "SkewedLegs"
    """The legs' receive times lie further apart than `maxSkew`."""
    CLOCK_UNKNOWN = "ClockUnknown"
    """A leg's feed has not measured its clock offset."""
    BELOW_ENTER_EDGE = "BelowEnterEdge"
    """The net edge of the best levels, or the average of every quantity that could be ordered, is below `enterEdge`."""
    IMPLAUSIBLE_EDGE = "ImplausibleEdge"
    """The net edge is above `maxPlausibleEdge`: a different asset under one ticker, or a halted wallet. Logged, not traded."""
    BELOW_MINIMUM = "BelowMinimum"
    """No quantity meets lot, minimum quantity and minimum notional on every leg and on its unwind."""
    NO_BALANCE = "NoBalance"
    """The available balance does not cover the smallest order, or is not known yet."""
    NO_CONVERSION = "NoConversion"
    """The legs' quote assets differ and no verified book converts between them."""
    BASIS_NOT_ALLOWED = "BasisNotAllowed"
    """The legs are different market types of one asset and `allowBasis` is false."""
    EPISODE_OPEN = "EpisodeOpen"
    """This episode has already given its one opportunity, or another choice of markets for the same cycle has."""


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One order of an opportunity, in the order it is meant to be sent. Decimals are exact; times integer nanoseconds."""

    feed: str
    symbol: str
    side: Side
    quantity: Decimal
    """Base units, a multiple of the lot."""
    limit_price: Decimal
    """The worst price walked to, a multiple of the tick: an IOC at this price takes exactly what was counted on."""
    value: Decimal
    """Quote units that the walked levels add up to, before fees, rounded against us."""
    fee: Decimal
    """The fee's worth in quote units, rounded against us."""
    frame_epoch: int
    frame_seq: int
    age_ns: int
    """now − the moment the leg's connection last proved to be alive."""


class Opportunity(msgspec.Struct, frozen=True, kw_only=True):
    """A sized, net-of-everything chance. `revision` names the configuration it was decided under."""

    id: str
    identity: str
    strategy: str
    strategy_uid: str
    revision: str
    detected_ns: int
    recv_ns: int
    """Receive time of the newest leg's book: where frame-to-order latency is counted from."""
    legs: tuple[Leg, ...]
    profit_asset: str
    notional: Decimal
    """Of the first leg, in `profit_asset`."""
    expected_profit: Decimal
    """In `profit_asset`, after fees, at the walked prices."""
    net_edge_bps: Decimal
    """expected_profit / notional in basis points, rounded down."""


class LegSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of a sighting: enough to see how fresh it was."""

    feed: str
    symbol: str
    side: Side
    age_ns: int | None
    """None where there was no book."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What the detector saw of one identity: said when its outcome changes and when its episode closes, not on every tick."""

    strategy: str
    identity: str
    at_ns: int
    legs: tuple[LegSeen, ...]
    net_edge_bps: Decimal | None
    """None where no edge could be computed."""
    reason: SkipReason | None
    """None when it became `opportunity`."""
    opportunity: Opportunity | None = None


class Balances(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor may spend, as it last announced: {feed: {asset: amount}}."""

    strategy: str
    at_ns: int
    available: dict[str, dict[str, Decimal]]


def identity_of(strategy: str, legs: tuple[tuple[str, str, Side], ...]) -> str:
    """An opportunity's identity: the strategy and its ordered legs, readable in logs."""
    return strategy + ":" + ">".join(f"{side.value.lower()} {symbol}@{feed}" for feed, symbol, side in legs)


def opportunity_id(identity: str, episode_ns: int) -> str:
    """32 hex digits, the same for the same identity and the same episode start."""
    return hashlib.sha256(f"{identity}\n{episode_ns}".encode()).hexdigest()[:32]
