"""Records of deletions: what decisions rested on and is gone, with the digest of its last form."""

import pytest
from builders import consent_scope, data_class, dataset, exception, grant, policy, training_job

from mlprivacy.controller.gone import gone_event
from mlprivacy.policy.model import canonical_digest


def namespace(**labels: str) -> dict:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "research", "uid": "n", "labels": labels}}


@pytest.mark.parametrize(
    "old", [policy(), data_class(), grant(), consent_scope(), dataset(), exception()], ids=lambda o: o["kind"]
)
def test_what_is_gone_is_recorded_with_its_last_form(old):
    event = gone_event(old, None)
    assert event.kind == "object-deleted"
    assert (event.subject.kind, event.subject.name) == (old["kind"], old["metadata"]["name"])
    assert event.data["before"] == canonical_digest(old["spec"])
    assert event.id == gone_event(old, None).id
    assert event.data.get("approved") is (True if old["kind"] == "PolicyException" else None)


def test_one_made_anew_under_its_name_is_gone_too():
    again = exception()
    again["metadata"]["uid"] = "another"
    assert gone_event(exception(), again).subject.uid == exception()["metadata"]["uid"]


def test_a_governed_namespace_takes_its_label_along():
    event = gone_event(namespace(**{"mlprivacy.dev/enforce": "enforce"}), None)
    assert event.data == {"enforce": "enforce"}
    assert gone_event(namespace(team="a"), None) is None


@pytest.mark.parametrize(("old", "new"), [(None, exception()), (exception(), exception()), (training_job(), None)])
def test_nothing_else_is_recorded(old, new):
    assert gone_event(old, new) is None
