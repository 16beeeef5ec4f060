"""The gate every Open passes: an ordered list of small checks, each with its reason.

For: deciding purely, from what the executor gathered, whether an opportunity may become an intent. The first reason found is
the one the user reads. May not: do I/O, read a clock, or judge an order that only reduces exposure.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

from arbkube.market.instruments import MarketType
from arbkube.risk.gathered import Gathered


class RefusalReason(StrEnum):
    """Why an opportunity did not become an intent. The same words stand in the journal, metrics, reports and docs."""

    CONTROL_DOUBTED = "ControlDoubted"
    """The control server has not answered for a second, or is not seeded: nobody can say that nothing is halted."""
    HALTED = "Halted"
    """A halt in force covers the strategy or the venue of a leg."""
    LEASE_LOST = "LeaseLost"
    """This executor's lease has run out or is held by another: it may send nothing."""
    JOURNAL_UNAVAILABLE = "JournalUnavailable"
    """The journal could not be written (disk full, read-only, locked); nothing was sent."""
    OTHER_REVISION = "OtherRevision"
    """It was decided under a configuration that this executor neither holds nor has just left."""
    UNKNOWN_MARKET = "UnknownMarket"
    """A leg names a market that this executor has no rules and fees for."""
    EXPIRED = "Expired"
    """Older than `expireAfter` when it arrived, or as far in the future: a clock has leapt."""
    LIVE_INTENT = "LiveIntent"
    """The identity's earlier intent is not settled yet."""
    MAX_OPEN_INTENTS = "MaxOpenIntents"
    """As many intents as `maxOpenIntents` are unsettled."""
    NO_BOOK = "NoBook"
    """A leg has no verified book (none yet, or withheld)."""
    STALE_BOOK = "StaleBook"
    """A leg's connection has not proved to be alive within the feed's `maxAge`."""
    BOOK_BEFORE_FILL = "BookBeforeFill"
    """A leg's book is not newer than the last fill in its market: it may show what is already taken."""
    EDGE_GONE = "EdgeGone"
    """On the executor's own current books the net edge is below `exitEdge`, or nothing is left within the limits."""
    IMPLAUSIBLE_EDGE = "ImplausibleEdge"
    """On the executor's own current books the net edge is above `maxPlausibleEdge`."""
    NOT_ORDERABLE = "NotOrderable"
    """What is left is below a leg's minimum quantity or notional."""
    MAX_NOTIONAL = "MaxNotional"
    """An order would be above `maxNotional`."""
    STALE_MARK = "StaleMark"
    """Something held or to be held cannot be valued on a book younger than `maxMarkAge`."""
    MAX_POSITION = "MaxPosition"
    """An asset's distance from target could go beyond `maxPosition`."""
    MAX_EXPOSURE_BY_VENUE = "MaxExposureByVenue"
    """A venue's distance from target could go beyond its limit."""
    MAX_EXPOSURE_BY_ASSET = "MaxExposureByAsset"
    """An asset's distance from target over all venues could go beyond its limit."""
    MAX_DAILY_LOSS = "MaxDailyLoss"
    """Realised and unrealised ArbPnL have fallen by `maxDailyLoss` since the risk day (UTC) began."""
    INSUFFICIENT_BALANCE = "InsufficientBalance"
    """A leg costs more than is free on its venue."""
    NOT_RESERVED = "NotReserved"
    """A budget shared with other executors (exposure, balance, order rate) is not reserved for it, or not yet."""
    DUPLICATE_INTENT = "DuplicateIntent"
    """The journal already holds an intent of this opportunity."""


Check = Callable[[Gathered], RefusalReason | None]


def control_believed(g: Gathered) -> RefusalReason | None:
    return None if g.control_believed else RefusalReason.CONTROL_DOUBTED


def not_halted(g: Gathered) -> RefusalReason | None:
    return RefusalReason.HALTED if g.halted else None


def lease_held(g: Gathered) -> RefusalReason | None:
    return None if g.lease_valid else RefusalReason.LEASE_LOST


def journal_writable(g: Gathered) -> RefusalReason | None:
    return None if g.journal_writable else RefusalReason.JOURNAL_UNAVAILABLE


def revision_known(g: Gathered) -> RefusalReason | None:
    return None if g.revision_known else RefusalReason.OTHER_REVISION


def markets_known(g: Gathered) -> RefusalReason | None:
    return None if g.keys and all(key in g.tradable for key in g.keys) else RefusalReason.UNKNOWN_MARKET


def young_enough(g: Gathered) -> RefusalReason | None:
    age_ns = g.now_ns - g.opportunity.detected_ns
    most_ns = g.limits.expire_after.ns
    return None if -most_ns <= age_ns <= most_ns else RefusalReason.EXPIRED


def identity_free(g: Gathered) -> RefusalReason | None:
    return RefusalReason.LIVE_INTENT if g.opportunity.identity in g.live_identities else None


def below_max_open_intents(g: Gathered) -> RefusalReason | None:
    return None if len(g.live_identities) < g.limits.max_open_intents else RefusalReason.MAX_OPEN_INTENTS


def books_verified(g: Gathered) -> RefusalReason | None:
    return None if all(g.books.verified(key) is not None for key in g.keys) else RefusalReason.NO_BOOK


def books_fresh(g: Gathered) -> RefusalReason | None:
    fresh = all(g.books.fresh(key, g.now_ns, g.max_age_ns.get(key[0], 0)) for key in g.keys)
    return None if fresh else RefusalReason.STALE_BOOK


def books_newer_than_fills(g: Gathered) -> RefusalReason | None:
    for key in g.keys:
        received_ns, filled_ns = g.books.received_ns(key), g.last_fill_ns.get(key)
        if received_ns is not None and filled_ns is not None and received_ns <= filled_ns:
            return RefusalReason.BOOK_BEFORE_FILL
    return None


def edge_left(g: Gathered) -> RefusalReason | None:
    repriced = g.repriced
    if not repriced.legs:
        return RefusalReason.EDGE_GONE
    wanted = g.exit_edge * repriced.notional
    return None if repriced.expected_profit > 0 and repriced.expected_profit >= wanted else RefusalReason.EDGE_GONE


def edge_plausible(g: Gathered) -> RefusalReason | None:
    repriced = g.repriced
    most = g.limits.max_plausible_edge.fraction * repriced.notional
    return RefusalReason.IMPLAUSIBLE_EDGE if repriced.expected_profit > most else None


def orderable(g: Gathered) -> RefusalReason | None:
    for leg in g.repriced.legs:
        if not g.markets[(leg.feed, leg.symbol)].instrument.orderable(leg.quantity, leg.limit_price):
            return RefusalReason.NOT_ORDERABLE
    return None


def notional_within(g: Gathered) -> RefusalReason | None:
    limit = g.limits.max_notional
    if limit is not None and any(leg.quantity * leg.limit_price > limit for leg in g.repriced.legs):
        return RefusalReason.MAX_NOTIONAL
    return None


def marks_fresh(g: Gathered) -> RefusalReason | None:
    return RefusalReason.STALE_MARK if g.exposures is None or g.asset_exposures is None or g.lost_today is None else None


def position_within(g: Gathered) -> RefusalReason | None:
    limit = g.limits.max_position
    if limit is not None and any(worth > limit for worth in (g.asset_exposures or {}).values()):
        return RefusalReason.MAX_POSITION
    return None


def venue_exposure_within(g: Gathered) -> RefusalReason | None:
    totals: dict[str, Decimal] = {}
    for (feed, _), worth in (g.exposures or {}).items():
        venue = g.venue_of.get(feed, feed)
        totals[venue] = totals.get(venue, Decimal(0)) + worth
    limits = g.limits.max_exposure_by_venue
    if any(totals[venue] > limits[venue] for venue in totals.keys() & limits.keys()):
        return RefusalReason.MAX_EXPOSURE_BY_VENUE
    return None


def asset_exposure_within(g: Gathered) -> RefusalReason | None:
    limits = g.limits.max_exposure_by_asset
    worths: dict[str, Decimal] = {}
    perpetual_base = {
        market.instrument.symbol: market.instrument.base
        for market in g.markets.values()
        if market.instrument.market is MarketType.PERPETUAL
    }
    for asset, worth in (g.asset_exposures or {}).items():
        base = perpetual_base.get(asset, asset)
        worths[base] = worths.get(base, Decimal(0)) + worth
    if any(worths[asset] > limits[asset] for asset in worths.keys() & limits.keys()):
        return RefusalReason.MAX_EXPOSURE_BY_ASSET
    return None


def daily_loss_within(g: Gathered) -> RefusalReason | None:
    limit = g.limits.max_daily_loss
    if limit is not None and g.lost_today is not None and g.lost_today >= limit:
        return RefusalReason.MAX_DAILY_LOSS
    return None


def balance_sufficient(g: Gathered) -> RefusalReason | None:
    taken = g.inventory.reserved(g.open_orders)
    for holding, amount in g.inventory.reserved(g.new_orders).items():
        if amount + taken.get(holding, Decimal(0)) > g.inventory.free(holding, g.books.ask_price):
            return RefusalReason.INSUFFICIENT_BALANCE
    return None


def reserved(g: Gathered) -> RefusalReason | None:
    return None if g.reserved else RefusalReason.NOT_RESERVED


OPEN_GATE: tuple[Check, ...] = (
    control_believed,  # a halt that nobody can tell of is in force
    not_halted,
    lease_held,  # may this process send at all
    journal_writable,  # journal first: what cannot be written down is not sent
    revision_known,  # no intent is decided under two configurations
    markets_known,  # no order without the venue's rules
    young_enough,  # an old chance is somebody else's by now
    identity_free,  # one live intent per identity
    below_max_open_intents,
    books_verified,  # never on a book without its proof
    books_fresh,  # never on a silent connection
    books_newer_than_fills,  # never on depth that we took ourselves
    edge_left,  # on our own books, net of everything
    edge_plausible,  # too good is not true
    orderable,  # what is left must be an order at every leg
    notional_within,
    marks_fresh,  # what cannot be valued cannot be limited
    position_within,
    venue_exposure_within,
    asset_exposure_within,
    daily_loss_within,
    balance_sufficient,
    reserved,  # last: what is lacking is asked for, so it must be what alone is lacking
)


def first_refusal(gathered: Gathered, gate: tuple[Check, ...] = OPEN_GATE) -> RefusalReason | None:
    """The first check's reason that refuses, or None when all agree."""
    for check in gate:
        reason = check(gathered)
        if reason is not None:
            return reason
    return None
