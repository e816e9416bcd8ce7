"""The allow-list of the pod template: every field of the real PodSpec that is not listed is refused.

The fields come from the models of the installed Kubernetes client, so that a field of a later version is covered as
soon as the client has it.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from builders import DIGEST, template
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.client import models

from mlprivacy.policy.template import ANY, TEMPLATE, check_template, covers_reserved, prune_template

GOOD = template()
REGISTRY = "registry.good.example"
SEALED = "mlp-sealed-visits"


def type_of(model: Any, attribute: str) -> str:
    return model.openapi_types[attribute]


def walk(model: Any, shape: Any, path: str) -> Iterator[tuple[str, bool, str]]:
    """Every field of the model along the listed ones: path, whether it is listed, and its type."""
    for attribute, name in model.attribute_map.items():
        kind = type_of(model, attribute)
        here = f"{path}.{name}"
        if name not in shape:
            yield here, False, kind
            continue
        inner = shape[name]
        yield here, True, kind
        if inner is ANY:
            continue
        element = re.fullmatch(r"(?:list|List)\[(\w+)\]|(\w+)\[\]", kind)
        if isinstance(inner, list):
            yield from walk(getattr(models, element.group(1)), inner[0], f"{here}[0]")
        else:
            yield from walk(getattr(models, kind), inner, here)


FIELDS = list(walk(models.V1PodTemplateSpec, TEMPLATE, "spec.template"))
UNLISTED = [path for path, listed, _ in FIELDS if not listed]


def listed_names(shape: Any, path: str) -> Iterator[str]:
    if isinstance(shape, list):
        yield from listed_names(shape[0], f"{path}[0]")
    elif shape is not ANY:
        for name, inner in shape.items():
            yield f"{path}.{name}"
            yield from listed_names(inner, f"{path}.{name}")


def placed(path: str, value: Any) -> dict[str, Any]:
    """A template with nothing but ``value`` at ``path``."""
    for step in reversed(re.findall(r"\[0\]|[^.\[\]]+", path.removeprefix("spec.template."))):
        value = [value] if step == "[0]" else {step: value}
    return value


def problems(raw: Any, **allowed: Any) -> list[str]:
    return [p.path for p in check_template(raw, **allowed)]


def container(**fields: Any) -> dict[str, Any]:
    return template(containers=[GOOD["spec"]["containers"][0] | fields])


def volume(**source: Any) -> dict[str, Any]:
    return template(volumes=[{"name": "extra"} | source])


def test_a_plain_template_passes():
    assert problems(GOOD) == []


def test_there_are_many_fields_to_refuse():
    assert len(UNLISTED) > 150
    for known in ("hostNetwork", "hostPID", "serviceAccountName", "ephemeralContainers", "resourceClaims", "nodeName"):
        assert f"spec.template.spec.{known}" in UNLISTED
    assert "spec.template.spec.volumes[0].hostPath" in UNLISTED
    assert "spec.template.spec.containers[0].lifecycle" in UNLISTED
    assert "spec.template.spec.containers[0].livenessProbe.exec" in UNLISTED
    assert "spec.template.metadata.labels" in UNLISTED


@pytest.mark.parametrize("path", UNLISTED)
def test_a_field_that_is_not_listed_is_refused_and_pruned(path):
    raw = placed(path, {"x": 1})
    found = [p for p in check_template(raw) if p.path == path]
    assert len(found) == 1
    assert found[0].remedy == f"remove {path.rsplit('.', 1)[1]} from the template"
    assert path not in problems(prune_template(raw))


def test_a_field_of_a_later_kubernetes_is_refused():
    assert "spec.template.spec.hostQuantumLink" in problems(template(hostQuantumLink=True))
    assert "spec.template.spec.containers[0].hostQuantumLink" in problems(container(hostQuantumLink=True))


def test_every_listed_field_exists():
    real = {path for path, listed, _ in FIELDS if listed}
    assert set(listed_names(TEMPLATE, "spec.template")) == real


def test_what_is_listed_whole_is_scheduling_and_nothing_else():
    """Fields that are taken as they are and have fields of their own: what they could hold later is not checked."""
    whole = {p for p, listed, kind in FIELDS if listed and "V1" in kind and p not in _with_fields_listed()}
    assert {p.removeprefix("spec.template.spec.") for p in whole} == {
        "affinity.nodeAffinity",
        "tolerations",
        "topologySpreadConstraints",
    }


def _with_fields_listed() -> set[str]:
    return {re.sub(r"(\[0\])?\.\w+$", "", path) for path, _, _ in FIELDS}


class TestImages:
    @pytest.mark.parametrize(
        "image",
        [
            f"{REGISTRY}/trainer@{DIGEST}",
            f"{REGISTRY}:5000/team/trainer:v1@{DIGEST}",
            f"trainer@{DIGEST}",
        ],
    )
    def test_by_digest(self, image):
        assert problems(container(image=image)) == []

    @pytest.mark.parametrize(
        "image",
        [
            f"{REGISTRY}/trainer",
            f"{REGISTRY}/trainer:latest",
            f"{REGISTRY}/trainer@sha256:abc",
            f"{REGISTRY}/trainer@{DIGEST}0",
            f"{REGISTRY}/trainer@{DIGEST}\n",
            f" {REGISTRY}/trainer@{DIGEST}",
            f"{REGISTRY}/trainer@{DIGEST.upper()}",
            f"{REGISTRY}/tr\u0430iner@{DIGEST}",
            f"https://{REGISTRY}/trainer?x@{DIGEST}",
            "",
            5,
            ["trainer"],
        ],
    )
    def test_anything_else_is_refused(self, image):
        found = [p for p in check_template(container(image=image)) if p.path.endswith("containers[0].image")]
        assert [p.remedy for p in found] == ["write REGISTRY/NAME@sha256:DIGEST"]


class TestNames:
    @pytest.mark.parametrize(
        "name", ["mlprivacy-accountant", "mlprivacy-", "Trainer", "a_b", "", "-a", "a" * 64, None, "tr\u0430iner"]
    )
    def test_a_container_is_not_called_so(self, name):
        assert problems(container(name=name)) == ["spec.template.spec.containers[0].name"]

    def test_each_has_its_own(self):
        twice = template(initContainers=[GOOD["spec"]["containers"][0]])
        assert problems(twice) == ["spec.template.spec.containers[0].name"]

    def test_volumes_mounts_and_ports_of_the_operator_are_not_named(self):
        assert problems(volume(name="mlprivacy-run", emptyDir={})) == ["spec.template.spec.volumes[0].name"]
        mount = container(volumeMounts=[{"name": "mlprivacy-run", "mountPath": "/x"}])
        assert problems(mount) == ["spec.template.spec.containers[0].volumeMounts[0].name"]
        port = container(ports=[{"name": "mlprivacy-http", "containerPort": 8080}])
        assert problems(port) == ["spec.template.spec.containers[0].ports[0].name"]


class TestSecurityContext:
    @pytest.mark.parametrize(
        ("where", "value"),
        [
            ("privileged", True),
            ("privileged", "false"),
            ("allowPrivilegeEscalation", True),
            ("runAsNonRoot", False),
            ("readOnlyRootFilesystem", False),
            ("runAsUser", 0),
            ("runAsUser", -1),
            ("runAsUser", "1000"),
            ("runAsUser", True),
            ("runAsUser", 64998),
            ("runAsGroup", 0),
            ("capabilities.add", ["NET_ADMIN"]),
            ("capabilities.add", "ALL"),
            ("seccompProfile.type", "Unconfined"),
            ("seccompProfile.type", "Localhost"),
            ("procMount", "Unmasked"),
            ("seLinuxOptions", {"type": "spc_t"}),
            ("appArmorProfile", {"type": "Unconfined"}),
            ("windowsOptions", {"hostProcess": True}),
        ],
    )
    def test_what_weakens_a_container_is_refused(self, where, value):
        outer, _, inner = where.partition(".")
        raw = container(securityContext={outer: {inner: value} if inner else value})
        assert problems(raw) == [f"spec.template.spec.containers[0].securityContext.{where}"]

    def test_what_the_operator_sets_anyway_may_be_written(self):
        strict = {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "runAsUser": 1000,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert problems(container(securityContext=strict)) == []

    @pytest.mark.parametrize("where", ["fsGroup", "supplementalGroups", "sysctls", "seLinuxOptions"])
    def test_the_pods_own(self, where):
        assert problems(template(securityContext={where: [1]})) == [f"spec.template.spec.securityContext.{where}"]


class TestVolumes:
    @pytest.mark.parametrize(
        "source",
        [
            {"emptyDir": {}},
            {"configMap": {"name": "settings"}},
            {"secret": {"secretName": "token"}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ],
    )
    def test_these_are_listed(self, source):
        assert problems(volume(**source)) == []

    @pytest.mark.parametrize("source", ["hostPath", "nfs", "csi", "ephemeral", "iscsi", "image", "flexVolume", "rbd"])
    def test_others_are_not(self, source):
        assert problems(volume(**{source: {}})) == [f"spec.template.spec.volumes[0].{source}"]

    def test_no_token_is_projected(self):
        raw = volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]})
        assert problems(raw) == ["spec.template.spec.volumes[0].projected.sources[0].serviceAccountToken"]

    @pytest.mark.parametrize("claim", [{"claimName": "models", "readOnly": True}, {"claimName": SEALED}])
    def test_no_claim_is_mounted(self, claim):
        """A read-only one neither: a socket, a pipe or a lock in it is shared with whoever mounts it as well."""
        assert problems(volume(persistentVolumeClaim=claim)) == ["spec.template.spec.volumes[0].persistentVolumeClaim"]

    def test_a_volume_has_a_source(self):
        assert problems(volume()) == ["spec.template.spec.volumes[0]"]

    @pytest.mark.parametrize(
        ("raw", "path"),
        [
            (volume(secret={"secretName": SEALED}), "volumes[0].secret.secretName"),
            (
                volume(projected={"sources": [{"secret": {"name": SEALED}}]}),
                "volumes[0].projected.sources[0].secret.name",
            ),
            (
                container(env=[{"name": "K", "valueFrom": {"secretKeyRef": {"name": SEALED, "key": "k"}}}]),
                "containers[0].env[0].valueFrom.secretKeyRef.name",
            ),
            (container(envFrom=[{"secretRef": {"name": SEALED}}]), "containers[0].envFrom[0].secretRef.name"),
            (template(imagePullSecrets=[{"name": SEALED}]), "imagePullSecrets[0].name"),
        ],
    )
    def test_sealed_names_are_the_gates_alone(self, raw, path):
        assert problems(raw) == [f"spec.template.spec.{path}"]


class TestMounts:
    @pytest.mark.parametrize(
        "path",
        [
            "/var/run/mlprivacy",
            "/var/run/mlprivacy/socket",
            "/var/run/mlprivacy/",
            "//var//run/./mlprivacy",
            "var/run/mlprivacy",
            "/run/mlprivacy",
            "/var/lib/mlprivacy/x",
            "/var/run",
            "/var",
            "/",
            "/.",
            "",
            "/data/..",
            "/data/../var/run/mlprivacy",
        ],
    )
    def test_the_sidecars_folders_are_not_covered(self, path):
        assert covers_reserved(path)
        raw = container(volumeMounts=[{"name": "v", "mountPath": path}])
        assert problems(raw) == ["spec.template.spec.containers[0].volumeMounts[0].mountPath"]

    @pytest.mark.parametrize("path", ["/data", "/var/run/mlprivacy2", "/run", "/scratch", "/a..b", "/var/lib/other"])
    def test_others_may_be(self, path):
        assert problems(container(volumeMounts=[{"name": "v", "mountPath": path}])) == []

    def test_nothing_is_propagated(self):
        raw = container(volumeMounts=[{"name": "v", "mountPath": "/x", "mountPropagation": "Bidirectional"}])
        assert problems(raw) == ["spec.template.spec.containers[0].volumeMounts[0].mountPropagation"]


class TestResources:
    @pytest.mark.parametrize("resource", ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi"])
    def test_plain_ones(self, resource):
        assert problems(container(resources={"limits": {resource: "1"}})) == []

    @pytest.mark.parametrize("resource", ["rdma/hca", "nvidia.com/gpu", "hugepages-x.example/rdma", "storage"])
    @pytest.mark.parametrize("part", ["limits", "requests"])
    def test_others_are_listed_by_a_policy_or_refused(self, resource, part):
        raw = container(resources={part: {resource: "1"}})
        assert problems(raw) == [f"spec.template.spec.containers[0].resources.{part}"]
        assert problems(raw, extended_resources=[resource]) == []
        assert problems(raw, extended_resources=[resource + "x", resource[:-1]]) != []


class TestAnnotations:
    PATH = "spec.template.metadata.annotations"

    @pytest.mark.parametrize(
        "key",
        [
            "k8s.v1.cni.cncf.io/networks",
            "v1.multus-cni.io/default-network",
            "networking.gke.io/interfaces",
            "devices.nri.io/container.trainer",
            "io.kubernetes.cri-o.Devices",
            "io.katacontainers.config.hypervisor.kernel",
            "dev.gvisor.spec.mount.a.source",
            "sidecar.istio.io/inject",
            "container.apparmor.security.beta.kubernetes.io/trainer",
            "mlprivacy.dev/decision-digest",
            "sub.mlprivacy.dev/x",
            "anything",
            "team.example/owner",
        ],
    )
    def test_runtimes_and_networks_read_annotations_so_none_is_taken_unlisted(self, key):
        assert problems({"metadata": {"annotations": {key: "x"}}, **GOOD}) == [self.PATH]

    def test_a_domain_of_the_policy_is_taken_exactly(self):
        def of(key):
            return problems({"metadata": {"annotations": {key: "x"}}, **GOOD}, annotation_domains=["team.example"])

        assert of("team.example/owner") == []
        for trick in (
            "evil.team.example/owner",
            "team.example.evil.example/owner",
            "xteam.example/owner",
            "team.example",
        ):
            assert of(trick) == [self.PATH]

    def test_the_platforms_own_are_refused_even_when_listed(self):
        raw = {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "x"}}, **GOOD}
        assert problems(raw, annotation_domains=["k8s.v1.cni.cncf.io"]) == [self.PATH]


@pytest.mark.parametrize("raw", [{}, {"spec": None}, {"spec": []}, {"spec": {}}, {"spec": {"containers": []}}])
def test_a_template_has_a_container(raw):
    assert "spec.template.spec.containers" in problems(raw)


NAMES = sorted({p.rsplit(".", 1)[1].removesuffix("[0]") for p, _, _ in FIELDS})
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["mlp-sealed-x", "/.."])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=25,
)
TEMPLATES = st.dictionaries(st.sampled_from(["metadata", "spec", "x"]), JSON, max_size=3) | st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {
                "containers": st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6) | JSON, max_size=3),
                "volumes": st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4) | JSON, max_size=3)
                | JSON,
                "securityContext": JSON,
            }
        )
    }
)


@settings(max_examples=300)
@given(TEMPLATES)
def test_any_json_is_judged_and_never_raises(raw):
    for problem in check_template(raw):
        assert problem.path.startswith("spec.template")
        assert problem.message
        assert problem.remedy


@settings(max_examples=300)
@given(TEMPLATES)
def test_what_is_pruned_holds_listed_fields_only(raw):
    pruned = prune_template(raw)
    shape_errors = {"is not accepted", "must be a list", "must be an object"}
    left = [
        p
        for p in check_template(pruned, annotation_domains=_domains(pruned))
        if p.message.startswith(tuple(shape_errors))
    ]
    assert left == []
    assert prune_template(pruned) == pruned or "nan" in repr(pruned)


def _domains(raw: dict[str, Any]) -> list[str]:
    metadata = raw.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return [str(k).split("/")[0] for k in annotations] if isinstance(annotations, dict) else []
