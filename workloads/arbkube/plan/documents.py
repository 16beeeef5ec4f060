"""The configuration documents: all that a pod is told, as JSON that reads back to the same types.

For: the planner, which writes them, and the pods, which read nothing else of the configuration. May not: do I/O.
"""

from __future__ import annotations

from typing import Any

import msgspec

from arbkube.market.instruments import MarketType
from arbkube.resources.kinds import ArbStrategySpec, FeeOverride, Recording, Simulated, VenueFeedSpec
from arbkube.resources.meaning import digest
from arbkube.resources.scalars import Bps, Duration
from arbkube.risk.limits import Limits


class Source(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A resource that a document was rendered from, as it was then."""

    kind: str
    name: str
    uid: str
    generation: int


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Base of what documents are made of."""


class _Document(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, tag_field="role", tag=True
):
    """Base of the documents; the field `role` says whose it is."""


class StrategyFeed(_Part, frozen=True, kw_only=True):
    """A VenueFeed as a strategy sees it."""

    venue: str
    market: MarketType
    instruments: tuple[str, ...]
    fees: FeeOverride | None
    """None means the adapter's dated defaults."""


class RecordedFeed(_Part, frozen=True, kw_only=True):
    """A VenueFeed whose book tops are stored."""

    venue: str
    market: MarketType
    instruments: tuple[str, ...]
    recording: Recording


class SimulatedFeed(_Part, frozen=True, kw_only=True):
    """A VenueFeed that the simulator serves."""

    venue: str
    market: MarketType
    instruments: tuple[str, ...]
    simulated: Simulated


class FeedDocument(_Document, frozen=True, kw_only=True, tag="Feed"):
    name: str
    spec: VenueFeedSpec
    """Without `workload`, which is no configuration, and limits, which concern the strategies that trade on it."""
    revision: str


class StrategyDocument(_Document, frozen=True, kw_only=True, tag="Strategy"):
    """What a strategy's detector and executor are told: an opportunity carries its revision from one to the other.

    `limits` are the ones this document was made with; those in force come as a document of their own and can only be stricter.
    `revision` leaves them out: they change by themselves.
    """

    strategy: str
    uid: str
    spec: ArbStrategySpec
    """Without `workload`, and with every limit at its default: the limits stand in `limits`."""
    feeds: dict[str, StrategyFeed]
    limits: Limits
    revision: str


class RecorderDocument(_Document, frozen=True, kw_only=True, tag="Recorder"):
    feeds: dict[str, RecordedFeed]
    strategies: tuple[str, ...]
    """Whose opportunities are stored."""
    revision: str


class SimulatorDocument(_Document, frozen=True, kw_only=True, tag="Simulator"):
    feeds: dict[str, SimulatedFeed]
    revision: str


Document = FeedDocument | StrategyDocument | RecorderDocument | SimulatorDocument


def revision_of(*parts: object) -> str:
    """12 hexadecimal digits of what `parts` mean: other spellings of the same configuration have the same revision."""
    return digest(parts)


def encode_document(document: Document) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(document, enc_hook=_encode_scalar, order="deterministic")


def encode_limits(limits: Limits) -> bytes:
    """The limits as JSON."""
    return msgspec.json.encode(limits, enc_hook=_encode_scalar, order="deterministic")


def decode_limits(data: bytes | str) -> Limits:
    """Limits from their JSON. Raises msgspec.ValidationError or msgspec.DecodeError, naming the path."""
    return _limits_decoder.decode(data)


def decode_document(data: bytes | str) -> Document:
    """A document from its JSON. Raises msgspec.ValidationError or msgspec.DecodeError, naming the path."""
    return _decoder.decode(data)


def _encode_scalar(value: object) -> str:
    if isinstance(value, Duration | Bps):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no place in a document")


def _decode_scalar(wanted: type, value: Any) -> object:
    if wanted in (Duration, Bps) and isinstance(value, str):
        return wanted(value)
    raise ValueError(f"{value!r} is not a {wanted.__name__}")


_decoder: msgspec.json.Decoder[Document] = msgspec.json.Decoder(Document, dec_hook=_decode_scalar)
_limits_decoder: msgspec.json.Decoder[Limits] = msgspec.json.Decoder(Limits, dec_hook=_decode_scalar)
