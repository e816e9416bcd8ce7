"""What the control plane writes and reads: certificates, kubeconfigs, configuration files, stages, the audit log."""

import base64
import json
import stat
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane import ControlPlane, ControlPlaneError, ExistingCluster, UnsupportedError
from controlplane.__main__ import main
from controlplane.audit import read_audit_log, select
from controlplane.certificates import Authority
from controlplane.client import as_text
from controlplane.existing import use_existing_cluster
from controlplane.flags import Layout, Ports, controller_manager, webhook_admission, webhook_kubeconfig
from controlplane.kubeconfigs import write_kubeconfig
from controlplane.simulated_node import SimulatedNode


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


# --- certificates and kubeconfigs -----------------------------------------------------------------------------------


def test_a_client_certificate_carries_user_and_groups_and_nothing_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "cluster-ca")

    pair = authority.client("c", "alice", ["team-a", "team-b"])

    certificate = load(pair.certificate)
    certificate.verify_directly_issued_by(load(authority.files.certificate))
    names = certificate.subject.get_attributes_for_oid
    assert [attribute.value for attribute in names(NameOID.COMMON_NAME)] == ["alice"]
    assert sorted(str(attribute.value) for attribute in names(NameOID.ORGANIZATION_NAME)) == ["team-a", "team-b"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_private_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")

    for key in (authority.files.key, authority.client("c", "alice").key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_an_authority_is_loaded_where_it_exists(tmp_path: Path) -> None:
    first = Authority(tmp_path, "ca")

    later = Authority(tmp_path, "ca").client("c", "alice")

    load(later.certificate).verify_directly_issued_by(load(first.files.certificate))


def test_a_kubeconfig_is_whole_in_itself_and_private(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    pair = authority.client("c", "alice")

    path = write_kubeconfig(tmp_path / "k", "https://127.0.0.1:1", authority.files.certificate, client=pair)

    user = yaml.safe_load(path.read_text(encoding="utf-8"))["users"][0]["user"]
    assert base64.b64decode(user["client-certificate-data"]) == pair.certificate.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_api_server_shows_every_webhook_its_client_certificate(tmp_path: Path) -> None:
    pair = Authority(tmp_path, "webhook-client-ca").client("webhook-client", "kube-apiserver")

    plugins = webhook_admission(tmp_path / "w")["plugins"]
    user = webhook_kubeconfig(pair)["users"][0]

    assert [plugin["name"] for plugin in plugins] == ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"]
    assert {plugin["configuration"]["kubeConfigFile"] for plugin in plugins} == {str(tmp_path / "w")}
    assert user["name"] == "*"
    assert user["user"]["client-certificate"] == str(pair.certificate)


def test_built_in_controllers_get_credentials_of_their_own(tmp_path: Path) -> None:
    pair = Authority(tmp_path, "ca").server("s", ["127.0.0.1"])

    argv = controller_manager(Path("kcm"), Layout(tmp_path), Ports(1, 2, 3, 4, 5), pair, tmp_path / "k")

    assert "--use-service-account-credentials=true" in argv


# --- simulated nodes ------------------------------------------------------------------------------------------------


def test_the_stages_take_the_time_that_is_set() -> None:
    node = SimulatedNode("n", 0, 90, "v1.36.3", capacity={"cpu": "4"})

    stages = {stage["metadata"]["name"]: stage["spec"] for stage in yaml.safe_load_all(node.stages())}

    assert stages["pod-finished"]["delay"]["durationMilliseconds"] == 90_000
    assert '// "90"' in stages["pod-finished"]["delay"]["durationFrom"]["jq"]["expression"]
    assert '{"cpu": "4"}' in stages["node-ready"]["steps"][0]["patch"]["template"]
    assert "@" not in node.stages().split("apiVersion", 1)[1]


def test_each_node_has_its_own_identity_and_addresses(tmp_path: Path) -> None:
    first, second = (SimulatedNode(f"n{i}", i, 60, "v1.36.3") for i in range(2))

    assert first.user == "system:node:n0"
    addresses = [
        {flag for flag in node.argv(Path("kwok"), tmp_path, tmp_path) if flag.startswith(("--cidr", "--node-ip"))}
        for node in (first, second)
    ]
    assert addresses[0].isdisjoint(addresses[1])


# --- audit log ------------------------------------------------------------------------------------------------------


def event(verb: str, name: str, **more: object) -> dict[str, object]:
    return {
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": "alice", "groups": ["system:authenticated"]},
        "objectRef": {"resource": "jobs", "apiGroup": "batch", "namespace": "ns", "name": name},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": "2026-01-02T03:04:05.000001Z",
        "stageTimestamp": "2026-01-02T03:04:05.000900Z",
        **more,
    }


def test_the_audit_log_is_read_in_order_without_a_torn_last_line(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    lines = [json.dumps(event("create", "a")), json.dumps(event("delete", "a")), '{"stage": "Respo']
    log.write_text("\n".join(lines), encoding="utf-8")

    events = list(read_audit_log(log))

    assert [seen.verb for seen in events] == ["create", "delete"]
    assert (events[0].completed - events[0].received).microseconds == 899


def test_audit_events_are_selected_by_every_given_field(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    impersonated = event("create", "b", impersonatedUser={"username": "bob"})
    log.write_text("".join(json.dumps(e) + "\n" for e in (event("create", "a"), impersonated)), encoding="utf-8")

    assert [e.name for e in select(read_audit_log(log), verb="create", user="bob")] == ["b"]
    assert select(read_audit_log(log), verb="create", user=None, namespace="elsewhere") == []


# --- existing clusters and the command line -------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_an_existing_cluster_is_used_when_asked_for(value: str, expected: bool) -> None:
    assert use_existing_cluster({"USE_EXISTING_CLUSTER": value}) is expected


@pytest.mark.parametrize("named", ["", "/no/such/file", "/a:/b"])
def test_an_existing_cluster_needs_one_kubeconfig(named: str) -> None:
    with pytest.raises(ControlPlaneError, match="KUBECONFIG"):
        ExistingCluster({"KUBECONFIG": named})


def test_what_an_existing_cluster_cannot_do_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "k").touch()
    cluster = ExistingCluster({"KUBECONFIG": str(tmp_path / "k")})

    with pytest.raises(UnsupportedError, match=r"cannot stop the API server\. Unset USE_EXISTING_CLUSTER"):
        cluster.stop_apiserver()
    with pytest.raises(UnsupportedError, match="audit log"):
        cluster.audit_events()


def test_attaching_where_nothing_runs_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ControlPlaneError, match="Start one with `up`"):
        ControlPlane.attach(tmp_path)


def test_everything_that_is_ever_deleted_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for folder in (layout.etcd_data, layout.logs, layout.pki, layout.config, layout.scratch, layout.bin, layout.state):
        assert folder.parent == tmp_path / "control-plane"


def test_stopping_where_nothing_runs_deletes_nothing(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("somebody's", encoding="utf-8")

    assert main(["down", "--dir", str(tmp_path)]) == 0

    assert (tmp_path / "kubeconfig").read_text(encoding="utf-8") == "somebody's"


def test_the_command_line_answers_in_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--dir", str(tmp_path)]) == 1
    assert main(["env", "--dir", str(tmp_path)]) == 2
    assert main(["down", "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "No control plane has its state in" in said
    assert "Nothing was running." in said


def test_objects_are_given_to_kubectl_as_one_list() -> None:
    assert json.loads(as_text([{"kind": "A"}, {"kind": "B"}]))["items"] == [{"kind": "A"}, {"kind": "B"}]
    assert json.loads(as_text({"kind": "A"})) == {"kind": "A"}
    assert as_text("kind: A") == "kind: A"
