"""A plan onto an empty, restarted or old control server: every document as promoted, then the epoch.

For: `arb up` at its start, and whenever the server was started again. May not: roll anything out.
"""

from __future__ import annotations

import uuid

import msgspec

from arbkube.control.protocol import (
    DOCUMENT_VERSIONS,
    Epoch,
    Head,
    LimitsRecord,
    Order,
    PutEpoch,
    PutHead,
    PutLimits,
    PutRevision,
    Ref,
    Revision,
    Write,
)
from arbkube.control.writer import ControlWriter
from arbkube.plan.documents import StrategyDocument, encode_document, encode_limits
from arbkube.plan.planning import Plan
from arbkube.resources.meaning import digest


async def seed(writer: ControlWriter, plan: Plan) -> None:
    """Write the plan under a new term. Raises what the writer raises."""
    view = await writer.look()
    order = Order(view.term + 1, 1)
    writes: list[Write] = []
    for name, document in plan.documents.items():
        ref = Ref(order=order, digest=digest(document))
        shapes = {workload.name: workload.shape for workload in plan.workloads if workload.document == name}
        content = msgspec.Raw(encode_document(document))
        revision = Revision(
            document=name, ref=ref, version=DOCUMENT_VERSIONS[-1], content=content, shapes=shapes, sources=plan.sources[name]
        )
        writes += [PutRevision(revision), PutHead(Head(document=name, order=order, run=ref, promoted=ref))]
        if isinstance(document, StrategyDocument):
            limits = msgspec.Raw(encode_limits(document.limits))
            writes.append(PutLimits(LimitsRecord(strategy=document.strategy, order=order, limits=limits)))
    before = view.epoch
    epoch = Epoch(
        incarnation=before.incarnation if before is not None else uuid.uuid4().hex,
        number=before.number + 1 if before is not None else 1,
        run_id=view.run_id,
    )
    await writer.write(order.term, [*writes, PutEpoch(epoch)])
