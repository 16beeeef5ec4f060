"""The recordings read by hand: dictionaries, `json`, no code of ours. What the replay's figures are held against."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class DictBook:
    """A Binance book from the inline REST snapshot and the diffs, keyed by price."""

    def __init__(self) -> None:
        self.bids: dict[float, tuple[str, str]] = {}
        self.asks: dict[float, tuple[str, str]] = {}
        self.last = 0
        self.early: list[dict[str, Any]] = []

    def snapshot(self, depth: dict[str, Any]) -> None:
        self.bids = {float(price): (price, size) for price, size in depth["bids"]}
        self.asks = {float(price): (price, size) for price, size in depth["asks"]}
        self.last = depth["lastUpdateId"]
        for diff in self.early:
            self.diff(diff)

    def diff(self, diff: dict[str, Any]) -> bool:
        """Whether the diff was applied."""
        if not self.last:
            self.early.append(diff)
            return False
        if diff["u"] <= self.last:
            return False
        for side, changes in ((self.bids, diff["b"]), (self.asks, diff["a"])):
            for price, size in changes:
                if float(size):
                    side[float(price)] = (price, size)
                else:
                    side.pop(float(price), None)
        self.last = diff["u"]
        return True

    def top(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return self.bids[max(self.bids)], self.asks[min(self.asks)]


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with gzip.open(path) as file:
        for line in file:
            ns, _, frame = line.partition(b" ")
            yield int(ns), json.loads(frame)


def tops_checked(path: Path) -> tuple[int, int]:
    """Best price and size after each spot diff against the latest bookTicker with u ≤ the diff's u: (checked, wrong)."""
    book = DictBook()
    tickers: list[dict[str, Any]] = []
    current: dict[str, Any] | None = None
    checked = wrong = 0
    for _, frame in lines(path):
        data = frame.get("data", {})
        if "lastUpdateId" in frame:
            book.snapshot(frame)
        elif data.get("e") == "depthUpdate":
            if book.diff(data):
                while tickers and tickers[0]["u"] <= book.last:
                    current = tickers.pop(0)
                if current is not None:
                    checked += 1
                    expected = (current["b"], current["B"]), (current["a"], current["A"])
                    wrong += book.top() != expected
        elif "A" in data:
            tickers.append(data)
    return checked, wrong


def best_edges(spot: Path, perpetual: Path, *, spot_fee: float, perpetual_fee: float) -> dict[str, float]:
    """The best net edge in bps at the tops, over the whole recording, of buying one and selling the other."""
    books = {"spot": DictBook(), "perp": DictBook()}
    tops: dict[str, tuple[float, float]] = {}
    best = {"buy perp, sell spot": -1e9, "buy spot, sell perp": -1e9}
    merged = sorted(
        [(ns, 0, "spot", frame) for ns, frame in lines(spot)] + [(ns, 1, "perp", frame) for ns, frame in lines(perpetual)],
        key=lambda item: item[:2],
    )
    for _, _, name, frame in merged:
        book, data = books[name], frame.get("data", {})
        if "lastUpdateId" in frame:
            book.snapshot(frame)
        elif data.get("e") == "depthUpdate" and book.diff(data):
            (bid, _), (ask, _) = book.top()
            tops[name] = float(bid), float(ask)
            if len(tops) == 2:
                (spot_bid, spot_ask), (perp_bid, perp_ask) = tops["spot"], tops["perp"]
                cost, gain = perp_ask * (1 + perpetual_fee), spot_bid * (1 - spot_fee)
                best["buy perp, sell spot"] = max(best["buy perp, sell spot"], (gain / cost - 1) * 1e4)
                cost, gain = spot_ask / (1 - spot_fee), perp_bid * (1 - perpetual_fee)
                best["buy spot, sell perp"] = max(best["buy spot, sell perp"], (gain / cost - 1) * 1e4)
    return best
