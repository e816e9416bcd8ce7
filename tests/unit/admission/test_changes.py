"""Records of changes to what decisions rest on: who, before and after, what an approval did; a flood is counted."""

import ssl
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from builders import consent_scope, data_class, dataset, exception, grant, policy
from prometheus_client import CollectorRegistry

from mlprivacy.admission.changes import changed_event
from mlprivacy.admission.recording import Recording
from mlprivacy.admission.review import Answer, parse_review
from mlprivacy.admission.thrift import BURST, SUMMARY_SECONDS, Thrift
from mlprivacy.audit.record import Record
from mlprivacy.policy.model import canonical_digest

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KINDS = "/validate/kinds"
ALLOWED = Answer(allowed=True, verdict="Allow")
DENIED = Answer(allowed=False, verdict="Deny")
WAITING = exception(approved=False, approved_by=None)


def changed(review_of, new, old=None, answer=ALLOWED):
    event = changed_event(parse_review(orjson.dumps(review_of(new, old, user="olga"))), answer)
    assert Record.link("mlprivacy-admission", 1, "0" * 64, event).event == event  # what the collector does with it
    return event


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (None, WAITING, "asked"),
        (WAITING, exception(), "approved"),
        (exception(), WAITING, "revoked"),
        (exception(), exception(expiresAt="2026-06-10T00:00:00Z"), "changed"),
    ],
)
def test_of_an_exception_it_says_what_happened_and_who_did_it(review_of, old, new, what):
    event = changed(review_of, new, old)
    assert (event.kind, event.data["change"], event.data["by"]) == ("object-changed", what, "olga")
    assert event.data["workload"] == {"kind": "TrainingJob", "namespace": "research", "name": "diagnosis"}
    assert event.subject.name == "visits-dp"


def test_the_digests_are_of_the_specs_and_the_fields_are_named(review_of):
    old, new = policy(), policy(mode="Audit")
    data = changed(review_of, new, old).data
    assert (data["before"], data["after"]) == (canonical_digest(old["spec"]), canonical_digest(new["spec"]))
    assert data["fields"] == ["mode"]
    assert changed(review_of, new).data["before"] is None


@pytest.mark.parametrize("spec", [None, [], "x", {"workload": [1], "approval": 3, "rule": {"a": 1}}], ids=str)
def test_whatever_an_object_claims_there_is_a_record(review_of, spec):
    assert changed(review_of, exception() | {"spec": spec}, answer=DENIED).data["allowed"] is False


@pytest.mark.parametrize(
    "new", [policy(), data_class("another"), grant(), consent_scope(), dataset(), WAITING], ids=lambda o: o["kind"]
)
async def test_every_kind_that_decisions_rest_on_is_recorded_and_dry_runs_are_not(world, new):
    await world.ask(KINDS, new, dry_run=True)
    assert world.recorded == []
    await world.ask(KINDS, new)
    assert [line.split()[0] for line in world.recorded] == [new["metadata"]["name"]]


@pytest.mark.parametrize(("covers", "warned"), [([], True), ([{"path": "spec", "message": "this"}], False)])
async def test_whoever_approves_all_that_a_rule_finds_is_told(world, covers, warned):
    spec = {"covers": covers, "expiresAt": "2026-06-20T12:00:00Z"}
    old = exception(approved=False, approved_by=None, **spec)
    told = (await world.ask(KINDS, exception(**spec), old)).get("warnings", [])
    assert any("whatever dp-required finds" in line for line in told) is warned
    assert not any("whatever" in line for line in (await world.ask(KINDS, old)).get("warnings", []))


async def test_a_finalizer_or_a_label_is_no_change(world):
    old, new = grant(), grant()
    new["metadata"]["labels"] = {"a": "b"}
    await world.ask(KINDS, new, old)
    assert world.recorded == []


# -- a flood -----------------------------------------------------------------------------------------------------------


def test_of_one_namespace_the_first_refusals_are_recorded_and_then_one_a_minute():
    thrift, one = Thrift(), [NOW + timedelta(seconds=s / 10) for s in range(6000)]  # ten a second, for ten minutes
    recorded = sum(thrift.own_record("research", "TrainingJob", moment) for moment in one)
    assert BURST <= recorded <= BURST + 10
    assert thrift.own_record("clinic", "TrainingJob", one[-1])  # another namespace has its own


def test_what_was_not_recorded_by_itself_is_told_together():
    thrift = Thrift()
    moments = [NOW + timedelta(seconds=s / 10) for s in range(1000)]
    recorded = sum(thrift.own_record("research", "TrainingJob", moment) for moment in moments)
    assert list(thrift.summaries(moments[-1])) == []
    (told,) = thrift.summaries(moments[-1] + timedelta(seconds=SUMMARY_SECONDS))
    assert (told.kind, told.subject.name) == ("refusals", "research")
    assert told.data["count"] == 1000 - recorded
    assert told.data["kinds"] == {"TrainingJob": 1000 - recorded}
    assert (told.data["from"], told.data["to"]) == ("2026-06-01T00:00:06.000000Z", "2026-06-01T00:01:39.900000Z")
    assert list(thrift.summaries(moments[-1] + timedelta(days=1))) == []


class Recorder:
    """Keeps the events that would be sent."""

    def __init__(self):
        self.events = []

    def record(self, event):
        self.events.append(event)
        return True


@pytest.fixture
def recording():
    made = Recording(
        "https://127.0.0.1:1", ssl.create_default_context(), registry=CollectorRegistry(), clock=lambda: NOW
    )
    made._recorder = Recorder()
    return made


def reviews(review_of, count, new, old=None):
    for number in range(count):
        body = review_of(new, old)
        body["request"]["uid"] = f"review-{number}"
        yield parse_review(orjson.dumps(body))


def test_a_thousand_refusals_fill_no_volume_and_are_all_counted(recording, world, review_of):
    for review in reviews(review_of, 1000, world.job()):
        recording.record(review, DENIED)
    recording.summarise(all_of_them=True)
    events = recording._recorder.events
    assert [e.kind for e in events] == ["admission-decision"] * int(BURST) + ["refusals"]
    assert events[-1].data["count"] == 1000 - BURST


def test_what_was_let_through_is_recorded_each_time_whatever_was_refused(recording, world, review_of):
    for review in reviews(review_of, 200, world.job()):
        recording.record(review, DENIED)
        recording.record(review, ALLOWED)
    assert sum(e.data.get("allowed") is True for e in recording._recorder.events) == 200


def test_requests_without_end_drown_no_approval(recording, review_of):
    for review in reviews(review_of, 500, exception(approved=False, approved_by=None, reason="Again."), WAITING):
        recording.record(review, ALLOWED)
    for new, old in ((exception(), WAITING), (WAITING, exception())):
        for review in reviews(review_of, 1, new, old):
            recording.record(review, ALLOWED)
    changes = [e.data["change"] for e in recording._recorder.events]
    assert changes == ["changed"] * int(BURST) + ["approved", "revoked"]
