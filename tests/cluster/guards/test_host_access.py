"""Threat 9: a plain pod of a governed namespace does not reach its node either, whoever makes it."""

import json
from typing import Any

import pytest

MAKERS = [
    "Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "CronJob", "ReplicationController",
]  # fmt: skip


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "registry.example/app:1", **fields}]}


def secured(**context: Any) -> dict[str, Any]:
    return container(securityContext=context)


REACHES = [
    pytest.param({"hostNetwork": True}, id="hostNetwork"),
    pytest.param({"hostPID": True}, id="hostPID"),
    pytest.param({"hostIPC": True}, id="hostIPC"),
    pytest.param({"volumes": [{"name": "host", "hostPath": {"path": "/var/lib/kubelet"}}]}, id="hostPath"),
    pytest.param(secured(privileged=True), id="privileged"),
    pytest.param({"initContainers": [{**secured(privileged=True)["containers"][0], "name": "first"}]}, id="at first"),
    pytest.param(secured(capabilities={"add": ["SYS_ADMIN"]}), id="capability"),
    pytest.param(secured(capabilities={"add": ["ALL"]}), id="all capabilities"),
    pytest.param(container(ports=[{"containerPort": 80, "hostPort": 80}]), id="hostPort"),
    pytest.param({**secured(procMount="Unmasked"), "hostUsers": False}, id="procMount"),
    pytest.param(
        {
            **container(),
            "os": {"name": "windows"},
            "hostNetwork": True,
            "securityContext": {"windowsOptions": {"hostProcess": True}},
        },
        id="hostProcess",
    ),
]
STAYS = container(
    securityContext={"runAsUser": 0, "capabilities": {"add": ["NET_BIND_SERVICE", "CHOWN"]}},
    ports=[{"containerPort": 80}],
)
NODE = {"hostNetwork": True}


@pytest.mark.parametrize("fields", REACHES)
def test_a_plain_pod_does_not_reach_its_node(world: Any, manifests: Any, fields: dict[str, Any]) -> None:
    pod = manifests.plain_pod("node-level")
    pod["spec"].pop("containers")
    pod["spec"] |= {**container(), **fields}

    world.create_refused(world.common, pod, "host-access")
    free = world.namespace(None)
    world.try_out(free, pod, by=world.attacker)


@pytest.mark.parametrize("kind", MAKERS)
def test_nor_does_what_makes_pods(world: Any, manifests: Any, kind: str) -> None:
    world.create_refused(world.common, manifests.workload(kind, **NODE), "host-access")
    free = world.namespace(None)
    world.create(free, manifests.workload(kind, **NODE))


def test_it_is_not_given_to_a_workload_later(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.workload("Deployment"))

    patch = json.dumps({"spec": {"template": {"spec": NODE}}})
    world.refused("patch", "deployment", "plain", "-n", ns, "-p", patch, policy="host-access")


def test_an_ordinary_pod_passes(world: Any, manifests: Any) -> None:
    world.try_out(world.common, manifests.plain_pod("app", **STAYS), by=world.attacker)


def test_a_debug_container_does_not_reach_the_node(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.plain_pod("app"))
    rule = {"apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["get", "patch", "update"]}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "debug", "namespace": ns}, "rules": [rule],
    }  # fmt: skip
    world.cluster.kubectl("create", "-f", "-", input=role)
    world.cluster.kubectl("create", "rolebinding", "debug", "--role=debug", f"--user={world.attacker}", "-n", ns)
    world.eventually(lambda: world.may(world.attacker, "patch", "pods/ephemeralcontainers", ns), "the right to debug")

    def debug(name: str, **context: Any) -> tuple[str, ...]:
        one = {"name": name, "image": "registry.example/shell:1", "securityContext": context}
        patch = json.dumps({"spec": {"ephemeralContainers": [one]}})
        return ("patch", "pod", "app", "-n", ns, "--subresource=ephemeralcontainers", "-p", patch)

    world.refused(*debug("root", privileged=True), policy="host-access")
    world.allowed(*debug("shell", runAsUser=1000))


def test_the_pods_of_a_template_from_before_are_refused_and_it_is_taken_down(world: Any, manifests: Any) -> None:
    """The template was never judged; nobody but its pods is."""
    ns = world.namespace(None)
    world.create(ns, {**manifests.workload("Deployment", **NODE)})
    world.eventually(lambda: len(world.pods(ns, "app=plain")) == 1, "its pod while the namespace is not governed")
    world.cluster.kubectl("label", "namespace", ns, "mlprivacy.dev/enforce=enforce")
    world.allowed("delete", "pods", "-n", ns, "-l", "app=plain", "--wait=false")

    def refused() -> bool:
        found = world.get("deployments.apps", "plain", ns)
        conditions = (found.get("status") or {}).get("conditions") or []
        return any("mlprivacy-host-access" in c.get("message", "") for c in conditions)

    world.eventually(refused, "its next pod refused")
    world.allowed("scale", "deployment", "plain", "-n", ns, "--replicas=0")
    mended = json.dumps({"spec": {"replicas": 1, "template": {"spec": {"hostNetwork": False}}}})
    world.allowed("patch", "deployment", "plain", "-n", ns, "-p", mended)
    world.eventually(lambda: len(world.pods(ns, "app=plain")) == 1, "a pod of the mended template")
    world.allowed("delete", "deployment", "plain", "-n", ns)


def test_whoever_may_weaken_may(world: Any, manifests: Any) -> None:
    world.try_out(world.common, manifests.plain_pod("agent", **NODE), by=None)


def test_a_softer_namespace_is_only_warned(world: Any, manifests: Any) -> None:
    done = world.do("create", "--dry-run=server", "-n", world.namespace("warn"), "-f", "-",
                    body=manifests.plain_pod("agent", **NODE))  # fmt: skip

    assert done.returncode == 0
    assert "shares no namespace with its node" in done.stderr


def test_a_governed_namespace_with_such_a_pod_from_before_is_deleted_in_peace(world: Any, manifests: Any) -> None:
    ns = world.namespace(None)
    world.create(ns, manifests.plain_pod("agent", **NODE))
    world.cluster.kubectl("label", "namespace", ns, "mlprivacy.dev/enforce=enforce")
    world.cluster.kubectl("delete", "namespace", ns, "--wait=false")

    world.gone("namespace", ns)
