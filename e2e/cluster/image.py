"""The product's image, from the Dockerfile at the top: on the public slim Python where it can be pulled, else on Debian's own.

For: `make image` and the tests. May not: be needed to build it; plain `docker build .` does as much where images can be pulled.
"""

from __future__ import annotations

from pathlib import Path

from e2e.cluster import engine
from e2e.cluster.offline import debian
from e2e.tools.cache import digest
from e2e.tools.commands import run, say, step, succeeds

ROOT = Path(__file__).parents[2]
PUBLIC_BASE = "python:3.12-slim-bookworm"
_MADE_FROM = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "requirements", "workloads")


def build(platform: str = "") -> str:
    """The image's name, tagged by a digest of its sources; built if the engine does not have it. Raises `Failure`."""
    docker = engine.environment()
    public = debian.exists(PUBLIC_BASE, docker) or succeeds("docker", "pull", "--quiet", PUBLIC_BASE, env=docker, timeout=300)
    base, build_base = (PUBLIC_BASE, PUBLIC_BASE) if public else debian.python(docker)
    name = f"arbkube/arbkube:{digest(base, build_base, platform, *sources())}"
    if not debian.exists(name, docker):
        with step(f"build {name}"):
            arguments = {"BASE": base, "BUILD_BASE": build_base}
            debian.build(name, ROOT / "Dockerfile", ROOT, docker, arguments, *(("--platform", platform) if platform else ()))
        say(f"{name} weighs {_megabytes(name, docker)} MB, {_megabytes(base, docker)} of them its base")
    return name


def sources() -> list[str | Path]:
    """What the image is made from: the name of each file before the file."""
    found: list[str | Path] = []
    for path in (ROOT / name for name in _MADE_FROM):
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and file.suffix not in (".c", ".pyc", ".so") and ".egg-info" not in str(file):
                found += [file.relative_to(ROOT).as_posix(), file]
    return found


def _megabytes(image: str, docker: debian.Engine) -> int:
    return round(int(run("docker", "image", "inspect", "--format", "{{.Size}}", image, env=docker)) / 1e6)
