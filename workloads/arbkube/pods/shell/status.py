"""A pod's heartbeat: what it writes to the control server and serves at `/status`.

For: the pods, which write it, and whoever watches them. May not: import what a pod needs for its work.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from arbkube.control.protocol import Order, Ref


class ConfigPhase(StrEnum):
    """Where a pod stands with its configuration."""

    WAITING = "Waiting"
    """It has none yet."""
    SYNCED = "Synced"
    """It runs one, and there is no candidate."""
    PREPARING = "Preparing"
    """It judges a candidate."""
    PREPARED = "Prepared"
    """It could swap to the candidate, or has."""
    REJECTED = "Rejected"
    """It cannot run the candidate, and runs on with what it has."""


class ConfigStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's configuration as the pod itself sees it."""

    running: Ref | None = None
    candidate: Ref | None = None
    phase: ConfigPhase = ConfigPhase.WAITING
    problem: str = ""
    """What is wrong with the candidate, with its path, or why what is due is not applied yet."""
    limits: Order | None = None
    """The newest published limits that it holds."""
    halts: list[str] = []
    """Ids of the halts in force that it knows of (executors)."""
    doubt: str | None = None
    """Why it does not believe the control server just now (executors): Opens are refused meanwhile."""


class PodStatus(msgspec.Struct, kw_only=True):
    """A pod's heartbeat. `detail` is the role's own: see the role's module."""

    pod: str
    role: str
    pid: int
    port: int
    mode: str
    started_ns: int
    ready: bool
    reasons: list[str]
    """Why it is not ready."""
    config: ConfigStatus
    detail: dict[str, object]
