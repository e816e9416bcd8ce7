"""Server-side apply by two managers: keyed lists and sets merge, a disagreement is a conflict that names the field."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

Example = Callable[..., dict[str, Any]]


def apply(server: Any, manager: str, manifest: dict[str, Any]) -> Any:
    args = ("apply", "--server-side", f"--field-manager={manager}", "-n", server.namespace, "-f", "-")
    return server.cluster.kubectl(*args, input=manifest, check=False)


@pytest.fixture
def dataset(server: Any, example: Example) -> dict[str, Any]:
    """A dataset that the manager `owner` applied: columns patient_id and age."""
    manifest = example("Dataset")
    manifest["metadata"]["name"] = f"shared-{uuid.uuid4().hex[:10]}"
    manifest["spec"]["columns"].append({"name": "age", "dataClass": "demographic"})
    assert apply(server, "owner", manifest).returncode == 0
    return manifest


def part(manifest: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """The object with nothing but these fields, as a second manager applies it."""
    return {**manifest, "spec": spec}


def columns(server: Any, manifest: dict[str, Any]) -> dict[str, str]:
    found = server.cluster.get("datasets.mlprivacy.dev", manifest["metadata"]["name"], server.namespace)
    return {column["name"]: column["dataClass"] for column in found["spec"]["columns"]}


def test_columns_of_two_managers_merge(server: Any, dataset: dict[str, Any]) -> None:
    added = part(dataset, columns=[{"name": "diagnosis", "dataClass": "health"}])
    assert apply(server, "steward", added).returncode == 0
    assert columns(server, dataset) == {"patient_id": "direct-identifier", "age": "demographic", "diagnosis": "health"}
    dataset["spec"]["columns"].pop()
    assert apply(server, "owner", dataset).returncode == 0
    assert columns(server, dataset) == {"patient_id": "direct-identifier", "diagnosis": "health"}


def test_another_class_for_the_same_column_is_a_conflict(server: Any, dataset: dict[str, Any]) -> None:
    done = apply(server, "steward", part(dataset, columns=[{"name": "age", "dataClass": "public"}]))
    assert done.returncode != 0
    assert 'conflict with "owner"' in done.stderr
    assert '.spec.columns[name="age"].dataClass' in done.stderr
    assert columns(server, dataset)["age"] == "demographic"


def test_an_atomic_list_has_one_owner(server: Any, dataset: dict[str, Any]) -> None:
    use = {"purpose": "train_ai_system", "processing": "Training", "legalBasis": "eu-gdpr:A6-1-f"}
    assert apply(server, "owner", {**dataset, "spec": {**dataset["spec"], "uses": [use]}}).returncode == 0
    other = part(dataset, uses=[{**use, "purpose": "marketing"}])
    done = apply(server, "steward", other)
    assert ".spec.uses" in done.stderr
    assert done.returncode != 0


def test_purposes_of_a_scope_are_a_set(server: Any, example: Example) -> None:
    manifest = example("ConsentScope")
    manifest["metadata"]["name"] = f"shared-{uuid.uuid4().hex[:10]}"
    assert apply(server, "owner", manifest).returncode == 0
    assert apply(server, "steward", part(manifest, purposes=["improve_service", "train_ai_system"])).returncode == 0
    found = server.cluster.get("consentscopes.mlprivacy.dev", manifest["metadata"]["name"], server.namespace)
    assert sorted(found["spec"]["purposes"]) == ["improve_service", "train_ai_system"]


def test_the_operator_writes_status_without_owning_the_spec(server: Any, dataset: dict[str, Any]) -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Known",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {**dataset, "status": {"conditions": [condition]}}
    del status["spec"]
    args = ("apply", "--server-side", "--subresource=status", "--field-manager=mlprivacy-controller", "-f", "-")
    # The spec is required, so the status alone is not an object to kubectl's eyes; the server merges before it judges.
    server.cluster.kubectl(*args, "-n", server.namespace, "--validate=false", input=status)
    assert apply(server, "owner", dataset).returncode == 0
    found = server.cluster.get("datasets.mlprivacy.dev", dataset["metadata"]["name"], server.namespace)
    assert found["status"]["conditions"] == [condition]
