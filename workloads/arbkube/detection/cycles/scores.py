"""Scores of rings: a bound on each cycle through a hop, as a sum of logarithms of rates.

For: scoring all rings through one hop at once, which is most of what a tick costs. May not: know assets or markets. The pure
form; the compiled one, the same bit for bit, is in `arbkube.kernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from arbkube import kernel

NOWHERE = float("-inf")
"""The weight of a hop without a book."""

Others = tuple[int, int, int]
"""The hops of a ring besides the one that is looked at; a ring of three names the hop past the last, which weighs nothing."""

Glance = tuple[float, int, int, dict[int, float]]
"""What a look at a hop's rings found: the best score, the place of the first ring that has it where that score is better than
the record and below the threshold (else -1), how many rings have no score, and those that reach the threshold with theirs."""


class Scores(Protocol):
    """The weights of all hops, and which rings go through each."""

    def weigh(self, hop: int, weight: float, /) -> None:
        """Set the weight of a hop."""

    def glance(self, hop: int, threshold: float, record: float, /) -> Glance:
        """Score the rings of a hop. Raises IndexError where there are none."""


def scores_of(through: Sequence[Sequence[Others]]) -> Scores:
    """`through` holds, by hop, the others of its rings."""
    if kernel.form is kernel.Form.PURE:
        return PureScores(through)
    from arbkube.kernel._compiled import RingScores

    return RingScores(through)


class PureScores:
    """The pure form of `Scores`."""

    __slots__ = ("_others", "_weights")

    def __init__(self, through: Sequence[Sequence[Others]]) -> None:
        self._weights = [NOWHERE] * len(through) + [0.0]
        self._others = [tuple(map(list, zip(*rings, strict=True))) or ([], [], []) for rings in through]

    def weigh(self, hop: int, weight: float, /) -> None:
        self._weights[hop] = weight

    def glance(self, hop: int, threshold: float, record: float, /) -> Glance:
        weights = self._weights
        own = weights[hop]
        firsts, seconds, thirds = self._others[hop]
        if not firsts:
            raise IndexError(hop)
        scores = [
            own + weights[first] + weights[second] + weights[third]
            for first, second, third in zip(firsts, seconds, thirds, strict=True)
        ]
        best = max(scores)
        unknown = scores.count(NOWHERE)
        if best >= threshold:
            return best, -1, unknown, {place: score for place, score in enumerate(scores) if score >= threshold}
        return best, scores.index(best) if best > record else -1, unknown, {}
