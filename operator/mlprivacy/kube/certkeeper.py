"""Keeps the product's certificates alive: CA, leaves, seal key in their Secrets, and the webhooks' caBundle."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mlprivacy.kube import metrics
from mlprivacy.kube.certificates import (
    Authority,
    KeyPair,
    LeafSpec,
    Lifetimes,
    days_left,
    leaf_problem,
    maintain_authority,
    new_leaf,
    new_seal_key,
    seal_public_key,
    utcnow,
)
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.resources import MUTATING_WEBHOOKS, SECRETS, VALIDATING_WEBHOOKS, Resource

logger = logging.getLogger(__name__)

CA_SECRET: Final = "mlprivacy-ca"  # noqa: S105 - a Secret's name
SEAL_SECRET: Final = "mlprivacy-seal-key"  # noqa: S105
ADMISSION_SECRET: Final = "mlprivacy-admission-tls"  # noqa: S105
COLLECTOR_SECRET: Final = "mlprivacy-collector-tls"  # noqa: S105
CONTROLLER_SECRET: Final = "mlprivacy-controller-tls"  # noqa: S105

CRT, KEY, CA = "tls.crt", "tls.key", "ca.crt"
SEAL_PRIVATE, SEAL_PUBLIC = "key", "key.pub"

CHECK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class WebhookConfiguration:
    """A webhook configuration whose `caBundle` is ours; `webhooks` names some of its entries, None all of them."""

    resource: Resource
    name: str
    webhooks: frozenset[str] | None = None

    @classmethod
    def validating(cls, name: str) -> "WebhookConfiguration":
        """A ValidatingWebhookConfiguration, every entry."""
        return cls(VALIDATING_WEBHOOKS, name)

    @classmethod
    def mutating(cls, name: str) -> "WebhookConfiguration":
        """A MutatingWebhookConfiguration, every entry."""
        return cls(MUTATING_WEBHOOKS, name)


@dataclass(slots=True)
class Pass:
    """What one pass did: objects written (with the reason) and what could not be done, as sentences."""

    written: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class CertKeeper:
    """Run by the controller's leader alone; it needs get, update and patch on the named objects, never create.

    One pass writes the CA first, then hands out the new bundle (webhooks, and `ca.crt` of each leaf's Secret), and
    signs leaves with a new CA only `lifetimes.overlap` later, so that no verifier meets a leaf whose CA it has not
    read. Every write carries the resourceVersion it was decided on: two keepers at once do no harm.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        leaves: Mapping[str, LeafSpec],
        webhook_configurations: Sequence[WebhookConfiguration] = (),
        *,
        clock: Callable[[], datetime] = utcnow,
        lifetimes: Lifetimes | None = None,
        ca_secret: str = CA_SECRET,
        seal_secret: str | None = SEAL_SECRET,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """`leaves` maps the name of each Secret to what its certificate must say."""
        self._client = client
        self._namespace = namespace
        self._leaves = dict(leaves)
        self._webhooks = tuple(webhook_configurations)
        self._clock = clock
        self._lifetimes = lifetimes or Lifetimes()
        self._ca_secret, self._seal_secret = ca_secret, seal_secret
        self._check_seconds = check_seconds
        self.problems: tuple[str, ...] = ()
        """What the last pass could not do; empty when all is well."""
        self.ready = asyncio.Event()
        """Set after the first pass without a problem."""

    async def run(self) -> None:
        """Check for ever, every `check_seconds`, sooner after a failure."""
        while True:
            result = await self.check()
            await asyncio.sleep(min(2.0, self._check_seconds) if result.problems else self._check_seconds)

    async def check(self) -> Pass:
        """One pass over everything; never raises ApiError."""
        result = Pass()
        try:
            authority = await self._authority(result)
        except ApiError as error:
            result.problems.append(self._sentence(f"Secret {self._ca_secret}", error))
        else:
            for configuration in self._webhooks:
                await self._guarded(result, self._inject(configuration, authority, result), configuration.name)
            for name, spec in self._leaves.items():
                await self._guarded(result, self._leaf(name, spec, authority, result), f"Secret {name}")
        if self._seal_secret is not None:
            await self._guarded(result, self._seal(self._seal_secret, result), f"Secret {self._seal_secret}")
        for line in result.written:
            logger.info("certificates: %s", line)
        for line in result.problems:
            if line not in self.problems:
                logger.warning("certificates: %s", line)
        self.problems = tuple(result.problems)
        if not result.problems:
            self.ready.set()
        return result

    async def _guarded(self, result: Pass, step: Awaitable[None], what: str) -> None:
        try:
            await step
        except ApiError as error:
            result.problems.append(self._sentence(what, error))
        except ValueError as error:
            result.problems.append(f"{what}: {error}")

    def _sentence(self, what: str, error: ApiError) -> str:
        if isinstance(error, NotFound):
            return f"{what} is missing; the chart creates it: run helm upgrade ({error.message})"
        return f"{what} was not brought up to date: {error}"

    async def _authority(self, result: Pass) -> Authority:
        secret = await self._client.get(SECRETS, self._ca_secret, self._namespace)
        data = secret_data(secret)
        now = self._clock()
        authority, reason = maintain_authority(
            data.get(CRT, b""), data.get(KEY, b""), data.get(CA, b""), now, self._lifetimes
        )
        if reason is not None:
            content = {CRT: authority.signer.certificate, KEY: authority.signer.key, CA: authority.bundle}
            await self._write(secret, content)
            result.written.append(f"certificate authority {self._ca_secret} written: {reason}")
        metrics.CERTIFICATE_DAYS.labels(self._ca_secret).set(days_left(authority.signer.certificate, now))
        return authority

    async def _leaf(self, name: str, spec: LeafSpec, authority: Authority, result: Pass) -> None:
        secret = await self._client.get(SECRETS, name, self._namespace)
        data = secret_data(secret)
        now = self._clock()
        certificate = data.get(CRT, b"")
        reason = leaf_problem(KeyPair(certificate, data.get(KEY, b"")), spec, authority, now, self._lifetimes)
        if reason is not None:
            pair = new_leaf(authority.signer, spec, now, self._lifetimes.leaf)
            certificate = pair.certificate
            await self._write(secret, {CRT: certificate, KEY: pair.key, CA: authority.bundle})
            result.written.append(f"leaf {name} signed: {reason}")
        elif data.get(CA) != authority.bundle:
            await self._write(secret, {CA: authority.bundle})
            result.written.append(f"leaf {name} given the new bundle")
        metrics.CERTIFICATE_DAYS.labels(name).set(days_left(certificate, now))

    async def _seal(self, name: str, result: Pass) -> None:
        secret = await self._client.get(SECRETS, name, self._namespace)
        data = secret_data(secret)
        if not data.get(SEAL_PRIVATE):
            private, public = new_seal_key()
            await self._write(secret, {SEAL_PRIVATE: private, SEAL_PUBLIC: public})
            result.written.append(f"seal key {name} made")
            return
        # A key that can not be read is left alone: what it signed could never be checked again.
        public = seal_public_key(data[SEAL_PRIVATE])
        if data.get(SEAL_PUBLIC) != public:
            await self._write(secret, {SEAL_PUBLIC: public})
            result.written.append(f"public half of {name} restored")

    async def _inject(self, configuration: WebhookConfiguration, authority: Authority, result: Pass) -> None:
        found = await self._client.get(configuration.resource, configuration.name)
        wanted = base64.b64encode(authority.bundle).decode()
        operations: list[Object] = []
        for index, webhook in enumerate(found.get("webhooks") or ()):
            ours = configuration.webhooks is None or webhook.get("name") in configuration.webhooks
            if ours and (webhook.get("clientConfig") or {}).get("caBundle") != wanted:
                operations += [
                    {"op": "test", "path": f"/webhooks/{index}/name", "value": webhook.get("name")},
                    {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": wanted},
                ]
        if operations:
            await self._client.patch_json(configuration.resource, configuration.name, operations)
            result.written.append(f"caBundle of {configuration.name} set on {len(operations) // 2} webhooks")

    async def _write(self, secret: Object, content: Mapping[str, bytes]) -> None:
        patch = {
            "metadata": {"resourceVersion": secret["metadata"]["resourceVersion"]},
            "data": {key: base64.b64encode(value).decode() for key, value in content.items()},
        }
        await self._client.merge_patch(SECRETS, secret["metadata"]["name"], patch, self._namespace)


def secret_data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """The decoded `data` of a Secret; values that are not base64 count as empty."""
    decoded: dict[str, bytes] = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value or "", validate=True)
        except (binascii.Error, TypeError):
            decoded[key] = b""
    return decoded
