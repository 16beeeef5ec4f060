"""The page says the reasons that pods say."""

from __future__ import annotations

from arbkube.pods.feed import NO_FEES, NOT_LISTED
from arbkube.pods.shell.checking import OTHER_ROLE, UNREADABLE
from tests.cli.running import ROOT


def test_every_reason_of_its_own_is_on_the_page() -> None:
    page = (ROOT / "docs" / "pods.md").read_text()
    said = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert said == {UNREADABLE, OTHER_ROLE, NOT_LISTED, NO_FEES}
