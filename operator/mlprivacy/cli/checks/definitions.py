"""definitions: our eight kinds are served, with the fields of this version."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import VERSION
from mlprivacy.api.schema.crd import crd as generated
from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, warn
from mlprivacy.kube.client import Object
from mlprivacy.kube.resources import CRDS, OURS

_INSTALL = "install the chart, or `kubectl apply --server-side -f crds/` of this release"


async def _run(site: Site) -> AsyncIterator[Found]:
    good = 0
    for resource in OURS:
        crd = await site.find(CRDS, str(resource))
        if crd is None:
            yield bad(f"the definition {resource} is missing", _INSTALL)
            continue
        problem = _problem(crd)
        if problem:
            yield bad(f"the definition {resource} {problem}", _INSTALL)
        elif not _same(crd, resource.kind):
            yield warn(
                f"the definition {resource} is not that of this version of mlprivacy",
                "upgrade the chart, or run the doctor of the version that is installed",
            )
        else:
            good += 1
    if good:
        yield ok(f"{good} of {len(OURS)} definitions are served as {VERSION}, with the fields of this version")


def _problem(crd: Object) -> str | None:
    conditions = {c["type"]: c["status"] for c in (crd.get("status") or {}).get("conditions") or []}
    if conditions.get("Established") != "True":
        return "is not established yet"
    if _version(crd) is None:
        return f"does not serve {VERSION}"
    return "is being deleted" if crd["metadata"].get("deletionTimestamp") else None


def _version(crd: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((v for v in crd["spec"]["versions"] if v["name"] == VERSION and v.get("served")), None)


def _same(crd: Object, kind: str) -> bool:
    info, stored = kind_named(kind), _version(crd)
    if info is None or stored is None:
        return False
    wanted = _version(generated(info))
    return wanted is not None and bool(_bare(stored["schema"]) == _bare(wanted["schema"]))


def _bare(schema: Any) -> Any:
    """Without empty maps of properties, which the API server does not keep."""
    if isinstance(schema, Mapping):
        return {key: _bare(value) for key, value in schema.items() if not (key == "properties" and value == {})}
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


CHECK = Check("definitions", 20, "our kinds, at this version", _run)
