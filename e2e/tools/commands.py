"""Running commands and telling how it goes.

For: everything in e2e that starts a program. A command that fails becomes a `Failure` that names its cause and, where one is
known, the remedy; `step` says what takes long and how long it took. May not: know what the commands are for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class Failure(Exception):  # noqa: N818 - what it says is for people
    """What went wrong, and what to do about it; shown without a traceback."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(f"{cause}\n  remedy: {remedy}" if remedy else cause)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say on standard error that `what` begins, and how long it took."""
    say(f"{what} …")
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.1f} s")


def say(what: str) -> None:
    """Tell on standard error, at once."""
    print(f"· {what}", file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | Path = "",
    timeout: float = 600,
    remedy: str = "",
) -> str:
    """The standard output of `command`; `env` adds to the environment, `stdin` is text or a file.

    Raises `Failure` with the end of what it said where it fails or takes longer than `timeout` seconds.
    """
    words = [str(word) for word in command]
    given = stdin.read_bytes() if isinstance(stdin, Path) else stdin.encode()
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=given,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise Failure(f"{words[0]} is not installed", f"install {Path(words[0]).name}") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{_shown(words)} did not end within {timeout:.0f} s", remedy) from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Failure(f"{_shown(words)} failed ({done.returncode}):\n{_end(said)}", remedy)
    return done.stdout.decode(errors="replace")


def succeeds(*command: str | Path, env: Mapping[str, str] | None = None, timeout: float = 60) -> bool:
    """Whether `command` ends with 0."""
    try:
        run(*command, env=env, timeout=timeout)
    except Failure:
        return False
    return True


def _shown(words: list[str]) -> str:
    shown = " ".join(words)
    return shown if len(shown) <= 160 else shown[:157] + "…"


def _end(text: str, lines: int = 30) -> str:
    return "\n".join("    " + line for line in text.splitlines()[-lines:])
