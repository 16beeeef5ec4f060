"""Base images from Debian's packages: what `docker pull debian` and `docker pull python` would bring.

For: building where no image registry is reached. May not: be needed where one is. Images are named by a digest of what they
were made from, so one that is there is the right one; Debian's own updates come with `python -m e2e.cluster clean`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from e2e.cluster.engine import require_packages
from e2e.tools.cache import digest, workshop
from e2e.tools.commands import run, step, succeeds

HERE = Path(__file__).parent
SUITE = "bookworm"
_NOT_NEEDED = ("usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PIP_CONFIGURATION = "/etc/pip.conf"

Engine = Mapping[str, str]
"""What a command needs in its environment to find the Docker engine."""


def exists(image: str, engine: Engine) -> bool:
    """Whether the engine has `image`."""
    return succeeds("docker", "image", "inspect", image, env=engine)


def debian(engine: Engine) -> str:
    """The image of a bare Debian; made with debootstrap if it is not there."""
    image = f"arbkube-e2e/debian:{digest(SUITE, *_NOT_NEEDED)}"
    if not exists(image, engine):
        require_packages()
        with step(f"debootstrap {SUITE}"), workshop("debian") as directory:
            tree, packed = directory / "tree", directory / "tree.tar"
            run("debootstrap", "--variant=minbase", SUITE, tree, timeout=1200)
            for name in _NOT_NEEDED:
                shutil.rmtree(tree / name, ignore_errors=True)
            run("tar", "--numeric-owner", "-C", tree, "-cf", packed, ".")
            run("docker", "import", packed, image, env=engine)
    return image


def python(engine: Engine) -> tuple[str, str]:
    """The images that the product's Dockerfile takes as BASE and BUILD_BASE; built if they are not there."""
    settings = {"trusted.crt": _CERTIFICATES, "pip.conf": os.environ.get("PIP_CONFIG_FILE", _PIP_CONFIGURATION)}
    texts = {name: Path(path).read_bytes() if Path(path).exists() else b"" for name, path in settings.items()}
    base = debian(engine)
    tag = digest(base, HERE / "python.Dockerfile", *texts.values())
    images = {stage: f"arbkube-e2e/python-{stage}:{tag}" for stage in ("runtime", "build")}
    if not all(exists(image, engine) for image in images.values()):
        with step("build the Python base images"), workshop("python") as directory:
            for name, text in texts.items():
                (directory / name).write_bytes(text)
            for stage, image in images.items():
                build(image, HERE / "python.Dockerfile", directory, engine, {"DEBIAN": base}, "--target", stage)
    return images["runtime"], images["build"]


def build(image: str, dockerfile: Path, context: Path, engine: Engine, arguments: Mapping[str, str], *more: str) -> None:
    """`docker build` on the machine's own network, which is where its package mirrors are reached."""
    words = ["--network", "host", "--force-rm", "--tag", image, "--file", str(dockerfile)]
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    # No extension of the builder is asked for, so the one that every engine has will do.
    run("docker", "build", *words, *more, context, env={**engine, "DOCKER_BUILDKIT": "0"}, timeout=1800)
