"""The rendered objects as seen: answers to writes count until a watch shows them, and not for ever."""

import pytest

from mlprivacy.controller.children import LAG_SECONDS, Children, frozen_part
from mlprivacy.controller.drift import Stamps
from mlprivacy.controller.observe import attempts, deployment, pods_alive
from mlprivacy.controller.sealing import Unsealed
from mlprivacy.controller.store import JobKey

KEY = JobKey("TrainingJob", "research", "study")
LABELS = {"mlprivacy.dev/training-job": "study", "mlprivacy.dev/job-uid": "u", "mlprivacy.dev/rendered": "training"}


def rendered(kind, name, version, api="v1", **more):
    metadata = {
        "name": name, "namespace": "research", "uid": f"uid-{name}", "resourceVersion": str(version), "labels": LABELS,
    }  # fmt: skip
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **more}


def batch(version, **spec):
    return rendered("Job", "mlp-study-1", version, "batch/v1", spec=spec)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def children(clock):
    return Children(None, clock)


def watch(children, obj):
    """What the watch of this kind shows."""
    children.informers[obj["kind"]]._store({**obj, "metadata": dict(obj["metadata"])})


def names(children, kind):
    return [o["metadata"]["name"] for o in children.of(kind, KEY, "u")]


def test_an_answer_counts_before_the_watch_shows_it(children):
    children.wrote(batch(5))
    assert names(children, "Job") == ["mlp-study-1"]
    assert attempts(children, KEY, "u")[0].number == 1


def test_an_answer_is_forgotten_when_no_watch_ever_shows_it(children, clock):
    children.wrote(batch(5))
    clock.now = LAG_SECONDS
    assert names(children, "Job") == []


def test_the_watch_takes_over_and_its_deletion_counts_at_once(children):
    children.wrote(batch(5))
    watch(children, batch(5))
    children.informers["Job"]._remove(("research", "mlp-study-1"))
    assert names(children, "Job") == []


def test_the_newer_of_answer_and_watch_counts(children):
    watch(children, batch(5, suspend=False))
    children.wrote(batch(7, suspend=True))
    assert attempts(children, KEY, "u")[0].suspended
    watch(children, batch(6, suspend=False))
    assert attempts(children, KEY, "u")[0].suspended
    watch(children, batch(8, suspend=False))
    assert not attempts(children, KEY, "u")[0].suspended


def test_objects_of_an_earlier_job_of_that_name_are_not_this_jobs(children):
    watch(children, batch(5))
    assert children.of("Job", KEY, "another-uid") == []


def test_what_was_just_made_has_not_drifted(children):
    stamps, policy = Stamps(), rendered("NetworkPolicy", "mlp-study", 9)
    children.wrote(policy)
    stamps.put(KEY, [policy])
    assert stamps.drifted(KEY, "u", children) == []
    watch(children, rendered("NetworkPolicy", "mlp-study", 12))
    assert stamps.drifted(KEY, "u", children) == ["NetworkPolicy/mlp-study"]
    children.informers["NetworkPolicy"]._remove(("research", "mlp-study"))
    assert stamps.drifted(KEY, "u", children) == ["NetworkPolicy/mlp-study"]


def test_annotations_of_other_controllers_are_no_drift_of_a_workload():
    plain = rendered("Deployment", "mlp-api", 1, "apps/v1")
    revised = rendered("Deployment", "mlp-api", 2, "apps/v1")
    revised["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "1"}
    assert frozen_part(plain) == frozen_part(revised)
    revised["metadata"]["annotations"]["mlprivacy.dev/decision-digest"] = "other"
    assert frozen_part(plain) != frozen_part(revised)


def pod(name, version, phase, attempt=None, **state):
    seal = [{"name": "mlprivacy-seal", "state": state}]
    made = rendered("Pod", name, version, status={"phase": phase, "initContainerStatuses": seal})
    made["metadata"]["labels"] = LABELS | ({"mlprivacy.dev/attempt": attempt} if attempt else {})
    return made


ANSWERED = {"exitCode": 3, "message": "the canary answered"}


def test_a_seal_probe_that_failed_speaks_for_its_own_attempt(children):
    watch(children, batch(5))
    watch(children, rendered("Job", "mlp-study-2", 6, "batch/v1", spec={}))
    watch(children, pod("p", 3, "Failed", "1", terminated=ANSWERED))
    assert not pods_alive(children, KEY, "u")
    watch(children, pod("q", 4, "Running", "2", terminated={"exitCode": 0}))
    assert pods_alive(children, KEY, "u")
    first, second = sorted(attempts(children, KEY, "u"), key=lambda a: a.number)
    assert (first.sealed, first.unsealed) == (False, Unsealed("p", 3, "the canary answered"))
    assert (second.sealed, second.unsealed) == (True, None)


def test_a_seal_probe_that_failed_speaks_for_its_deployment(children):
    watch(children, rendered("Deployment", "mlp-study", 5, "apps/v1", spec={"replicas": 2}))
    watch(children, pod("p", 3, "Pending", terminated=ANSWERED))
    watch(children, pod("q", 4, "Running", terminated={"exitCode": 0}))
    seen = deployment(children, KEY, "u")
    assert (seen.sealed, seen.unsealed) == (True, Unsealed("p", 3, "the canary answered"))


def test_only_pods_that_run_must_be_heard(children):
    watch(children, batch(5))
    watch(children, pod("p", 3, "Pending", "1", running={}))
    watch(children, pod("q", 4, "Running", "2", terminated={"exitCode": 0}))
    asked = []
    attempts(children, KEY, "u", asked.append)
    watch(children, pod("p", 6, "Running", "1", terminated={"exitCode": 0}))
    attempts(children, KEY, "u", asked.append)
    assert asked == [[], ["uid-p"]]
