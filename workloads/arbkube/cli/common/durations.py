"""Durations on the command line: the same spelling as in manifests.

For: one error message. May not: know what the duration is for.
"""

from __future__ import annotations

from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.resources.scalars import Duration


def seconds(text: str, *, option: str) -> float | None:
    """Seconds of `30s`, `10m`, …; None for an empty text. Raises ArbError naming the option."""
    if not text:
        return None
    try:
        duration = Duration(text)
        if not duration.ns:
            raise ValueError("must be longer than nothing")
    except ValueError as error:
        raise ArbError(f"{option} {text}: {error}", remedy=f"e.g. {option} 30s", code=ExitCode.USAGE) from error
    return duration.ns / 1e9
