"""Manifests from a directory or file.

For: gathering texts for the loader, and stopping with every violation listed. May not: judge manifests itself.
"""

from __future__ import annotations

from pathlib import Path

from arbkube.cli.common.errors import ArbError, ExitCode
from arbkube.resources.loading import Loaded, Resources, load
from arbkube.resources.violations import describe_violations

_SUFFIXES = {".yaml", ".yml", ".json"}


def read_texts(path: Path) -> dict[str, bytes]:
    """Every manifest of a directory (not below it), or the one file. Raises ArbError."""
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
            if not files:
                raise ArbError(
                    f"{path} holds no manifests",
                    remedy="give a directory with .yaml files, e.g. -f manifests/quickstart",
                    code=ExitCode.INVALID,
                )
            return {file.name: file.read_bytes() for file in files}
        return {path.name: path.read_bytes()}
    except OSError as error:
        raise ArbError(
            f"{path} cannot be read: {error.strerror}", remedy="check the path given with -f", code=ExitCode.INVALID
        ) from error


def load_directory(path: Path) -> Loaded:
    """What the manifests of `path` say, valid or not. Raises ArbError where they say nothing."""
    loaded = load(read_texts(path))
    resources = loaded.resources
    if not (loaded.violations or resources.feeds or resources.strategies or resources.policies):
        raise ArbError(
            f"{path}: no VenueFeed, ArbStrategy or RiskPolicy in it",
            remedy="begin with a copy of manifests/quickstart",
            code=ExitCode.INVALID,
        )
    return loaded


def load_valid(path: Path) -> Resources:
    """The resources of `path`. Raises ArbError listing every violation."""
    loaded = load_directory(path)
    if loaded.violations:
        lines = "\n".join(describe_violations(loaded.violations))
        count = len(loaded.violations)
        raise ArbError(
            f"{path}: {count} violation{'s' if count != 1 else ''}\n{lines}",
            remedy="correct them; `arb validate -f` checks without running anything",
            code=ExitCode.INVALID,
        )
    return loaded.resources
