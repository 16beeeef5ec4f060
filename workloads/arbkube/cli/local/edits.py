"""The manifests that `arb up` runs: noticing edits, accepting the valid ones, remembering what was accepted and what refused.

For: the laptop's stand-in for an API server: it admits or refuses a whole directory at a time, and counts each object's
generation. May not: decide what a change does (`plan` and `control.rollout` do).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from arbkube.cli.common.errors import ArbError
from arbkube.cli.common.inputs import read_texts
from arbkube.cli.common.outputs import write_whole
from arbkube.resources.kinds import ArbStrategy, RiskPolicy, VenueFeed
from arbkube.resources.loading import Resources, load
from arbkube.resources.meaning import digest
from arbkube.resources.violations import describe_violations

MANIFESTS = "manifests.json"

_Resource = TypeVar("_Resource", VenueFeed, ArbStrategy, RiskPolicy)


class Generation(msgspec.Struct, frozen=True):
    """How often an object's spec has changed its meaning, and what it means now."""

    number: int
    digest: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An edit that was not taken: what runs is what was accepted before."""

    at_ns: int
    reasons: tuple[str, ...]
    """One line a violation, each with its place and path."""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """`manifests.json`: what runs, as it was written, and the edit since then that was refused, if any."""

    texts: dict[str, str]
    generations: dict[str, Generation] = {}
    """By kind/name."""
    refused: Refusal | None = None


def read_admitted(state: Path) -> Admitted | None:
    """What the last `arb up` of this state directory admitted, if any."""
    try:
        return msgspec.json.decode((state / MANIFESTS).read_bytes(), type=Admitted)
    except (OSError, msgspec.MsgspecError):
        return None


class Edits:
    """The directory of a running `arb up`. `look` again and again, `admit` when it says so."""

    def __init__(self, path: Path, state: Path) -> None:
        self._path = path
        self._state = state
        self._fingerprint = self._prints()
        self._moving = False
        earlier = read_admitted(state)
        self._generations = earlier.generations if earlier is not None else {}

    def look(self) -> bool:
        """True once for each edit that has come to rest: nothing changed between two looks."""
        found = self._prints()
        if found != self._fingerprint:
            self._fingerprint, self._moving = found, True
            return False
        came_to_rest, self._moving = self._moving, False
        return came_to_rest

    def admit(self, now_ns: int, check: Callable[[Resources], None]) -> Resources | Refusal:
        """The edited resources, or why they are not taken; `manifests.json` says either. `check` may raise ArbError."""
        try:
            texts = {name: data.decode() for name, data in read_texts(self._path).items()}
            loaded = load(texts)
            if loaded.violations:
                return self._refuse(now_ns, tuple(describe_violations(loaded.violations)))
            check(loaded.resources)
        except (ArbError, UnicodeDecodeError) as error:
            return self._refuse(now_ns, (str(error),))
        resources = Resources(
            feeds=self._numbered(loaded.resources.feeds),
            strategies=self._numbered(loaded.resources.strategies),
            policies=self._numbered(loaded.resources.policies),
        )
        self._write(Admitted(texts=texts, generations=self._generations))
        return resources

    def _numbered(self, objects: dict[str, _Resource]) -> dict[str, _Resource]:
        numbered = {}
        for name, resource in objects.items():
            key, meant = f"{type(resource).__name__}/{name}", digest(resource.spec)
            known = self._generations.get(key, Generation(0, ""))
            if known.digest != meant:
                known = Generation(known.number + 1, meant)
                self._generations = {**self._generations, key: known}
            metadata = msgspec.structs.replace(resource.metadata, generation=known.number)
            numbered[name] = msgspec.structs.replace(resource, metadata=metadata)
        return numbered

    def _refuse(self, now_ns: int, reasons: tuple[str, ...]) -> Refusal:
        refusal = Refusal(at_ns=now_ns, reasons=reasons)
        self._write(msgspec.structs.replace(read_admitted(self._state) or Admitted(texts={}), refused=refusal))
        return refusal

    def _write(self, admitted: Admitted) -> None:
        write_whole(self._state / MANIFESTS, msgspec.json.format(msgspec.json.encode(admitted), indent=1))

    def _prints(self) -> tuple[tuple[str, int, int], ...]:
        """What changes when a file does; an unreadable directory is one without files."""
        paths = [self._path] if self._path.is_file() else sorted(self._path.iterdir()) if self._path.is_dir() else []
        found = []
        for path in paths:
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path.name, status.st_mtime_ns, status.st_size))
        return tuple(found)
