"""Keeps the test suite on this machine: name look-ups and connections beyond it are refused and recorded.

For: the test process, which imports it, and every Python it starts, which finds it by PYTHONPATH at start-up; hence its name.
It is an audit hook (PEP 578), so it also sees what asyncio and aiohttp do. Blind spot: connections that uvloop opens inside
libuv (`create_connection`); aiohttp, which every venue is reached by, connects its sockets in Python.
"""

from __future__ import annotations

import os
import sys

RECORD = "ARBKUBE_TESTS_RECORD"
"""Names the environment variable that holds the path of the file which refused attempts are appended to."""


def _stays_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name in {None, "", "localhost", "::1", "0.0.0.0", "::"} or (isinstance(name, str) and name.startswith("127."))


def _guard(event: str, args: tuple[object, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = args[1]
        if not (isinstance(address, tuple) and isinstance(address[0], str)):
            return  # a path, or a family that has no hosts
        host: object = address[0]
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = args[0]
    else:
        return
    if not _stays_here(host):
        with open(os.environ[RECORD], "a", encoding="utf-8") as record:
            record.write(f"{event} {host!r}\n")
        raise PermissionError(f"tests may not leave this machine: {event} {host!r}")


sys.addaudithook(_guard)
