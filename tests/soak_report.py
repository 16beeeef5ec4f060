"""Where a long campaign leaves its figures: `docs/soak.md`, one section a campaign.

For: `write`, called at the end of `make soak` with what campaigns recorded by `record_property`. A row is replaced when its
case runs again; the others stay. May not: run with the short forms, which would change the documents on every run.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

_HEAD = """# Long campaigns

Figures written by `make soak`; each section names the day of its run. What a campaign does and what it asserts is said in the
docstring of its test.
"""


def write(path: Path, title: str, rows: Mapping[str, Mapping[str, object]]) -> None:
    """Put a table under `title`: one row a key of `rows`, one column a figure (those of the first row). Others stay."""
    text = path.read_text() if path.exists() else _HEAD
    sections = re.split(r"(?m)^(?=## )", text)
    head, kept = sections[0], {section.splitlines()[0][3:]: section for section in sections[1:]}
    columns = list(next(iter(rows.values())))
    lines = {name: "| " + " | ".join([name, *(str(row[column]) for column in columns)]) + " |" for name, row in rows.items()}
    for line in kept.get(title, "").splitlines():
        name = line.split(" | ")[0].removeprefix("| ")
        if line.startswith("| ") and line.count(" | ") == len(columns) and name not in {"", *lines}:
            lines[name] = line
    table = [
        "| " + " | ".join(["", *columns]) + " |",
        "|" + "---|" * (len(columns) + 1),
        *(lines[name] for name in sorted(lines)),
    ]
    day = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
    kept[title] = f"## {title}\n\nLast run {day}.\n\n" + "\n".join(table) + "\n\n"
    path.write_text(head.rstrip() + "\n\n" + "".join(kept[name].rstrip() + "\n\n" for name in sorted(kept)).rstrip() + "\n")
