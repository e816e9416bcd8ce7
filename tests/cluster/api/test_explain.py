"""`kubectl explain` answers for every field of every kind with what the model says about it."""

from collections.abc import Iterator
from typing import Any

import pytest

from mlprivacy.api.kinds import modelled_kinds
from mlprivacy.api.names import GROUP
from mlprivacy.api.schema import crd


def objects(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place that has named fields, with those fields; list entries are addressed by the list's name."""
    schema = schema.get("items", schema)
    if fields := schema.get("properties"):
        yield path, fields
        for name, value in fields.items():
            yield from objects(value, f"{path}.{name}")


@pytest.mark.parametrize("kind", modelled_kinds(), ids=lambda kind: kind.kind)
def test_explain_prints_every_description(kind: Any, server: Any) -> None:
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    resource = f"{kind.plural}.{GROUP}"
    known = {f"{kind.plural}{path}": fields for path, fields in objects(schema, "")}
    assert len(known) > 4
    for path, fields in known.items():
        done = server.cluster.kubectl("explain", path, f"--api-version={GROUP}/v1alpha1")
        printed = " ".join(done.stdout.split())
        for name, value in fields.items():
            assert f"{name} <" in printed, f"{resource}: {path}.{name} is not explained"
            if path != kind.plural or name not in ("apiVersion", "kind", "metadata"):  # the server's own words there
                assert " ".join(value["description"].split()) in printed, f"{path}.{name}"
