"""The life of a rollout as a table: phase × event → phase, action, reason. `docs/control.md` holds the same table.

For: the one place that says what follows what; `judging` finds the event, `acting` does the action. May not: compute or do I/O.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Where a document stands."""

    APPLYING = "Applying"
    """Pods take up what has no bake: the very first document, one that comes with new pods, or one that was promoted before."""
    PREPARING = "Preparing"
    """The candidate is offered; pods parse, validate and answer. Nothing has changed anywhere."""
    CANARY = "Canary"
    """One pod of each role that has several is told to run the candidate."""
    CANARY_BAKING = "CanaryBaking"
    """The canaries run it; their health is held against the time before."""
    COMMITTING = "Committing"
    """Every pod is told to run the candidate."""
    BAKING = "Baking"
    """Every pod runs it; their health is held against the time before."""
    SYNCED = "Synced"
    """What is wanted is promoted: every pod ran it, and one that boots begins with it."""
    ROLLED_BACK = "RolledBack"
    """What is wanted was found bad; pods run what was promoted before it."""
    STALLED = "Stalled"
    """Nothing goes on by itself until what the reason names has changed."""


class Event(StrEnum):
    """What makes a rollout move. The first that holds, in this order, is the one."""

    REFUSED = "Refused"
    """What is wanted was rejected before, and nobody asked to try it again."""
    NO_COMMON_VERSION = "NoCommonVersion"
    """No version of documents is both written here and read by every live pod."""
    REVERTED = "Reverted"
    """What is wanted is again what is promoted."""
    AT_ONCE = "AtOnce"
    """Another document is wanted, and pods cannot be asked first: none is promoted yet, or pods of another shape replace them,
    or a pod came that cannot read the version in use."""
    WANTED = "Wanted"
    """Another document is wanted."""
    OVERTAKEN = "Overtaken"
    """A pod or the server holds an order that this writer never gave: it has lost a part of its past."""
    REJECTED = "Rejected"
    """A pod answered that it cannot run it."""
    RESTARTED = "Restarted"
    """A pod's process is another one than when the rollout met it."""
    UNHEALTHY = "Unhealthy"
    """A pod does worse than before."""
    JOINED = "Joined"
    """A pod booted with what is promoted under the very head that names the candidate, and waits for a newer one."""
    BAKED = "Baked"
    """The bake is over and no pod does worse."""
    APPLIED = "Applied"
    """Every pod that should runs it."""
    PREPARED_CANARY = "PreparedCanary"
    """Every live pod is ready for it, and a role has two or more."""
    PREPARED = "Prepared"
    """Every live pod is ready for it."""
    LATE = "Late"
    """`rollout.progressDeadline` is over."""


class Action(StrEnum):
    """What is done on a transition, besides saving it and writing a head of higher order."""

    NONE = "-"
    """No new head."""
    PLACE = "Place"
    """What is wanted becomes a new revision that every pod runs, and boots with; nothing is promoted until they do."""
    OFFER = "Offer"
    """What is wanted becomes the candidate; where pods may run another than the promoted, that is republished."""
    TRY = "Try"
    """Canaries run the candidate."""
    COMMIT = "Commit"
    """Every pod runs the candidate."""
    PROMOTE = "Promote"
    """What runs is what pods boot with from now on."""
    WITHDRAW = "Withdraw"
    """No candidate any more; what runs stays as it is."""
    RETURN = "Return"
    """What is promoted is republished as a new revision that every pod runs; no candidate any more."""
    REPUBLISH = "Republish"
    """Run, promoted and candidate stay what they are, as new revisions of higher order."""
    NUDGE = "Nudge"
    """The same head again, with a higher order."""


class Reason(StrEnum):
    """Why a document is in its phase; the same words stand in status, events, metrics and docs."""

    OFFERED = "Offered"
    """Pods are asked whether they can run it."""
    PLACED = "Placed"
    """Pods take it up as they come: there is none to go back to, or pods are replaced with it."""
    READY = "Ready"
    """Every pod answered that it can run it."""
    RUNNING = "Running"
    """Every pod runs it; it is watched."""
    HEALTHY = "Healthy"
    """Every pod runs it and none does worse than before."""
    INCONCLUSIVE = "Inconclusive"
    """Every pod runs it; too little happened to tell whether they do worse."""
    TAKEN_UP = "TakenUp"
    """Every pod runs it; there was nothing to hold it against."""
    WITHDRAWN = "Withdrawn"
    """It is no longer wanted."""
    REJECTED = "Rejected"
    """A pod cannot run it; pod, reason and path are beside it."""
    POD_RESTARTED = "PodRestarted"
    """A pod ended and was started again during the rollout."""
    ERRORS_ROSE = "ErrorsRose"
    """A pod's errors came more than twice as often as before."""
    REJECTS_ROSE = "RejectsRose"
    """Venues refused more than twice as many of a pod's orders as before."""
    DATA_AGED = "DataAged"
    """A pod's data became much older than before, or ceased."""
    NOT_ANSWERED = "NotAnswered"
    """A pod did not answer in time; nothing was committed. It goes on when all have answered."""
    NOT_APPLIED = "NotApplied"
    """A pod did not run it in time."""
    NO_COMMON_VERSION = "NoCommonVersion"
    """No version of documents is both written here and read by every live pod."""
    REJECTED_BEFORE = "RejectedBefore"
    """This very document was rejected or rolled back before: only another one, or a retry by name, is tried."""
    OVERTAKEN = "Overtaken"
    """The writer had lost a part of its past, and gave everything a higher order."""


class Step(msgspec.Struct, frozen=True):
    """A cell of the table. `reason` is None where the event brings its own, or nothing changes but orders."""

    phase: Phase
    action: Action
    reason: Reason | None


_P, _E, _A, _R = Phase, Event, Action, Reason
_QUIET = (_P.APPLYING, _P.PREPARING, _P.SYNCED, _P.ROLLED_BACK, _P.STALLED)
"""Phases in which no pod runs a candidate."""
_MOVED = (_P.CANARY, _P.CANARY_BAKING, _P.COMMITTING, _P.BAKING)
"""Phases in which some pods may run the candidate."""

TABLE: dict[tuple[Phase, Event], Step] = {
    # What is wanted has changed.
    **{(phase, _E.REFUSED): Step(_P.ROLLED_BACK, _A.WITHDRAW, _R.REJECTED_BEFORE) for phase in (_P.PREPARING, _P.SYNCED)},
    **{(phase, _E.REFUSED): Step(_P.STALLED, _A.WITHDRAW, _R.REJECTED_BEFORE) for phase in (_P.APPLYING, _P.STALLED)},
    **{(phase, _E.REFUSED): Step(_P.ROLLED_BACK, _A.RETURN, _R.REJECTED_BEFORE) for phase in _MOVED},
    **{(phase, _E.NO_COMMON_VERSION): Step(_P.STALLED, _A.WITHDRAW, _R.NO_COMMON_VERSION) for phase in _QUIET},
    **{(phase, _E.NO_COMMON_VERSION): Step(_P.STALLED, _A.RETURN, _R.NO_COMMON_VERSION) for phase in _MOVED},
    **{
        (phase, _E.REVERTED): Step(_P.APPLYING, _A.WITHDRAW, _R.WITHDRAWN)
        for phase in (_P.PREPARING, _P.ROLLED_BACK, _P.STALLED)
    },
    **{(phase, _E.REVERTED): Step(_P.APPLYING, _A.RETURN, _R.WITHDRAWN) for phase in _MOVED},
    **{(phase, _E.AT_ONCE): Step(_P.APPLYING, _A.PLACE, _R.PLACED) for phase in Phase},
    **{(phase, _E.WANTED): Step(_P.PREPARING, _A.OFFER, _R.OFFERED) for phase in Phase},
    # The writer has lost a part of its past.
    **{(phase, _E.OVERTAKEN): Step(_P.APPLYING, _A.REPUBLISH, _R.OVERTAKEN) for phase in (_P.APPLYING, _P.SYNCED)},
    (_P.PREPARING, _E.OVERTAKEN): Step(_P.PREPARING, _A.REPUBLISH, _R.OVERTAKEN),
    (_P.ROLLED_BACK, _E.OVERTAKEN): Step(_P.ROLLED_BACK, _A.REPUBLISH, None),
    (_P.STALLED, _E.OVERTAKEN): Step(_P.STALLED, _A.REPUBLISH, None),
    **{(phase, _E.OVERTAKEN): Step(_P.PREPARING, _A.OFFER, _R.OVERTAKEN) for phase in _MOVED},
    # Pods answer, run it, and do well or not.
    (_P.APPLYING, _E.REJECTED): Step(_P.STALLED, _A.NONE, _R.REJECTED),
    (_P.APPLYING, _E.APPLIED): Step(_P.SYNCED, _A.PROMOTE, _R.TAKEN_UP),
    (_P.APPLYING, _E.LATE): Step(_P.STALLED, _A.NONE, _R.NOT_APPLIED),
    (_P.PREPARING, _E.REJECTED): Step(_P.ROLLED_BACK, _A.WITHDRAW, _R.REJECTED),
    (_P.PREPARING, _E.RESTARTED): Step(_P.ROLLED_BACK, _A.WITHDRAW, _R.POD_RESTARTED),
    (_P.PREPARING, _E.PREPARED_CANARY): Step(_P.CANARY, _A.TRY, _R.READY),
    (_P.PREPARING, _E.PREPARED): Step(_P.COMMITTING, _A.COMMIT, _R.READY),
    (_P.PREPARING, _E.LATE): Step(_P.STALLED, _A.NONE, _R.NOT_ANSWERED),
    **{(phase, _E.REJECTED): Step(_P.ROLLED_BACK, _A.RETURN, _R.REJECTED) for phase in _MOVED},
    **{(phase, _E.RESTARTED): Step(_P.ROLLED_BACK, _A.RETURN, _R.POD_RESTARTED) for phase in _MOVED},
    **{(phase, _E.LATE): Step(_P.ROLLED_BACK, _A.RETURN, _R.NOT_APPLIED) for phase in _MOVED},
    (_P.CANARY, _E.APPLIED): Step(_P.CANARY_BAKING, _A.NONE, _R.RUNNING),
    (_P.CANARY_BAKING, _E.UNHEALTHY): Step(_P.ROLLED_BACK, _A.RETURN, None),
    (_P.CANARY_BAKING, _E.BAKED): Step(_P.COMMITTING, _A.COMMIT, None),
    (_P.COMMITTING, _E.JOINED): Step(_P.COMMITTING, _A.NUDGE, _R.READY),
    (_P.COMMITTING, _E.APPLIED): Step(_P.BAKING, _A.NONE, _R.RUNNING),
    (_P.BAKING, _E.UNHEALTHY): Step(_P.ROLLED_BACK, _A.RETURN, None),
    (_P.BAKING, _E.JOINED): Step(_P.BAKING, _A.NUDGE, _R.RUNNING),
    (_P.BAKING, _E.BAKED): Step(_P.SYNCED, _A.PROMOTE, None),
    # What it waited for has happened after all.
    (_P.STALLED, _E.REJECTED): Step(_P.ROLLED_BACK, _A.WITHDRAW, _R.REJECTED),
    (_P.STALLED, _E.PREPARED_CANARY): Step(_P.CANARY, _A.TRY, _R.READY),
    (_P.STALLED, _E.PREPARED): Step(_P.COMMITTING, _A.COMMIT, _R.READY),
    (_P.STALLED, _E.APPLIED): Step(_P.SYNCED, _A.PROMOTE, _R.TAKEN_UP),
}
"""An event that a phase has no cell for changes nothing there."""

FAILURES = frozenset({_E.REJECTED, _E.RESTARTED, _E.UNHEALTHY, _E.LATE})
"""Events that, where they lead to RolledBack, make the candidate's digest a rejected one."""
