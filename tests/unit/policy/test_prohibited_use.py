"""prohibited-use: a purpose that no law allows is refused, wherever in its key it stands."""

import pytest
from builders import change, dataset, decide, finding, inference_job, only, policy, rules_of, training_job, use

from mlprivacy.policy.model import Action, Verdict
from mlprivacy.policy.rules.purpose.prohibited_use import within

ON = only("prohibited-use")


def of(kind):
    return dataset(subjects={"column": "patient_id", "kind": kind, "atLeast": 200_000}, uses=[use(purpose="essential")])


@pytest.mark.parametrize("purpose", ["social_scoring", "social_scoring.citizens", "essential.social_scoring.citizens"])
@pytest.mark.parametrize("job", [training_job, inference_job])
def test_social_scoring_is_refused(job, purpose):
    found = finding(decide(job(purpose=purpose), ON), "prohibited-use")
    assert (found.action, found.path) == (Action.DENY, "spec.purpose")


@pytest.mark.parametrize(
    "purpose", ["anti_social_scoring", "social_scoringx", "social.scores", "social_scoring_research", "scoring.social"]
)
def test_a_look_alike_is_another_purpose(purpose):
    assert "prohibited-use" not in rules_of(decide(training_job(purpose=purpose), ON))


@pytest.mark.parametrize(
    ("purpose", "prohibited"),
    [
        ("socialscoring", "social_scoring"),
        ("social.scoring", "social_scoring"),
        ("essential.so_cial_scoring.x", "Social Scoring"),
        ("essential.social.scoring.citizens", "social-scoring"),
        ("a.b_c.d", "bc.d"),
    ],
)
def test_no_other_way_of_dividing_the_words_escapes(purpose, prohibited):
    own = only("prohibited-use", purposes=prohibited)
    assert finding(decide(training_job(purpose=purpose), own), "prohibited-use").action is Action.DENY


@pytest.mark.parametrize(
    "purpose", ["essential.social__scoring", "social_scoring_", "_social_scoring", "social-scoring"]
)
def test_a_purpose_that_was_stored_before_the_schema_forbade_it_escapes_neither(purpose):
    assert within("social_scoring", purpose)
    assert decide(training_job(purpose=purpose), ON).verdict is Verdict.DENY  # the schema's own refusal


def test_lawful_purposes_pass():
    assert decide(training_job(), ON).verdict is Verdict.ALLOW
    assert decide(inference_job(), ON).verdict is Verdict.ALLOW


def test_emotion_recognition_is_refused_at_work():
    at_work = decide(inference_job(purpose="employment.emotion_recognition"), ON)
    assert finding(at_work, "prohibited-use").path == "spec.purpose"
    assert "prohibited-use" not in rules_of(decide(inference_job(purpose="emotion_recognition"), ON))


@pytest.mark.parametrize(("kind", "refused"), [("employee", True), ("job_applicant.intern", True), ("patient", False)])
def test_emotion_recognition_is_refused_on_the_data_of_people_at_work(kind, refused):
    decision = decide(training_job(purpose="emotion_recognition"), of(kind), ON)
    found = [f for f in decision.findings if f.rule == "prohibited-use"]
    assert bool(found) is refused
    assert all((f.path, f.private) == ("spec.datasets[0].name", True) for f in found)


def test_the_lists_are_parameters():
    own = only("prohibited-use", purposes="train_ai_system")
    assert decide(training_job(), own).verdict is Verdict.DENY


def test_a_dataset_that_is_not_there_holds():
    assert decide(change(training_job(), "spec.datasets[0].name", "nowhere"), ON).verdict is Verdict.HOLD


def test_it_is_off_without_a_pack_or_an_override():
    assert "prohibited-use" not in rules_of(decide(training_job(purpose="social_scoring"), policy(packs=[])))


@pytest.mark.parametrize(
    ("prohibited", "purpose", "expected"),
    [
        ("a", "a", True),
        ("a", "b.a.c", True),
        ("a.b", "x.a.b", True),
        ("a.b", "a.x.b", False),
        ("a", "ab", False),
        ("a", "b.aa", False),
    ],
)
def test_segments_are_compared_whole(prohibited, purpose, expected):
    assert within(prohibited, purpose) is expected
