"""A replay gives the same report, byte for byte, with the kernel and without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbkube.kernel import VARIABLE, Form
from tests.kernel.both import needs_compiled
from tests.replay.support import FOLDER, PERPETUAL, SPOT, head, manifests, write

pytestmark = needs_compiled

REPLAY = """
import sys
from pathlib import Path

import pytest
from arbkube import kernel
from tests.replay.support import replay
assert kernel.form == sys.argv[1], kernel.why
replay([Path(name) for name in sys.argv[4:]], Path(sys.argv[2]), manifests=Path(sys.argv[3]))
"""


def report(form: Form, folder: Path, wanted: Path, files: list[Path]) -> bytes:
    folder.mkdir()
    environment = os.environ | {VARIABLE: form.value}
    command = [sys.executable, "-c", REPLAY, form.value, str(folder), str(wanted), *map(str, files)]
    subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], check=True, capture_output=True, timeout=600)
    return (folder / "report.json").read_bytes()


@pytest.mark.parametrize("lines", [6_000, pytest.param(10**6, marks=pytest.mark.soak)])
def test_the_report_of_a_replay_is_the_same(lines: int, recordings: Path, tmp_path: Path) -> None:
    wanted = manifests(tmp_path)
    files = [write(tmp_path / name.removesuffix(".gz"), head(recordings / FOLDER / name, lines)) for name in (SPOT, PERPETUAL)]
    compiled, pure = (report(form, tmp_path / form.value, wanted, files) for form in Form)
    assert compiled == pure
    assert b'"roundTrips": 0' not in compiled
