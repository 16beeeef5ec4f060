"""Files that commands write: noticed before the work when they cannot be written, and never half written.

For: reports. May not: know what is in them.
"""

from __future__ import annotations

import os
from pathlib import Path

from arbkube.cli.common.errors import ArbError, ExitCode


def check_writable(path: Path, *, option: str) -> None:
    """Raise ArbError where `path` could not be written at the end of the work."""
    problem = ""
    if path.is_dir():
        problem = "is a directory"
    elif not path.parent.is_dir():
        problem = "its directory does not exist"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        problem = "its directory is not writable"
    if problem:
        raise ArbError(f"{option} {path}: {problem}", remedy=f"give another {option}", code=ExitCode.USAGE)


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by `content` at once: what was there before stays until all of the new is on the disk. Raises ArbError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ArbError(
            f"{path} cannot be written: {error.strerror}",
            remedy="free some space or name another file",
            code=ExitCode.ENVIRONMENT,
        ) from error
