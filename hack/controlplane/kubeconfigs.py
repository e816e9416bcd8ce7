"""Writes kubeconfig files: one cluster, one user, one context, with paths only its owner may read."""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controlplane.certificates import KeyPair


def write_kubeconfig(
    path: Path,
    server: str,
    authority: Path,
    *,
    token: str | None = None,
    client: KeyPair | None = None,
    impersonate: tuple[str, Sequence[str]] | None = None,
    namespace: str = "default",
) -> Path:
    """A self-contained kubeconfig for a user given by a token or by a client certificate; returns `path`.

    Certificates are embedded, so the file goes on working when it is copied elsewhere.
    """
    user: dict[str, Any] = {}
    if token is not None:
        user["token"] = token
    if client is not None:
        user |= {
            "client-certificate-data": _embedded(client.certificate),
            "client-key-data": _embedded(client.key),
        }
    if impersonate is not None:
        name, groups = impersonate
        user |= {"as": name, "as-groups": list(groups)} if groups else {"as": name}
    cluster = {"server": server, "certificate-authority-data": _embedded(authority)}
    return write_document(
        path,
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "mlprivacy", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [
                {"name": "mlprivacy", "context": {"cluster": "mlprivacy", "user": "user", "namespace": namespace}}
            ],
            "current-context": "mlprivacy",
        },
    )


def write_document(path: Path, document: Mapping[str, Any]) -> Path:
    """Write an object as JSON (which is YAML) for its owner alone, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)
        stream.write("\n")
    staging.replace(path)
    return path


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
