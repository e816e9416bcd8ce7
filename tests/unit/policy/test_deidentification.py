"""deidentification: health data without the 18 identifiers, or under an expert determination that has not ended."""

import pytest
from builders import NOW, asked, change, data_class, dataset, decide, finding, grant, grant_to, only, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Verdict
from mlprivacy.policy.rules.data.deidentification import IDENTIFIERS, WITHOUT_A_KEY

ON = only("deidentification")
SAFE = {"method": "SafeHarbor"}
EXPERT = {"method": "ExpertDetermination", "reference": "https://clinic.example/determination"}
JOB = training_job(datasets=[asked(columns=["extra", "diagnosis"])])
GRANT = grant(to=[grant_to(columns=["age", "diagnosis", "extra"])])


def world(category="user.demographic.language", said=None):
    columns = [
        {"name": "patient_id", "dataClass": "direct-identifier"},
        {"name": "age", "dataClass": "demographic"},
        {"name": "diagnosis", "dataClass": "health"},
        {"name": "extra", "dataClass": "extra"},
    ]
    fields = {} if said is None else {"deidentification": said}
    return [dataset(columns=columns, **fields), data_class("extra", categories=[category]), GRANT, ON]


def judged(*changed):
    """Of the world's other rules only consent objects to the class ``extra``, so one rule is looked at."""
    return decide(JOB, *changed)


def found(*changed):
    return finding(judged(*changed), "deidentification")


def silent(*changed):
    return "deidentification" not in [f.rule for f in judged(*changed).findings]


def test_without_identifiers_and_by_the_owner_s_word_it_passes():
    assert silent(*world(said=SAFE))


def test_what_no_class_can_show_is_not_known_without_the_owner_s_word():
    held = found(*world())
    assert (held.action, held.reason, held.private) == (Action.HOLD, Reason.STATEMENT_MISSING, True)
    assert all(item in held.message for item in WITHOUT_A_KEY)
    assert "too wide" not in held.message


def test_a_class_that_is_too_wide_to_tell_is_named():
    held = found(*world("user.contact"))
    assert held.action is Action.HOLD
    assert "the classes of extra are too wide to tell" in held.message
    assert silent(*world("user.contact", SAFE))


@pytest.mark.parametrize("key", sorted({k for keys in IDENTIFIERS.values() for k in keys}))
@pytest.mark.parametrize("said", [None, SAFE], ids=["unsaid", "safe harbour"])
def test_each_identifier_is_refused_whatever_the_owner_says(key, said):
    refused = found(*world(f"{key}", said))
    assert (refused.action, refused.path) == (Action.DENY, "spec.datasets[0].columns")
    assert refused.message.startswith("extra of clinic/visits")
    assert silent(*world(key, EXPERT))


def test_all_eighteen_are_listed():
    assert [name[0] for name in IDENTIFIERS] == list("ABCDEFGHIJKLMNOPQR")


@pytest.mark.parametrize("category", ["user.names", "user.contact.emails", "user.device.ip_address_range"])
def test_a_look_alike_is_no_identifier(category):
    assert found(*world(category)).action is Action.HOLD


def test_a_determination_ends():
    lasting = {**EXPERT, "expiresAt": "2027-01-01T00:00:00Z"}
    assert silent(*world("user.name", lasting))
    assert judged(*world("user.name", lasting)).valid_until.year == 2027
    over = {**EXPERT, "expiresAt": NOW.isoformat()}
    refused = found(*world("user.name", over))
    assert refused.action is Action.DENY
    assert "that moment is past" in refused.message


def test_data_that_is_not_about_health_is_not_concerned():
    job = change(JOB, "spec.datasets[0].columns", ["age", "extra"])
    assert "deidentification" not in [f.rule for f in decide(job, *world("user.name")).findings]


def test_a_health_category_counts_without_the_mark_of_special_category():
    job = change(JOB, "spec.datasets[0].columns", ["extra"])
    decision = decide(job, *world("user.health_and_medical.genetic"))
    assert finding(decision, "deidentification").action is Action.HOLD
    assert decision.verdict is not Verdict.ALLOW


def test_the_list_is_a_parameter():
    own = only("deidentification", identifiers="user.demographic.language")
    assert finding(decide(JOB, *world(said=SAFE), own), "deidentification").action is Action.DENY
