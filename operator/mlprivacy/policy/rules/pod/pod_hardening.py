"""pod-hardening: the template holds only listed fields, images by digest, and nothing that weakens the pod."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlprivacy.api.names import PORT_SEAL, PORT_SIDECAR
from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach
from mlprivacy.policy.template import check_template

MOST = 12  # findings shown; a template that is wrong everywhere needs no longer list


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The allow-list of the template, and an image for every container."""
    problems = check_template(case.template, extended_resources=case.words("pod-hardening", "extendedResources"))
    for count, problem in enumerate(problems):
        if count == MOST:
            yield breach("spec.template", "has more problems than these", "mend these first, then look again")
            return
        yield breach(problem.path, problem.message, problem.remedy)
    yield from _images(case)
    yield from _mounts(case)
    yield from _ports(case)


def _containers(case: Case) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    spec = case.template.get("spec")
    for group in ("initContainers", "containers"):
        items = spec.get(group) if isinstance(spec, Mapping) else None
        for index, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, Mapping):
                yield group, index, item


def _images(case: Case) -> Iterator[Raised]:
    for group, index, item in _containers(case):
        first_server = case.kind == "InferenceJob" and group == "containers" and index == 0
        if item.get("image") is None and not (first_server and case.inference.model.image):
            yield breach(
                f"spec.template.spec.{group}[{index}].image", "is missing", "write REGISTRY/NAME@sha256:DIGEST"
            )


def _mounts(case: Case) -> Iterator[Raised]:
    """A mount of the template must not hide the data, nor the output."""
    if case.kind != "TrainingJob":
        return
    taken = {d.mount_path.rstrip("/"): f"spec.datasets[{i}]" for i, d in enumerate(case.training.datasets)}
    taken[case.training.output.path.rstrip("/")] = "spec.output"
    for group, index, item in _containers(case):
        mounts = item.get("volumeMounts")
        for position, mount in enumerate(mounts if isinstance(mounts, list) else []):
            where = str(mount.get("mountPath", "")).rstrip("/") if isinstance(mount, Mapping) else ""
            owner = next((o for p, o in taken.items() if where == p or where.startswith(p + "/")), None)
            if owner:
                yield breach(
                    f"spec.template.spec.{group}[{index}].volumeMounts[{position}].mountPath",
                    f"{where} belongs to {owner}",
                    "choose another path",
                )


def _ports(case: Case) -> Iterator[Raised]:
    """A port of the template must not be one the seal probe, the sidecar or the gateway listens on."""
    taken = {PORT_SEAL: "the seal probe", PORT_SIDECAR: "the sidecar"}
    if case.kind == "InferenceJob":
        taken[case.inference.port] = "the gateway"
    for group, index, item in _containers(case):
        ports = item.get("ports")
        for position, port in enumerate(ports if isinstance(ports, list) else []):
            number = port.get("containerPort") if isinstance(port, Mapping) else None
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
    ),
)
