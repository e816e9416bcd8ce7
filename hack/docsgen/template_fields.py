"""docs/reference/template-fields.md: the allow-list of spec.template, and why well-known fields are not on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docsgen.markdown import code, document, sentence, table
from mlprivacy.api import names
from mlprivacy.policy import template
from mlprivacy.policy.fabric.asks import NETWORKS
from mlprivacy.policy.rules import rules_by_id

_INTRO = """
`spec.template` of a TrainingJob or InferenceJob takes the fields below and no others. A field that is not listed is
refused by the rule [pod-hardening](rules.md#pod-hardening), so a field that Kubernetes invents later is refused as
well. What is rendered is always made from the listed fields alone, in every mode.

`mlprivacy check FILE` names the field and what to do. A field that ends in `.*` takes anything that
Kubernetes takes there.
"""
# Fields that hold objects of Kubernetes' own, taken whole.
_OPEN = frozenset(
    {"annotations", "nodeAffinity", "nodeSelector", "tolerations", "topologySpreadConstraints", "limits", "requests"}
)


def page() -> str:
    """The page."""
    fields = table(("Object", "Fields"), _rows(template.TEMPLATE, "template"))
    why = table(
        ("Field", "Why it is not accepted"),
        ((code(name), sentence(text)) for name, text in sorted(template._WHY.items())),
    )
    return document(
        "Template fields",
        _INTRO,
        "## Accepted",
        fields,
        "## Values that are looked at",
        table(("What", "Rule"), _values()),
        "## Not accepted, and why",
        "These are asked for most often. Any other field that is not listed above is refused too.",
        why,
    )


def _rows(shape: Any, path: str) -> Iterator[tuple[str, str]]:
    """Of each object the plain fields it takes. Init containers take what containers do, so they are not repeated."""
    if isinstance(shape, list):
        path, shape = f"{path}[]", shape[0]
    plain = [key for key, child in shape.items() if child is template.ANY]
    if plain:
        yield code(path), ", ".join(code(f"{key}.*" if key in _OPEN else key) for key in plain)
    for key, child in shape.items():
        if key == "initContainers" and child == shape.get("containers"):
            yield code(f"{path}.{key}[]"), "the same as `containers[]`"
        elif child is not template.ANY:
            yield from _rows(child, f"{path}.{key}")


def _values() -> Iterator[tuple[str, str]]:
    hardening = rules_by_id()["pod-hardening"]
    defaults = {p.name: p.default for p in hardening.parameters}
    devices = defaults["extendedResources"]
    listed = ", ".join(code(d) for d in devices) if isinstance(devices, tuple) else str(devices)
    yield "images", f"By digest only; matches {code(template.IMAGE_BY_DIGEST.pattern)}."
    yield "names", f"No container, volume or port begins with {code(names.RESERVED_PREFIX)}."
    yield (
        "resources",
        f"{', '.join(code(r) for r in template.RESOURCES)}, {code('hugepages-*')}, and what the parameter "
        f"{code('pod-hardening.extendedResources')} lists (default: {listed}).",
    )
    yield (
        "annotations",
        f"Only of the domains in {code('pod-hardening.annotationDomains')} (default: none), and {code(NETWORKS)} where "
        f"{code('pod-hardening.secondaryNetworks')} is true: then the rules of RDMA judge the networks.",
    )
    yield "secrets", f"None whose name begins with {code(names.SEALED_PREFIX)}."
    yield (
        "mount paths",
        f"Not {code(names.MOUNT_RUN)} or {code(names.MOUNT_LOG)}, nothing above or below them, no {code('..')}.",
    )
    yield "user ids", f"Not {code(str(names.UID_SIDECAR))}, which is the sidecar's; not 0."
