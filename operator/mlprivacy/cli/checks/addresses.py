"""addresses: no Service takes over an address of ours or of a governed pod, and external IPs are refused as a whole."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from mlprivacy.api.names import ADDRESSES, LABEL_RENDERED, WEAKEN_RESOURCE, WEAKEN_VERB
from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, skip, warn
from mlprivacy.kube.errors import ApiError, Forbidden, Unauthorized, Unreachable
from mlprivacy.kube.resources import CONFIGMAPS, PODS, SERVICES
from mlprivacy.workloads.installation import KEY_ADDRESSES

_NOWHERE = "default"  # nothing is written there
_EXAMPLE = "192.0.2.1"  # of a network that is for documentation


async def _run(site: Site) -> AsyncIterator[Found]:
    written = await site.find(CONFIGMAPS, ADDRESSES, site.namespace)
    ours = addresses((((written or {}).get("data") or {}).get(KEY_ADDRESSES) or "").split(","))
    if not ours:
        yield bad(
            f"the ConfigMap {site.namespace}/{ADDRESSES} says none of our addresses, so the guard "
            "mlprivacy-external-addresses refuses nothing and no governed pod is made",
            "the controller writes it: look whether it is active, and at its log; `helm upgrade` makes it anew",
        )
    pods = await site.client.list(PODS, label_selector=LABEL_RENDERED)
    governed = addresses(entry.get("ip", "") for pod in pods for entry in (pod.get("status") or {}).get("podIPs") or [])
    taken = False
    for service in await site.client.list(SERVICES):
        named = addresses(external(service))
        where = f"{service['metadata'].get('namespace')}/{service['metadata']['name']}"
        for found, whose in ((named & ours, "of mlprivacy or the API server"), (named & governed, "of a governed pod")):
            if found:
                taken = True
                yield bad(
                    f"the Service {where} takes over {', '.join(sorted(map(str, found)))}, an address {whose}: traffic "
                    "to it goes to the pods of that Service",
                    "delete the Service or remove its external address, and see who made it",
                )
    if ours and not taken:
        yield ok(f"no Service takes over one of our {len(ours)} addresses, or that of a governed pod")
    yield await _plugin(site)


async def _plugin(site: Site) -> Found:
    """Whether the API server takes a Service with an external IP at all. Sent as a dry run."""
    try:
        await site.client.create(SERVICES, probe(), dry_run=True)
    except (Unreachable, Unauthorized):
        raise
    except Forbidden as error:
        if "external IPs is denied" in error.message:
            return ok("the API server takes no Service with external IPs (DenyServiceExternalIPs)")
        return skip(f"you may not create a Service as a dry run: {error.message}", "run it as an administrator")
    except ApiError as error:
        return skip(f"it is not known whether external IPs are denied: {error.message}")
    return warn(
        "whoever may write Services can have the address of a pod answered by pods of their own (externalIPs): the "
        "guards know the addresses of our Services and no pod's",
        "where nobody needs externalIPs, start kube-apiserver with the admission plugin DenyServiceExternalIPs; else "
        f"bind the verb {WEAKEN_VERB} on {WEAKEN_RESOURCE} to few, and look here now and then",
    )


def probe() -> dict[str, Any]:
    """A Service of nobody's with an external IP. Sent as a dry run, so it is never stored."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"mlprivacy-doctor-{secrets.token_hex(4)}", "namespace": _NOWHERE},
        "spec": {"ports": [{"port": 9}], "externalIPs": [_EXAMPLE]},
    }


def external(service: Mapping[str, Any]) -> list[str]:
    """What a Service answers to besides its own addresses."""
    balanced = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [*(service["spec"].get("externalIPs") or []), *(entry.get("ip") or "" for entry in balanced)]


def addresses(texts: Iterable[str]) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Those of the texts that are addresses; an IPv4 address in IPv6 form is the IPv4 one."""
    found = set()
    for text in texts:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        found.add(getattr(address, "ipv4_mapped", None) or address)
    return found


CHECK = Check("addresses", 46, "nobody's Service answers in our place", _run)
