"""Where the durable state is kept on one machine: one file, replaced whole.

For: `Controller`, through `StateStore`; in a cluster something else stands behind the same two calls. May not: decide, or make
a new state where the old one cannot be read: promoted documents, rejected digests and halts would be forgotten unnoticed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import msgspec

from arbkube.control.credentials import write_private
from arbkube.control.rollout.state import ControlState, decode_state, encode_state


class StateUnreadableError(Exception):
    """The state is there and cannot be read: a person has to restore it, or to give it up by removing it."""


class StateTakenError(Exception):
    """Another writer has saved since this one last looked: this one must stop."""


class StateStore(Protocol):
    """Keeps the state of one writer at a time."""

    def load(self) -> ControlState | None:
        """The state as last saved, or None where there never was one. Raises StateUnreadableError."""

    def save(self, state: ControlState) -> None:
        """Make `state` durable, whole or not at all. Raises StateTakenError, OSError."""


class FileStateStore:
    """The state as JSON in a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: tuple[int, int] | None = None

    def load(self) -> ControlState | None:
        """See StateStore."""
        try:
            state = decode_state(self._path.read_bytes())
        except FileNotFoundError:
            self._last = None
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StateUnreadableError(f"{self._path}: {error}") from error
        self._last = (state.term, state.saves)
        return state

    def save(self, state: ControlState) -> None:
        """See StateStore."""
        if self._stamp() != self._last:
            raise StateTakenError(f"{self._path}: saved by another writer")
        write_private(self._path, encode_state(state).decode())
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._last = (state.term, state.saves)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stamp = _stamp.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise StateUnreadableError(f"{self._path}: {error}") from error
        return stamp.term, stamp.saves


class _Stamp(msgspec.Struct, frozen=True):
    term: int
    saves: int


_stamp = msgspec.json.Decoder(_Stamp)
