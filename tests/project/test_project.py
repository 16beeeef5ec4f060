"""The project says one thing in one place: its version, its commands, its dependencies."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import arbkube
from requirements.check import LOCKS, read_lock, violations

ROOT = Path(__file__).parent.parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "make",
            "-C",
            str(ROOT),
            "--no-print-directory",
            *arguments,
            *(f"{name}={value}" for name, value in variables.items()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"},
    )


def targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony
    return set(phony[1].split())


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_help_lists_every_target_with_its_use():
    listed = dict(re.findall(r"^  make ([\w-]+) +(\S.*)$", make("help").stdout, re.MULTILINE))
    assert set(listed) == targets()


@pytest.mark.parametrize(
    "document", ["README.md", "CHANGELOG.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
)
def test_every_make_command_in_the_documents_exists(document):
    written = set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", (ROOT / document).read_text(), re.MULTILINE))
    assert written <= targets()


def test_the_readme_names_every_target():
    assert targets() - {"help"} == set(re.findall(r"^\| `make ([\w-]+)`", README, re.MULTILINE))


def test_the_readme_shows_the_two_commands_that_matter():
    assert re.findall(r"^make .*?(?=\s+#)", README, re.MULTILINE) == ["make run FOR=30s", "make test"]


def test_an_old_python_is_named_with_the_remedy(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$1" in -V) echo Python 3.9.1 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    done = make("install", PYTHON=str(old), VENV=str(tmp_path / "venv"))
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.1" in done.stderr
    assert "make install PYTHON=" in done.stderr


def test_the_version_is_stated_once():
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert importlib.metadata.version("arbkube") == arbkube.__version__
    stated = [
        path.relative_to(ROOT)
        for path in tracked()
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__version__" for t in node.targets)
    ]
    assert stated == [Path("workloads/arbkube/__init__.py")]


def test_no_tracked_file_knows_a_machine_or_a_package_registry():
    home = str(Path.home())
    known = [
        re.escape(f"{ROOT.parent}/"),
        re.escape(f"{home}/"),
        r"/(?:home|Users)/\w+/",
        r"pypi\.org|pythonhosted|index-url|find-links\s",
    ]
    pattern = re.compile("|".join(known))
    allowed = {Path("Makefile"), Path(__file__).relative_to(ROOT)}
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        if path.relative_to(ROOT) not in allowed
        for number, line in enumerate(path.read_bytes().decode("utf-8", "replace").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_locks_hold():
    locks = {name: (ROOT / "requirements" / name).read_text() for name in LOCKS}
    assert violations(PYPROJECT["project"], locks) == []


def test_the_lock_has_the_build_back_end():
    pins, _ = read_lock((ROOT / "requirements" / "dev.txt").read_text())
    assert "setuptools" in pins


PROJECT = {"dependencies": ["redis[hiredis]>=6,<9"], "optional-dependencies": {"ccxt": [], "dev": ["ruff>=0.12"]}}
HASH = f"    --hash=sha256:{'0' * 64}\n"
GOOD = {"base.txt": f"redis==8.1.0 \\\n{HASH}", "dev.txt": f"redis==8.1.0 \\\n{HASH}ruff==0.17.6 \\\n{HASH}"}


def test_a_good_lock_has_no_violation():
    assert violations(PROJECT, GOOD) == []


@pytest.mark.parametrize(
    ("lock", "text", "complaint"),
    [
        ("base.txt", "redis==8.1.0 \\\n", "redis has no hash"),
        ("base.txt", f"redis==5.0.0 \\\n{HASH}", "redis 5.0.0 is outside"),
        ("base.txt", f"--index-url https://example.com\n{GOOD['base.txt']}", "line 1 is neither a pin nor a hash"),
        ("dev.txt", GOOD["base.txt"], "ruff is not pinned"),
        ("dev.txt", GOOD["dev.txt"].replace("8.1.0", "8.0.0"), "redis differs from base.txt"),
    ],
)
def test_a_bad_lock_is_named(lock, text, complaint):
    assert any(complaint in violation for violation in violations(PROJECT, GOOD | {lock: text}))
