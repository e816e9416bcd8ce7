"""What may not change once it is stored, and what the status subresource accepts."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import GROUP

Example = Callable[..., dict[str, Any]]

CHANGES = [
    pytest.param("Dataset", {"identity": "urn:clinic:renamed"}, "spec.identity", id="a new identity"),
    pytest.param("Dataset", {"source": {"uri": "s3://clinic/other/"}}, "spec.source", id="another source"),
    pytest.param("Dataset", {"source": {"secretRef": None}}, "spec.source", id="a source without its secret"),
    pytest.param("Dataset", {"identity": None}, "spec.identity", id="no identity any more"),
    pytest.param("Dataset", {"columns": [{"name": "age"}]}, "dataClass", id="a column without its class"),
    pytest.param("DataClass", {"sensitivity": "Public"}, "spec.sensitivity", id="a special category made public"),
    pytest.param("ConsentScope", {"state": "Gone"}, "spec.state", id="a state that is none"),
    pytest.param("TrainingJob", {"purpose": None}, "spec.purpose", id="a purpose taken away"),
    pytest.param("TrainingJob", {"template": None}, "spec.template", id="a template taken away"),
    pytest.param("InferenceJob", {"model": {"image": None}}, "spec.model", id="a model taken away"),
    pytest.param("PrivacyBudget", {"subjectDomain": "others"}, "spec.subjectDomain", id="another subject domain"),
    pytest.param("PrivacyBudget", {"unit": "Event"}, "spec.unit", id="another unit"),
    pytest.param("PrivacyBudget", {"blocks": {"period": "Day"}}, "spec.blocks", id="another partition"),
    pytest.param("PrivacyBudget", {"orders": [2, 4]}, "spec.orders", id="other orders"),
    pytest.param("PrivacyBudget", {"orders": None}, "spec.orders", id="no orders any more"),
    pytest.param("PrivacyBudget", {"identities": ["urn:clinic:visits"]}, "spec.identities", id="an identity removed"),
    pytest.param("PrivacyBudget", {"retired": ["2026-W02"]}, "spec.retired", id="a range of retired blocks taken back"),
    pytest.param(
        "PrivacyBudget", {"retired": ["2026-W02", "2026-W04..2026-W07"]}, "spec.retired", id="a range made shorter"
    ),
    pytest.param("PrivacyBudget", {"epsilon": 12}, "spec.noticeVersion", id="a larger epsilon under the old notice"),
    pytest.param(
        "PrivacyBudget",
        {"epsilon": 12, "noticeVersion": "2", "approval": {"epsilon": 12, "noticeVersion": "2"}},
        "spec.approval",
        id="asked and approved in one step",
    ),
    pytest.param(
        "PrivacyBudget", {"approval": {"epsilon": 12}}, "spec.approval", id="an approval of what nobody asked for"
    ),
]


def stored(server: Any, example: Example, kind: str, **spec: Any) -> str:
    """Store the full example under a name of its own; the resource to name in kubectl."""
    manifest = example(kind, full=True)
    manifest["metadata"]["name"] = f"change-{uuid.uuid4().hex[:10]}"
    manifest["spec"].update(spec)
    server.apply(manifest)
    info = kind_named(kind)
    assert info is not None
    return f"{info.plural}.{GROUP}/{manifest['metadata']['name']}"


def patch(server: Any, resource: str, change: dict[str, Any], *extra: str) -> Any:
    args = ("patch", resource, "-n", server.namespace, "--type=merge", "-p", json.dumps(change), *extra)
    return server.cluster.kubectl(*args, check=False)


@pytest.mark.parametrize(("kind", "change", "says"), CHANGES)
def test_a_change_is_refused_by_field(
    kind: str, change: dict[str, Any], says: str, server: Any, example: Example
) -> None:
    resource = stored(server, example, kind)
    try:
        done = patch(server, resource, {"spec": change})
        assert done.returncode != 0
        assert says in done.stderr
    finally:
        server.cluster.kubectl("delete", resource, "-n", server.namespace, "--wait=false")


@pytest.mark.parametrize("state", ["Active", None])
def test_withdrawn_consent_stays_withdrawn(state: str | None, server: Any, example: Example) -> None:
    """Neither setting Active nor removing the field, which would default it, takes a withdrawal back."""
    resource = stored(server, example, "ConsentScope")
    assert patch(server, resource, {"spec": {"state": "Withdrawn"}}).returncode == 0
    done = patch(server, resource, {"spec": {"state": state}})
    assert "spec.state" in done.stderr
    assert "a withdrawn scope stays withdrawn" in done.stderr


def test_the_status_subresource_is_typed(server: Any, example: Example) -> None:
    resource = stored(server, example, "TrainingJob")
    done = patch(server, resource, {"status": {"assurance": {"achieved": "Perfect"}}}, "--subresource=status")
    assert "status.assurance.achieved" in done.stderr
    twice = {
        "type": "Ready",
        "status": "True",
        "reason": "X",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    done = patch(server, resource, {"status": {"conditions": [twice, twice]}}, "--subresource=status")
    assert "status.conditions[1]" in done.stderr
    done = patch(server, resource, {"status": {"conditions": [twice]}}, "--subresource=status")
    assert done.returncode == 0, done.stderr


def test_status_is_not_written_through_the_object(server: Any, example: Example) -> None:
    resource = stored(server, example, "TrainingJob")
    assert patch(server, resource, {"status": {"attempt": 7}}).returncode == 0
    found = server.cluster.kubectl("get", resource, "-n", server.namespace, "-o", "json").stdout
    assert "attempt" not in json.loads(found).get("status", {})


def test_an_entry_of_the_ledger_never_changes(server: Any, example: Example) -> None:
    manifest = example("LedgerEntry", full=True)
    server.apply(manifest)
    resource = f"ledgerentries.{GROUP}/{manifest['metadata']['name']}"
    done = patch(server, resource, {"spec": {"writer": "somebody-else"}})
    assert "an entry of the ledger is never changed" in done.stderr
    server.cluster.kubectl("delete", resource)


def test_blocks_are_added_to_those_that_are_retired_until_there_are_256_entries(server: Any, example: Example) -> None:
    resource = stored(server, example, "PrivacyBudget")
    before = ["2026-W02", "2026-W04..2026-W08"]
    longest = "bucket 16382..bucket 16383"  # no block of this partition: the definition reads the form alone
    many = [*before, longest, *(f"{2000 + n // 52}-W{n % 52 + 1:02}..2026-W01" for n in range(253))]
    assert patch(server, resource, {"spec": {"retired": many}}).returncode == 0
    again = patch(server, resource, {"spec": {"retired": list(reversed(many))}})
    assert again.returncode == 0, again.stderr
    more = patch(server, resource, {"spec": {"retired": [*many, "2026-W20"]}})
    assert (more.returncode != 0, "spec.retired" in more.stderr) == (True, True)


def test_a_budget_asks_for_more_and_is_approved(server: Any, example: Example) -> None:
    resource = stored(server, example, "PrivacyBudget")
    more = {"epsilon": 12, "noticeVersion": "2027-01"}
    assert patch(server, resource, {"spec": more}).returncode == 0
    done = patch(server, resource, {"spec": {"approval": more}})
    assert done.returncode == 0, done.stderr
