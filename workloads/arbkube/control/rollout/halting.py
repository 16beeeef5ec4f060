"""The halts that a strategy's spec asks for, and the writer's mirror of the log.

For: the entries that `spec.halt` amounts to. May not: clear what another owner set, take absence for a clear, do I/O or read a
clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from arbkube.control.halts import Clear, Entry, Halt, HaltReason, Level, Log, entry_id
from arbkube.control.rollout.inputs import Wanted


def owner(strategy: str) -> str:
    """Who owns the halts of a strategy's spec."""
    return f"Spec/ArbStrategy/{strategy}"


def joined(mirror: tuple[Entry, ...], entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The union of two logs; the mirror itself where nothing is new."""
    known = {entry.id for entry in mirror}
    if all(entry.id in known for entry in entries):
        return mirror
    return Log((*mirror, *entries)).entries


def asked(log: tuple[Entry, ...], wanted: Wanted, now_ns: int) -> tuple[Entry, ...]:
    """The entries that make the log say what the specs ask for.

    While a spec asks, its halt stands: one that a person cleared is set anew. A strategy that is not in the plan asks nothing,
    and its halt stays.
    """
    strategies = sorted(doc.strategy for doc in wanted.documents.values() if doc.strategy is not None)
    ours = {owner(strategy) for strategy in strategies}
    if not wanted.halts and not any(entry.owner in ours for entry in log):
        return ()
    active = Log(log).active()
    new: list[Entry] = []
    for strategy in strategies:
        mode, mine = wanted.halts.get(strategy), owner(strategy)
        standing = [halt for halt in active if halt.owner == mine]
        if mode is not None and all(halt.mode is not mode for halt in standing):
            new.append(
                Halt(
                    id=entry_id(mine, mode, now_ns),
                    level=Level.STRATEGY,
                    subject=strategy,
                    mode=mode,
                    owner=mine,
                    reason=HaltReason.SPEC,
                    at_ns=now_ns,
                )
            )
        new += [
            Clear(id=entry_id("clear", halt.id, mine), halt=halt.id, owner=mine, at_ns=now_ns)
            for halt in standing
            if halt.mode is not mode
        ]
    return tuple(new)
