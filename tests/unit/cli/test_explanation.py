"""What `mlprivacy explain` says: of a job, a policy, an exception, and where there is nothing to explain."""

from __future__ import annotations

from typing import Any, cast

import pytest
from builders import asked, decide, policy, training_job

from mlprivacy.cli.errors import CliError
from mlprivacy.cli.explanation import Explanation, of_cluster
from mlprivacy.cli.policyview import exception_view, policy_view
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import from_response
from mlprivacy.kube.resources import TRAININGJOBS
from mlprivacy.policy.packs import built_in_shelf

NO_SUCH_JOB = b'{"kind": "Status", "reason": "NotFound", "message": "not found", "details": {"name": "x"}}'


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without colours."""
    monkeypatch.setenv("NO_COLOR", "1")


class Answering:
    """A client whose API server has nothing."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def get(self, *_: Any) -> Any:
        raise from_response(404, self.body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"404 page not found\n", "does not know trainingjobs.mlprivacy.dev: our definitions are not installed"),
        (NO_SUCH_JOB, "There is no TrainingJob x in the namespace research; give another with -n"),
    ],
)
async def test_a_kind_that_is_not_installed_is_told_from_a_job_that_is_not_there(body: bytes, said: str) -> None:
    with pytest.raises(CliError, match=said):
        await of_cluster(cast(KubeClient, Answering(body)), TRAININGJOBS, "x", "research")


def held(**status: Any) -> dict[str, Any]:
    """A job as a cluster holds it: accepted by the operator in 2026."""
    job = training_job(namespace="clinic", datasets=[asked(namespace="clinic")])
    accepted = {"type": "Accepted", "status": "True", "reason": "Allowed", "message": "x"}
    decision = {"verdict": "Allow", "mode": "Enforce", "digest": "sha256:0", "findings": []}
    return job | {
        "metadata": {**job["metadata"], "generation": 1},
        "status": {
            "observedGeneration": 1,
            "decision": decision,
            "assurance": {"achieved": "Declared", "required": "Declared"},
            "conditions": [accepted | {"lastTransitionTime": "2026-05-01T10:00:00Z"}],
            **status,
        },
    }


def text_of(explanation: Explanation) -> str:
    return " ".join(" ".join(explanation.lines()).split())


def test_the_operator_s_decision_is_the_headline_whatever_would_be_decided_now() -> None:
    raw = held(decision={"verdict": "Allow", "mode": "Enforce", "digest": "sha256:0", "findings": [],
                         "changedBy": [{"kind": "Dataset", "namespace": "clinic", "name": "visits"}]})  # fmt: skip
    now = decide(training_job(purpose="marketing", namespace="clinic", datasets=[asked(namespace="clinic")]))
    shown = Explanation("TrainingJob clinic/diagnosis", now, raw=raw)
    text = text_of(shown)
    assert text.startswith(
        "ALLOWED TrainingJob clinic/diagnosis Note: the operator's decision of 2026-05-01T10:00:00Z; with what is "
        "there now: REFUSED, mode Enforce. purpose-limitation: spec.purpose:"
    )
    assert "changed by Dataset clinic/visits" in text
    body = shown.as_json()
    assert (body["decidedBy"], body["verdict"], body["now"]["verdict"]) == ("operator", "Allow", "Deny")


def test_what_may_not_be_read_is_told_first_and_nothing_is_decided_anew() -> None:
    shown = Explanation("TrainingJob a/b", None, raw=held(), unread=("you may not list x", "you may not list y"))
    first, second, *_ = shown.lines()
    assert first.split() == ["ALLOWED", "TrainingJob", "a/b"]
    assert second.startswith("  Note: you may not list x, and 1 more (-o json lists them)")
    assert "Controls demanded" not in text_of(shown)


def test_a_job_that_the_operator_has_not_decided_on_is_said_to_be_that() -> None:
    assert text_of(Explanation("J", None, raw=held(decision=None), unread=("no",))).startswith("UNDECIDED J Note: no;")
    here = Explanation("J", decide(training_job()), raw=held(decision=None))
    assert "the operator has not decided yet; this is what is decided here" in text_of(here)
    assert here.as_json()["decidedBy"] == "here"


def test_a_decision_of_an_older_spec_is_said_to_be_that() -> None:
    raw = held(observedGeneration=0)
    assert "the controller has not looked at the newest spec yet" in text_of(Explanation("J", None, raw=raw))


def test_a_policy_says_what_it_selects_what_is_in_force_and_what_is_wrong() -> None:
    tenant = {"matchLabels": {"mlprivacy.dev/tenant": "acme"}}
    raw = policy(packs=[{"name": "us-hippa"}, {"name": "eu-gdpr"}], mode="Enforce", namespaceSelector=tenant)
    spaces = {
        "ml": {"mlprivacy.dev/enforce": "audit", "mlprivacy.dev/tenant": "acme"},
        "lab": {"mlprivacy.dev/tenant": "acme"},
        "other": {"mlprivacy.dev/enforce": "enforce"},
    }
    text = " ".join(" ".join(policy_view(raw, spaces, built_in_shelf(), lambda _: {}).lines()).split())
    assert text.startswith("PROBLEMS PrivacyPolicy eu Problem: spec.packs[0].name: the pack us-hippa is not installed")
    assert "did you mean us-hipaa?" in text
    assert "ml: Audit (its label is audit)" in text
    assert "lab: not governed, jobs there hold" in text
    assert "other" not in text
    nowhere = policy_view(raw, {"other": spaces["other"]}, None, lambda _: {}, ("you may not list x",))
    assert "it selects no namespace: none has mlprivacy.dev/tenant=acme" in nowhere.problems
    assert nowhere.as_json()["unread"] == ["you may not list x"]


def test_an_exception_says_whether_it_counts_and_why() -> None:
    raw = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PolicyException",
        "metadata": {"name": "e", "annotations": {"mlprivacy.dev/requested-by": "alice"}},
        "spec": {"rule": "dp-required", "workload": {"kind": "TrainingJob", "namespace": "a", "name": "b"},
                 "reason": "r", "ticket": "T-1", "expiresAt": "2027-01-01T00:00:00Z"},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Expired",
                                   "message": "its time is over"}]},
    }  # fmt: skip
    text = " ".join(" ".join(exception_view(raw).lines()).split())
    assert text.startswith("DOES NOT COUNT PolicyException e why Expired: its time is over rule dp-required")
    assert "asked by alice approved by nobody" in text
    assert exception_view({**raw, "status": {}}).headline == "UNDECIDED"


def test_what_a_job_takes_of_privacy_budgets_is_told() -> None:
    use = {
        "subjectDomain": "clinic-patients", "budget": "patients", "state": "Waiting", "attempt": 1, "blocks": 12,
        "epsilon": 2.5, "delta": 1e-8, "sharePercent": 3.7, "noiseMultiplier": 1.1,
        "samplingRate": 0.004, "steps": 2500,
    }  # fmt: skip
    waits = {"type": "BudgetReserved", "status": "False", "reason": "BudgetLocked", "message": "2026-W10 opens."}
    job = held(budgets=[use], conditions=[waits])
    text = " ".join(text_of(Explanation("TrainingJob clinic/diagnosis", None, raw=job)).split())
    for said in (
        "Privacy budgets budget patients (clinic-patients): attempt 1 waits",
        "epsilon 2.5 at delta 1e-08",
        "3.7 % of each of 12 blocks",
        "noise multiplier 1.1, sampling rate 0.004, 2500 steps",
        "BudgetReserved False BudgetLocked",
        "2026-W10 opens.",
    ):
        assert said in text, said
