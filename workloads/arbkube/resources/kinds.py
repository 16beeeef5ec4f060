"""The kinds of `arbkube.io/v1alpha1`, field by field.

For: what may be written, its default, whether a change is hot or restarts pods, and which direction is safer: the field's own
declaration is authoritative, and CRDs, reference pages, the validator and `arb plan` are made from it. May not: do I/O.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from arbkube.market.instruments import FeeAsset, MarketType
from arbkube.resources.fields import Range, Safer, field
from arbkube.resources.scalars import Asset, Bps, Duration, HttpURL, Name, Quantity, Symbol, Venue, VenueOrAsset, WebSocketURL

API_VERSION = "arbkube.io/v1alpha1"


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of every struct below: camelCase in YAML, unknown fields rejected."""


class Channel(StrEnum):
    BOOK = "Book"
    TICKER = "Ticker"


class Proof(StrEnum):
    """What can prove a book: an unbroken chain of sequence numbers, or a checksum over the top of the book."""

    CHAIN = "Chain"
    CHECKSUM = "Checksum"


class ResourceAmounts(Spec, frozen=True, kw_only=True):
    cpu: Annotated[Quantity | None, field("CPU, as Kubernetes writes it, e.g. `250m`.")] = None
    memory: Annotated[Quantity | None, field("Memory, as Kubernetes writes it, e.g. `128Mi`.")] = None


class Workload(Spec, frozen=True, kw_only=True):
    """Part of the plan and of the pod's shape; `arb up` runs plain processes and leaves their size to the machine."""

    requests: Annotated[ResourceAmounts, field("What the pod is scheduled by.")] = ResourceAmounts()
    limits: Annotated[ResourceAmounts, field("What the pod may not exceed.")] = ResourceAmounts()


class Integrity(Spec, frozen=True, kw_only=True):
    """What a book of this feed must prove, and when it counts as stale."""

    require: Annotated[
        tuple[Proof, ...],
        msgspec.Meta(max_length=2),
        field("Proofs without which a book is withheld. Empty means: whichever the venue offers, at least one."),
    ] = ()
    max_age: Annotated[
        Duration,
        field(
            "Oldest proof of a connection's liveness under which its books are traded on.",
            safer=Safer.LOWER,
            within=Range.POSITIVE,
        ),
    ] = Duration("2s")
    max_transit: Annotated[
        Duration,
        field(
            "How much slower than the quickest recent one an event may have arrived.", safer=Safer.LOWER, within=Range.POSITIVE
        ),
    ] = Duration("500ms")


class FeeOverride(Spec, frozen=True, kw_only=True):
    maker: Annotated[Bps, field("Maker fee; below zero for a rebate.")]
    taker: Annotated[Bps, field("Taker fee.")]
    charged_in: Annotated[FeeAsset, field("The asset the fee is taken from.")] = FeeAsset.QUOTE


class Endpoint(Spec, frozen=True, kw_only=True):
    """At least one of the two."""

    websocket: Annotated[WebSocketURL | None, field("WebSocket base URL instead of the venue's own.")] = None
    rest: Annotated[HttpURL | None, field("REST base URL instead of the venue's own.")] = None


class Simulated(Spec, frozen=True, kw_only=True):
    """How the simulated venue differs from the common price process that all simulated venues of a namespace share."""

    lag: Annotated[Duration, field("How long this venue takes to follow the common price.")] = Duration("0s")
    noise: Annotated[
        Bps, field("Standard deviation of this venue's own mean-reverting deviation.", within=Range.NOT_NEGATIVE)
    ] = Bps("0bps")
    spread: Annotated[Bps, field("Typical distance between best bid and best ask.", within=Range.POSITIVE)] = Bps("1bps")
    volatility: Annotated[
        Bps,
        field(
            "Standard deviation of the common price over a second; the largest of all feeds counts.",
            within=Range.NOT_NEGATIVE,
        ),
    ] = Bps("2bps")
    updates_per_second: Annotated[int, msgspec.Meta(ge=1, le=1000), field("Book updates a second.")] = 20


class Recording(Spec, frozen=True, kw_only=True):
    interval: Annotated[Duration, field("How often the recorder stores each book's top.", within=Range.POSITIVE)] = Duration(
        "1s"
    )
    retention: Annotated[Duration, field("How long it keeps them.", within=Range.POSITIVE)] = Duration("7d")


class VenueFeedSpec(Spec, frozen=True, kw_only=True):
    """One venue's market data: at most one of `endpoint` and `simulated` says where it comes from instead of the venue."""

    venue: Annotated[
        Venue, field("The venue's adapter: `binance`, `coinbase`, `kraken`, `okx`, `bybit`, or `ccxt:ID`.", restart=True)
    ]
    instruments: Annotated[
        tuple[Symbol, ...], msgspec.Meta(min_length=1, max_length=500), field("Venue-neutral: `BTC-USDT`, `BTC-USDT-PERP`.")
    ]
    market: Annotated[MarketType, field("Which of the venue's markets.", restart=True)] = MarketType.SPOT
    channels: Annotated[
        tuple[Channel, ...],
        msgspec.Meta(min_length=1, max_length=2),
        field("`Book` is always there; `Ticker` (binance, okx, bybit) also checks book tops against the venue's own."),
    ] = (Channel.BOOK,)
    depth: Annotated[int, msgspec.Meta(ge=1, le=200), field("Levels a side that are published.")] = 20
    integrity: Annotated[Integrity, field("What a book must prove.")] = Integrity()
    fees: Annotated[FeeOverride | None, field("Fees of this account, instead of the adapter's dated defaults.")] = None
    endpoint: Annotated[Endpoint | None, field("Other addresses than the venue's own.", restart=True)] = None
    simulated: Annotated[
        Simulated | None, field("Serve this feed from the simulator, in the venue's real wire protocol.", restart=True)
    ] = None
    recording: Annotated[Recording | None, field("Store the book's top at an interval.")] = None
    suspend: Annotated[bool, field("Run no feed.", restart=True)] = False
    workload: Annotated[Workload, field("The pod's shape.", restart=True)] = Workload()


class CrossVenue(Spec, frozen=True, kw_only=True):
    """Buy where it is cheap and sell where it is dear, both legs at once."""

    instruments: Annotated[
        tuple[Symbol, ...],
        msgspec.Meta(min_length=1, max_length=200),
        field("Compared on every pair of feeds that have them; BASE-QUOTE compares also with other quotes of its base."),
    ]
    allow_basis: Annotated[
        bool, field("Also pair a spot with a perpetual of the same asset: that is a basis position, not an arbitrage.")
    ] = False


class Cycle(Spec, frozen=True, kw_only=True):
    """Trade round a ring of assets back to where it began, e.g. USDT → BTC → ETH → USDT."""

    start_assets: Annotated[tuple[Asset, ...], msgspec.Meta(min_length=1, max_length=10), field("Assets a cycle starts from.")]
    max_legs: Annotated[int, msgspec.Meta(ge=3, le=4), field("Longest cycle.")] = 3


class FeedRef(Spec, frozen=True, kw_only=True):
    name: Annotated[Name, field("A VenueFeed of the same namespace.")]


class Detection(Spec, frozen=True, kw_only=True):
    """`exitEdge` ≤ `enterEdge` ≤ `maxPlausibleEdge`."""

    enter_edge: Annotated[Bps, field("Net edge at which an episode opens.", safer=Safer.HIGHER, within=Range.NOT_NEGATIVE)] = (
        Bps("5bps")
    )
    exit_edge: Annotated[Bps, field("Net edge below which it closes; not above enterEdge.")] = Bps("1bps")
    max_plausible_edge: Annotated[
        Bps, field("A net edge above this is logged, not traded.", safer=Safer.LOWER, within=Range.POSITIVE)
    ] = Bps("300bps")
    max_skew: Annotated[
        Duration, field("Furthest the legs' receive times may lie apart.", safer=Safer.LOWER, within=Range.POSITIVE)
    ] = Duration("1s")
    max_notional: Annotated[
        Decimal, field("Largest opportunity, in the profit asset.", safer=Safer.LOWER, within=Range.POSITIVE)
    ] = Decimal(1000)


class LegOrder(StrEnum):
    SIMULTANEOUS = "Simultaneous"
    SEQUENTIAL = "Sequential"


class PartialPolicy(StrEnum):
    COMPLETE = "Complete"
    """Try once to fill what is missing, within `maxLoss`; unwind what then remains."""
    UNWIND = "Unwind"


class Mode(StrEnum):
    PAPER = "Paper"


class PaperBalance(Spec, frozen=True, kw_only=True):
    feed: Annotated[Name, field("The feed whose venue holds it.")]
    asset: Annotated[Asset, field("Asset, e.g. `USDT`.")]
    amount: Annotated[Decimal, field("How much the paper account begins with; also the target inventory.")]


class Paper(Spec, frozen=True, kw_only=True):
    """It fills on the real book of the moment the order arrives and uses up what it took."""

    latency: Annotated[Duration, field("From sending to the venue's matching.")] = Duration("20ms")
    reject_rate: Annotated[Decimal, field("Share of orders rejected.", within=Range.FRACTION)] = Decimal(0)
    unknown_rate: Annotated[Decimal, field("Share of orders whose answer is lost.", within=Range.FRACTION)] = Decimal(0)
    balances: Annotated[
        tuple[PaperBalance, ...],
        msgspec.Meta(max_length=200),
        field("What the paper account begins with.", restart=True, keys=("feed", "asset")),
    ] = ()


class Execution(Spec, frozen=True, kw_only=True):
    mode: Annotated[Mode, field("`Paper`: no order leaves this machine.", restart=True)] = Mode.PAPER
    legs: Annotated[LegOrder, field("Send all legs at once, or each when the one before has filled.")] = LegOrder.SIMULTANEOUS
    on_partial: Annotated[PartialPolicy, field("What happens to an unequal fill.")] = PartialPolicy.COMPLETE
    max_loss: Annotated[
        Bps,
        field(
            "Worst price, from the leg's own limit, that completing or unwinding may pay.",
            safer=Safer.LOWER,
            within=Range.NOT_NEGATIVE,
        ),
    ] = Bps("50bps")
    expire_after: Annotated[Duration, field("An older opportunity is not taken.", safer=Safer.LOWER, within=Range.POSITIVE)] = (
        Duration("250ms")
    )
    paper: Annotated[Paper, field("The paper broker.")] = Paper()


class StrategyRisk(Spec, frozen=True, kw_only=True):
    max_notional: Annotated[
        Decimal | None, field("Largest order, in its quote asset.", safer=Safer.LOWER, within=Range.POSITIVE)
    ] = None
    max_position: Annotated[
        Decimal | None,
        field(
            "Largest distance of an asset from its target, valued in the profit asset.",
            safer=Safer.LOWER,
            within=Range.POSITIVE,
        ),
    ] = None
    max_open_intents: Annotated[int, msgspec.Meta(ge=1, le=100), field("Intents at once.", safer=Safer.LOWER)] = 1
    max_daily_loss: Annotated[
        Decimal | None,
        field("Loss since the risk day (UTC) began at which Opens stop.", safer=Safer.LOWER, within=Range.POSITIVE),
    ] = None


class HaltMode(StrEnum):
    """What a halt asks for, each more than the one before."""

    STOP_NEW = "StopNew"
    """No Open is sent; what is under way is completed or unwound by policy."""
    CANCEL_OPEN = "CancelOpen"
    """Also: Opens that are not filled yet are taken back, and what they filled is unwound, not completed."""
    FLATTEN = "Flatten"
    """Also: return to the target inventory, within bounded price, time and loss."""

    @property
    def severity(self) -> int:
        return list(HaltMode).index(self)


class Rollout(Spec, frozen=True, kw_only=True):
    """How a changed configuration reaches the running pods."""

    bake: Annotated[
        Duration,
        field("How long the pods' health is held against the time before, once all have applied it."),
    ] = Duration("10s")
    progress_deadline: Annotated[
        Duration,
        field("How long the pods may take to answer and to apply; then the rollout is Stalled.", within=Range.POSITIVE),
    ] = Duration("60s")


class ArbStrategySpec(Spec, frozen=True, kw_only=True):
    """Exactly one of the typed blocks `crossVenue` and `cycle` says what the strategy is."""

    feeds: Annotated[tuple[FeedRef, ...], msgspec.Meta(min_length=1, max_length=20), field("Where it looks.", keys=("name",))]
    cross_venue: Annotated[CrossVenue | None, field("Between venues.")] = None
    cycle: Annotated[Cycle | None, field("Within one venue or over several.")] = None
    profit_asset: Annotated[Asset, field("What edges, notionals and PnL are counted in.")] = "USDT"
    detection: Annotated[Detection, field("When something seen is worth taking.")] = Detection()
    execution: Annotated[Execution, field("How it is taken.")] = Execution()
    risk: Annotated[StrategyRisk, field("Limits of this strategy.")] = StrategyRisk()
    halt: Annotated[bool, field("Send no risk-increasing order.", safer=Safer.HIGHER)] = False
    halt_mode: Annotated[HaltMode, field("What `halt` asks for.")] = HaltMode.STOP_NEW
    rollout: Annotated[Rollout, field("How changes of this strategy reach its pods.")] = Rollout()
    suspend: Annotated[bool, field("Run neither detector nor executor.", restart=True)] = False
    workload: Annotated[Workload, field("The pods' shape.", restart=True)] = Workload()


class AmountLimit(Spec, frozen=True, kw_only=True):
    name: Annotated[VenueOrAsset, field("The venue (a feed's `venue`) or asset.")]
    limit: Annotated[Decimal, field("In the strategy's profit asset.", safer=Safer.LOWER)]


class RiskPolicySpec(Spec, frozen=True, kw_only=True):
    """Limits of every strategy of the namespace; of several policies the strictest value wins."""

    max_daily_loss: Annotated[
        Decimal | None, field("As in ArbStrategy, for each strategy.", safer=Safer.LOWER, within=Range.POSITIVE)
    ] = None
    max_notional: Annotated[
        Decimal | None, field("Largest order, in its quote asset.", safer=Safer.LOWER, within=Range.POSITIVE)
    ] = None
    max_exposure_by_venue: Annotated[
        tuple[AmountLimit, ...],
        msgspec.Meta(max_length=100),
        field("Worth of the distance from target on one venue: all assets and strategies.", keys=("name",)),
    ] = ()
    max_exposure_by_asset: Annotated[
        tuple[AmountLimit, ...],
        msgspec.Meta(max_length=200),
        field("Worth of an asset's distance from target: all venues and strategies.", keys=("name",)),
    ] = ()
    max_mark_age: Annotated[
        Duration, field("A mark older than this refuses Opens.", safer=Safer.LOWER, within=Range.POSITIVE)
    ] = Duration("5s")


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is used of a Kubernetes object's metadata; the rest is ignored."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class VenueFeed(msgspec.Struct, frozen=True, kw_only=True):
    metadata: Metadata
    spec: VenueFeedSpec


class ArbStrategy(msgspec.Struct, frozen=True, kw_only=True):
    metadata: Metadata
    spec: ArbStrategySpec


class RiskPolicy(msgspec.Struct, frozen=True, kw_only=True):
    metadata: Metadata
    spec: RiskPolicySpec


Resource = VenueFeed | ArbStrategy | RiskPolicy
