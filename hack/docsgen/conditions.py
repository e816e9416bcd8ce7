"""docs/reference/conditions.md: condition types and reasons, from the comments of api/reasons.py."""

from __future__ import annotations

from itertools import groupby

from docsgen.comments import Constant, constants, source_of
from docsgen.markdown import code, document, sentence, table
from docsgen.pages import DocsError
from mlprivacy.api import reasons

_INTRO = """
TrainingJob and InferenceJob report by `metav1.Condition` alone; there is no `phase`. Types and reasons are stable:
programs may match them. Messages are sentences for people and may change.

Each condition and the status carry `observedGeneration`. `kubectl wait --for=condition=Accepted trainingjob/NAME`
returns when the decision allows the job. A refused job has `Accepted=False`, `Ready=False` and `Stalled=True`, so that
kstatus, Flux, Argo and `helm --wait` stop waiting. A held job has `Accepted=Unknown`, `Ready=Unknown` and
`Stalled=False`: it resolves by itself. A job whose pod does not get past its seal has `Ready=False`, `Running=False`
and `Stalled=True` with the reason `SealNotEnforced`, `SealNotConfirmed` or `SealFailed`: something outside the job is
to be mended, and then it goes on by itself.
"""


def page() -> str:
    """The page."""
    found = constants(source_of(reasons))
    types = [c for c in found if c.owner == "ConditionType"]
    words = [c for c in found if c.owner == "Reason"]
    parts = ["## Types", table(("Type", "What it says"), (_row(reasons.ConditionType, c) for c in types)), "## Reasons"]
    for group, items in groupby(words, key=lambda c: c.group):
        parts += [f"### {group.split(':')[0].rstrip('.')}", sentence(group) if ":" in group else ""]
        parts.append(table(("Reason", "What it says"), (_row(reasons.Reason, c) for c in items)))
    return document("Conditions and reasons", _INTRO, *parts)


def _row(words: type[reasons.ConditionType] | type[reasons.Reason], constant: Constant) -> tuple[str, str]:
    if not constant.comment:
        raise DocsError(f"api/reasons.py: {constant.owner}.{constant.name} has no comment; write what it says.")
    return code(words[constant.name].value), sentence(constant.comment)
