"""human-oversight: answers that decide about people come with a review by a human and a way out."""

import pytest
from builders import decide, finding, inference_job, only, policy, rules_of, training_job

from mlprivacy.policy.model import Action, Verdict

BOTH = {"humanReviewURL": "https://clinic.example/review", "optOutURL": "https://clinic.example/out"}


@pytest.mark.parametrize(
    ("oversight", "lacking"),
    [
        (None, ["humanReviewURL", "optOutURL"]),
        ({}, ["humanReviewURL", "optOutURL"]),
        ({"humanReviewURL": BOTH["humanReviewURL"]}, ["optOutURL"]),
        ({"optOutURL": BOTH["optOutURL"]}, ["humanReviewURL"]),
        (BOTH, []),
    ],
)
def test_both_are_needed_where_answers_decide(oversight, lacking):
    decision = decide(inference_job(legalEffect=True, oversight=oversight), only("human-oversight"))
    found = sorted(f.path for f in decision.findings if f.rule == "human-oversight")
    assert found == [f"spec.oversight.{name}" for name in lacking]
    assert all(f.action is Action.DENY for f in decision.findings)


def test_answers_that_decide_nothing_need_neither():
    assert decide(inference_job(oversight=None), only("human-oversight")).verdict is Verdict.ALLOW
    assert decide(training_job(), only("human-oversight")).verdict is Verdict.ALLOW


def test_only_a_pack_asks_for_it():
    assert "human-oversight" not in rules_of(decide(inference_job(legalEffect=True)))
    packs = policy(packs=[{"name": "eu-gdpr"}])
    assert "human-oversight" in rules_of(decide(inference_job(legalEffect=True), packs))


def test_it_cites_what_the_pack_cites():
    job = inference_job(legalEffect=True, oversight={"optOutURL": BOTH["optOutURL"]})
    decision = decide(job, policy(packs=[{"name": "eu-gdpr"}]))
    assert finding(decision, "human-oversight").citations == ("GDPR 22",)
