"""The limits in force: a tightening goes at once, a loosening when all have applied it, and going back never loosens.

For: the record of each strategy after a look. May not: do I/O or read a clock.

Let L be the record, W the wanted limits, P those of the promoted document. Until every pod runs the wanted document the record
becomes stricter(L, W, P), field by field; from then on it is W. As a pod holds stricter(document, record), no pod is ever
looser than the stricter of what it runs and what is wanted, and a rollout that is taken back leaves the stricter of both.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from arbkube.control.protocol import LimitsRecord
from arbkube.control.rollout.acting import Orders
from arbkube.control.rollout.inputs import Seen
from arbkube.control.rollout.judging import Facts
from arbkube.control.rollout.state import LimitsState
from arbkube.control.rollout.table import Phase
from arbkube.plan.documents import decode_limits, encode_limits
from arbkube.risk.limits import stricter


def next_limits(held: LimitsState | None, facts: Facts, seen: Seen, orders: Orders, now_ns: int) -> LimitsState | None:
    """The strategy's limits after a look; None where the document is no strategy's."""
    wanted = facts.wanted
    if wanted.strategy is None or wanted.limits is None:
        return None
    target = decode_limits(wanted.limits)
    before = decode_limits(bytes(held.record.limits)) if held else None
    if before is not None and not _settled(facts):
        target = stricter(before, target)
        promoted = facts.doc.promoted
        if promoted is not None and (proven := promoted.decoded_limits) is not None:
            target = stricter(target, proven)
    if held is None or target != before or _overtaken(held.record, facts, seen):
        record = LimitsRecord(strategy=wanted.strategy, order=orders.next(), limits=msgspec.Raw(encode_limits(target)))
        wished = facts.doc.phase is not Phase.ROLLED_BACK and target != before
        return LimitsState(record=record, wanted_ns=wanted.since_ns if wished else now_ns)
    if held.propagation_ns is None and facts.complete and all(ack.limits == held.record.order for ack in facts.acks.values()):
        return replace(held, propagation_ns=max(0, now_ns - held.wanted_ns))
    return held


def _settled(facts: Facts) -> bool:
    """Whether every pod runs what is wanted."""
    if not facts.is_wanted(facts.doc.run):
        return False
    return facts.doc.phase is Phase.SYNCED or (facts.doc.phase is Phase.BAKING and facts.applied)


def _overtaken(record: LimitsRecord, facts: Facts, seen: Seen) -> bool:
    there = seen.limits.get(record.strategy)
    if there is not None and (there.order > record.order or (there.order == record.order and there != record)):
        return True
    return any(ack.limits is not None and ack.limits > record.order for ack in facts.acks.values())
