"""The PolicyException that a person would ask for: of one rule, covering what it finds in a job of the files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlprivacy.cli.errors import CliError
from mlprivacy.policy.exceptions import exceptable
from mlprivacy.policy.model import Action, shown

if TYPE_CHECKING:
    from mlprivacy.cli.offline import Judged

_DAYS = 7
_COVERS_MAX = 16  # as the schema of PolicyException has it


def requests(judged: Sequence[Judged], rule: str, now: datetime) -> Iterator[str]:
    """A manifest for each job that ``rule`` refuses, to be filled in, lines of YAML.

    Raises:
        CliError: when the rule knows no exception, or refuses no job.
    """
    if not exceptable(rule):
        raise CliError(f"There is no exception from {rule}; `mlprivacy rules` lists the rules.")
    any_ = False
    for one in judged:
        found = [shown(f) for f in one.decision.findings if f.rule == rule and f.action is Action.DENY]
        if not found:
            continue
        if any_:
            yield "---"
        any_ = True
        kind, namespace, name, _ = one.decision.subject
        yield "apiVersion: mlprivacy.dev/v1alpha1"
        yield "kind: PolicyException"
        yield f"metadata: {{name: {f'{name}-{rule}'[:63].rstrip('-')}}}"
        yield "spec:"
        yield f"  rule: {rule}"
        yield f"  workload: {{kind: {kind}, namespace: {namespace}, name: {name}}}"
        yield "  reason:                # why the risk is accepted, in a sentence for the next reader"
        yield "  ticket:                # where the matter is discussed"
        yield f'  expiresAt: "{(now + timedelta(days=_DAYS)).strftime("%Y-%m-%dT%H:%M:%SZ")}"'
        if len(found) > _COVERS_MAX:
            yield f"  # It finds more than {_COVERS_MAX} things, so it can only be excepted as a whole."
            continue
        yield "  covers:                # anything else that the rule finds refuses the job as before"
        for path, message in found:
            yield f"  - path: {json.dumps(path, ensure_ascii=False)}"
            yield f"    message: {json.dumps(message, ensure_ascii=False)}"
    if not any_:
        raise CliError(f"{rule} refuses no job in these files, so there is nothing to ask for.")
