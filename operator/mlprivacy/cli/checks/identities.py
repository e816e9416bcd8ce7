"""identities: the built-in controllers have accounts of their own, the ones that the guard policies trust.

The guards let only named controllers pass a guarded label on. A controller manager without
--use-service-account-credentials is one user for all of them: then no job's pod is ever made, or, where that one user
is trusted, everything it does passes. No API tells the user name behind a built-in controller, so this looks at the
controller manager's own flags where its pod can be read, and else at the accounts it makes when the flag is set.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, skip, warn
from mlprivacy.kube.resources import ADMISSION_POLICIES, PODS, SERVICEACCOUNTS

_FLAG = "--use-service-account-credentials"
_SYSTEM = "kube-system"
_ACCOUNT = re.compile(r"system:serviceaccount:kube-system:([a-z0-9][-a-z0-9]*)")
_SHARED = "system:kube-controller-manager"
_SET = (
    f"start kube-controller-manager with {_FLAG}=true, or, where that is not possible, put {_SHARED} into "
    "guards.trusted of the chart's values (and know that all its controllers are then one user)"
)


async def _run(site: Site) -> AsyncIterator[Found]:
    policies = [p for p in await site.client.list(ADMISSION_POLICIES) if p["metadata"]["name"].startswith("mlprivacy-")]
    if not policies:
        yield skip("there are no guard policies, so it is not known whom they trust")
        return
    text = json.dumps(policies)
    trusted = set(_ACCOUNT.findall(text))
    shared = _SHARED in text
    flag = await _flag(site)
    accounts = {a["metadata"]["name"] for a in await site.client.list(SERVICEACCOUNTS, _SYSTEM)}
    absent = sorted(trusted - accounts)
    if flag is False and not shared:
        yield bad("kube-controller-manager runs all its controllers as one user, which no guard policy trusts", _SET)
    elif flag is False:
        yield warn("all built-in controllers are one user here, and the guards trust it as a whole", _SET)
    elif flag is None and len(absent) == len(trusted) and trusted and not shared:
        yield bad(f"{_SYSTEM} has none of the accounts that the guards trust ({', '.join(absent[:3])}, ...)", _SET)
    elif absent:
        yield warn(
            f"{_SYSTEM} has no account {', '.join(absent)}, which the guards trust",
            "this is well if that controller is switched off; else set guards.trusted to the names of your cluster",
        )
    elif flag:
        yield ok(f"kube-controller-manager runs with {_FLAG}, and the accounts that the guards trust exist")
    else:
        yield ok(
            f"{_SYSTEM} has the {len(trusted)} accounts that the guards trust; the controller manager's own flags can "
            "not be read here, and an account stays when the flag is taken away"
        )


async def _flag(site: Site) -> bool | None:
    """What the controller manager's pod says; None where it is no pod that can be read."""
    pods = await site.client.list(PODS, _SYSTEM, label_selector="component=kube-controller-manager")
    words = [
        str(word)
        for pod in pods
        for container in pod["spec"]["containers"]
        for word in [*(container.get("command") or []), *(container.get("args") or [])]
    ]
    if not words:
        return None
    return any(word in (_FLAG, f"{_FLAG}=true") for word in words)


CHECK = Check("identities", 45, "the guards trust the right controllers", _run)
