"""What each venue's market data can prove, before any adapter is loaded.

For: the validator, which refuses to demand a proof that a venue does not offer, and its messages, which name what there is.
May not: do I/O or import an adapter; `registry` says which adapter serves a row.
"""

from __future__ import annotations

from arbkube.market.instruments import MarketType
from arbkube.resources.kinds import Proof

CCXT = "ccxt:"
"""Prefix of a venue served through ccxt, e.g. `ccxt:gate`."""

_PROOFS: dict[tuple[str, MarketType], frozenset[Proof]] = {
    ("binance", MarketType.SPOT): frozenset({Proof.CHAIN}),
    ("binance", MarketType.PERPETUAL): frozenset({Proof.CHAIN}),
    ("coinbase", MarketType.SPOT): frozenset({Proof.CHAIN}),
    ("kraken", MarketType.SPOT): frozenset({Proof.CHECKSUM}),
    ("okx", MarketType.SPOT): frozenset({Proof.CHAIN, Proof.CHECKSUM}),
    ("okx", MarketType.PERPETUAL): frozenset({Proof.CHAIN, Proof.CHECKSUM}),
    ("bybit", MarketType.SPOT): frozenset({Proof.CHAIN}),
    ("bybit", MarketType.PERPETUAL): frozenset({Proof.CHAIN}),
}

_WITH_TICKER = frozenset({"binance", "okx", "bybit"})
"""Venues whose best-price stream carries the number of the update it speaks of, so that a book top can be held against it."""

VENUES: tuple[str, ...] = tuple(dict.fromkeys(venue for venue, _ in _PROOFS))
"""Venues with an adapter of their own; each has a simulated form."""


def markets(venue: str) -> tuple[MarketType, ...]:
    """Which markets of a venue are offered; none for an unknown venue. Through ccxt either may exist."""
    if venue.startswith(CCXT):
        return tuple(MarketType)
    return tuple(market for name, market in _PROOFS if name == venue)


def proofs(venue: str, market: MarketType) -> frozenset[Proof]:
    """What proves a book of this venue and market. Through ccxt nothing does: only the connection's liveness is known."""
    return _PROOFS.get((venue, market), frozenset())


def has_ticker(venue: str) -> bool:
    """Whether the channel `Ticker` can check book tops of this venue."""
    return venue in _WITH_TICKER
