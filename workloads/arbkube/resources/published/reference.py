"""Reference pages from the types: every field of each kind, and every reason there is.

For: `docs/reference/`. May not: do I/O or import what it writes about; the caller hands the reasons in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from arbkube.resources.changes import Effect
from arbkube.resources.fields import Range
from arbkube.resources.kinds import API_VERSION
from arbkube.resources.published.crd import KINDS, as_json
from arbkube.resources.shape import Choice, Field, Many, Object, Scalar, Shape, shape_of
from arbkube.resources.violations import Path, spell

_HEADER = "<!-- Generated from the types by `make crds`; do not edit. -->\n\n"
_COLUMNS = "| Field | Type | Default | Change | Safer | Meaning |\n|---|---|---|---|---|---|\n"
_INTRODUCTION = """{doc}

`apiVersion: {version}`, short name `{short}`. *Change* says what an edit does to running pods: `Hot` reaches them as they run,
`Restart` replaces them. *Safer* is the direction in which a limit only reduces risk. Order means nothing in a list.

"""


class Documented(msgspec.Struct, frozen=True):
    """A fixed list of words and what each means."""

    title: str
    doc: str
    words: Sequence[tuple[str, str]]


def kind_pages() -> dict[str, str]:
    """The page of each kind, by file name."""
    pages = {}
    for kind in KINDS:
        shape = shape_of(kind.spec)
        text = _HEADER + f"# {kind.kind}\n\n"
        text += _INTRODUCTION.format(doc=shape.doc, version=API_VERSION, short=kind.short)
        text += _COLUMNS + "".join(_row(*row) for row in _rows(shape, ("spec",), Effect.HOT))
        pages[f"{kind.kind.lower()}.md"] = text
    return pages


def reasons_page(groups: Mapping[str, Sequence[Documented]]) -> str:
    """The page of all reasons, by the part of the system that gives them."""
    text = _HEADER + "# Reasons\n\nThe same words stand in violations, reports, the store, logs and metric labels.\n"
    for group, lists in groups.items():
        text += f"\n## {group}\n"
        for documented in lists:
            text += f"\n### {documented.title}\n\n{documented.doc}\n\n| Word | Meaning |\n|---|---|\n"
            text += "".join(f"| `{word}` | {_cell(meaning)} |\n" for word, meaning in documented.words)
    return text


def _rows(shape: Object, path: Path, above: Effect) -> Iterator[tuple[Path, Field, Effect]]:
    for field in shape.fields:
        here = (*path, field.name)
        effect = Effect.RESTART if field.restart else above
        yield here, field, effect
        inner = field.shape
        if isinstance(inner, Many):
            here, inner = (*here, "[]"), inner.item
        if isinstance(inner, Object):
            yield from _rows(inner, here, effect)


def _row(path: Path, field: Field, effect: Effect) -> str:
    inner = field.shape.item if isinstance(field.shape, Many) else field.shape
    doc = f"{field.doc} {inner.doc}" if isinstance(inner, Object) else field.doc
    cells = (f"`{spell(path)}`", _type(field.shape), _default(field), effect, field.safer or "", doc)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _type(shape: Shape) -> str:
    match shape:
        case Scalar(minimum=low, maximum=high) if low is not None or high is not None:
            return f"{shape.title}, {low} to {high}"
        case Scalar():
            return shape.title + (f", {shape.within}" if shape.within is not Range.ANY else "")
        case Choice(enum=enum):
            return " or ".join(f"`{member.value}`" for member in enum)
        case Many():
            apart = f", apart by {' and '.join(shape.keys)}" if shape.keys else ""
            return f"list of {shape.min_length} to {shape.max_length}: {_type(shape.item)}{apart}"
        case Object():
            return "object"


def _default(field: Field) -> str:
    if field.required:
        return "required"
    value: Any = as_json(field.default)
    if value is None or value == {}:
        return ""
    return f"`{msgspec.json.encode(value).decode()}`" if isinstance(value, list | bool) else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
