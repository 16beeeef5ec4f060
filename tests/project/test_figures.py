"""The page of figures that `make soak` leaves is made from what the campaigns recorded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_it_records_this(record_property):
    record_property("frames mutated", 1_000_000)


def test_the_page_has_a_table_a_campaign(tmp_path):
    page = tmp_path / "soak.md"
    this = f"{Path(__file__).relative_to(ROOT)}::test_it_records_this"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--figures", str(page), this]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    title, _, _, _, head, _, row = page.read_text().split("## ")[1].splitlines()[:7]
    assert title == "It records this"
    assert head.startswith("|  | frames mutated | seconds |")
    assert row.startswith("| all | 1000000 |")
