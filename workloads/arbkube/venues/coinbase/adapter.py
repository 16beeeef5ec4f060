"""Coinbase Advanced Trade's addresses, trading rules and fees, spot.

For: `CoinbaseAdapter`. May not: do I/O.
Sources, read 2026-11: docs.cdp.coinbase.com, "List Public Products", "Get Public Product Book", "Advanced Trade WebSocket Rate
Limits" (8 messages a second of an unauthenticated address; half of that is used); Coinbase's page "Advanced Trade fees", lowest
tier (below 1 000 USD in 30 days). None of these endpoints needs a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from random import Random
from urllib.parse import urlencode

import msgspec

from arbkube.market.instruments import FeeAsset, Fees, Instrument, MarketType
from arbkube.resources.kinds import Proof
from arbkube.venues.coinbase.session import CoinbaseSession
from arbkube.venues.session import Endpoint, SessionOptions, Snapshot, WireLimits
from arbkube.venues.timestamps import epoch_ns


class _Product(msgspec.Struct):
    product_id: str
    base_currency_id: str
    quote_currency_id: str
    base_increment: Decimal
    quote_increment: Decimal
    base_min_size: Decimal
    quote_min_size: Decimal
    status: str
    product_type: str = "SPOT"
    price_increment: Decimal | None = None
    is_disabled: bool = False
    trading_disabled: bool = False
    cancel_only: bool = False
    post_only: bool = False
    auction_mode: bool = False


class _Products(msgspec.Struct):
    products: list[_Product]


class _Level(msgspec.Struct):
    price: str
    size: str


class _PriceBook(msgspec.Struct):
    bids: list[_Level]
    asks: list[_Level]
    time: datetime | None = None


class _ProductBook(msgspec.Struct):
    pricebook: _PriceBook


_decode_products = msgspec.json.Decoder(_Products).decode
_decode_book = msgspec.json.Decoder(_ProductBook).decode


class CoinbaseAdapter:
    venue = "coinbase"
    market = MarketType.SPOT
    proofs = frozenset({Proof.CHAIN})
    endpoint = Endpoint("wss://advanced-trade-ws.coinbase.com", "https://api.coinbase.com")
    # A gap voids every book of the connection, so few share one.
    limits = WireLimits(symbols_per_connection=20, arguments_per_message=20, messages_per_second=4)
    default_fees = Fees(
        maker=Decimal("0.006"),
        taker=Decimal("0.012"),
        charged_in=FeeAsset.QUOTE,
        source="coinbase advanced lowest tier 2026-11",
    )

    def instrument_urls(self, symbols: Sequence[str], endpoint: Endpoint) -> list[str]:
        query = urlencode([("product_type", "SPOT"), *(("product_ids", symbol) for symbol in symbols)])
        return [f"{endpoint.rest}/api/v3/brokerage/market/products?{query}"]

    def parse_instruments(self, bodies: Sequence[bytes], symbols: Sequence[str]) -> list[Instrument]:
        listed: dict[str, Instrument] = {}
        for body in bodies:
            for product in _decode_products(body).products:
                if product.product_type == "SPOT":
                    instrument = self._instrument(product)
                    listed[instrument.symbol] = instrument
        missing = [symbol for symbol in symbols if symbol not in listed]
        if missing:
            raise ValueError(f"coinbase Spot does not list {', '.join(missing)}")
        return [listed[symbol] for symbol in symbols]

    def _instrument(self, product: _Product) -> Instrument:
        closed = (
            product.is_disabled or product.trading_disabled or product.cancel_only or product.post_only or product.auction_mode
        )
        return Instrument(
            venue=self.venue,
            market=self.market,
            symbol=f"{product.base_currency_id}-{product.quote_currency_id}",
            native=product.product_id,
            base=product.base_currency_id,
            quote=product.quote_currency_id,
            tick=product.price_increment or product.quote_increment,
            lot=product.base_increment,
            min_quantity=product.base_min_size,
            min_notional=product.quote_min_size,
            tradable=product.status == "online" and not closed,
        )

    def snapshot_url(self, instrument: Instrument, depth: int, endpoint: Endpoint) -> str:
        query = urlencode({"product_id": instrument.native, "limit": depth})
        return f"{endpoint.rest}/api/v3/brokerage/market/product_book?{query}"

    def parse_snapshot(self, body: bytes) -> Snapshot:
        book = _decode_book(body).pricebook
        bids = tuple((level.price, level.size) for level in book.bids)
        asks = tuple((level.price, level.size) for level in book.asks)
        return Snapshot(bids, asks, sequence=0, venue_ns=epoch_ns(book.time))

    def session(self, instruments: Sequence[Instrument], options: SessionOptions, rng: Random) -> CoinbaseSession:
        return CoinbaseSession(instruments, options, rng, self.limits)
