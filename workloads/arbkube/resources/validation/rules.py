"""What must hold between fields and between objects: an ordered list of small checks, each with the fields it reads.

For: what structure alone cannot say. A check runs only where all that it reads could be read: one slip is reported once.
May not: do I/O, or look at objects of another namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from arbkube.market.instruments import MarketType, parse_symbol
from arbkube.resources.kinds import ArbStrategySpec, Channel, RiskPolicySpec, VenueFeedSpec
from arbkube.resources.validation.hints import did_you_mean
from arbkube.resources.violations import Path, Problem, Reason
from arbkube.venues import catalog

_ONE_VENUES_SPELLING = {"XBT": "BTC", "XDG": "DOGE"}
"""What a single venue calls an asset that all others call otherwise; adapters translate."""


class Rule(msgspec.Struct, frozen=True):
    """`check` yields what is wrong; it runs where nothing at or below the paths of `reads` is broken."""

    reads: tuple[str, ...]
    check: Callable[[Any], Iterable[Problem]]


def check(rules: Iterable[Rule], spec: Any, broken: set[Path]) -> Iterator[Problem]:
    """Every violation of `rules` by `spec`. `broken` are the paths, from `spec` on, that could not be read."""
    for rule in rules:
        reads = [tuple(path.split(".")) for path in rule.reads]
        if not any(_related(path, read) for path in broken for read in reads):
            yield from rule.check(spec)


def _related(broken: Path, read: Path) -> bool:
    """Whether one of the paths lies at or below the other."""
    broken = broken[1:]
    common = min(len(broken), len(read))
    return broken[:common] == read[:common]


def _at(*path: str | int) -> Path:
    return ("spec", *path)


def _venue(spec: VenueFeedSpec) -> Iterator[Problem]:
    if not catalog.markets(spec.venue):
        known = [*catalog.VENUES, catalog.CCXT + "ID"]
        message = f"no adapter for {spec.venue}{did_you_mean(spec.venue, known)}; there are: {', '.join(known)}"
        yield Problem(_at("venue"), Reason.UNKNOWN_VENUE, message)
    elif spec.market not in catalog.markets(spec.venue):
        offered = ", ".join(catalog.markets(spec.venue))
        message = f"{spec.venue} is served for {offered} only"
        yield Problem(_at("market"), Reason.MARKET_NOT_OFFERED, message)


def _instruments(spec: VenueFeedSpec) -> Iterator[Problem]:
    for index, symbol in enumerate(spec.instruments):
        where = _at("instruments", index)
        *_, market = parse_symbol(symbol)
        if market is not spec.market:
            form = "ends in -PERP" if spec.market is MarketType.PERPETUAL else "is BASE-QUOTE"
            other = MarketType.SPOT if spec.market is MarketType.PERPETUAL else MarketType.PERPETUAL
            message = f"{symbol} in a feed of market {spec.market}: there it {form}; a feed of its own takes market {other}"
            yield Problem(where, Reason.WRONG_MARKET, message)
        yield from _spelling(symbol, where)


def _spelling(symbol: str, where: Path) -> Iterator[Problem]:
    base, quote, _ = parse_symbol(symbol)
    if base == quote:
        yield Problem(where, Reason.BAD_INSTRUMENT, f"{symbol} trades {base} for itself")
    for asset in sorted({base, quote} & _ONE_VENUES_SPELLING.keys()):
        message = f"{asset} is one venue's word: write {_ONE_VENUES_SPELLING[asset]}, the adapter translates"
        yield Problem(where, Reason.BAD_INSTRUMENT, message)


def _book_channel(spec: VenueFeedSpec) -> Iterator[Problem]:
    if Channel.BOOK not in spec.channels:
        yield Problem(_at("channels"), Reason.BOOK_REQUIRED, "must contain Book: everything else only checks it")


def _ticker(spec: VenueFeedSpec) -> Iterator[Problem]:
    if Channel.TICKER in spec.channels and catalog.markets(spec.venue) and not catalog.has_ticker(spec.venue):
        message = f"{spec.venue}'s best prices do not say which state of the book they are of: leave Ticker out"
        yield Problem(_at("channels", spec.channels.index(Channel.TICKER)), Reason.CHANNEL_NOT_OFFERED, message)


def _proofs(spec: VenueFeedSpec) -> Iterator[Problem]:
    if spec.market not in catalog.markets(spec.venue):
        return
    offered = catalog.proofs(spec.venue, spec.market)
    for index, proof in enumerate(spec.integrity.require):
        if proof not in offered:
            what = " and ".join(sorted(offered)) or "no proof"
            message = f"{spec.venue} {spec.market} offers {what}, not {proof}: every book would be withheld"
            yield Problem(_at("integrity", "require", index), Reason.PROOF_NOT_OFFERED, message)


def _one_source(spec: VenueFeedSpec) -> Iterator[Problem]:
    if spec.simulated is not None and spec.endpoint is not None:
        yield Problem(_at("endpoint"), Reason.EXCLUSIVE, "simulated has an address of its own: leave out one of the two")
    if spec.endpoint is not None and spec.endpoint.websocket is None and spec.endpoint.rest is None:
        yield Problem(_at("endpoint"), Reason.EMPTY, "needs websocket or rest")


def _simulated(spec: VenueFeedSpec) -> Iterator[Problem]:
    if spec.simulated is not None and spec.venue.startswith(catalog.CCXT):
        message = f"the simulator speaks {', '.join(catalog.VENUES)}, not {spec.venue}"
        yield Problem(_at("simulated"), Reason.NOT_SIMULATED, message)


FEED_RULES = (
    Rule(("venue", "market"), _venue),  # the adapter exists and serves this market
    Rule(("instruments", "market"), _instruments),  # instruments are of the feed's market and spelled venue-neutrally
    Rule(("channels",), _book_channel),  # a feed without books feeds nothing
    Rule(("venue", "channels"), _ticker),  # Ticker checks tops, where the venue lets it
    Rule(("venue", "market", "integrity.require"), _proofs),  # no proof is demanded that the venue lacks
    Rule(("simulated", "endpoint"), _one_source),  # one place to get the data from
    Rule(("simulated", "venue"), _simulated),  # the simulator speaks the venue's protocol
)


def _one_block(spec: ArbStrategySpec) -> Iterator[Problem]:
    if (spec.cross_venue is None) == (spec.cycle is None):
        found = "there is none" if spec.cycle is None else "there are both"
        yield Problem(_at(), Reason.EXACTLY_ONE, f"exactly one of crossVenue and cycle says what the strategy is; {found}")


def _edges(spec: ArbStrategySpec) -> Iterator[Problem]:
    edges = spec.detection
    if edges.exit_edge > edges.enter_edge:
        message = f"{edges.exit_edge} is above enterEdge {edges.enter_edge}: an episode would close before it opens"
        yield Problem(_at("detection", "exitEdge"), Reason.EDGE_ORDER, message)
    if edges.enter_edge > edges.max_plausible_edge:
        message = f"{edges.enter_edge} is above maxPlausibleEdge {edges.max_plausible_edge}: nothing would ever be traded"
        yield Problem(_at("detection", "enterEdge"), Reason.EDGE_ORDER, message)


def _strategy_instruments(spec: ArbStrategySpec) -> Iterator[Problem]:
    for index, symbol in enumerate(spec.cross_venue.instruments if spec.cross_venue else ()):
        yield from _spelling(symbol, _at("crossVenue", "instruments", index))


def _paper(spec: ArbStrategySpec) -> Iterator[Problem]:
    where = ("execution", "paper", "balances")
    balances = spec.execution.paper.balances
    if not any(balance.amount > 0 for balance in balances):
        message = (
            'needs a balance above zero, e.g. {feed: NAME, asset: USDT, amount: "10000"}: without one nothing can be traded'
        )
        yield Problem(_at(*where), Reason.NO_BALANCE, message)
    feeds = [ref.name for ref in spec.feeds]
    for index, balance in enumerate(balances):
        if balance.feed not in feeds:
            message = f"{balance.feed} is not among the strategy's feeds{did_you_mean(balance.feed, feeds)}"
            yield Problem(_at(*where, index, "feed"), Reason.NO_SUCH_FEED, message)


STRATEGY_RULES = (
    Rule(("crossVenue", "cycle"), _one_block),  # one typed block
    Rule(("detection",), _edges),  # exit ≤ enter ≤ plausible
    Rule(("crossVenue.instruments",), _strategy_instruments),  # spelled venue-neutrally
    Rule(("feeds", "execution"), _paper),  # a paper account to trade with, on feeds of this strategy
)


def _limited_venues(spec: RiskPolicySpec) -> Iterator[Problem]:
    for index, limit in enumerate(spec.max_exposure_by_venue):
        if not catalog.markets(limit.name):
            message = (
                f"no adapter for {limit.name}{did_you_mean(limit.name, catalog.VENUES)}; a venue is named as a feed names it"
            )
            yield Problem(_at("maxExposureByVenue", index, "name"), Reason.UNKNOWN_VENUE, message)


def _limited_assets(spec: RiskPolicySpec) -> Iterator[Problem]:
    for index, limit in enumerate(spec.max_exposure_by_asset):
        if not limit.name.isupper() and not limit.name.isdigit():
            message = f"{limit.name} is not an asset: write it in capitals, e.g. BTC"
            yield Problem(_at("maxExposureByAsset", index, "name"), Reason.BAD_FORMAT, message)


POLICY_RULES = (
    Rule(("maxExposureByVenue",), _limited_venues),  # venues that exist
    Rule(("maxExposureByAsset",), _limited_assets),  # assets spelled as everywhere
)


def unknown_feeds(spec: ArbStrategySpec, known: Iterable[str]) -> Iterator[Problem]:
    """Feeds that a strategy names and that do not exist; `known` includes those that could not be read."""
    names = list(known)
    for index, ref in enumerate(spec.feeds):
        if ref.name not in names:
            there = f"; there are: {', '.join(sorted(names))}" if names else ""
            message = f"there is no VenueFeed {ref.name}{did_you_mean(ref.name, names)}{there}"
            yield Problem(_at("feeds", index, "name"), Reason.NO_SUCH_FEED, message)


def against_feeds(spec: ArbStrategySpec, feeds: Mapping[str, VenueFeedSpec]) -> Iterator[Problem]:
    """What a strategy asks of its `feeds` and they cannot give. Call it where all of them exist and could be read."""
    offered = {name: [parse_symbol(symbol) for symbol in feed.instruments] for name, feed in feeds.items()}
    if spec.cross_venue is not None:
        for index, symbol in enumerate(spec.cross_venue.instruments):
            yield from _comparable(symbol, index, offered, spec.cross_venue.allow_basis)
    if spec.cycle is not None:
        yield from _cycles(spec, offered)
    assets = {name: {asset for base, quote, _ in symbols for asset in (base, quote)} for name, symbols in offered.items()}
    if spec.profit_asset not in set().union(*assets.values()):
        message = f"no instrument of these feeds has {spec.profit_asset}: nothing could be valued in it"
        yield Problem(_at("profitAsset"), Reason.ASSET_NOT_TRADED, message)
    for index, balance in enumerate(spec.execution.paper.balances):
        if balance.asset not in assets.get(balance.feed, {balance.asset}):
            known = sorted(assets[balance.feed])
            message = f"no instrument of {balance.feed} has {balance.asset}{did_you_mean(balance.asset, known)}"
            yield Problem(_at("execution", "paper", "balances", index, "asset"), Reason.ASSET_NOT_TRADED, message)


_Symbols = Mapping[str, list[tuple[str, str, MarketType]]]


def _comparable(symbol: str, index: int, offered: _Symbols, basis: bool) -> Iterator[Problem]:
    base, _, market = parse_symbol(symbol)
    alike = [name for name, symbols in offered.items() if any(b == base and (basis or m is market) for b, _, m in symbols)]
    exact = [name for name, symbols in offered.items() if parse_symbol(symbol) in symbols]
    if exact and len(alike) >= 2:
        return
    where = ", ".join(exact) if exact else "none of its feeds"
    others = any(b == base and m is not market for symbols in offered.values() for b, _, m in symbols)
    hint = "; spot and perpetual are compared only with allowBasis" if others and not basis else ""
    message = f"{symbol} is offered by {where}: comparing takes two feeds with {base}{hint}"
    yield Problem(_at("crossVenue", "instruments", index), Reason.NOT_COMPARABLE, message)


def _cycles(spec: ArbStrategySpec, offered: _Symbols) -> Iterator[Problem]:
    assert spec.cycle is not None
    pairs = [{base, quote} for symbols in offered.values() for base, quote, market in symbols if market is MarketType.SPOT]
    for index, start in enumerate(spec.cycle.start_assets):
        if not _returns(start, pairs, spec.cycle.max_legs):
            message = (
                f"no cycle of at most {spec.cycle.max_legs} legs leads from {start} back to it over the feeds' instruments"
            )
            yield Problem(_at("cycle", "startAssets", index), Reason.NO_CYCLE, message)


def _returns(start: str, pairs: list[set[str]], legs: int) -> bool:
    """Whether a ring of three to `legs` different assets goes through `start`."""
    neighbours: dict[str, set[str]] = {}
    for pair in pairs:
        for asset in pair:
            neighbours.setdefault(asset, set()).update(pair - {asset})
    paths: list[tuple[str, ...]] = [(start,)]
    for length in range(2, legs + 1):
        paths = [(*path, step) for path in paths for step in neighbours.get(path[-1], set()) - set(path)]
        if length >= 3 and any(start in neighbours[path[-1]] for path in paths):
            return True
    return False
