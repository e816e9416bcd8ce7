"""pod-hardening: the template holds only listed fields, images by digest, and nothing that weakens the pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlprivacy.api.names import PORT_SEAL, PORT_SIDECAR
from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach
from mlprivacy.policy.template import check_template, covers_reserved, normal_path, within

_Container = tuple[str, int, Mapping[str, Any]]

MOST = 12  # findings shown; a template that is wrong everywhere needs no longer list


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The allow-list of the template, and an image for every container."""
    problems = check_template(
        case.template,
        # What rdma-fallback takes away never reaches the pod.
        extended_resources=(*case.words("pod-hardening", "extendedResources"), *(case.rdma_removed or ())),
        annotation_domains=case.words("pod-hardening", "annotationDomains"),
        networks=bool(case.parameter("pod-hardening", "secondaryNetworks")) or case.rdma_removed is not None,
    )
    for count, problem in enumerate(problems):
        if count == MOST:
            yield breach("spec.template", "has more problems than these", "mend these first, then look again")
            return
        yield breach(problem.path, problem.message, problem.remedy)
    containers = list(_containers(case))
    yield from _images(case, containers)
    yield from _mounts(case, containers)
    yield from _ports(case, containers)


def _containers(case: Case) -> Iterator[_Container]:
    spec = case.template.get("spec")
    for group in ("initContainers", "containers"):
        items = spec.get(group) if isinstance(spec, (dict, Mapping)) else None
        for index, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, (dict, Mapping)):
                yield group, index, item


def _images(case: Case, containers: list[_Container]) -> Iterator[Raised]:
    for group, index, item in containers:
        first_server = case.kind == "InferenceJob" and group == "containers" and index == 0
        if item.get("image") is None and not (first_server and case.inference.model.image):
            yield breach(
                f"spec.template.spec.{group}[{index}].image", "is missing", "write REGISTRY/NAME@sha256:DIGEST"
            )


def _mounts(case: Case, containers: list[_Container]) -> Iterator[Raised]:
    """Data and output have folders of their own, apart from the sidecar's, and no mount of the template hides them."""
    if case.kind != "TrainingJob":
        return
    asked = [(f"spec.datasets[{i}].mountPath", d.mount_path) for i, d in enumerate(case.training.datasets)]
    asked += [(f"spec.inputs[{i}].mountPath", d.mount_path) for i, d in enumerate(case.training.inputs)]
    asked.append(("spec.output.path", case.training.output.path))
    taken: dict[str, str] = {}
    for path, where in asked:
        normal = normal_path(where)
        owner = None
        for folder, asker in taken.items():
            if within(normal, folder) or within(folder, normal):
                owner = asker
                break
        if covers_reserved(where):
            yield breach(path, f"{where} would cover the sidecar's folders", "choose another path, such as /data/x")
        elif owner:
            yield breach(path, f"{where} and the folder of {owner} lie in one another", "choose a path apart from it")
        taken[normal] = path
    for group, index, item in containers:
        mounts = item.get("volumeMounts")
        for position, mount in enumerate(mounts if isinstance(mounts, list) else []):
            where = normal_path(str(mount.get("mountPath", ""))) if isinstance(mount, (dict, Mapping)) else "/"
            owner = next((o for p, o in taken.items() if within(where, p)), None)
            if owner:
                yield breach(
                    f"spec.template.spec.{group}[{index}].volumeMounts[{position}].mountPath",
                    f"{where} belongs to {owner}",
                    "choose another path",
                )


def _ports(case: Case, containers: list[_Container]) -> Iterator[Raised]:
    """A port of the template must not be one the seal probe, the sidecar or the gateway listens on."""
    taken = {PORT_SEAL: "the seal probe", PORT_SIDECAR: "the sidecar"}
    if case.kind == "InferenceJob":
        taken[case.inference.port] = "the gateway"
    for group, index, item in containers:
        ports = item.get("ports")
        for position, port in enumerate(ports if isinstance(ports, list) else []):
            number = port.get("containerPort") if isinstance(port, (dict, Mapping)) else None
            if isinstance(number, int) and number in taken:
                yield breach(
                    f"spec.template.spec.{group}[{index}].ports[{position}].containerPort",
                    f"{number} is the port of {taken[number]}",
                    "listen on another port, on loopback where a gateway stands before it",
                )


RULE = Rule(
    id="pod-hardening",
    family="pod",
    action=Action.DENY,
    reason="A pod that can reach the host, or change after the decision, is held by no decision.",
    citations=("GDPR 32",),
    remedy="remove the field from the template",
    check=check,
    parameters=(
        Parameter(
            "extendedResources",
            "list",
            ("nvidia.com/gpu", "amd.com/gpu"),
            "extended resources that a template may ask for.",
            "intersection",
        ),
        Parameter(
            "annotationDomains",
            "list",
            (),
            "what may stand before the slash of a template's annotations, exact: annotations that no runtime, network "
            "plugin or mesh reads.",
            "intersection",
        ),
        Parameter(
            "secondaryNetworks",
            "bool",
            False,
            "true lets a template name further networks in the annotation k8s.v1.cni.cncf.io/networks, which the rdma "
            "rules then judge; else none is accepted.",
            "smaller",
        ),
    ),
)
