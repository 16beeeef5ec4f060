"""Replays of the real recordings, whole or cut and edited by hand, the way `arb replay` runs them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from arbkube.cli.commands.recordings import run_replay

FOLDER = "binance-2024-08-08"
SPOT, PERPETUAL = "spot-btcusdt.jsonl.gz", "usdm-btcusdt.jsonl.gz"

MANIFESTS = """
apiVersion: arbkube.io/v1alpha1
kind: VenueFeed
metadata: {{name: spot}}
spec:
  venue: binance
  instruments: [BTC-USDT]
  channels: [Book, Ticker]
  fees: {{maker: {fee}, taker: {fee}}}
---
apiVersion: arbkube.io/v1alpha1
kind: VenueFeed
metadata: {{name: perp}}
spec:
  venue: binance
  market: Perpetual
  instruments: [BTC-USDT-PERP]
  channels: [Book, Ticker]
  fees: {{maker: {fee}, taker: {fee}}}
---
apiVersion: arbkube.io/v1alpha1
kind: ArbStrategy
metadata: {{name: basis}}
spec:
  feeds: [{{name: spot}}, {{name: perp}}]
  crossVenue: {{instruments: [BTC-USDT, BTC-USDT-PERP], allowBasis: {basis}}}
  profitAsset: USDT
  detection: {{enterEdge: {enter}, exitEdge: 0bps, maxNotional: "500"}}
  execution:
    paper:
      latency: {latency}
      balances:
        - {{feed: spot, asset: USDT, amount: "100000"}}
        - {{feed: spot, asset: BTC, amount: "2"}}
        - {{feed: perp, asset: USDT, amount: "100000"}}
  risk: {{maxNotional: "1000", maxPosition: "5000", maxDailyLoss: "1000"}}
"""


def manifests(
    folder: Path, *, fee: str = "0bps", basis: bool = True, enter: str = "1bps", latency: str = "20ms", more: str = ""
) -> Path:
    path = folder / "manifests.yaml"
    path.write_text(MANIFESTS.format(fee=fee, basis=str(basis).lower(), enter=enter, latency=latency) + more)
    return path


def replay(
    files: Sequence[Path], folder: Path, *, manifests: Path | None = None, instruments: Path | None = None
) -> dict[str, Any]:
    """The report."""
    out = folder / "report.json"
    run_replay(files, manifests=manifests, report=out, instruments=instruments, as_json=False)
    report: dict[str, Any] = msgspec.json.decode(out.read_bytes())
    return report


def head(path: Path, count: int) -> list[bytes]:
    """The first lines of a recording."""
    with gzip.open(path) as file:
        return [line for _, line in zip(range(count), file, strict=False)]


def is_diff(line: bytes) -> bool:
    return b'"depthUpdate"' in line


def write(path: Path, lines: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path
