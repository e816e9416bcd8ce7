"""Threats 26, 17: no Service of anybody's takes over an address of ours, in any namespace."""

import json
from typing import Any

import pytest

COLLECTOR, ADMISSION = "10.96.7.7", "fd00:10:96::7"
OURS = f"{COLLECTOR},{ADMISSION}"
FREE = "192.0.2.10"
HOME = "mlprivacy-system"


def service(*addresses: str, name: str = "mine", **spec: Any) -> dict[str, Any]:
    ports = [{"port": 15019, "protocol": "UDP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "mine"}, "ports": ports, "externalIPs": list(addresses), **spec},
    }


def write(world: Any, addresses: str | None) -> None:
    """The list of our addresses, as the controller writes it."""
    patch = json.dumps({"data": {"addresses": addresses}})
    world.allowed(
        "patch", "configmap", "mlprivacy-addresses", "-n", HOME, "--type=merge", "-p", patch, by=world.operator
    )


@pytest.fixture
def known(world: Any) -> Any:
    """The world in which the guard knows our addresses."""
    write(world, OURS)
    tried = ("create", "--dry-run=server", "-n", world.common, "-f", "-")
    world.eventually(
        lambda: "mlprivacy-external-addresses" in world.do(*tried, body=service(COLLECTOR)).stderr, "the list in force"
    )
    return world


pytestmark = pytest.mark.xdist_group("addresses")


@pytest.mark.parametrize(
    "address",
    [COLLECTOR, ADMISSION, "fd00:0010:0096:0000:0000:0000:0000:0007"],
    ids=["IPv4", "IPv6", "IPv6 written out"],
)
@pytest.mark.parametrize("ceiling", ["enforce", None], ids=["governed", "ungoverned"])
def test_an_address_of_ours_is_taken_over_from_no_namespace(known: Any, ceiling: str | None, address: str) -> None:
    ns = known.namespace(ceiling)
    said = known.create_refused(ns, service(FREE, address), "external-addresses")

    assert "belongs to a Service of mlprivacy" in said


def test_nor_by_a_change(known: Any) -> None:
    ns = known.namespace(None)
    known.create(ns, service(FREE))

    patch = json.dumps({"spec": {"externalIPs": [COLLECTOR]}})
    known.refused("patch", "service", "mine", "-n", ns, "-p", patch, policy="external-addresses")


def test_an_address_that_can_not_be_compared_is_not_taken_for_another(known: Any) -> None:
    answer = known.do("create", "-n", known.common, "-f", "-", body=service(f"::ffff:{COLLECTOR}"))

    assert answer.returncode != 0  # by the API server itself, or by the guard


def test_a_load_balancer_does_not_report_it_either(known: Any) -> None:
    ns = known.namespace(None)
    known.create(ns, service(name="balanced", type="LoadBalancer"))
    known.grant(ns, "admin", "lb")
    status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": COLLECTOR, "ipMode": "VIP"}]}}})
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "status", "namespace": ns},
        "rules": [{"apiGroups": [""], "resources": ["services/status"], "verbs": ["get", "patch"]}],
    }
    known.cluster.kubectl("create", "-f", "-", input=role)
    known.cluster.kubectl("create", "rolebinding", "status", "--role=status", "--user=lb", "-n", ns)

    patch = ("patch", "service", "balanced", "-n", ns, "--subresource=status", "--type=merge", "-p")
    known.refused(*patch, status, policy="external-addresses", by="lb")
    known.allowed(*patch, status.replace(COLLECTOR, FREE), by="lb")


def test_other_addresses_and_services_without_any_are_nobodys_business(known: Any) -> None:
    ns = known.namespace(None)
    known.create(ns, service(FREE, "2001:db8::1", name="outside"))
    known.create(ns, service(name="plain"))
    known.allowed("delete", "service", "outside", "plain", "-n", ns)


def test_whoever_may_weaken_may_and_what_is_there_can_be_taken_down(known: Any) -> None:
    ns = known.namespace(None)
    known.create(ns, service(COLLECTOR), by=None)

    known.allowed("annotate", "service", "mine", "-n", ns, "seen=yes")
    ports = json.dumps({"spec": {"ports": [{"port": 443, "protocol": "TCP"}]}})
    known.refused("patch", "service", "mine", "-n", ns, "--type=merge", "-p", ports, policy="external-addresses")
    known.allowed("delete", "service", "mine", "-n", ns)


def test_only_the_list_itself_is_the_controllers_to_write_in_its_namespace(known: Any) -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}, "data": {}}
    known.create_refused(HOME, other, "operator-scope", by=known.operator)
    known.refused("delete", "configmap", "mlprivacy-addresses", "-n", HOME, policy="operator-scope", by=known.operator)
