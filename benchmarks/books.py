"""A diff, from the wire's bytes to a verified book: decode, verify, apply, for each venue.

Frames are the real recordings where there are any, else what the simulated exchanges send. Times are CPU time of this process,
medians of several passes over the same frames, each into a new session. The baseline runs beside it on the first of the same
frames: the standard library's JSON, dictionaries of decimals, and the best prices found by sorting, without any proof.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from arbkube.market.instruments import Instrument, MarketType
from arbkube.resources.kinds import Channel
from arbkube.simulator.exchange.base import Exchange
from arbkube.simulator.model import SimulatedFeed, Venue, venues
from arbkube.venues.recording import EventKind, Recording
from arbkube.venues.registry import adapter
from arbkube.venues.session import Endpoint, Fetch, Send, Session, SessionOptions

RECORDINGS = Path(__file__).parents[2] / "shared" / "data"
PASSES = 5
STEPS = 3000
"""Simulated updates a venue."""
NAIVE = 300
"""Diffs of the baseline, which is slow."""
SPOT_TARGET = 30.0
"""Microseconds for a spot diff of 36 levels, which Binance's average."""
SIMULATED = Endpoint("ws://simulated", "http://simulated")
START_NS = 1_790_000_000 * 10**9
SPOT, PERPETUAL = MarketType.SPOT, MarketType.PERPETUAL
BOOK = frozenset({Channel.BOOK})

Ladders = tuple[list[tuple[str, str]], list[tuple[str, str]]]


class Input(NamedTuple):
    """One thing that a session is given. `symbol` is set for REST bodies."""

    ns: int
    data: bytes
    symbol: str = ""


class Case(NamedTuple):
    """One instrument's inputs on one connection."""

    name: str
    venue: str
    instrument: Instrument
    inputs: list[Input]
    note: str
    channels: frozenset[Channel] = BOOK
    target: float | None = None
    each: str = "diff"


def run() -> list[dict[str, Any]]:
    return [_measure(case) for case in _cases()]


def _cases() -> Iterator[Case]:
    recorded = RECORDINGS.is_dir()
    for market, file, target in ((SPOT, "spot-btcusdt.jsonl.gz", SPOT_TARGET), (PERPETUAL, "usdm-btcusdt.jsonl.gz", None)):
        name = f"binance {market.value}"
        if not recorded:
            yield _simulated("binance", market)
            continue
        _, instrument = _venue("binance", market)
        everything = _recorded(RECORDINGS / "binance-2024-08-08" / file, instrument.symbol)
        diffs = [given for given in everything if _ladders(given.data) is not None]
        yield Case(name, "binance", instrument, diffs, "recorded", target=target)
        both = frozenset({Channel.BOOK, Channel.TICKER})
        yield Case(
            f"{name}, tickers and trades among them", "binance", instrument, everything, "recorded", both, each="message"
        )
    for venue, market in (("coinbase", SPOT), ("kraken", SPOT), ("okx", SPOT), ("okx", PERPETUAL), ("bybit", SPOT)):
        yield _simulated(venue, market)
    if recorded:
        _, instrument = _venue("okx", SPOT)
        inputs = [given for given in _recorded(RECORDINGS / "okx" / "books.ws.txt") if b'"BTC-USDT"' in given.data[:60]]
        diffs = [given for given in inputs if _ladders(given.data) is not None]
        yield Case("okx Spot, by checksum", "okx", instrument, diffs, "recorded")


def _recorded(path: Path, symbol: str = "") -> list[Input]:
    symbols = {EventKind.RECEIVED: "", EventKind.FETCHED: symbol}
    return [Input(event.ns, event.data, symbols[event.kind]) for event in Recording(path).events() if event.kind in symbols]


def _simulated(venue: str, market: MarketType) -> Case:
    """What a session was given when it talked with a simulated exchange."""
    simulated, instrument = _venue(venue, market)
    case = Case(f"{venue} {market.value}", venue, instrument, [], "simulated")
    session = _session(case)
    exchange = simulated.exchange
    where = urlsplit(session.url)
    connection = exchange.connect(where.path, dict(parse_qsl(where.query)), START_NS)
    session.opened(START_NS)
    for step in range(STEPS):
        now_ns = START_NS + step * simulated.step_ns
        for action in session.take_actions():
            if isinstance(action, Send):
                exchange.received(connection, action.text, now_ns)
            elif isinstance(action, Fetch):
                case.inputs.append(Input(now_ns, _get(exchange, action.url), action.symbol))
                _feed(session, case.inputs[-1:])
        while connection.out:
            case.inputs.append(Input(now_ns, connection.out.popleft().text.encode()))
            _feed(session, case.inputs[-1:])
        simulated.step(elapsed_ns=step * simulated.step_ns, venue_ns=now_ns)
    return case


def _venue(venue: str, market: MarketType) -> tuple[Venue, Instrument]:
    """A simulated venue, and the rules that it tells of its one instrument."""
    quote = "USD" if venue in {"coinbase", "kraken"} else "USDT"
    symbol = f"BTC-{quote}" + ("-PERP" if market is PERPETUAL else "")
    simulated = venues([SimulatedFeed(name="bench", venue=venue, market=market, instruments=(symbol,))], seed=1)["bench"]
    served = adapter(venue, market)
    bodies = [_get(simulated.exchange, url) for url in served.instrument_urls([symbol], SIMULATED)]
    return simulated, served.parse_instruments(bodies, [symbol])[0]


def _get(exchange: Exchange, url: str) -> bytes:
    where = urlsplit(url)
    answer = exchange.get(where.path, dict(parse_qsl(where.query)), START_NS)
    if answer.status != 200:
        raise RuntimeError(f"the simulated exchange answered {answer.status} to {url}")
    return answer.body


def _session(case: Case) -> Session:
    options = SessionOptions(endpoint=SIMULATED, depth=20, channels=case.channels)
    return adapter(case.venue, case.instrument.market).session([case.instrument], options, Random(1))


def _feed(session: Session, inputs: list[Input]) -> None:
    for ns, data, symbol in inputs:
        if symbol:
            session.fetched(symbol, data, ns)
        else:
            session.received(data, ns)


def _measure(case: Case) -> dict[str, Any]:
    ladders = [_ladders(given.data) for given in case.inputs]
    first = next(place for place, levels in enumerate(ladders) if levels and min(map(len, levels)) >= 10) + 1
    diffs = [levels for levels in ladders[first:] if levels is not None]
    per_pass = len(case.inputs) - first if case.each == "message" else len(diffs)
    ours = statistics.median(_pass(case, first) for _ in range(PASSES)) / per_pass
    places = [place for place, levels in enumerate(ladders) if levels is not None and place >= first][:NAIVE]
    sample = case.inputs[: places[-1] + 1]
    counted = len(sample) - first if case.each == "message" else len(places)
    naive = statistics.median(_naive(sample, first) for _ in range(3)) / counted
    return {
        "name": case.name,
        "value": round(ours * 1e6, 2),
        "unit": f"µs/{case.each}",
        "baseline": round(naive * 1e6, 2),
        "against": "json, Decimal, sorted",
        "ratio": round(ours / naive, 4),
        "target": case.target,
        "note": f"{case.note}, {statistics.mean(len(bids) + len(asks) for bids, asks in diffs):.0f} levels a diff",
    }


def _pass(case: Case, first: int) -> float:
    """Seconds for everything after the snapshot, at `first`, in a new session."""
    session = _session(case)
    session.opened(case.inputs[0].ns)
    _feed(session, case.inputs[:first])
    began = time.process_time()
    _feed(session, case.inputs[first:])
    took = time.process_time() - began
    book = session.books[case.instrument.symbol]
    if book.withheld is not None or book.counts.gaps or book.counts.malformed:
        raise RuntimeError(f"{case.name}: the book was not verified throughout: {book.withheld}, {book.counts}")
    return took


def _naive(inputs: list[Input], first: int) -> float:
    """Seconds for the same by the plainest means."""
    sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
    began = 0.0
    for place, given in enumerate(inputs):
        if place == first:
            began = time.process_time()
        ladders = _ladders(given.data)
        if ladders is None:
            continue
        for side, levels in zip(sides, ladders, strict=True):
            for price, size in levels:
                if amount := Decimal(size):
                    side[Decimal(price)] = amount
                else:
                    side.pop(Decimal(price), None)
        _best = sorted(sides[0])[-1:], sorted(sides[1])[:1]
    return time.process_time() - began


def _ladders(data: bytes) -> Ladders | None:
    """The levels of a snapshot or diff of any venue; None for any other message."""
    message = json.loads(data, parse_float=str, parse_int=str) if data[:1] == b"{" else {}
    body = message.get("data", message)
    if isinstance(body, list):
        body = body[0] if body and "bids" in body[0] else {}
    if "events" in message:
        updates = [update for event in message["events"] for update in event.get("updates", ())]
        bids, asks = (
            [(update["price_level"], update["new_quantity"]) for update in updates if update["side"] == side]
            for side in ("bid", "offer")
        )
        return (bids, asks) if updates else None
    for bid, ask in (("bids", "asks"), ("b", "a")):
        if isinstance(body.get(bid), list) and isinstance(body.get(ask), list):
            return _pairs(body[bid]), _pairs(body[ask])
    return None


def _pairs(levels: list[Any]) -> list[tuple[str, str]]:
    return [(level["price"], level["qty"]) if isinstance(level, dict) else (level[0], level[1]) for level in levels]
