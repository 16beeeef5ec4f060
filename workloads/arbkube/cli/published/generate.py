"""Writes what is made from the types: CRDs and reference pages.

For: `make crds` (`--write`) and `make check` (`--check`), run from the project's root:
`python -m arbkube.cli.published.generate --check`.
The I/O is here so that `arbkube.resources` needs none.
"""

from __future__ import annotations

import ast
import inspect
import sys
from enum import StrEnum
from importlib import import_module
from pathlib import Path

from arbkube.cli.published import reference
from arbkube.resources.published.crd import definitions
from arbkube.resources.published.reference import Documented, kind_pages, reasons_page

_REASONS = {
    "Resources": ["resources.violations:Reason", "resources.changes:Effect", "resources.changes:Direction"],
    "Market data": ["market.verified:WithheldReason"],
    "Detection": ["detection.model:SkipReason"],
    "Risk": ["risk.gates:RefusalReason"],
    "Execution": [
        "execution.model:Purpose",
        "execution.model:IntentState",
        "execution.model:IntentOutcome",
        "execution.model:OrderState",
        "execution.protocols:RejectReason",
    ],
}
"""Where each fixed list of words is declared, by the heading it stands under."""


def main(arguments: list[str]) -> int:
    """Exit code 0 when all is written or up to date, 1 when `--check` found a difference, 2 for a wrong call."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m arbkube.cli.published.generate --check|--write", file=sys.stderr)
        return 2
    texts = {Path("crds") / name: text for name, text in definitions().items()}
    pages = {**kind_pages(), "reasons.md": reasons_page(_documented()), **reference.pages()}
    texts |= {Path("docs/reference") / name: text for name, text in pages.items()}
    different = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments == ["--write"]:
        for path in different:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path], encoding="utf-8")
            print(f"wrote {path}")
        return 0
    for path in different:
        print(f"{path} is not what the types say: run `make crds`", file=sys.stderr)
    return 1 if different else 0


def _documented() -> dict[str, list[Documented]]:
    groups = {}
    for group, places in _REASONS.items():
        lists = []
        for place in places:
            module, name = place.split(":")
            lists.append(_words(getattr(import_module(f"arbkube.{module}"), name)))
        groups[group] = lists
    return groups


def _words(enum: type[StrEnum]) -> Documented:
    """An enum's members with the text that stands below each, which only the source has."""
    body = ast.parse(inspect.getsource(enum)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    member = ""
    for statement in body.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=member)]):
                docs[member] = ""
            case ast.Expr(value=ast.Constant(value=str(text))) if member:
                docs[member] = text
    return Documented(enum.__name__, inspect.cleandoc(enum.__doc__ or ""), [(enum[name].value, docs[name]) for name in docs])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
