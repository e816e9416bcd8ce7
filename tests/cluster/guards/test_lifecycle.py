"""What must go on working under the guards: the operator's objects, the controllers behind them, teardown."""

from typing import Any


def test_a_rendered_job_makes_its_pod_and_ends(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    for kind in ("ServiceAccount", "NetworkPolicy", "ConfigMap"):
        world.create(ns, manifests.rendered(kind), by=world.operator)
    world.create(ns, manifests.floor(), by=world.operator)

    world.running_pod(ns, manifests.rendered_job(annotations={"kwok.mlprivacy.dev/run-seconds": "6"}))

    world.eventually(lambda: world.get("jobs", "mlp-visits-1", ns)["status"].get("succeeded") == 1, "the Job's end")
    world.allowed("delete", "job", "mlp-visits-1", "-n", ns, "--wait=false", by=world.operator)
    world.gone("jobs", "mlp-visits-1", ns)
    world.eventually(lambda: not world.pods(ns), "its pod collected")


def test_a_rendered_deployment_makes_its_pods_scales_and_is_replaced(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount", "triage"), by=world.operator)
    first = world.running_pod(ns, manifests.rendered_deployment())

    patch = '{"spec": {"replicas": 2, "template": {"metadata": {"annotations": {"changed": "yes"}}}}}'
    world.allowed("patch", "deployment", "mlp-triage", "-n", ns, "--type=merge", "-p", patch, by=world.operator)

    def replaced() -> bool:
        names = [pod["metadata"]["name"] for pod in world.pods(ns) if pod["status"].get("phase") == "Running"]
        return len(names) == 2 and first not in names

    world.eventually(replaced, "two new pods in place of the old")
    to_zero = ("patch", "deployment", "mlp-triage", "-n", ns, "--type=merge", "-p", '{"spec": {"replicas": 0}}')
    world.allowed(*to_zero, by=world.operator)
    world.eventually(lambda: not world.pods(ns), "no pod left")


def test_a_rendered_service_gets_its_endpoints(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount", "triage"), by=world.operator)
    service = manifests.rendered("Service", "triage")
    service["spec"]["selector"]["mlprivacy.dev/rendered"] = "inference"
    world.create(ns, service, by=world.operator)
    world.running_pod(ns, manifests.rendered_deployment())

    def slices() -> str:
        chosen = ("-l", "kubernetes.io/service-name=mlp-triage")
        found: str = world.cluster.kubectl(
            "get", "endpointslices", "-n", ns, *chosen, "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}"
        ).stdout
        return found

    world.eventually(slices, "the pod among the Service's endpoints")


def test_objects_go_with_their_owner_in_both_cascades(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    for cascade in ("background", "foreground"):
        world.create(ns, manifests.training_job(cascade))
        uid = world.get("trainingjobs.mlprivacy.dev", cascade, ns)["metadata"]["uid"]
        owner = {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "TrainingJob", "name": cascade, "uid": uid}
        owner |= {"controller": True, "blockOwnerDeletion": True}
        children = [manifests.rendered(kind, cascade) for kind in ("ServiceAccount", "NetworkPolicy", "ConfigMap")]
        for child in [*children, manifests.rendered_job(cascade)]:
            child["metadata"]["ownerReferences"] = [owner]
            world.create(ns, child, by=world.operator)

        world.allowed("delete", "trainingjobs.mlprivacy.dev", cascade, "-n", ns, f"--cascade={cascade}", by=None)

        world.gone("networkpolicies", f"mlp-{cascade}", ns)
        world.gone("configmaps", f"mlp-{cascade}-decision", ns)
        world.gone("jobs", f"mlp-{cascade}-1", ns)
        world.eventually(lambda: not world.pods(ns), "its pods collected")


def test_a_governed_namespace_with_a_running_job_is_deleted_to_the_end(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.training_job())
    for kind in ("ServiceAccount", "NetworkPolicy", "ConfigMap", "Service"):
        world.create(ns, manifests.rendered(kind), by=world.operator)
    world.create(ns, manifests.floor(), by=world.operator)
    world.running_pod(ns, manifests.rendered_job())
    world.create(ns, manifests.rendered("ServiceAccount", "triage"), by=world.operator)
    world.create(ns, manifests.rendered_deployment(), by=world.operator)

    world.allowed("delete", "namespace", ns, "--wait=false", by=None)

    world.gone("namespaces", ns)


def test_plain_workloads_live_in_a_governed_namespace(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "ReplicationController"):
        world.create(ns, manifests.workload(kind))
    world.create(ns, manifests.workload("PodTemplate"), by=None)  # `edit` does not hold these
    world.allowed("scale", "deployment/plain", "-n", ns, "--replicas=2")
    world.create(ns, manifests.plain_pod("one"))
    world.allowed("label", "pod", "one", "-n", ns, "team=a")

    running = "pods of three controllers and the plain one running"
    world.eventually(lambda: sum(pod["status"].get("phase") == "Running" for pod in world.pods(ns)) >= 5, running)
    world.allowed("delete", "pod", "one", "-n", ns, "--force", "--grace-period=0")
