"""encryption: where a class demands it, what lies on a disk is encrypted and what travels is not in the clear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import later
from mlprivacy.policy.model import Action, Demand, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, missing, oblige

AGAIN = timedelta(minutes=1)  # claims are read and not watched, so one that is missing is looked for again


def check(case: Case) -> Iterator[Raised | Obligation]:
    """At rest: scratch in memory unless node disks are encrypted; claims of encrypted storage classes only."""
    at_rest = [c.name for c in case.classes if c.spec.encryption.at_rest == "Required"]
    if not at_rest:
        return
    if not case.parameter("encryption", "nodeStorageEncrypted"):
        yield oblige(Demand.SCRATCH, "Memory")
    allowed = case.words("encryption", "storageClasses")
    for path, claim in _claims(case):
        known = case.claim(claim)
        if known is None:
            case.expires(later(case.facts.now, AGAIN))
            yield missing(
                path,
                f"{at_rest[0]} must be encrypted at rest, and the claim {claim} is not known (yet)",
                f"create the claim {claim} with an encrypted storage class, or leave the volume out",
            )
        elif known.storage_class not in allowed:
            yield breach(
                path,
                f"{at_rest[0]} must be encrypted at rest, and the claim {claim} is of storage class "
                f"{known.storage_class or '(none)'}, which is not known to encrypt",
                f"use a claim of one of: {', '.join(allowed)}"
                if allowed
                else "ask the privacy office to list encrypted storage classes in encryption.storageClasses",
            )


def _claims(case: Case) -> Iterator[tuple[str, str]]:
    spec = case.template.get("spec")
    volumes = spec.get("volumes") if isinstance(spec, Mapping) else None
    for index, volume in enumerate(volumes if isinstance(volumes, list) else []):
        source = volume.get("persistentVolumeClaim") if isinstance(volume, Mapping) else None
        if isinstance(source, Mapping) and isinstance(source.get("claimName"), str):
            yield f"spec.template.spec.volumes[{index}].persistentVolumeClaim", source["claimName"]


RULE = Rule(
    id="encryption",
    family="network",
    action=Action.DENY,
    reason="A lost disk or a tapped wire must not be a lost secret.",
    citations=("GDPR 32", "HIPAA 164.312(e)"),
    remedy="use encrypted storage",
    check=check,
    parameters=(
        Parameter("storageClasses", "list", (), "storage classes that are known to encrypt.", "intersection"),
        Parameter(
            "nodeStorageEncrypted",
            "bool",
            False,
            "true where the disks of all nodes are encrypted; else scratch volumes are kept in memory.",
            "smaller",
        ),
    ),
)
