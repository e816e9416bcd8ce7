"""Threats 27, 41: a governed pod is not deleted or evicted out of its policy's reach."""

from typing import Any

import pytest

FORCED = ("--force", "--grace-period=0")


def eviction(name: str, **options: Any) -> dict[str, Any]:
    form: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return {**form, "deleteOptions": options} if options else form


@pytest.fixture
def running(world: Any, manifests: Any) -> tuple[str, str]:
    """(namespace, name) of a governed pod that runs."""
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    return ns, world.running_pod(ns, manifests.rendered_job())


def test_a_running_governed_pod_is_not_deleted_with_grace_0(world: Any, running: tuple[str, str]) -> None:
    ns, pod = running

    world.refused("delete", "pod", pod, "-n", ns, *FORCED, policy="grace")
    world.refused("delete", "pod", pod, "-n", ns, *FORCED, policy="grace", by=None)
    for longer in ("31", "86400"):  # than its own
        world.refused("delete", "pod", pod, "-n", ns, f"--grace-period={longer}", "--wait=false", policy="grace")
    world.refused("delete", "pods", "--all", "-n", ns, *FORCED, policy="grace")
    raw = ("delete", "--raw", f"/api/v1/namespaces/{ns}/pods?gracePeriodSeconds=0")
    world.refused(*raw, policy="grace")
    assert "deletionTimestamp" not in world.get("pods", pod, ns)["metadata"]


def test_it_is_deleted_in_peace_to_the_end(world: Any, running: tuple[str, str]) -> None:
    """The node's own last delete has grace 0 and passes."""
    ns, pod = running

    world.allowed("delete", "pod", pod, "-n", ns, "--wait=false")

    world.gone("pods", pod, ns)


def test_an_eviction_with_grace_0_is_refused_and_an_ordinary_one_passes(world: Any, running: tuple[str, str]) -> None:
    ns, pod = running
    command = ("create", "--raw", f"/api/v1/namespaces/{ns}/pods/{pod}/eviction", "-f", "-")

    world.refused(*command, policy="grace", body=eviction(pod, gracePeriodSeconds=0))
    world.refused(*command, policy="grace", body=eviction(pod, gracePeriodSeconds=0), by=None)
    world.refused(*command, policy="grace", body=eviction(pod, gracePeriodSeconds=31))
    world.allowed(*command, body=eviction(pod))
    world.gone("pods", pod, ns)


def test_a_pod_that_never_ran_or_has_ended_is_deleted_at_once(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    waiting = manifests.rendered_job()
    waiting["spec"]["template"]["spec"]["nodeSelector"] = {"nowhere": "yes"}
    world.create(ns, waiting, by=world.operator)
    never = world.eventually(lambda: world.pods(ns), "the waiting pod")[0]["metadata"]["name"]
    world.allowed("delete", "pod", never, "-n", ns, *FORCED)
    world.allowed("delete", "job", "mlp-visits-1", "-n", ns, by=world.operator)

    done = manifests.rendered_job("done", annotations={"kwok.mlprivacy.dev/run-seconds": "1"})
    world.create(ns, manifests.rendered("ServiceAccount", "done"), by=world.operator)
    world.create(ns, done, by=world.operator)

    def ended() -> str:
        found = [pod for pod in world.pods(ns) if pod["status"].get("phase") == "Succeeded"]
        return found[0]["metadata"]["name"] if found else ""

    world.allowed("delete", "pod", world.eventually(ended, "a pod that ended"), "-n", ns, *FORCED)


def test_plain_pods_are_deleted_as_ever(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.plain_pod("idle"))
    world.eventually(lambda: world.get("pods", "idle", ns)["status"].get("phase") == "Running", "the pod running")

    world.allowed("delete", "pod", "idle", "-n", ns, *FORCED)
