"""Evidence: a ConfigMap with the decision that the rendered objects stand on."""

from __future__ import annotations

import json
from typing import Any

from mlprivacy.controls.base import Control
from mlprivacy.workloads.context import RenderContext


def _objects(context: RenderContext) -> tuple[dict[str, Any], ...]:
    decision = context.decision
    return (
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": context.metadata(f"{context.object_name}-decision"),
            "data": {
                "digest": decision.digest,
                "recordDigest": decision.record_digest,
                "decision.json": json.dumps(decision.as_dict(), sort_keys=True, indent=1, ensure_ascii=False),
            },
        },
    )


CONTROL = Control(id="evidence", order=30, objects=_objects)
