"""What the tests of pods share: a writer that has said the quickstart, and pods that are ended with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Valkey
from tests.pods.alone import Starter
from tests.pods.publisher import Publisher, quickstart


@pytest.fixture
def publisher(valkey: Valkey) -> Publisher:
    """A writer that has said the quickstart."""
    made = Publisher(valkey, quickstart())
    made.seed()
    return made


@pytest.fixture
def start(tmp_path: Path, valkey: Valkey, publisher: Publisher) -> Iterator[Starter]:
    starter = Starter(tmp_path, valkey, publisher)
    yield starter
    starter.end()
