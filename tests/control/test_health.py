"""When a pod does worse under a new document than before, case by case."""

from __future__ import annotations

import pytest

from arbkube.control.protocol import Health
from arbkube.control.rollout.health import conclusive, worse
from arbkube.control.rollout.state import PodBefore
from arbkube.control.rollout.table import Reason

SECOND = 10**9


def before(*, lived_s: int = 100, told: Health | None = None, **health: int) -> PodBefore:
    past = Health(**health)
    return PodBefore(boot_id="b", started_ns=0, health=past, lived_ns=lived_s * SECOND, told=told or past)


CASES: list[tuple[str, PodBefore, Health, bool, Reason | None]] = [
    ("nothing happened", before(attempts=100), Health(attempts=100), True, None),
    ("as good as ever", before(attempts=100, rejects=5), Health(attempts=200, rejects=10), True, None),
    ("every order refused", before(attempts=100), Health(attempts=110, rejects=10), False, Reason.REJECTS_ROSE),
    ("too few refusals to mean anything", before(attempts=100), Health(attempts=102, rejects=2), True, None),
    ("half refused, as before", before(attempts=100, rejects=50), Health(attempts=120, rejects=62), True, None),
    ("all refused, half before", before(attempts=100, rejects=40), Health(attempts=110, rejects=50), True, Reason.REJECTS_ROSE),
    (
        "counted from when it was told",
        before(attempts=10, told=Health(attempts=50, rejects=40)),
        Health(attempts=90, rejects=41),
        True,
        None,
    ),
    ("errors where there were none", before(attempts=100), Health(attempts=200, errors=5), False, Reason.ERRORS_ROSE),
    ("errors as often as before", before(attempts=100, errors=100), Health(attempts=200, errors=110), True, None),
    ("a pod that has just started", before(lived_s=1), Health(attempts=5, errors=3), True, None),
    ("data aged", before(data_age_ns=SECOND), Health(data_age_ns=3 * SECOND), True, Reason.DATA_AGED),
    ("data aged, and may recover yet", before(data_age_ns=SECOND), Health(data_age_ns=3 * SECOND), False, None),
    ("data ceased", before(data_age_ns=SECOND), Health(), True, Reason.DATA_AGED),
    ("young enough, however young before", before(data_age_ns=1), Health(data_age_ns=2 * SECOND), True, None),
]


@pytest.mark.parametrize(("past", "now", "over", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_worse(past: PodBefore, now: Health, over: bool, reason: Reason | None) -> None:
    assert worse(past, now, 10 * SECOND, over=over) is reason


def test_a_quiet_pod_leaves_it_open() -> None:
    past = before(attempts=100)
    assert conclusive([(past, Health(attempts=105))])
    assert not conclusive([(past, Health(attempts=105)), (past, Health(attempts=104))])
