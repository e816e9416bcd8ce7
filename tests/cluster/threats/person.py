"""Somebody who sends requests to the API server: any verb, subresource, patch type and option, without kubectl."""

import base64
import http.client
import json
import re
import ssl
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import yaml

from controlplane import Cluster

Object = dict[str, Any]

_HOMES: Final = {
    "/api/v1": "bindings configmaps endpoints events namespaces persistentvolumeclaims pods podtemplates "
    "replicationcontrollers resourcequotas limitranges secrets serviceaccounts services nodes",
    "/apis/apps/v1": "daemonsets deployments replicasets statefulsets controllerrevisions",
    "/apis/batch/v1": "cronjobs jobs",
    "/apis/autoscaling/v2": "horizontalpodautoscalers",
    "/apis/policy/v1": "poddisruptionbudgets",
    "/apis/networking.k8s.io/v1": "ingresses networkpolicies",
    "/apis/discovery.k8s.io/v1": "endpointslices",
    "/apis/rbac.authorization.k8s.io/v1": "roles rolebindings clusterroles clusterrolebindings",
    "/apis/apiextensions.k8s.io/v1": "customresourcedefinitions",
    "/apis/admissionregistration.k8s.io/v1": "validatingadmissionpolicies validatingadmissionpolicybindings "
    "validatingwebhookconfigurations mutatingwebhookconfigurations mutatingadmissionpolicies",
    "/apis/mlprivacy.dev/v1alpha1": "consentscopes dataclasses datasetgrants datasets inferencejobs ledgerentries "
    "policyexceptions privacybudgets privacypolicies trainingjobs",
}
HOME: Final = {plural: prefix for prefix, plurals in _HOMES.items() for plural in plurals.split()}
_PATCHES: Final = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_PROMPT: Final = 60.0
"""Seconds until a request is given up."""


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    code: int
    body: Object
    warnings: tuple[str, ...] = ()
    request: str = field(default="", compare=False)

    @property
    def ok(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def by(self) -> str:
        """Who refused: `guard NAME`, `webhook NAME`, `rbac`, `schema` (the API server's own validation), or nobody."""
        if self.ok:
            return ""
        if found := re.search(r"ValidatingAdmissionPolicy 'mlprivacy-([a-z-]+)'", self.message):
            return f"guard {found[1]}"
        if found := re.search(r'admission webhook "([a-z-]+)\.mlprivacy\.dev" denied', self.message):
            return f"webhook {found[1]}"
        if found := re.search(r'failed calling webhook "([a-z-]+)\.mlprivacy\.dev"', self.message):
            return f"unreachable {found[1]}"
        if self.code == 403 and " cannot " in self.message:
            return "rbac"
        return "schema" if self.code in (400, 404, 405, 409, 413, 415, 422) else f"code {self.code}"

    def __str__(self) -> str:
        return f"{self.request} -> {self.code} {self.by} {self.message[:600]}"


class Person:
    """A really authenticated user. `acting_as` adds impersonation, which the user needs the right for."""

    def __init__(self, cluster: Cluster, user: str | None, groups: Sequence[str] = (), acting_as: str = "") -> None:
        """`user` None is the administrator."""
        if user is None:
            path = cluster.kubeconfig
        elif user.startswith("system:serviceaccount:"):
            _, _, namespace, name = user.split(":")
            path = cluster.kubeconfig_for_service_account(namespace, name)
        else:
            path = cluster.kubeconfig_for_user(user, groups)
        self.name = user or "admin"
        self._acting_as = acting_as
        self._connect(Path(path))

    def _connect(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(server["certificate-authority-data"]).decode("ascii")
        context = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in user:
            # One file for both, since ssl reads certificates from files alone.
            with tempfile.NamedTemporaryFile(suffix=".pem") as pair:
                for part in ("client-certificate-data", "client-key-data"):
                    pair.write(base64.b64decode(user[part]))
                pair.flush()
                context.load_cert_chain(pair.name)
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        place = urlsplit(server["server"])
        self._line = http.client.HTTPSConnection(place.hostname or "", place.port, context=context, timeout=_PROMPT)

    def ask(
        self, method: str, path: str, body: Any = None, *, content: str = "application/json", **query: Any
    ) -> Answer:
        """One request to a raw path; `body` may be bytes, sent as they are."""
        target = path + ("?" + urlencode(query) if query else "")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": content, "Accept": "application/json"}
        if self._acting_as:
            headers["Impersonate-User"] = self._acting_as
        for again in (True, False):
            try:
                self._line.request(method, target, data, headers)
                answer = self._line.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, ConnectionError, ssl.SSLError):
                self._line.close()  # the connection had grown old
                if not again:
                    raise
        said = json.loads(text) if text.startswith(b"{") else {"message": text.decode(errors="replace")}
        warnings = tuple(answer.headers.get_all("Warning") or ())
        return Answer(answer.status, said, warnings, f"{self._acting_as or self.name}: {method} {target}")

    # --- objects ------------------------------------------------------------------------------------------------

    def create(self, namespace: str | None, obj: Mapping[str, Any], **query: Any) -> Answer:
        """POST of an object; `dryRun="All"` and `fieldValidation` are queries."""
        return self.ask("POST", where(plural_of(obj), namespace, version=obj["apiVersion"]), obj, **query)

    def apply(self, namespace: str | None, obj: Mapping[str, Any], manager: str = "mallory", **query: Any) -> Answer:
        """Server-side apply, by force."""
        path = where(plural_of(obj), namespace, obj["metadata"]["name"], version=obj["apiVersion"])
        return self.ask("PATCH", path, obj, content=_PATCHES["apply"], fieldManager=manager, force="true", **query)

    def patch(
        self, namespace: str | None, target: str, change: Any, how: str = "merge", sub: str = "", **query: Any
    ) -> Answer:
        """PATCH of `plural/name`, by merge, json, strategic or apply."""
        if how == "apply":
            query = {"fieldManager": "mallory", "force": "true", **query}
        plural, name = target.split("/", 1)
        return self.ask("PATCH", where(plural, namespace, name, sub), change, content=_PATCHES[how], **query)

    def put(self, namespace: str | None, target: str, obj: Mapping[str, Any], sub: str = "", **query: Any) -> Answer:
        """PUT of `plural/name`."""
        plural, name = target.split("/", 1)
        return self.ask("PUT", where(plural, namespace, name, sub), obj, **query)

    def post(self, namespace: str | None, target: str, sub: str, obj: Mapping[str, Any], **query: Any) -> Answer:
        """POST to a subresource of `plural/name`."""
        plural, name = target.split("/", 1)
        return self.ask("POST", where(plural, namespace, name, sub), obj, **query)

    def get(self, namespace: str | None, target: str, **query: Any) -> Answer:
        """GET of `plural/name` or of `plural`."""
        plural, _, name = target.partition("/")
        return self.ask("GET", where(plural, namespace, name), **query)

    def read(self, namespace: str | None, target: str, **query: Any) -> Object | None:
        """The object, or None when there is none; a list's items under `items`."""
        answer = self.get(namespace, target, **query)
        if answer.code == 404:
            return None
        assert answer.ok, answer
        return answer.body

    def items(self, namespace: str | None, plural: str, **query: Any) -> list[Object]:
        found = self.read(namespace, plural, **query)
        return list((found or {}).get("items") or [])

    def delete(self, namespace: str | None, target: str, labelSelector: str = "", **options: Any) -> Answer:
        """DELETE of `plural/name`, or of the collection `plural`; options are those of DeleteOptions."""
        plural, _, name = target.partition("/")
        query = {"labelSelector": labelSelector} if labelSelector else {}
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **options} if options else None
        return self.ask("DELETE", where(plural, namespace, name), body, **query)


def where(plural: str, namespace: str | None, name: str = "", sub: str = "", version: str = "") -> str:
    """The path of a resource. `version` asks for another one than usual, such as `autoscaling/v1`."""
    prefix = HOME.get(plural, "")
    if version and (not prefix or not prefix.endswith(f"/{version}")):
        prefix = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    parts = [prefix, *(["namespaces", namespace] if namespace and plural != "namespaces" else []), plural]
    return "/".join([*parts, *([quote(name, safe="")] if name else []), *([sub] if sub else [])])


def plural_of(obj: Mapping[str, Any]) -> str:
    """The resource that serves a kind."""
    lower = str(obj["kind"]).lower()
    irregular = {"networkpolicy": "networkpolicies", "ingress": "ingresses", "privacypolicy": "privacypolicies",
                 "dataclass": "dataclasses", "endpoints": "endpoints", "ledgerentry": "ledgerentries"}  # fmt: skip
    return irregular.get(lower, lower + "s")


def eventually(look: Any, what: str, seconds: float = 60.0) -> Any:
    """The first true result of `look`; fails when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        assert time.monotonic() < end, f"never seen: {what}"
        time.sleep(0.1)
