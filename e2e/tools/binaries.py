"""Binaries built from Go modules: pinned in pins.toml, kept by the digest of their pin.

For: every tool of the cluster and of the chart. May not: fetch anything but Go modules. A module is built from outside, as a
dependency of an empty one: its versions are then exactly those its own go.mod asks for. What such a build does not see are the
module's `replace` lines; they are repeated, and those that name a folder of the module's repository name the published module
instead. The downloaded modules and Go's build cache take up to 8 GB while building and are removed at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import msgspec

from e2e.tools.cache import digest, place, root, workshop
from e2e.tools.commands import run, step

_RECIPE = "1"
"""Raised when binaries have to be built again although no pin changed."""


class Module(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `[[module]]` of pins.toml; the comment there says what the fields are."""

    path: str
    version: str
    commands: dict[str, str]
    variables: dict[str, str] = {}
    staging: str = ""


class _Pins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    module: tuple[Module, ...]


@cache
def modules() -> dict[str, Module]:
    """The module of each binary, by the binary's name."""
    pins = msgspec.toml.decode((Path(__file__).parent / "pins.toml").read_bytes(), type=_Pins)
    return {name: module for module in pins.module for name in module.commands}


def version(name: str) -> str:
    """The pinned version of the binary `name`, e.g. `v1.34.4`."""
    return modules()[name].version


def kept(name: str) -> Path:
    """Where the binary `name` is once it was built."""
    return root() / "tools" / digest(_RECIPE, msgspec.json.encode(modules()[name]), name) / name


def binary(name: str) -> Path:
    """The binary `name`, built now if it was not yet."""
    return binaries([name])[name]


def binaries(names: Iterable[str]) -> dict[str, Path]:
    """The path of each binary, by its name. Raises `Failure` where one does not build, `KeyError` where one has no pin."""
    wanted = {name: kept(name) for name in names}
    if all(path.exists() for path in wanted.values()):
        return wanted
    with workshop("tools") as directory:
        for name, path in wanted.items():
            if not path.exists():
                with step(f"build {name} {version(name)}"):
                    place(_build(name, directory), path)
    return wanted


def _build(name: str, directory: Path) -> Path:
    module = modules()[name]
    go = {
        "GOCACHE": str(directory / "cache"),
        "GOMODCACHE": str(directory / "modules"),
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    # The other work of a small machine goes first.
    nice = ("nice", "-n", "19") if os.name == "posix" else ()
    home = directory / module.path.replace("/", "_")
    if not home.exists():
        home.mkdir()
        told = run("go", "mod", "download", "-json", f"{module.path}@{module.version}", cwd=directory, env=go)
        own = json.loads(run("go", "mod", "edit", "-json", json.loads(told)["GoMod"], env=go))
        (home / "go.mod").write_text(go_mod(module, own))
    package = module.path if module.commands[name] == "." else f"{module.path}/{module.commands[name]}"
    flags = " ".join(["-s -w", *(f"-X {variable}={value}" for variable, value in module.variables.items())])
    out = directory / "made" / name
    run(*nice, "go", "build", "-trimpath", "-ldflags", flags, "-o", out, package, cwd=home, env=go, timeout=1800)
    return out


def go_mod(module: Module, own: Mapping[str, object]) -> str:
    """The go.mod of an empty module that depends on `module`, whose own go.mod is `own` as `go mod edit -json` prints it."""
    lines = ["module arbkube.io/e2e", f"go {own['Go']}", f"require {module.path} {module.version}"]
    replaced = own.get("Replace") or []
    assert isinstance(replaced, list)
    for entry in replaced:
        old, new = entry["Old"], entry["New"]
        # A folder of the module's repository stands for a module that is published as well, at the version required or staged.
        folder = new["Path"].startswith(".")
        if folder and not module.staging:
            continue
        target = f"{old['Path']} {module.staging}" if folder else f"{new['Path']} {new['Version']}"
        lines.append(f"replace {old['Path']} {old.get('Version', '')} => {target}")
    return "\n".join(lines) + "\n"
