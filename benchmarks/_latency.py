"""Rows of what was waited for: p50 and p99 beside a baseline's of the same run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def quantile(took: Sequence[float], share: float) -> float:
    """The value below which `share` of `took` lies."""
    return sorted(took)[int(len(took) * share)]


def latency_rows(
    name: str, took: Sequence[float], base: Sequence[float], *, against: str, target_ms: float, note: str
) -> list[dict[str, Any]]:
    """Two rows in milliseconds; the target is the p99's."""
    return [
        {
            "name": f"{name}, {label}",
            "value": round(quantile(took, share), 2),
            "unit": "ms",
            "baseline": round(quantile(base, share), 2),
            "against": against,
            "ratio": round(quantile(took, share) / quantile(base, share), 2),
            "target": target_ms if label == "p99" else None,
            "note": note if label == "p50" else "",
        }
        for label, share in (("p50", 0.5), ("p99", 0.99))
    ]
