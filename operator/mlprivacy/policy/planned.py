"""Rules that are planned and not built: what each will check, and the part without which its facts do not exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mlprivacy.policy.rules import rules_by_id


@dataclass(frozen=True)
class Planned:
    """A rule to come. Its name is taken: no pack and no policy can use it before it is there."""

    id: str
    family: str
    checks: str
    waits_for: str


_PLANNED: Final = (
    Planned(
        "inference-gateway",
        "inference",
        "clients are authenticated and have a query budget, outputs are cut and redacted",
        "the inference gateway",
    ),
    Planned(
        "anonymity-claim",
        "release",
        "a model is called anonymous only with an audit and an extraction test on record",
        "model releases and the release gate",
    ),
    Planned(
        "lineage",
        "release",
        "model, blocks and consent snapshot of each release are recorded",
        "model releases and the data gate",
    ),
    Planned(
        "fairness",
        "fairness",
        "metrics of each group are within the policy's thresholds at release",
        "the release gate",
    ),
)


def planned() -> tuple[Planned, ...]:
    """The rules that are not built yet, by family and id."""
    return tuple(sorted((p for p in _PLANNED if p.id not in rules_by_id()), key=lambda p: (p.family, p.id)))
