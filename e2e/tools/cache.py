"""Where built things are kept: outside the checkout, found again by a digest of everything they were made from.

For: tools and images that take minutes to build. May not: know what they are. A thing is made beside its place and moved there
whole, so an interrupted build leaves nothing that looks finished; a lock keeps two builds from making the same thing twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """The directory of everything kept; `python -m e2e.cluster clean` removes it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "arbkube" / "e2e"


def digest(*parts: str | bytes | Path) -> str:
    """Twelve hex digits over `parts`; a file counts by its content, a directory by the names and contents in it."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(path for path in (part.rglob("*") if part.is_dir() else [part]) if path.is_file()):
                name = "" if file == part else file.relative_to(part).as_posix()
                content = file.read_bytes()
                total.update(f"{name}\0{file.stat().st_mode & 0o111}\0{len(content)}\0".encode() + content)
        else:
            raw = part.encode() if isinstance(part, str) else part
            total.update(f"{len(raw)}\0".encode() + raw)
    return total.hexdigest()[:12]


@contextmanager
def workshop(name: str) -> Iterator[Path]:
    """An empty directory on the cache's own disk, held by one process of this machine at a time and emptied in the end.

    What a killed build left in it is removed by the next.
    """
    root().mkdir(parents=True, exist_ok=True)
    directory = root() / f"building-{name}"
    with (root() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        remove(directory)
        directory.mkdir()
        try:
            yield directory
        finally:
            remove(directory)


def remove(directory: Path) -> None:
    """Remove `directory` if it is there, with what is read-only in it: Go keeps its modules so."""
    if directory.exists():
        for path in (directory, *directory.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(directory)


def place(made: Path, kept: Path) -> None:
    """Move `made` to `kept`, whole or not at all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    made.replace(kept)
