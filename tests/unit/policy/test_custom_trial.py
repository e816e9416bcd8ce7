"""Custom rules tried on sample jobs with every field: what is misspelt gives no answer, what is fine does."""

import pytest

from mlprivacy.cel.pool import CelPool
from mlprivacy.policy.custom_trial import KINDS, sample, sentence, trial

EXPLODES = "".join(f"[1,2,3,4,5,6,7,8,9,10].all({v}, " for v in "abcdefgh") + "true" + ")" * 8


@pytest.fixture(scope="module")
def rules():
    with CelPool(expression_seconds=5, total_seconds=30) as pool:
        yield pool


@pytest.mark.parametrize(
    "text",
    [
        "has(job.spec.activeDeadlineSeconds) && job.spec.activeDeadlineSeconds <= 86400",
        "datasets.all(d, has(d.spec.region) && d.spec.region.startsWith('eu-'))",
        "job.kind != 'TrainingJob' || job.spec.privacy.epsilon < 3.0",
        "job.metadata.labels['team'] == 'a' && namespaceObject.metadata.labels.tenant != ''",
        "now.getHours() < 20",
        "job.spec.template.spec.containers.all(c, c.image.contains('@'))",
        "classes.all(c, c.spec.differentialPrivacy.maxEpsilonPerJob < 9.0)",
    ],
)
def test_a_rule_that_uses_fields_as_they_are_called_gives_an_answer(rules, text):
    assert trial(rules, [text]) == {}


@pytest.mark.parametrize(
    "text", ["job.spec.purposs == 'x'", "job.spec.purpose.matches('(')", EXPLODES], ids=["typo", "regex", "loop"]
)
def test_one_that_can_never_work_fails_for_every_kind_of_job(rules, text):
    assert set(trial(rules, [text])[text]) == set(KINDS)


def test_one_that_is_written_for_one_kind_fails_for_the_other_alone(rules):
    text = "job.spec.privacy.epsilon < 3.0"
    found = trial(rules, ["true", text])
    assert list(found) == [text]
    assert set(found[text]) == {"InferenceJob"}
    assert sentence(found[text]).startswith("on a sample InferenceJob that has every field it gives no answer (Key not")


def test_a_sample_has_every_field_of_its_kind():
    for kind, model in KINDS.items():
        spec = sample(kind, "")["job"]["spec"]
        assert set(spec) == {field.alias for field in model.model_fields.values()} - {"suspend"}
