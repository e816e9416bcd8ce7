"""certificates: each Secret holds a certificate that lasts, and the webhooks trust the CA that signed it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator

from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, warn
from mlprivacy.kube.certificates import days_left, utcnow
from mlprivacy.kube.certkeeper import (
    ADMISSION_SECRET,
    CA_SECRET,
    COLLECTOR_SECRET,
    CONTROLLER_SECRET,
    CRT,
    SEAL_PRIVATE,
    SEAL_SECRET,
    secret_data,
)
from mlprivacy.kube.resources import SECRETS, VALIDATING_WEBHOOKS

FEW_DAYS = 7.0
_MEND = "the controller keeps it up to date: look whether it is active, and at its log"


async def _run(site: Site) -> AsyncIterator[Found]:
    shortest: tuple[float, str] | None = None
    authority = b""
    for name in (CA_SECRET, ADMISSION_SECRET, COLLECTOR_SECRET, CONTROLLER_SECRET):
        secret = await site.find(SECRETS, name, site.namespace)
        certificate = secret_data(secret).get(CRT, b"") if secret else b""
        if not certificate:
            yield bad(
                f"the Secret {name} {'is empty' if secret else 'is missing'}", _MEND if secret else "upgrade the chart"
            )
            continue
        try:
            days = days_left(certificate, utcnow())
        except ValueError as error:
            yield bad(f"the Secret {name} holds no certificate ({error})", _MEND)
            continue
        if name == CA_SECRET:
            authority = certificate
        if days <= 0:
            yield bad(f"the certificate in {name} expired {-days:.0f} days ago", _MEND)
        elif days < FEW_DAYS:
            yield warn(f"the certificate in {name} lasts {days:.1f} more days", _MEND)
        elif shortest is None or days < shortest[0]:
            shortest = (days, name)
    if shortest is not None:
        yield ok(f"the next certificate to be renewed is {shortest[1]}, which lasts {shortest[0]:.0f} more days")
    seal = await site.find(SECRETS, SEAL_SECRET, site.namespace)
    if seal is None or not secret_data(seal).get(SEAL_PRIVATE):
        yield bad(f"the Secret {SEAL_SECRET} holds no key, so no seal can be confirmed and no job starts", _MEND)
    if authority:
        async for found in _trusted(site, authority):
            yield found


async def _trusted(site: Site, authority: bytes) -> AsyncIterator[Found]:
    configuration = await site.find(VALIDATING_WEBHOOKS, "mlprivacy-decide")
    for webhook in (configuration or {}).get("webhooks") or []:
        try:
            bundle = base64.b64decode(webhook["clientConfig"].get("caBundle") or "", validate=True)
        except (binascii.Error, ValueError):
            bundle = b""
        if bundle and authority.strip() not in bundle:
            yield bad(f"the CA bundle of {webhook['name']} lacks the CA in {CA_SECRET}", _MEND)


CHECK = Check("certificates", 60, "certificates last and fit together", _run)
