"""Whether a pod does worse under a new document than it did before.

For: the bake. Each pod is held against its own past; none against another pod. May not: do I/O or read a clock.

Rates before are estimated by the rule of succession, (n + 1) / (N + 2): a pod that has hardly lived yet gets the benefit of the
doubt, one that sent a thousand orders without a refusal does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from arbkube.control.protocol import Health
from arbkube.control.rollout.state import PodBefore
from arbkube.control.rollout.table import Reason

FACTOR = 2
"""How many times worse than before is too much."""
REJECTS_AT_LEAST = 3
"""Fewer refused orders in a bake prove nothing."""
ERRORS_AT_LEAST = 3
"""Fewer errors in a bake prove nothing."""
ATTEMPTS_AT_LEAST = 5
"""A pod that attempted less in a bake was too quiet to tell."""
AGE_FLOOR_NS = 2_000_000_000
"""Data younger than this is never too old, however young it was before."""
_SECOND = 1_000_000_000


def worse(before: PodBefore, now: Health, baked_ns: int, *, over: bool) -> Reason | None:
    """Why a pod does worse `baked_ns` after all applied, or None. Data ages and recovers: age is judged once it is `over`."""
    begun = before.told or now
    attempts, rejects, errors = now.attempts - begun.attempts, now.rejects - begun.rejects, now.errors - begun.errors
    past = before.health
    if rejects >= REJECTS_AT_LEAST and rejects * (past.attempts + 2) > FACTOR * (past.rejects + 1) * max(attempts, rejects):
        return Reason.REJECTS_ROSE
    lived, baked = before.lived_ns / _SECOND, baked_ns / _SECOND
    if errors >= ERRORS_AT_LEAST and errors * (lived + 2) > FACTOR * (past.errors + 1) * baked:
        return Reason.ERRORS_ROSE
    if over and past.data_age_ns is not None:
        worst_ns = max(FACTOR * past.data_age_ns, AGE_FLOOR_NS)
        if now.data_age_ns is None or now.data_age_ns > worst_ns:
            return Reason.DATA_AGED
    return None


def conclusive(pods: Iterable[tuple[PodBefore, Health]]) -> bool:
    """Whether every pod attempted enough under the candidate for its health to mean something."""
    return all(now.attempts - (before.told or now).attempts >= ATTEMPTS_AT_LEAST for before, now in pods)
