"""Setting a replay up: recordings, manifests and rules to feeds and strategies.

For: matching recordings to VenueFeeds, and choosing where rules and fees come from: the recording, else the given instruments
file, else the adapter's dated defaults. May not: read a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from arbkube.detection.detector import Detector
from arbkube.execution.driver import Driver, believed
from arbkube.execution.engine import Engine
from arbkube.market.instruments import Fees, Instrument, Market, MarketType
from arbkube.plan.documents import StrategyDocument
from arbkube.plan.planning import Role
from arbkube.plan.planning import plan as plan_of
from arbkube.pods.assembly import detector_config, executor_config, paper_broker
from arbkube.replay.run import ReplayFeed, ReplayStrategy, VirtualClock
from arbkube.replay.source import Source
from arbkube.resources.kinds import (
    ArbStrategy,
    ArbStrategySpec,
    CrossVenue,
    Detection,
    Execution,
    FeedRef,
    Metadata,
    Paper,
    PaperBalance,
    VenueFeed,
    VenueFeedSpec,
)
from arbkube.resources.loading import Resources, uid_of
from arbkube.resources.scalars import Bps
from arbkube.storage.executor import SqliteExecutorStore
from arbkube.venues.defaults import DATE, default_instruments
from arbkube.venues.framing import Framer
from arbkube.venues.recording import Header, Recording, unusable_rules
from arbkube.venues.registry import adapter as adapter_of
from arbkube.venues.session import SessionOptions
from arbkube.venues.sources import fees_of

_EPOCH = 1
_SEED = 1
_DEFAULT_BASE = Decimal(1000)
_DEFAULT_QUOTE = Decimal(10_000_000)
_DEFAULT_NOTIONAL = Decimal(10_000)


class ReplayError(ValueError):
    """A replay that cannot be set up; the message names cause and remedy."""


class InstrumentsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`--instruments`: trading rules, and fees where they are known, in the form in which recordings carry them."""

    instruments: tuple[Instrument, ...]
    fees: Fees | None = None


class FeedSetup(msgspec.Struct, kw_only=True):
    """One feed of a replay: its spec, its recordings, and where its rules and fees came from."""

    name: str
    spec: VenueFeedSpec
    recordings: list[Recording]
    instruments: list[Instrument]
    fees: Fees
    rules: str

    @property
    def markets(self) -> tuple[Market, ...]:
        return tuple(Market(feed=self.name, instrument=instrument, fees=self.fees) for instrument in self.instruments)


def set_up_feeds(
    recordings: Sequence[Recording], resources: Resources | None, given: InstrumentsFile | None
) -> dict[str, FeedSetup]:
    """Group recordings into feeds. Raises ReplayError."""
    setups: dict[str, FeedSetup] = {}
    for recording in recordings:
        header = recording.header
        instruments, rules = _rules(recording, given)
        feed = _feed_of(recording, resources)
        name = feed.metadata.name if feed is not None else header.feed
        setup = setups.get(name)
        if setup is None:
            spec = feed.spec if feed is not None else _plain_spec(header, instruments)
            fees = _fees(spec, header, given)
            setups[name] = FeedSetup(
                name=name, spec=spec, recordings=[recording], instruments=instruments, fees=fees, rules=rules
            )
            continue
        twice = {i.symbol for i in instruments} & {i.symbol for i in setup.instruments}
        if twice:
            raise ReplayError(f"{recording.path.name}: {', '.join(sorted(twice))} of feed {name} is in an earlier file as well")
        if rules != setup.rules:
            raise ReplayError(
                f"{recording.path.name}: rules from {rules}, but the feed's other files have them from {setup.rules}"
            )
        setup.recordings.append(recording)
        setup.instruments.extend(instruments)
    for setup in setups.values():
        setup.spec = msgspec.structs.replace(setup.spec, instruments=tuple(i.symbol for i in setup.instruments))
    return setups


def build_feeds(setups: Mapping[str, FeedSetup]) -> list[ReplayFeed]:
    """The feeds, ready to run."""
    feeds = []
    for setup in setups.values():
        adapter = adapter_of(setup.spec.venue, setup.spec.market)
        options = SessionOptions(
            endpoint=adapter.endpoint,
            depth=setup.spec.depth,
            channels=frozenset(setup.spec.channels),
            require=frozenset(setup.spec.integrity.require),
        )
        by_native = {instrument.native: instrument for instrument in setup.instruments}
        sources = [
            Source(
                recording,
                adapter,
                [by_native[native] for native in recording.header.natives if native in by_native],
                options,
                seed=_SEED,
            )
            for recording in setup.recordings
        ]
        framer = Framer(feed=setup.name, epoch=_EPOCH, depth=setup.spec.depth)
        feeds.append(ReplayFeed(name=setup.name, framer=framer, sources=sources))
    return feeds


def build_strategies(
    setups: Mapping[str, FeedSetup], resources: Resources | None, clock: VirtualClock
) -> tuple[list[ReplayStrategy], dict[str, StrategyDocument]]:
    """The strategies whose feeds were all recorded, and their documents. Raises ReplayError where there is none."""
    feeds = {name: VenueFeed(metadata=Metadata(name=name), spec=setup.spec) for name, setup in setups.items()}
    if resources is None:
        wanted = {"default": _default_strategy(setups)}
        policies = {}
    else:
        wanted = {
            name: strategy
            for name, strategy in resources.strategies.items()
            if all(ref.name in setups for ref in strategy.spec.feeds)
        }
        policies = resources.policies
        if not wanted:
            raise ReplayError(
                "no ArbStrategy has all its feeds among the recordings: name them alike, or record the others too"
            )
    planned = plan_of(Resources(feeds=feeds, strategies=wanted, policies=policies))
    documents = {
        document.strategy: document
        for workload in planned.workloads
        if workload.role is Role.EXECUTOR and isinstance(document := planned.documents[workload.document], StrategyDocument)
    }
    return [_strategy(document, setups, clock) for document in documents.values()], documents


def _strategy(document: StrategyDocument, setups: Mapping[str, FeedSetup], clock: VirtualClock) -> ReplayStrategy:
    markets = tuple(market for feed in document.feeds for market in setups[feed].markets)
    config = executor_config(document, document.limits, markets)
    detector, engine = Detector(detector_config(document, document.limits, markets)), Engine(config)
    store = SqliteExecutorStore(":memory:")
    broker = paper_broker(config, store)
    driver = Driver(engine=engine, journal=store, broker=broker, holder="replay", monotonic_ns=clock, doubt=believed)
    return ReplayStrategy(
        name=document.strategy, feeds=list(document.feeds), detector=detector, engine=engine, driver=driver, store=store
    )


def _rules(recording: Recording, given: InstrumentsFile | None) -> tuple[list[Instrument], str]:
    header = recording.header
    if header.instruments is not None:
        return list(header.instruments), "recording"
    if given is not None:
        unusable = unusable_rules(given.instruments)
        if unusable:
            raise ReplayError(f"the instruments file makes no sense: {unusable}")
        by_native = {i.native: i for i in given.instruments if (i.venue, i.market) == (header.venue, header.market)}
        missing = [native for native in header.natives if native not in by_native]
        if missing:
            raise ReplayError(
                f"{recording.path.name}: the instruments file has no rules for {', '.join(missing)} on {header.venue} "
                f"{header.market.value}"
            )
        return [by_native[native] for native in header.natives], "instruments file"
    try:
        return default_instruments(header.venue, header.market, header.natives), f"dated defaults {DATE}"
    except ValueError as error:
        raise ReplayError(f"{recording.path.name}: {error}") from error


def _fees(spec: VenueFeedSpec, header: Header, given: InstrumentsFile | None) -> Fees:
    stated = fees_of(spec)
    if stated is not None:
        return stated
    if header.fees is not None:
        return msgspec.structs.replace(header.fees, source="recording")
    if given is not None and given.fees is not None:
        return msgspec.structs.replace(given.fees, source="instruments file")
    return adapter_of(header.venue, header.market).default_fees


def _feed_of(recording: Recording, resources: Resources | None) -> VenueFeed | None:
    """The VenueFeed that a recording stands for: of its name, else the one of its venue and market."""
    if resources is None:
        return None
    header = recording.header
    fitting = [
        feed for feed in resources.feeds.values() if (feed.spec.venue, feed.spec.market) == (header.venue, header.market)
    ]
    named = [feed for feed in fitting if feed.metadata.name == header.feed]
    if len(named or fitting) != 1:
        found = ", ".join(feed.metadata.name for feed in fitting) or "none"
        raise ReplayError(
            f"{recording.path.name}: wants one VenueFeed for {header.venue} {header.market.value} (or one named "
            f"{header.feed}); the manifests have {found}"
        )
    return (named or fitting)[0]


def _plain_spec(header: Header, instruments: Sequence[Instrument]) -> VenueFeedSpec:
    return VenueFeedSpec(
        venue=header.venue,
        market=header.market,
        instruments=tuple(instrument.symbol for instrument in instruments),
        channels=header.channels,
        depth=header.depth,
    )


def _default_strategy(setups: Mapping[str, FeedSetup]) -> ArbStrategy:
    """Every pair of feeds on every instrument, with an account large enough never to bind."""
    instruments = [instrument for setup in setups.values() for instrument in setup.instruments]
    balances: dict[tuple[str, str], Decimal] = {}
    for setup in setups.values():
        for instrument in setup.instruments:
            balances[setup.name, instrument.quote] = _DEFAULT_QUOTE
            if instrument.market is MarketType.SPOT:
                balances.setdefault((setup.name, instrument.base), _DEFAULT_BASE)
    quotes = sorted({instrument.quote for instrument in instruments})
    return ArbStrategy(
        metadata=Metadata(name="default", uid=uid_of("default", "ArbStrategy", "default")),
        spec=ArbStrategySpec(
            feeds=tuple(FeedRef(name=name) for name in setups),
            cross_venue=CrossVenue(instruments=tuple(sorted({instrument.symbol for instrument in instruments}))),
            profit_asset="USDT" if "USDT" in quotes else quotes[0],
            detection=Detection(enter_edge=Bps("1bps"), exit_edge=Bps("0bps"), max_notional=_DEFAULT_NOTIONAL),
            execution=Execution(
                paper=Paper(
                    balances=tuple(
                        PaperBalance(feed=feed, asset=asset, amount=amount) for (feed, asset), amount in balances.items()
                    )
                )
            ),
        ),
    )
