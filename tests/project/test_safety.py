"""The guard of the whole test suite does what it says, and the shared fixtures are real."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import uvloop

from tests.conftest import ROOT, Valkey

DOCUMENTATION_ADDRESS = "192.0.2.1"  # RFC 5737: never routed


@pytest.fixture
def provoked(beyond: Path) -> Callable[[], list[str]]:
    """Takes what the guard recorded, so that a test which provokes it passes."""

    def take() -> list[str]:
        attempts = beyond.read_text().splitlines()
        beyond.write_text("")
        return attempts

    return take


def test_a_connection_beyond_this_machine_is_refused_and_recorded(provoked):
    with socket.socket() as plain, pytest.raises(PermissionError, match="may not leave"):
        plain.connect((DOCUMENTATION_ADDRESS, 443))
    assert provoked() == [f"socket.connect '{DOCUMENTATION_ADDRESS}'"]


def test_a_name_of_another_machine_is_not_looked_up(provoked):
    with pytest.raises(PermissionError, match="may not leave"):
        socket.getaddrinfo("venue.invalid", 443)
    assert provoked() == ["socket.getaddrinfo 'venue.invalid'"]


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_the_http_client_is_guarded_on_either_event_loop(loop_factory, provoked):
    async def get() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(f"http://{DOCUMENTATION_ADDRESS}/", timeout=aiohttp.ClientTimeout(total=2))

    with asyncio.Runner(loop_factory=loop_factory) as runner, pytest.raises((PermissionError, aiohttp.ClientError)):
        runner.run(get())
    assert provoked() == [f"socket.connect '{DOCUMENTATION_ADDRESS}'"]


def test_child_processes_are_guarded(provoked):
    child = f"import socket; socket.socket().connect(({DOCUMENTATION_ADDRESS!r}, 443))"
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=30, check=False)
    assert "PermissionError" in done.stderr
    assert provoked() == [f"socket.connect '{DOCUMENTATION_ADDRESS}'"]


def test_loopback_is_open():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        assert client.getpeername() == server.getsockname()


def test_valkey_is_real(valkey: Valkey):
    assert valkey.client.dbsize() == 0
    valkey.client.set("left behind", "1")
    assert valkey.client.info("server")["server_name"] == "valkey"


def test_valkey_is_empty_for_every_test(valkey: Valkey):
    assert valkey.client.dbsize() == 0


@pytest.mark.parametrize(("ci", "status", "said"), [("true", 1, "skipped under CI"), ("", 0, "1 skipped")])
def test_a_skipped_test_is_a_failure_under_ci(tmp_path, ci, status, said):
    (tmp_path / "test_it.py").write_text("import pytest\n\ndef test_it():\n    pytest.skip('no data')\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.conftest", str(tmp_path)]
    environment = os.environ | {"CI": ci}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert said in done.stdout
