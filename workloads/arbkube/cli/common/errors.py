"""Errors of the command line: each names its cause and the remedy, and has an exit code.

For: one documented list of exit codes. May not: do I/O.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What `arb` returns to the shell."""

    OK = 0
    FAILED = 1
    """Something went wrong that is not listed here; the message says what."""
    USAGE = 2
    """A flag or argument is wrong."""
    INVALID = 3
    """A manifest, recording or other input is invalid; every violation is listed."""
    ENVIRONMENT = 4
    """The machine or the state directory does not allow it: locked, full, unwritable, a server that does not start."""
    NOT_RUNNING = 5
    """The command needs a running `arb up`, and there is none for this state directory."""


class ArbError(Exception):
    """An error to show to the user. `remedy` says what to do about it."""

    def __init__(self, message: str, *, remedy: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.code = code
