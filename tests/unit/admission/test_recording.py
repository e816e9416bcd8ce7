"""Audit records of decisions: what they hold, that a repeated call is one event, and that a broken one hurts nobody."""

import ssl

import orjson

from mlprivacy.admission.recording import Recording, event_of
from mlprivacy.admission.review import Answer, parse_review

DIGEST = "sha256:" + "0" * 64
DENIED = Answer(
    allowed=False,
    verdict="Deny",
    digest=DIGEST,
    rules=(("egress", "Deny"), ("dp-required", "Deny"), ("egress", "Deny")),
)


def parsed(world, review_of, **options):
    return parse_review(orjson.dumps(review_of(world.job(), **options)))


def test_an_event_says_what_was_decided_on_and_by_which_rules(world, review_of) -> None:
    event = event_of(parsed(world, review_of, user="alice@clinic.example"), DENIED)

    assert event.kind == "admission-decision"
    assert (event.subject.namespace, event.subject.name) == ("research", "diagnosis")
    assert event.data == {
        "operation": "CREATE",
        "allowed": False,
        "verdict": "Deny",
        "digest": DIGEST,
        "rules": ["dp-required", "egress"],
    }
    assert "alice" not in str(event.as_dict())


def test_the_same_review_is_the_same_event(world, review_of) -> None:
    one, two = (event_of(parsed(world, review_of), DENIED) for _ in range(2))

    assert one.id == two.id
    assert one.id != event_of(parsed(world, review_of), Answer(allowed=True, verdict="Allow", digest=DIGEST)).id


async def test_a_decision_that_can_not_be_recorded_is_no_error(world, review_of) -> None:
    recording = Recording("https://127.0.0.1:1", ssl.create_default_context())
    review = parsed(world, review_of)._replace(name="x" * 10_000)

    recording.record(review, DENIED)
