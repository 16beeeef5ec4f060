"""Passwords of the servers' users: one file each, in a directory that only its owner may read.

For: making them, and reading one at every connect, so that a changed file needs no restart. May not: hold a password longer
than a connect takes, or put one into a message, a log or an argument.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from redis.credentials import CredentialProvider

_BYTES = 32


class FileCredentials(CredentialProvider):
    """A user's name, and its password from the file of that name. Raises OSError where there is none."""

    def __init__(self, directory: Path, user: str) -> None:
        self.user = user
        self._file = directory / user

    def get_credentials(self) -> tuple[str, str]:
        return self.user, self._file.read_text("ascii").strip()

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


def make_credentials(directory: Path, users: Iterable[str]) -> None:
    """Give every user that has none a random password. The directory is 0700, the files 0600. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for user in users:
        if not (directory / user).exists():
            write_private(directory / user, secrets.token_urlsafe(_BYTES))


def password_digest(directory: Path, user: str) -> str:
    """What the server is told instead of the password: its SHA-256, in hexadecimal. Raises OSError."""
    _, password = FileCredentials(directory, user).get_credentials()
    return hashlib.sha256(password.encode()).hexdigest()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
