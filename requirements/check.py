"""Hold the locks against pyproject.toml, without a network.

For: `make check`. Every declared dependency is pinned in its lock to a version its range allows, every pin carries hashes, the
two locks agree, and no lock says where packages are fetched from. It does not look for newer versions: `make lock` does.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCKS: dict[str, tuple[str, ...]] = {"base.txt": (), "dev.txt": ("ccxt", "dev")}
"""Lock file → the extras it covers besides the base dependencies."""

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)( ; [^\\]+)? \\")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def read_lock(text: str) -> tuple[dict[str, Version], list[str]]:
    """The pins of a lock by canonical name, and a complaint for each line or pin that is not as it has to be."""
    pins: dict[str, Version] = {}
    complaints: list[str] = []
    unhashed: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _PIN.fullmatch(line):
            if unhashed is not None:
                complaints.append(f"{unhashed} has no hash")
            unhashed = canonicalize_name(match[1])
            pins[unhashed] = Version(match[2])
        elif _HASH.fullmatch(line):
            unhashed = None
        elif line and not line.lstrip().startswith("#"):
            complaints.append(f"line {number} is neither a pin nor a hash: {line.strip()}")
    if unhashed is not None:
        complaints.append(f"{unhashed} has no hash")
    return pins, complaints


def violations(project: Mapping[str, Any], locks: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with `locks` (file name → text), given the `project` table of pyproject.toml."""
    found: list[str] = []
    pins: dict[str, dict[str, Version]] = {}
    base: list[str] = project["dependencies"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    for name, covered in LOCKS.items():
        pins[name], complaints = read_lock(locks[name])
        found += [f"requirements/{name}: {complaint}" for complaint in complaints]
        for requirement in map(Requirement, [*base, *(line for extra in covered for line in extras[extra])]):
            version = pins[name].get(canonicalize_name(requirement.name))
            if version is None:
                found.append(f"requirements/{name}: {requirement.name} is not pinned")
            elif version not in requirement.specifier:
                found.append(f"requirements/{name}: {requirement.name} {version} is outside {requirement.specifier}")
    for package, version in pins["base.txt"].items():
        if pins["dev.txt"].get(package) != version:
            found.append(f"requirements/dev.txt: {package} differs from base.txt, which has {version}")
    return found


def main() -> int:
    """Print what is wrong; the exit status says whether anything is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = violations(project, {name: (ROOT / "requirements" / name).read_text() for name in LOCKS})
    for violation in found:
        print(violation)
    if found:
        print("remedy: make lock")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
