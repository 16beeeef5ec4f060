"""The capacities that the control server must hold: a function of the writer's durable state, like all that it holds.

For: the writer, which puts them before limits and epoch whenever they differ. May not: do I/O.

A strategy shares the pools of the document that its pods run, under the limits in force for it; a tightened limit lowers its
pool at once, in the same step.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from arbkube.control.protocol import Capacities, Capacity, Order, PutCapacities
from arbkube.control.reservations.pools import Pool, capacities, record
from arbkube.control.rollout.state import ControlState
from arbkube.plan.documents import Document, StrategyDocument, decode_document, decode_limits
from arbkube.risk.limits import stricter


def in_force(state: ControlState) -> dict[Pool, Capacity]:
    """The capacity of every pool. Raises msgspec.MsgspecError where another release wrote a document unknown to this one."""
    strategies = []
    for doc in state.documents.values():
        document = None if doc.run is None else _read(bytes(doc.run.revision.content))
        if isinstance(document, StrategyDocument):
            held = state.limits.get(document.strategy)
            limits = document.limits if held is None else stricter(document.limits, decode_limits(bytes(held.record.limits)))
            strategies.append((document, limits))
    return capacities(strategies)


def lacking(state: ControlState, there: Capacities | None) -> tuple[PutCapacities, ...]:
    """What has to be written where `there` is what the server holds; nothing as long as a document cannot be read."""
    try:
        wanted = record(Order(0, 0), in_force(state)).pools
    except msgspec.MsgspecError:
        return ()
    if there is not None and there.pools == wanted:
        return ()
    order = Order(state.term, 1 if there is None or there.order.term < state.term else there.order.serial + 1)
    return (PutCapacities(Capacities(order=order, pools=wanted)),)


@lru_cache(maxsize=256)
def _read(content: bytes) -> Document:
    return decode_document(content)
