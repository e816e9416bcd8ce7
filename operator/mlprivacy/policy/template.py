"""The allow-list of a pod template: what is not listed is refused, which alone catches fields invented later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mlprivacy.api.names import GROUP, MOUNT_LOG, MOUNT_RUN, RESERVED_PREFIX, SEALED_PREFIX, UID_SIDECAR
from mlprivacy.policy.fabric.asks import NETWORKS

Shape = Mapping[str, Any]  # field -> ANY | Shape | [Shape] | check function
ANY = True

IMAGE_BY_DIGEST = re.compile(r"[a-z0-9][A-Za-z0-9.:/_-]*@sha256:[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
RESOURCES = ("cpu", "memory", "ephemeral-storage")
HUGE_PAGES = re.compile(r"hugepages-[0-9]+[A-Za-z]{0,2}")


@dataclass(frozen=True)
class Problem:
    """A field that is not accepted: where, why, and what to do."""

    path: str
    message: str
    remedy: str


_KEY_REF: Shape = {"name": ANY, "key": ANY, "optional": ANY}
_ENV: Shape = {
    "name": ANY,
    "value": ANY,
    "valueFrom": {
        "configMapKeyRef": _KEY_REF,
        "secretKeyRef": _KEY_REF,
        "fieldRef": {"apiVersion": ANY, "fieldPath": ANY},
        "resourceFieldRef": {"containerName": ANY, "resource": ANY, "divisor": ANY},
    },
}
_PROBE_TIMES: Shape = dict.fromkeys(
    ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"), ANY
)
# Probes are made by the node. Commands (exec) are left out, since their output lands in Events, and httpGet, since the
# body of an answer does where it redirects.
_PROBE: Shape = {
    **_PROBE_TIMES,
    "tcpSocket": {"port": ANY},
    "grpc": {"port": ANY, "service": ANY},
}
_CONTAINER: Shape = {
    "name": ANY,
    "image": ANY,
    "imagePullPolicy": ANY,
    "command": ANY,
    "args": ANY,
    "workingDir": ANY,
    "env": [_ENV],
    "envFrom": [
        {
            "prefix": ANY,
            "configMapRef": {"name": ANY, "optional": ANY},
            "secretRef": {"name": ANY, "optional": ANY},
        }
    ],
    "resources": {"limits": ANY, "requests": ANY},
    "ports": [{"name": ANY, "containerPort": ANY, "protocol": ANY}],
    "volumeMounts": [{"name": ANY, "mountPath": ANY, "subPath": ANY, "readOnly": ANY}],
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "startupProbe": _PROBE,
    "securityContext": {
        "runAsUser": ANY,
        "runAsGroup": ANY,
        "runAsNonRoot": ANY,
        "privileged": ANY,
        "allowPrivilegeEscalation": ANY,
        "readOnlyRootFilesystem": ANY,
        "capabilities": {"drop": ANY, "add": ANY},
        "seccompProfile": {"type": ANY, "localhostProfile": ANY},
    },
}
_KEY_ITEMS: Shape = {"key": ANY, "path": ANY, "mode": ANY}
_FIELD_ITEMS: Shape = {
    "path": ANY,
    "mode": ANY,
    "fieldRef": {"apiVersion": ANY, "fieldPath": ANY},
    "resourceFieldRef": {"containerName": ANY, "resource": ANY, "divisor": ANY},
}
_VOLUME: Shape = {
    "name": ANY,
    "emptyDir": {"medium": ANY, "sizeLimit": ANY},
    "configMap": {"name": ANY, "defaultMode": ANY, "optional": ANY, "items": [_KEY_ITEMS]},
    "secret": {"secretName": ANY, "defaultMode": ANY, "optional": ANY, "items": [_KEY_ITEMS]},
    "downwardAPI": {"defaultMode": ANY, "items": [_FIELD_ITEMS]},
    "projected": {
        "defaultMode": ANY,
        "sources": [
            {
                "configMap": {"name": ANY, "optional": ANY, "items": [_KEY_ITEMS]},
                "secret": {"name": ANY, "optional": ANY, "items": [_KEY_ITEMS]},
                "downwardAPI": {"items": [_FIELD_ITEMS]},
            }
        ],
    },
}
_SPEC: Shape = {
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "volumes": [_VOLUME],
    "nodeSelector": ANY,
    "tolerations": ANY,
    "affinity": {"nodeAffinity": ANY},
    "topologySpreadConstraints": ANY,
    "priorityClassName": ANY,
    "imagePullSecrets": [{"name": ANY}],
    "securityContext": {"runAsUser": ANY, "runAsGroup": ANY, "runAsNonRoot": ANY, "seccompProfile": {"type": ANY}},
}
TEMPLATE: Shape = {"metadata": {"annotations": ANY}, "spec": _SPEC}

# What a person most often asks for and why it is not there; everything else gets the general sentence.
_WHY: Mapping[str, str] = {
    "hostNetwork": "the host's network passes every NetworkPolicy",
    "hostPID": "the host's processes are not this job's to see",
    "hostIPC": "the host's shared memory is not this job's to see",
    "hostPath": "the host's files are not this job's to read or write",
    "hostPort": "a port of the host passes the NetworkPolicy of the pod",
    "hostAliases": "names of sealed jobs are given by the operator",
    "dnsConfig": "sealed jobs resolve no names",
    "dnsPolicy": "sealed jobs resolve no names",
    "nodeName": "a job must pass the scheduler",
    "schedulerName": "a job must pass the cluster's scheduler",
    "schedulingGates": "gates are the operator's, which opens its own once the ledger names the pod",
    "serviceAccountName": "the operator gives each job an account without a token",
    "serviceAccount": "the operator gives each job an account without a token",
    "runtimeClassName": "the runtime is chosen by the platform",
    "shareProcessNamespace": "processes of the sidecar must stay out of reach",
    "ephemeralContainers": "nothing may join a running job",
    "lifecycle": "hooks run outside the log and past the end",
    "exec": "the output of a command probe lands in Events",
    "httpGet": "what a server answers to it can land in Events; use tcpSocket or grpc",
    # Even read-only: a socket, a pipe or a lock in it is shared with whoever mounts the same claim.
    "persistentVolumeClaim": "a claim is a way out past every NetworkPolicy, a read-only one too; bring what the job "
    "needs in through its image, and write results to spec.output.path",
    "labels": "the operator's labels alone select policies",
    "nfs": "a network volume carries data out past every NetworkPolicy",
    "csi": "a driver's volume carries data out past every NetworkPolicy",
    "ephemeral": "a writable claim carries data out past every NetworkPolicy",
    "serviceAccountToken": "no bearer token may lie in a job's pod",
    "terminationGracePeriodSeconds": "the grace period is set by the operator",
    "activeDeadlineSeconds": "the deadline is spec.activeDeadlineSeconds of the job",
    "restartPolicy": "the operator sets it",
    "host": "a probe of another host would open a path out",
    "mountPropagation": "mounts must not leave the pod",
}


def check_template(
    template: Mapping[str, Any],
    *,
    extended_resources: Sequence[str] = (),
    annotation_domains: Sequence[str] = (),
    networks: bool = False,
) -> Iterator[Problem]:
    """Everything about the template that is not accepted.

    Args:
        template: the raw pod template.
        extended_resources: names of extended resources that may be asked for, such as nvidia.com/gpu.
        annotation_domains: what may stand before the slash of an annotation's key, exact.
        networks: True where the annotation of further networks is judged by the rules of the family rdma.
    """
    yield from _unlisted(template, TEMPLATE, "spec.template")
    spec = template.get("spec")
    if not isinstance(spec, (dict, Mapping)) or not _items(spec.get("containers")):
        yield Problem(
            "spec.template.spec.containers", "the template has no container", "add the container that does the work"
        )
        return
    yield from _annotations(template, annotation_domains, networks)
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(_items(spec.get(group))):
            yield from _container(container, f"spec.template.spec.{group}[{index}]", names, extended_resources)
    for index, volume in enumerate(_items(spec.get("volumes"))):
        yield from _volume(volume, f"spec.template.spec.volumes[{index}]")
    for index, reference in enumerate(_items(spec.get("imagePullSecrets"))):
        if str(reference.get("name", "")).startswith(SEALED_PREFIX):
            yield Problem(
                f"spec.template.spec.imagePullSecrets[{index}].name",
                f"secrets that begin with {SEALED_PREFIX} are sealed: only the gates read them",
                "name another secret",
            )
    yield from _security(spec.get("securityContext"), "spec.template.spec.securityContext")


def prune_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with the listed fields only. What is rendered is always made from this, in every mode."""
    pruned = _prune(template, TEMPLATE)
    return pruned if isinstance(pruned, dict) else {}


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [v for v in value if isinstance(v, (dict, Mapping))] if isinstance(value, list) else []


def _unlisted(value: Any, shape: Any, path: str) -> Iterator[Problem]:
    if shape is ANY or value is None:
        return
    if isinstance(shape, list):
        if not isinstance(value, list):
            yield Problem(path, "must be a list", "write it as a list")
            return
        for index, item in enumerate(value):
            yield from _unlisted(item, shape[0], f"{path}[{index}]")
        return
    if not isinstance(value, (dict, Mapping)):  # dict first: what comes from JSON is one, and is known faster
        yield Problem(path, "must be an object", "write it as an object")
        return
    for key, item in value.items():
        if key not in shape:
            why = _WHY.get(str(key))
            yield Problem(
                f"{path}.{str(key)[:80]}",
                f"is not accepted{': ' + why if why else ', since it is not on the list of template fields'}",
                f"remove {str(key)[:80]} from the template",
            )
        else:
            yield from _unlisted(item, shape[key], f"{path}.{key}")


def _prune(value: Any, shape: Any) -> Any:
    if shape is ANY:
        return value
    if isinstance(shape, list):
        return [_prune(v, shape[0]) for v in value if isinstance(v, (dict, Mapping))] if isinstance(value, list) else []
    if not isinstance(value, (dict, Mapping)):
        return {}
    return {k: _prune(v, shape[k]) for k, v in value.items() if k in shape}


def _annotations(template: Mapping[str, Any], domains: Sequence[str], networks: bool) -> Iterator[Problem]:
    """Runtimes, network plugins and meshes read annotations, so these too are an allow-list."""
    metadata = template.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, (dict, Mapping)) else None
    if annotations is not None and not isinstance(annotations, (dict, Mapping)):
        yield Problem("spec.template.metadata.annotations", "must be an object", "write it as an object")
        return
    for key in annotations or ():
        if networks and key == NETWORKS:
            continue
        shown = str(key)[:100]
        domain = str(key).split("/", 1)[0] if "/" in str(key) else ""
        if domain == GROUP or domain.endswith(("kubernetes.io", "k8s.io", "cncf.io", f".{GROUP}")):
            message, remedy = f"the annotation {shown} is the platform's or the operator's to set", "remove it"
            if domain.endswith("cncf.io"):
                message = f"the annotation {shown} adds a network that NetworkPolicy does not cover"
        elif domain in domains:
            continue
        else:
            message = f"the annotation {shown} is not of a domain that is known to change nothing about the pod"
            remedy = "remove it, or ask the privacy office to add its domain to pod-hardening.annotationDomains"
        yield Problem("spec.template.metadata.annotations", message, remedy)


def _container(
    container: Mapping[str, Any], path: str, names: set[str], extended_resources: Sequence[str]
) -> Iterator[Problem]:
    name = str(container.get("name", ""))
    if not NAME.fullmatch(name) or name.startswith(RESERVED_PREFIX):
        yield Problem(
            f"{path}.name",
            f"{name[:80]!r} is not a name a container of yours can have",
            f"use a-z, 0-9 and '-', and do not begin with {RESERVED_PREFIX}",
        )
    elif name in names:
        yield Problem(f"{path}.name", f"{name} is used twice", "give each container its own name")
    names.add(name)
    image = container.get("image")
    if image is not None and (not isinstance(image, str) or not IMAGE_BY_DIGEST.fullmatch(image)):
        yield Problem(
            f"{path}.image",
            f"{str(image)[:160]!r} is not an image by digest, so what runs could change after the decision",
            "write REGISTRY/NAME@sha256:DIGEST",
        )
    yield from _security(container.get("securityContext"), f"{path}.securityContext")
    resources = container.get("resources")
    for part in ("limits", "requests"):
        asked = resources.get(part) if isinstance(resources, (dict, Mapping)) else None
        for resource in asked if isinstance(asked, (dict, Mapping)) else ():
            plain = resource in RESOURCES or HUGE_PAGES.fullmatch(str(resource)) is not None
            if not plain and resource not in extended_resources:
                yield Problem(
                    f"{path}.resources.{part}",
                    f"the resource {str(resource)[:80]} is not one that is known to keep data inside the pod",
                    "remove it, or ask the privacy office to add it to pod-hardening.extendedResources",
                )
    for where, secret in _env_secrets(container):
        if secret.startswith(SEALED_PREFIX):
            yield Problem(
                f"{path}.{where}",
                f"secrets that begin with {SEALED_PREFIX} are sealed: only the gates read them",
                "remove it from the environment",
            )
    yield from _ports_and_mounts(container, path)


def _ports_and_mounts(container: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for index, port in enumerate(_items(container.get("ports"))):
        if str(port.get("name", "")).startswith(RESERVED_PREFIX):
            yield Problem(
                f"{path}.ports[{index}].name", f"begins with {RESERVED_PREFIX}, which is the operator's", "rename it"
            )
    for index, mount in enumerate(_items(container.get("volumeMounts"))):
        where = str(mount.get("mountPath", ""))
        if covers_reserved(where):
            yield Problem(
                f"{path}.volumeMounts[{index}].mountPath",
                f"{where[:120]!r} would cover the sidecar's socket or climb out",
                f"choose a path apart from {MOUNT_RUN} and {MOUNT_LOG}, without '..'",
            )
        if str(mount.get("name", "")).startswith(RESERVED_PREFIX):
            yield Problem(
                f"{path}.volumeMounts[{index}].name", "names a volume of the operator's", "mount volumes of your own"
            )


@lru_cache(maxsize=1024)
def normal_path(path: str) -> str:
    """``path`` as the kernel reads it: absolute, one slash between names, no ``.``; ``..`` is kept."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def within(path: str, parent: str) -> bool:
    """True when ``path`` is ``parent`` or lies below it; both as :func:`normal_path` gives them."""
    return path == parent or path.startswith(parent.rstrip("/") + "/")


@lru_cache(maxsize=1024)
def covers_reserved(path: str) -> bool:
    """True for a mount path that would cover the sidecar's own folders, all folders, or that climbs with ``..``."""
    normal = normal_path(path)
    # In most images /var/run is a link to /run, so the socket's folder has a second name.
    aliases = (MOUNT_RUN, MOUNT_LOG, MOUNT_RUN.removeprefix("/var"))
    return (
        ".." in normal.split("/")
        or ":" in path  # some runtimes read what follows as another path
        or any(within(normal, m) for m in aliases)
        or any(within(m, normal) for m in (MOUNT_RUN, MOUNT_LOG))
    )


def _security(context: Any, path: str) -> Iterator[Problem]:
    if context is None or not isinstance(context, (dict, Mapping)):  # None first: it is known faster
        return
    for name, forbidden in (
        ("privileged", True),
        ("allowPrivilegeEscalation", True),
        ("runAsNonRoot", False),
        ("readOnlyRootFilesystem", False),
    ):
        if name in context and context[name] is not None and context[name] is not (not forbidden):
            yield Problem(
                f"{path}.{name}", f"must not be {str(forbidden).lower()}", f"remove {name}; the operator sets it"
            )
    for name in ("runAsUser", "runAsGroup"):
        value = context.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            yield Problem(
                f"{path}.{name}", "must be a number above 0: nothing runs as root", "choose a user id above 0"
            )
        elif value == UID_SIDECAR:
            yield Problem(f"{path}.{name}", f"{UID_SIDECAR} is the sidecar's own", "choose another id")
    capabilities = context.get("capabilities")
    if isinstance(capabilities, (dict, Mapping)) and capabilities.get("add"):
        yield Problem(
            f"{path}.capabilities.add", "no capability may be added", "remove capabilities.add; all are dropped"
        )
    seccomp = context.get("seccompProfile")
    if isinstance(seccomp, (dict, Mapping)) and seccomp.get("type") not in (None, "RuntimeDefault"):
        yield Problem(f"{path}.seccompProfile.type", "must be RuntimeDefault", "remove it; the operator sets it")


def _volume(volume: Mapping[str, Any], path: str) -> Iterator[Problem]:
    name = str(volume.get("name", ""))
    if name.startswith(RESERVED_PREFIX):
        yield Problem(f"{path}.name", f"begins with {RESERVED_PREFIX}, which is the operator's", "rename the volume")
    if not any(key != "name" for key in volume):
        yield Problem(path, "has no source", "add one, such as emptyDir: {}")
    for where, secret in _secret_names(volume):
        if secret.startswith(SEALED_PREFIX):
            yield Problem(
                f"{path}.{where}",
                f"secrets that begin with {SEALED_PREFIX} are sealed: only the gates read them",
                "remove the volume",
            )


def _env_secrets(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for index, variable in enumerate(_items(container.get("env"))):
        source = variable.get("valueFrom")
        ref = source.get("secretKeyRef") if isinstance(source, (dict, Mapping)) else None
        if isinstance(ref, (dict, Mapping)):
            yield f"env[{index}].valueFrom.secretKeyRef.name", str(ref.get("name", ""))
    for index, source in enumerate(_items(container.get("envFrom"))):
        ref = source.get("secretRef")
        if isinstance(ref, (dict, Mapping)):
            yield f"envFrom[{index}].secretRef.name", str(ref.get("name", ""))


def _secret_names(volume: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    secret = volume.get("secret")
    if isinstance(secret, (dict, Mapping)):
        yield "secret.secretName", str(secret.get("secretName", ""))
    projected = volume.get("projected")
    for index, source in enumerate(_items(projected.get("sources")) if isinstance(projected, (dict, Mapping)) else []):
        inner = source.get("secret")
        if isinstance(inner, (dict, Mapping)):
            yield f"projected.sources[{index}].secret.name", str(inner.get("name", ""))
