"""The namespace's label is the ceiling: enforce refuses, warn tells the user, audit the log; without it nothing."""

from typing import Any

import pytest

FORGED = {"mlprivacy.dev/attempt": "1"}


def attacks(manifests: Any) -> dict[str, Any]:
    open_policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "open"},
        "spec": {"podSelector": {}, "egress": [{}]},
    }
    return {
        "label-chain": manifests.plain_pod("one", labels=FORGED),
        "sealed-names": manifests.plain_pod("two", imagePullSecrets=[{"name": "mlp-sealed-x"}]),
        "sealed-claims": manifests.claim("mlp-sealed-x", accessModes=["ReadWriteMany"]),
        "foreign-network-policy": open_policy,
    }


@pytest.mark.parametrize("ceiling", ["warn", "audit", None])
def test_below_enforce_nothing_is_refused(world: Any, manifests: Any, ceiling: str | None) -> None:
    ns = world.namespace(ceiling)

    for policy, body in attacks(manifests).items():
        done = world.do("create", "-n", ns, "-f", "-", body=body)
        assert done.returncode == 0, done.stderr
        assert (f"Validation failed for ValidatingAdmissionPolicy 'mlprivacy-{policy}'" in done.stderr) == (
            ceiling == "warn"
        )


def test_audit_leaves_a_note_in_the_api_servers_log(world: Any, manifests: Any) -> None:
    ns = world.namespace("audit")
    world.create(ns, manifests.plain_pod("noted", labels=FORGED))

    def noted() -> bool:
        found = world.cluster.audit_events(verb="create", resource="pods", namespace=ns)
        return any("mlprivacy-label-chain" in str(event.annotations) for event in found)

    world.eventually(noted, "the finding in the audit log")


def test_raising_the_ceiling_acts_at_once_on_the_next_request(world: Any, manifests: Any) -> None:
    ns = world.namespace("audit")
    body = attacks(manifests)["sealed-names"]
    world.try_out(ns, body, by=world.attacker)
    world.cluster.kubectl("label", "--overwrite", "namespace", ns, "mlprivacy.dev/enforce=enforce")

    world.eventually(
        lambda: (
            "mlprivacy-sealed-names" in world.do("create", "--dry-run=server", "-n", ns, "-f", "-", body=body).stderr
        ),
        "the guard on duty there",
    )
