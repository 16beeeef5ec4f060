"""The scripts that the control server runs: what has to be checked and written in one step.

For: fencing by term, order of every key, idempotent appending, one look at everything. May not: hold a decision that a writer
could make before it writes.
"""

from __future__ import annotations

from importlib.resources import files


def script(name: str) -> str:
    """The text of a script; it is sent whole with every call, so that no server has to remember it."""
    return files(__name__).joinpath(f"{name}.lua").read_text("utf-8")
