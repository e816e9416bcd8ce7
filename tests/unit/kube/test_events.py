"""Events: the same content has the same name in every process, repeats become a series, failures stay silent."""

import pytest

from mlprivacy.kube.events import EventRecorder, event_name

JOB = {
    "apiVersion": "mlprivacy.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "diagnosis", "namespace": "research", "uid": "u1", "resourceVersion": "5"},
}


def recorder(client, **options):
    return EventRecorder(client, "mlprivacy.dev/controller", "pod-1", **options)


def events(api):
    return [obj for path, obj in api.objects.items() if "/events/" in path]


async def test_an_event_tells_what_happened_to_whom(api, client):
    await recorder(client).publish(JOB, "Warning", "Refused", "purpose-limitation: …", action="Decide")
    (event,) = events(api)
    assert event["regarding"]["name"] == "diagnosis"
    assert event["regarding"]["uid"] == "u1"
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "Refused", "Decide")
    assert event["metadata"]["namespace"] == "research"
    assert event["reportingController"] == "mlprivacy.dev/controller"


async def test_a_restarted_process_continues_the_series(api, client):
    for _ in range(3):
        await recorder(client).publish(JOB, "Normal", "Rendered", "six objects")
    (event,) = events(api)
    assert event["series"]["count"] == 3


async def test_one_process_does_not_repeat_itself(api, client):
    events_of_one = recorder(client)
    for _ in range(3):
        await events_of_one.publish(JOB, "Normal", "Rendered", "six objects")
    assert len(api.requests) == 1
    await events_of_one.publish(JOB, "Normal", "Rendered", "seven objects")
    assert len(events(api)) == 2


async def test_cluster_scoped_objects_have_their_events_in_default(api, client):
    policy = {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "PrivacyPolicy", "metadata": {"name": "eu", "uid": "u"}}
    await recorder(client).publish(policy, "Normal", "Loaded", "two packs")
    assert events(api)[0]["metadata"]["namespace"] == "default"


async def test_an_event_that_can_not_be_written_does_no_harm_and_is_tried_again(api, client):
    events_of_one = recorder(client)
    api.fail(403)
    await events_of_one.publish(JOB, "Normal", "Rendered", "six objects")
    assert events(api) == []
    await events_of_one.publish(JOB, "Normal", "Rendered", "six objects")
    assert len(events(api)) == 1


async def test_long_notes_are_cut_and_odd_reasons_refused(api, client):
    await recorder(client).publish(JOB, "Normal", "Rendered", "ü" * 5000)
    assert len(events(api)[0]["note"].encode()) <= 1024
    with pytest.raises(ValueError, match="CamelCase"):
        await recorder(client).publish(JOB, "Normal", "two words", "x")


def test_names_differ_by_object_reason_and_note_and_fit():
    base = event_name(JOB, "c", "Normal", "Rendered", "x")
    other = {**JOB, "metadata": {**JOB["metadata"], "uid": "u2"}}
    names = {
        base,
        event_name(other, "c", "Normal", "Rendered", "x"),
        event_name(JOB, "c", "Normal", "Refused", "x"),
        event_name(JOB, "c", "Normal", "Rendered", "y"),
    }
    assert len(names) == 4
    long = {**JOB, "metadata": {"name": "a" * 253}}
    assert len(event_name(long, "c", "Normal", "Rendered", "x")) <= 253
