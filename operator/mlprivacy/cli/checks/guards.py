"""guards: every guard policy is there, is bound, and was understood by the API server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, warn
from mlprivacy.kube.resources import ADMISSION_POLICIES, ADMISSION_POLICY_BINDINGS

# One per invariant, as the chart makes them; a test holds this list to the chart.
GUARDS = (
    "mlprivacy-budgets",
    "mlprivacy-cluster-network-policy",
    "mlprivacy-classes",
    "mlprivacy-connect",
    "mlprivacy-definitions",
    "mlprivacy-ephemeral-containers",
    "mlprivacy-external-addresses",
    "mlprivacy-exceptions",
    "mlprivacy-foreign-network-policy",
    "mlprivacy-foreign-services",
    "mlprivacy-grace",
    "mlprivacy-host-access",
    "mlprivacy-job-tokens",
    "mlprivacy-label-chain",
    "mlprivacy-ledger",
    "mlprivacy-namespace-label",
    "mlprivacy-operator-scope",
    "mlprivacy-ownership",
    "mlprivacy-packs",
    "mlprivacy-pod-binding",
    "mlprivacy-pod-fields",
    "mlprivacy-pod-gates",
    "mlprivacy-pod-sidecar",
    "mlprivacy-pod-volumes",
    "mlprivacy-policies",
    "mlprivacy-rendered-endpoints",
    "mlprivacy-rendered-objects",
    "mlprivacy-requester",
    "mlprivacy-sealed-claims",
    "mlprivacy-sealed-clones",
    "mlprivacy-sealed-names",
)
_UPGRADE = "install or upgrade the chart; somebody may have deleted it"


async def _run(site: Site) -> AsyncIterator[Found]:
    policies = {p["metadata"]["name"]: p for p in await site.client.list(ADMISSION_POLICIES)}
    bound: dict[str, set[str]] = defaultdict(set)
    for binding in await site.client.list(ADMISSION_POLICY_BINDINGS):
        bound[binding["spec"]["policyName"]].update(binding["spec"].get("validationActions") or [])
    missing = [name for name in GUARDS if name not in policies]
    if missing:
        yield bad(f"guard policies are missing: {', '.join(missing)}", _UPGRADE)
    loose = [name for name in GUARDS if name in policies and "Deny" not in bound[name]]
    if loose:
        yield bad(f"guard policies have no binding that denies: {', '.join(loose)}", _UPGRADE)
    for name in GUARDS:
        status = policies.get(name, {}).get("status") or {}
        warnings = (status.get("typeChecking") or {}).get("expressionWarnings") or []
        if warnings:
            text = str(warnings[0].get("warning", "")).splitlines()
            yield warn(
                f"the API server has doubts about {name}: {text[0] if text else 'see its status'}",
                f"look at `kubectl get validatingadmissionpolicy {name} -o yaml`",
            )
    if not missing and not loose:
        yield ok(f"{len(GUARDS)} guard policies are there and bound")


CHECK = Check("guards", 40, "the guard policies hold even when every process of ours is dead", _run)
