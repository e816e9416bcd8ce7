"""residency: a job runs in regions where its data may be, or where a transfer mechanism lets it go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Demand, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, oblige

NODE_LABEL = "topology.kubernetes.io/region"


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Regions common to all classes; the dataset is kept in one, and the scheduler may choose only nodes there."""
    bound = [c for c in case.classes if c.spec.regions]
    if not bound:
        return
    beyond = _beyond(case)
    allowed = set.intersection(*({*c.spec.regions, *beyond} for c in bound))
    if not allowed:
        named = "; ".join(f"{c.name}: {', '.join(c.spec.regions)}" for c in bound)
        yield breach(
            bound[0].path,
            f"no region is allowed for all of these classes together ({named})",
            "train on them in separate jobs, one for each region",
        )
        return
    shown = ", ".join(sorted(allowed))
    for dataset in case.datasets:
        names = set(dataset.column_classes().values()) & {c.name for c in bound}
        region = dataset.spec.region
        if names and region is not None and region not in allowed:
            yield breach(
                f"{dataset.path}.name",
                f"{dataset.ref} is kept in {region}, and {', '.join(sorted(names))} may be processed in {shown} only",
                "ask its data owner to move the data or correct spec.region of the Dataset, or leave it out",
                private=dataset.foreign,
            )
    asked = _selected_region(case.template)
    if asked is not None and asked not in allowed:
        yield breach(
            f"spec.template.spec.nodeSelector[{NODE_LABEL}]",
            f"the region {asked} is not one of {shown}, where these data may be processed",
            f"choose one of {shown}, or remove the selector",
        )
    yield oblige(Demand.REGIONS, ",".join(sorted(allowed)))


def _beyond(case: Case) -> tuple[str, ...]:
    """Regions that a transfer mechanism opens; none without a mechanism."""
    return case.words("residency", "transferRegions") if case.text("residency", "mechanism") != "None" else ()


def _selected_region(template: Mapping[str, Any]) -> str | None:
    spec = template.get("spec")
    selector = spec.get("nodeSelector") if isinstance(spec, Mapping) else None
    value = selector.get(NODE_LABEL) if isinstance(selector, Mapping) else None
    return value if isinstance(value, str) else None


RULE = Rule(
    id="residency",
    family="transfer",
    action=Action.DENY,
    reason="Data stays where its people are protected, or goes where a mechanism protects them as well.",
    citations=("GDPR 44-49", "PIPL 38-40", "LGPD 33"),
    remedy="run the job where the data may be",
    check=check,
    parameters=(
        Parameter(
            "mechanism",
            "choice",
            "None",
            "the transfer mechanism (GDPR article) that opens transferRegions; None opens nothing.",
            "first",
            choices=("None", "A45", "A46", "A49"),
        ),
        Parameter("transferRegions", "list", (), "regions that the mechanism opens.", "intersection"),
    ),
)
