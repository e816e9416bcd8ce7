"""/validate/pods: only pods rendered from the decision in force, of jobs that exist and may run."""

import copy
import dataclasses

import pytest

PODS = "/validate/pods"


@pytest.fixture
def job(world):
    stored = world.job()
    world.store(stored)
    return stored


async def refused(world, pod) -> str:
    answer = await world.ask(PODS, pod)
    assert not answer["allowed"]
    return answer["status"]["message"]


async def test_a_pod_of_an_accepted_job_is_allowed(world, job) -> None:
    answer = await world.ask(PODS, world.pod(job))

    assert answer["allowed"]
    assert answer["auditAnnotations"] == {"verdict": "Allow", "digest": world.digest(job)}


async def test_a_pod_without_our_labels_is_none_of_our_business(world) -> None:
    pod = world.pod(world.job(), rendered=None, training_job=None)
    world.fresh = "nothing has been read yet"

    assert (await world.ask(PODS, pod))["allowed"]


async def test_a_second_pod_is_not_decided_anew(world, job) -> None:
    await world.ask(PODS, world.pod(job))
    gathered = world.gathered

    assert (await world.ask(PODS, world.pod(job)))["allowed"]
    assert world.gathered == gathered


async def test_what_was_remembered_ends_with_any_change_of_facts(world, job) -> None:
    pod = world.pod(job)
    assert (await world.ask(PODS, pod))["allowed"]

    world.get("ConsentScope", "research")["spec"]["state"] = "Withdrawn"
    world.version += 1

    assert "consent-valid" in await refused(world, pod)


async def test_what_was_remembered_ends_with_a_change_of_the_job(world, job) -> None:
    pod = world.pod(job)
    assert (await world.ask(PODS, pod))["allowed"]

    stopped = copy.deepcopy(job)
    stopped["spec"]["suspend"] = True
    world.store(stopped)

    assert "is suspended" in await refused(world, pod)


async def test_what_was_remembered_ends_when_a_grant_expires(world, job) -> None:
    world.get("DatasetGrant", "to-research")["spec"]["expiresAt"] = "2026-06-01T01:00:00Z"
    world.version += 1
    pod = world.pod(job)
    assert (await world.ask(PODS, pod))["allowed"]

    world.now = world.now.replace(hour=2)

    assert "references" in await refused(world, pod)


async def test_a_job_that_has_not_arrived_yet_is_read(world, job) -> None:
    world.hidden.add("diagnosis")

    assert (await world.ask(PODS, world.pod(job)))["allowed"]
    assert world.reads == ["diagnosis"]


async def test_the_pod_of_no_job_is_refused(world, job) -> None:
    assert "does not exist in namespace research" in await refused(world, world.pod(job, training_job="nosuch"))


async def test_the_pod_of_a_job_of_another_namespace_is_refused(world, job) -> None:
    pod = world.pod(job)
    pod["metadata"]["namespace"] = "clinic"

    assert "does not exist in namespace clinic" in await refused(world, pod)


async def test_the_pod_of_a_namesake_that_was_deleted_is_refused(world, job) -> None:
    assert "is another one" in await refused(world, world.pod(job, job_uid="22222222-2222-4222-8222-222222222222"))


async def test_the_pod_of_a_job_that_is_being_deleted_is_refused(world, job) -> None:
    pod = world.pod(job)
    job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert "is being deleted" in await refused(world, pod)


async def test_a_pod_of_another_decision_is_refused(world, job) -> None:
    pod = world.pod(job)
    pod["metadata"]["annotations"]["mlprivacy.dev/decision-digest"] = "sha256:" + "0" * 64

    assert "made from another decision" in await refused(world, pod)


@pytest.mark.parametrize("missing", ["training_job", "job_uid"])
async def test_a_pod_that_does_not_name_its_job_is_refused(world, job, missing) -> None:
    assert "names its job" in await refused(world, world.pod(job, **{missing: None}))


@pytest.mark.parametrize("value", ["inference", "Training", "", "training "])
async def test_the_value_of_the_label_decides_which_job_is_looked_for(world, job, value) -> None:
    assert (await world.ask(PODS, world.pod(job, rendered=value)))["allowed"] is False


@pytest.mark.parametrize("label", ["mlprivacy.dev/training-job", "mlprivacy.dev/inference-job"])
async def test_adoption_is_not_enforced_yet_and_so_refused(world, job, label) -> None:
    pod = world.pod(job, rendered=None, training_job=None)
    pod["metadata"]["labels"][label] = "diagnosis"

    assert "adopted, which is not enforced here yet" in await refused(world, pod)


async def test_a_container_of_ours_with_another_image_is_refused(world, job) -> None:
    pod = world.pod(job)
    pod["spec"]["initContainers"][0]["image"] = "registry.example/mine@sha256:" + "e" * 64

    assert "mlprivacy-seal is not of an image of this release" in await refused(world, pod)


@pytest.mark.parametrize(("label", "warned"), [("warn", True), ("audit", False)])
async def test_under_a_soft_label_nothing_is_refused(world, job, label, warned) -> None:
    world.get("Namespace", "research")["metadata"]["labels"]["mlprivacy.dev/enforce"] = label

    answer = await world.ask(PODS, world.pod(job, training_job="nosuch"))

    assert answer["allowed"]
    assert bool(answer.get("warnings")) is warned
    assert "does not exist" in answer["auditAnnotations"]["would-refuse"]


async def test_in_a_namespace_that_is_not_known_nothing_is_softened(world, job) -> None:
    world.objects = [o for o in world.objects if o["kind"] != "Namespace"]

    assert not (await world.ask(PODS, world.pod(job)))["allowed"]


async def test_without_fresh_facts_governed_pods_are_refused_for_now(world, job) -> None:
    world.fresh = "mlprivacy has not read all policies and data sets yet"

    answer = await world.ask(PODS, world.pod(job))

    assert answer["status"]["code"] == 503


async def test_a_pod_is_judged_at_its_creation_alone(world, job) -> None:
    pod = world.pod(job)

    assert not (await world.ask(PODS, pod, pod))["allowed"]


# --- what is in the pod -----------------------------------------------------------------------------------------------


async def test_a_planted_pod_with_a_program_of_its_own_is_refused(world, job) -> None:
    """Its labels, its job's uid and the decision's digest are right: anybody could read them."""
    pod = world.pod(job)
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", "print('never decided on')"]

    said = await refused(world, pod)

    assert "is not as it is rendered for the TrainingJob diagnosis: spec.containers[0].command is another" in said
    assert "only what the operator renders runs as a governed pod" in said


async def test_the_second_pod_is_looked_at_as_closely_as_the_first(world, job) -> None:
    pod = world.pod(job)
    assert (await world.ask(PODS, pod))["allowed"]

    pod["spec"]["containers"][0]["image"] = "registry.example/mine"

    assert "spec.containers[0].image is another" in await refused(world, pod)


async def test_a_pod_that_knocks_at_a_canary_of_its_own_is_refused(world, job) -> None:
    pod = world.pod(job)
    (canary,) = (e for e in pod["spec"]["initContainers"][0]["env"] if e["name"] == "MLPRIVACY_CANARY")
    canary["value"] = "127.0.0.1:9:9"

    assert "spec.initContainers[0].env" in await refused(world, pod)


@pytest.mark.parametrize(
    "owner",
    [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "plant", "controller": True},
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "mlp-diagnosis-1", "controller": True},
        {"apiVersion": "batch/v1", "kind": "Job", "name": "mlp-diagnosis-2", "controller": True},
        None,
    ],
)
async def test_a_pod_of_anybody_elses_making_is_refused(world, job, owner) -> None:
    pod = world.pod(job)
    pod["metadata"]["ownerReferences"] = [owner] if owner else []

    assert "it is not owned by the Job mlp-diagnosis-1 alone" in await refused(world, pod)


async def test_the_operator_tries_a_pod_that_nothing_owns_yet(world, job) -> None:
    pod = world.pod(job)
    del pod["metadata"]["ownerReferences"]

    assert (await world.ask(PODS, pod, dry_run=True))["allowed"]


@pytest.mark.parametrize("attempt", [None, "", "0", "01", "x", "1 ", "9" * 30])
async def test_a_pod_says_which_attempt_it_is(world, job, attempt) -> None:
    assert "which attempt" in await refused(world, world.pod(job, attempt=attempt))


async def test_settings_from_before_a_change_hold_for_a_while(world, job) -> None:
    before = world.pod(job)
    (now,) = world.settings
    after = dataclasses.replace(now, canary="192.0.2.2:15019:15019")

    world.settings = (after, now)
    assert (await world.ask(PODS, before))["allowed"]
    assert (await world.ask(PODS, world.pod(job)))["allowed"]

    world.settings = (after,)
    assert "spec.initContainers[0].env" in await refused(world, before)


async def test_without_the_controllers_word_no_governed_pod_is_made(world, job) -> None:
    pod = world.pod(job)
    world.settings = ()

    answer = await world.ask(PODS, pod)

    assert answer["status"]["code"] == 503
    assert "mlprivacy-controller has not written down yet" in answer["status"]["message"]


async def test_a_pod_of_a_served_model_is_compared_as_well(world) -> None:
    job = world.serving()
    world.store(job)
    pod = world.pod(job)
    assert (await world.ask(PODS, pod))["allowed"]

    pod["spec"]["containers"][0]["args"] = ["--dump"]

    assert "rendered for the InferenceJob api: spec.containers[0].args is another" in await refused(world, pod)
