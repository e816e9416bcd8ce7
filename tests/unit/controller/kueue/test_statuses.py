"""What is written into a Workload's status on behalf of its job."""

import copy
from pathlib import Path

import pytest
import yaml
from builders import NOW

from mlprivacy.controller.kueue.statuses import finished, pods_ready, released
from mlprivacy.kube.conditions import get_condition, set_condition

WAITING = yaml.safe_load((Path(__file__).parent / "waiting-workload.yaml").read_text(encoding="utf-8"))


def having(**conditions):
    """The Workload with these conditions: a status, and a reason."""
    changed = copy.deepcopy(WAITING)
    for type, (status, reason) in conditions.items():
        changed["status"]["conditions"] = set_condition(
            changed["status"]["conditions"], type, status, reason, "said", observed_generation=1, now=NOW
        )
    return changed


def shown(status, type):
    found = get_condition(status["conditions"], type)
    return (found["status"], found["reason"]) if found else None


@pytest.mark.parametrize(
    ("reason", "requeued"),
    [
        ("Preempted", "True"),
        ("NodeFailures", "True"),
        ("AdmissionCheck", "False"),
        ("DeactivatedDueToAdmissionCheck", "False"),
    ],
)
def test_an_evicted_workload_gives_its_quota_back_and_says_whether_it_may_queue_at_once(reason, requeued):
    status = released(having(Evicted=("True", reason), Admitted=("True", "Admitted")), NOW)
    assert status["admission"] is None
    assert shown(status, "QuotaReserved") == ("False", "Pending")
    assert shown(status, "Admitted") == ("False", "NoReservation")
    assert shown(status, "Requeued") == (requeued, reason)
    assert shown(status, "Evicted") == ("True", reason)  # Kueue's own, kept as it is
    assert shown(status, "PodsReady") is None


def test_pods_that_were_ready_are_not_after_an_eviction():
    status = released(having(Evicted=("True", "Preempted"), PodsReady=("True", "Started")), NOW)
    assert shown(status, "PodsReady") == ("False", "WaitForStart")


def test_one_that_was_not_evicted_keeps_its_quota():
    assert released(WAITING, NOW) is None


def test_one_that_has_given_it_back_is_not_written_again():
    given = having(Evicted=("True", "Preempted"), QuotaReserved=("False", "Pending"))
    del given["status"]["admission"]
    assert released(given, NOW) is None


def test_the_end_is_told_once():
    status = finished(WAITING, "Succeeded", "it ended well", NOW)
    assert shown(status, "Finished") == ("True", "Succeeded")
    assert shown(status, "QuotaReserved") == ("True", "QuotaReserved")
    assert finished({**WAITING, "status": status}, "Failed", "again", NOW) is None


def test_pods_are_ready_only_where_admitted_and_once():
    assert pods_ready(WAITING, NOW) is None
    admitted = having(Admitted=("True", "Admitted"))
    status = pods_ready(admitted, NOW)
    assert shown(status, "PodsReady") == ("True", "Started")
    assert pods_ready({**admitted, "status": status}, NOW) is None
