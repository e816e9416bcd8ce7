"""api-server: a version that has what the guard policies need."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, warn

OLDEST = (1, 34)


async def _run(site: Site) -> AsyncIterator[Found]:
    version = json.loads(await site.client.request("GET", "/version"))
    text = str(version.get("gitVersion", ""))
    found = re.match(r"v(\d+)\.(\d+)", text)
    if found is None:
        yield warn(f"the API server's version {text!r} can not be read", "make sure that it is 1.34 or newer")
    elif (int(found[1]), int(found[2])) < OLDEST:
        yield bad(f"the API server is {text}", "mlprivacy needs Kubernetes 1.34 or newer: upgrade the cluster")
    else:
        yield ok(f"the API server is {text}")


CHECK = Check("api-server", 10, "Kubernetes 1.34 or newer", _run)
