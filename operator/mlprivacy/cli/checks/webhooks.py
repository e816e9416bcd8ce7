"""webhooks: the configurations are there with a CA bundle, and the admission server answers behind them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

from mlprivacy.api.names import ANNOTATION_REQUESTED_BY, API_VERSION
from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, skip
from mlprivacy.kube.client import collect_warnings
from mlprivacy.kube.errors import ApiError, Forbidden, NotFound, TooManyRequests, Unauthorized, Unreachable
from mlprivacy.kube.resources import MUTATING_WEBHOOKS, TRAININGJOBS, VALIDATING_WEBHOOKS

STAMP, DECIDE = "mlprivacy-stamp", "mlprivacy-decide"
_LOOK = "look at `kubectl logs deployment/mlprivacy-admission` in the operator's namespace"
_NOWHERE = "default"  # any namespace but the excluded ones; nothing is written there


async def _run(site: Site) -> AsyncIterator[Found]:
    complete = True
    for resource, name in ((MUTATING_WEBHOOKS, STAMP), (VALIDATING_WEBHOOKS, DECIDE)):
        found = await site.find(resource, name)
        if found is None:
            complete = False
            yield bad(f"the {resource.kind} {name} is missing: jobs are not judged when they are applied", _INSTALL)
            continue
        without = [w["name"] for w in found.get("webhooks") or [] if not w["clientConfig"].get("caBundle")]
        if without:
            complete = False
            yield bad(
                f"{name} has no CA bundle for {', '.join(without)}, so the API server trusts no answer",
                "the controller writes it: look whether it runs and holds its lease",
            )
    if complete:
        yield ok(f"{STAMP} and {DECIDE} are there and carry a CA bundle")
        yield await _answers(site)


_INSTALL = "install or upgrade the chart"


async def _answers(site: Site) -> Found:
    """A job that is created as a dry-run must come back stamped and with a warning: then both webhooks answered."""
    try:
        with collect_warnings() as warnings:
            made = await site.client.create(TRAININGJOBS, probe(), dry_run=True)
    except (Unreachable, Unauthorized):
        raise
    except Forbidden as error:
        if "admission webhook" in error.message:
            return ok("the admission server answers (it refused the probe)")
        return skip(f"you may not create a TrainingJob as a dry-run: {error.message}", "run it as an administrator")
    except (NotFound, TooManyRequests) as error:
        return skip(f"the probe could not be sent: {error.message}")
    except ApiError as error:
        return bad(f"the admission server does not answer the API server: {error.message}", _LOOK)
    stamped = ANNOTATION_REQUESTED_BY in (made["metadata"].get("annotations") or {})
    if not stamped:
        return bad("the admission server did not stamp a new job with its requester", _LOOK)
    if not any("references:" in text for text in warnings):
        return bad("the admission server did not judge a new job", _LOOK)
    return ok("the admission server answers: a job created as a dry-run was stamped and judged")


def probe() -> dict[str, Any]:
    """A job that can not run: its dataset does not exist. Sent as a dry-run, so it is never stored either."""
    name = f"mlprivacy-doctor-{secrets.token_hex(4)}"
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": _NOWHERE},
        "spec": {
            "purpose": "essential",
            "suspend": True,
            "datasets": [{"name": name, "columns": ["none"], "mountPath": "/data"}],
            "template": {"spec": {"containers": [{"name": "none", "image": f"none.invalid/none@sha256:{'0' * 64}"}]}},
        },
    }


CHECK = Check("webhooks", 30, "the admission server judges what is applied", _run)
