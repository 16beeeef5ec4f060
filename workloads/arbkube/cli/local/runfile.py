"""How commands find a running `arb up`: a lock that it holds, and a file that says where its servers are.

For: one `arb up` a state directory, and readers beside it. May not: import what only running needs; most commands are short.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

import msgspec

CREDENTIALS = "credentials"
"""Directory under the state directory with the passwords of both servers' users."""
CONTROL_STATE = "rollouts.json"
"""File under the state directory with the durable state of rollouts, limits and halts."""
RETRIES = "retries"
"""Directory under the state directory in which commands leave the names of documents to try again."""
_LOCK_TIMEOUT_S = 0.5
"""A reader that looks whether something runs holds the lock for an instant."""


class StateLockedError(Exception):
    """Another supervisor holds the state directory."""


class RunFile(msgspec.Struct, kw_only=True):
    """`run.json`: how other commands find a running `arb up`."""

    pid: int
    started_ns: int
    directory: str
    bus: str
    control: str
    servers: dict[str, int]
    simulator: str
    pods: dict[str, str]
    """Pod name to role."""


def lock_state(state: Path) -> IO[str]:
    """Hold the state directory while the returned file is open. Raises StateLockedError naming the holder, or OSError."""
    state.mkdir(parents=True, exist_ok=True)
    file = (state / "lock").open("a+")
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise StateLockedError(f"{state} is in use by another `arb up` (pid {holder})") from None
        break
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def read_run_file(state: Path) -> RunFile | None:
    """The run file of `state`, or None where nothing runs. The lock says so: a process id may be another's by now."""
    try:
        with (state / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return last_run(state)
    except OSError:
        return None
    return None


def last_run(state: Path) -> RunFile | None:
    """The run file that the last `arb up` left, if any."""
    try:
        return msgspec.json.decode((state / "run.json").read_bytes(), type=RunFile)
    except (OSError, msgspec.MsgspecError):
        return None
