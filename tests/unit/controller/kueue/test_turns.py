"""What is next for a job in a queue: one row per branch.

Matrix: the Workloads that are there (none, as wanted, of an earlier version, two, another's) × where Kueue has them
(waiting, evicted with and without quota, deactivated, reserved, admitted, finished).
"""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.kueue.turns import Do, before_start, of_job, while_it_runs
from mlprivacy.controller.kueue.workload import Check, Wanted, read

WAITING = yaml.safe_load((Path(__file__).parent / "waiting-workload.yaml").read_text(encoding="utf-8"))
OURS = frozenset({"privacy-budget"})
UID = "uid-trainingjob-diagnosis"
WANTED = Wanted("diagnosis", "research", UID, "team", 1, "sha256:aa", ({"name": "main"},))


def conditions(**states):
    return tuple({"type": t, "status": s, "reason": "Because", "message": "so"} for t, s in states.items())


ASKED = replace(read(WAITING), pod_sets=WANTED.pod_sets_digest)
READY = replace(ASKED, checks=(Check("privacy-budget", "Ready", ""),))
NEW = replace(ASKED, conditions=(), checks=(), reserves=False, cluster_queue="")
ADMITTED = replace(READY, conditions=conditions(QuotaReserved="True", Admitted="True", Evicted="False"))
EVICTED = replace(ADMITTED, conditions=conditions(QuotaReserved="True", Admitted="True", Evicted="True"))
RELEASED = replace(
    EVICTED, conditions=conditions(QuotaReserved="False", Admitted="False", Evicted="True"), reserves=False
)
FINISHED = replace(ADMITTED, conditions=conditions(Finished="True"))
SECOND = replace(NEW, name="mlp-diagnosis-2", uid="uid-2")
ELSEWHERE = replace(
    NEW, checks=(Check("dws-prov", "Pending", "no node yet"),), conditions=conditions(QuotaReserved="True")
)

TABLE = {
    "nothing is there": ([], Do.CREATE),
    "it waits for quota": ([NEW], Do.WAIT),
    "quota is reserved, and the budget was not asked": ([ASKED], Do.ASK),
    "another check is open": ([ELSEWHERE], Do.WAIT),
    "all checks are ready, and Kueue has not admitted it yet": ([READY], Do.WAIT),
    "it is admitted": ([ADMITTED], Do.GO),
    "it was evicted and holds quota": ([EVICTED], Do.RELEASE),
    "it was evicted and gave its quota back": ([RELEASED], Do.WAIT),
    "it was evicted and only the admission is left": ([replace(RELEASED, reserves=True)], Do.RELEASE),
    "it was deactivated": ([replace(RELEASED, active=False)], Do.WAIT),
    "it was deactivated and holds quota": ([replace(EVICTED, active=False)], Do.RELEASE),
    "it is being deleted": ([replace(ADMITTED, deleting=True)], Do.WAIT),
    "the job names another queue": ([replace(ADMITTED, queue="other")], Do.REMOVE),
    "the job was edited": ([replace(ADMITTED, digest="sha256:old")], Do.REMOVE),
    "the job was edited after it was deactivated": ([replace(RELEASED, active=False, digest="sha256:old")], Do.REMOVE),
    "its pods ask for something else": ([replace(ADMITTED, pod_sets="sha256:old")], Do.REMOVE),
    "it was made for an earlier attempt": ([replace(EVICTED, attempt=0)], Do.RENUMBER),
    "two are open": ([NEW, SECOND], Do.REMOVE),
    "somebody finished it before it ran": ([FINISHED], Do.REMOVE),
    "an earlier attempt's is finished": ([replace(FINISHED, name="mlp-diagnosis-0")], Do.CREATE),
    "an earlier attempt's is finished, a later one waits": ([FINISHED, SECOND], Do.WAIT),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_next(name):
    found, do = TABLE[name]
    assert before_start(WANTED, found, OURS).do is do


def test_of_two_workloads_the_older_one_goes():
    assert before_start(WANTED, [NEW, SECOND], OURS).workload is NEW


def test_a_job_that_waits_says_for_what():
    assert "quota in the queue team" in before_start(WANTED, [NEW], OURS).message
    assert "dws-prov is Pending (no node yet)" in before_start(WANTED, [ELSEWHERE], OURS).message


def test_a_deactivated_one_waits_for_people():
    turn = before_start(WANTED, [replace(RELEASED, active=False)], OURS)
    assert (turn.stalled, turn.reason) == (True, Reason.DEACTIVATED)
    assert "spec.active" in turn.message


def test_what_is_not_this_jobs_does_not_count():
    another = replace(NEW, owner=("diagnosis", "uid-of-an-earlier-job"))
    borrowed = replace(NEW, name="mlp-x")
    nameless = replace(NEW, name="mlp-diagnosis-copy")
    assert of_job([SECOND, another, borrowed, nameless, NEW], "diagnosis", UID) == [NEW, SECOND]


RUNNING = {
    "admitted": ([ADMITTED], None),
    "evicted": ([EVICTED], "Kueue evicted"),
    "not admitted any more": ([READY], "not admitted any more"),
    "deactivated": ([replace(ADMITTED, active=False)], "deactivated"),
    "being deleted": ([replace(ADMITTED, deleting=True)], "being deleted"),
    "gone": ([], "gone"),
    "declared finished": ([FINISHED], "declared finished"),
}


@pytest.mark.parametrize("name", RUNNING)
def test_what_runs_stops_with_its_admission(name):
    found, said = RUNNING[name]
    why = while_it_runs(found, queued=True)
    assert why is None if said is None else said in why


def test_what_was_started_without_a_queue_runs_on():
    assert while_it_runs([], queued=False) is None
    assert while_it_runs([NEW], queued=False) is None
