"""A pod's heartbeat: what it writes to the control server and serves at `/status`.

For: the pods, which write it, and whoever watches them. May not: import what a pod needs for its work.
"""

from __future__ import annotations

import msgspec

STATUS_PREFIX = "status:"
"""Keys of heartbeats on the control server: this and the pod's name."""


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
    detail: dict[str, object]
