"""The compiled kernel beside the pure form: the same frames through the same sessions, one after the other, in one run.

For: from the wire's bytes to the best bid and ask, called from Python, by venue. Times are CPU time of this process, medians of
several passes, each into a new session; the two forms take turns, so that a busy neighbour slows both. A figure is what a diff
(or, of a mixed stream, any message) costs with the book's top read after it. May not: run without the compiled form.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from random import Random
from typing import Any

from arbkube import kernel
from arbkube.detection.books import Book, Feed
from arbkube.detection.cycles.bound import walk
from arbkube.detection.cycles.rings import Graph
from arbkube.kernel import Form
from benchmarks.books import Case, _cases, _feed, _session
from benchmarks.detection import _market

PASSES = 7


AIMS = {
    "binance Spot": 2.0,
    "binance Perpetual": 2.2,
    "binance Spot, tickers and trades among them": 0.4,
    "binance Perpetual, tickers and trades among them": 0.4,
    "kraken Spot": 2.0,
}
"""What a case of `benchmarks.books` may cost, in microseconds."""


def run() -> list[dict[str, Any]]:
    if kernel.why is kernel.Why.NOT_BUILT:
        raise RuntimeError("the compiled kernel was not built here: `arb doctor` says what to do")
    return list(_rows())


def _rows() -> Iterator[dict[str, Any]]:
    for case in _cases():
        yield _row(case)
    yield _cycles()
    yield _walk()


def _row(case: Case) -> dict[str, Any]:
    took: dict[Form, list[float]] = {form: [] for form in Form}
    for _ in range(PASSES):
        for form in Form:
            took[form].append(_pass(case, form))
    compiled, pure = (statistics.median(took[form]) for form in (Form.COMPILED, Form.PURE))
    what = ", bytes to best bid and ask" if case.each == "diff" else ""
    return {
        "name": case.name + what,
        "value": round(compiled * 1e6, 3),
        "unit": f"µs/{case.each}",
        "baseline": round(pure * 1e6, 2),
        "against": "pure form",
        "ratio": round(compiled / pure, 4),
        "target": AIMS.get(case.name),
        "note": f"{pure / compiled:.1f} times as fast; {case.note}",
    }


def _pass(case: Case, form: Form) -> float:
    """Seconds a message, or a diff and a look at the top after it, in a new session of that form, once its book is verified."""
    kernel.form = form
    session = _session(case)
    book = session.books[case.instrument.symbol]
    session.opened(case.inputs[0].ns)
    left = iter(case.inputs)
    while book.withheld is not None:
        _feed(session, [next(left)])
    rest = [(given.data, given.ns) for given in left]
    received, top = session.received, book.top
    began = time.process_time()
    if case.each == "diff":
        for data, ns in rest:
            received(data, ns)
            top()
    else:
        for data, ns in rest:
            received(data, ns)
    took = time.process_time() - began
    book = session.books[case.instrument.symbol]
    if book.withheld is not None or book.counts.gaps or book.counts.malformed:
        raise RuntimeError(f"{case.name}: the book was not verified throughout: {book.withheld}, {book.counts}")
    return took / len(rest)


COINS = 103
QUOTES = ("USDT", "BTC", "ETH", "BNB", "EUR", "TRY")
TOUCHED = 582
LOOKS = 2_000


def _cycles() -> dict[str, Any]:
    """A tick of a few markets among cycles of up to four hops: every coin against every quote."""
    random = Random(1)
    symbols = [f"{first}-{second}" for number, first in enumerate(QUOTES) for second in QUOTES[:number]]
    symbols += [f"A{number}-{quote}" for number in range(COINS) for quote in QUOTES]
    markets = [_market("venue", symbol) for symbol in symbols]
    graphs: dict[Form, Graph] = {}
    touched = 0
    weights = [random.uniform(-9, 9) for _ in range(2 * len(markets))]
    for form in Form:
        kernel.form = form
        feed = Feed("venue", max_age_ns=1, max_transit_ns=1)
        books = [Book(index, market, feed) for index, market in enumerate(markets)]
        graph = graphs[form] = Graph(books, QUOTES[:1], 4)
        for index, weight in enumerate(weights):
            graph._scores.weigh(index, weight)
    took: dict[Form, list[float]] = {form: [] for form in Form}
    for _ in range(PASSES):
        for form, graph in graphs.items():
            hops, touched = [], 0
            for hop in graph._hops.values():
                if hop.source == QUOTES[0] and touched + len(hop.through) <= TOUCHED + 10:
                    hops.append(hop)
                    touched += len(hop.through)
            began = time.process_time()
            for _ in range(LOOKS):
                for hop in hops:
                    graph.glance(hop, 100.0, 100.0)
            took[form].append((time.process_time() - began) / LOOKS)
    compiled, pure = (statistics.median(took[form]) for form in (Form.COMPILED, Form.PURE))
    return {
        "name": "cycles scored anew",
        "value": round(compiled * 1e6, 3),
        "unit": "µs/tick",
        "baseline": round(pure * 1e6, 2),
        "against": "pure form",
        "ratio": round(compiled / pure, 4),
        "target": 2.5,
        "note": f"{pure / compiled:.1f} times as fast; {graphs[Form.COMPILED].rings} cycles, {touched} touched",
    }


LEVELS = 20


class _Floats:
    """A leg of a cycle whose every level is worth taking."""

    def __init__(self, random: Random) -> None:
        self.depth = [0.0]
        for _ in range(LEVELS):
            self.depth.append(self.depth[-1] + random.uniform(0.1, 10.0))
        self.pay_rate = [1.0 + level * 1e-4 for level in range(LEVELS)]
        self.get_rate = [1.2 - level * 1e-4 for level in range(LEVELS)]
        self.pay_at = self.values = self.pay_rate
        self.locks = None


def _walk() -> dict[str, Any]:
    """The ladders of four legs, taken together to where one of them ends."""
    random = Random(1)
    links: Any = [_Floats(random) for _ in range(4)]
    took: dict[Form, list[float]] = {form: [] for form in Form}
    found = walk(links, 0.0, 1e9)
    for _ in range(PASSES):
        for form in Form:
            kernel.form = form
            began = time.process_time()
            for _ in range(LOOKS):
                walk(links, 0.0, 1e9)
            took[form].append((time.process_time() - began) / LOOKS)
    compiled, pure = (statistics.median(took[form]) for form in (Form.COMPILED, Form.PURE))
    return {
        "name": "ladders of four legs walked at once",
        "value": round(compiled * 1e6, 3),
        "unit": "µs/walk",
        "baseline": round(pure * 1e6, 2),
        "against": "pure form",
        "ratio": round(compiled / pure, 4),
        "note": f"{pure / compiled:.1f} times as fast; {len(found.profit) if found else 0} points of {4 * LEVELS} levels",
    }
