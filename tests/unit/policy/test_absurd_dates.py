"""Dates that the schema takes and the calendar does not: nothing raises, and nothing is opened by one."""

import pytest
from builders import asked, change, dataset, decide, finding, grant, only, training_job

from mlprivacy.policy.durations import end_at
from mlprivacy.policy.model import Action, canonical_digest

BEYOND = ["9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999999-00:01"]
BEFORE = ["1000-01-01T00:00:00+14:00", "1000-01-01T00:00:00Z"]
REFERENCE = "https://clinic.example/record"
DATES = pytest.mark.parametrize("date", [*BEYOND, *BEFORE])


@DATES
def test_a_contract(date):
    contract = {"reference": REFERENCE, "expiresAt": date}
    on = only("processor-contract")
    decision = decide(training_job(), grant(processorContract=contract), on, roles={"research": "processor"})
    assert finding(decision, "processor-contract").action is Action.DENY


@DATES
def test_a_determination(date):
    said = {"method": "ExpertDetermination", "reference": REFERENCE, "expiresAt": date}
    decision = decide(training_job(), dataset(deidentification=said), only("deidentification"))
    assert finding(decision, "deidentification").action is Action.DENY


@DATES
def test_an_assessment(date):
    digest = canonical_digest({"purpose": "train_ai_system", "dataClasses": ["health"], "model": ""})
    said = {"reference": REFERENCE, "digest": digest, "expiresAt": date}
    job = change(training_job(datasets=[asked(columns=["diagnosis"])]), "spec.impactAssessment", said)
    found = finding(decide(job, only("impact-assessment")), "impact-assessment")
    assert (found.action, found.path) == (Action.HOLD, "spec.impactAssessment.expiresAt")


@pytest.mark.parametrize("written", [*BEYOND, "9999-99-99", "0000-01-01", "T", "", "-", "2027-01-01T25:00:00Z"])
def test_an_attestation(written):
    job = change(training_job(), "metadata.annotations", {"mlprivacy.dev/requested-by": "alice"})
    decision = decide(job, only("trained-personnel"), attestations={"alice": written})
    assert finding(decision, "trained-personnel").action is Action.HOLD


def test_the_last_moment_of_the_calendar_is_one():
    assert end_at("9999-12-31T23:59:59Z").year == 9999
