"""What is no review that can be read and decided is refused: any path, any type, any bytes, any error of our own."""

import asyncio
import io
import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlprivacy.admission.handler import KINDS, LARGE, LARGE_AT_ONCE
from mlprivacy.admission.logs import DecisionLog, JsonFormatter
from mlprivacy.admission.review import Answer

PATHS = ("/mutate/stamp", "/validate/kinds", "/validate/pods")
ANYTHING = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def refused(reply) -> bool:
    """True when the API server takes this answer for a no: an error status, or a review that is not allowed."""
    return reply.status >= 400 or json.loads(reply.body)["response"]["allowed"] is False


@ANYTHING
@given(body=st.binary(max_size=300), path=st.sampled_from(PATHS))
async def test_bytes_are_refused(world, body, path) -> None:
    assert refused(await world.send(path, body))


@ANYTHING
@given(value=json_values, path=st.sampled_from(PATHS))
async def test_any_json_is_refused(world, value, path) -> None:
    assert refused(await world.send(path, json.dumps(value).encode()))


@ANYTHING
@given(spec=json_values, path=st.sampled_from(PATHS[1:]))
async def test_a_job_with_any_spec_is_refused(world, review_of, spec, path) -> None:
    job = world.job() | {"spec": spec}

    assert refused(await world.send(path, review_of(job)))


@ANYTHING
@given(key=st.sampled_from(["kind", "resource", "object", "userInfo", "uid", "operation", "name"]), value=json_values)
async def test_a_review_with_anything_in_a_field_never_fails(world, review_of, key, value) -> None:
    sent = review_of(world.job())
    sent["request"][key] = value

    for path in PATHS:
        reply = await world.send(path, sent)
        assert reply.status in (200, 400)
        assert b"error of its own" not in reply.body


@ANYTHING
@given(labels=st.dictionaries(st.sampled_from(["mlprivacy.dev/rendered", "mlprivacy.dev/job-uid", "x"]), json_values))
async def test_pods_with_any_of_our_labels_are_refused(world, review_of, labels) -> None:
    pod = world.pod(world.job())
    pod["metadata"]["labels"] = labels | {"mlprivacy.dev/training-job": "diagnosis"}

    assert refused(await world.send("/validate/pods", review_of(pod)))


@pytest.mark.parametrize(
    "path", ["/", "/validate", "/validate/kinds/", "/validate/nosuch", "//validate/kinds", "/metrics"]
)
async def test_an_unknown_path_is_refused(world, review_of, path) -> None:
    reply = await world.send(path, review_of(world.job()))

    assert reply.status == 404
    assert b"there is nothing at this path" in reply.body


async def test_another_content_type_is_refused(world, review_of) -> None:
    for content_type in ("text/plain", "", "application/json-patch+json", "application/yaml"):
        reply = await world.send("/validate/kinds", review_of(world.job()), content_type=content_type)
        assert reply.status == 415
    assert not refused(
        await world.send("/validate/kinds", review_of(world.job()), content_type="application/json; charset=utf-8")
    )


@pytest.mark.parametrize("version", ["admission.k8s.io/v1beta1", "v1", None])
async def test_only_v1_is_served(world, review_of, version) -> None:
    reply = await world.send("/validate/kinds", review_of(world.job()) | {"apiVersion": version})

    answer = json.loads(reply.body)["response"]
    assert not answer["allowed"]
    assert answer["uid"] == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert "admission.k8s.io/v1" in answer["status"]["message"]


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT", "create", ""])
async def test_other_operations_are_refused(world, review_of, operation) -> None:
    sent = review_of(world.job())
    sent["request"]["operation"] = operation

    assert refused(await world.send("/validate/kinds", sent))


async def test_deep_nesting_is_refused(world) -> None:
    depth = 100_000
    body = (
        b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":' + b"[" * depth + b"]" * depth + b"}"
    )

    assert refused(await world.send("/validate/kinds", body))


async def test_a_deeply_nested_spec_is_refused(world, review_of) -> None:
    deep: object = 1
    for _ in range(200):
        deep = {"a": deep}
    job = world.job()
    job["spec"]["template"]["spec"]["affinity"] = {"nodeAffinity": deep}

    reply = await world.send("/validate/kinds", json.dumps(review_of(job)).encode())

    assert reply.status == 200


async def test_an_error_of_our_own_refuses_and_hides_its_cause(world, review_of, monkeypatch, caplog) -> None:
    async def broken(raw: object, now: object, **_: object) -> None:
        raise RuntimeError("password=hunter2 in /etc/passwd")

    monkeypatch.setattr(world, "gather", broken)

    with caplog.at_level(logging.ERROR):
        reply = await world.send("/validate/kinds", review_of(world.job()))

    answer = json.loads(reply.body)["response"]
    assert not answer["allowed"]
    assert answer["status"]["code"] == 500
    assert b"hunter2" not in reply.body
    identity = caplog.records[-1].__dict__["id"]
    assert identity in answer["status"]["message"], "the id of the answer is found in the log"


async def test_a_dry_run_gets_the_same_answer_and_leaves_nothing(world, review_of) -> None:
    job = world.job()
    bad = job | {"spec": job["spec"] | {"purpose": "marketing"}}

    for obj in (job, bad):
        real = await world.send("/validate/kinds", review_of(obj))
        count = len(world.recorded)
        rehearsal = await world.send("/validate/kinds", review_of(obj, dry_run=True))
        assert rehearsal.body == real.body
        assert len(world.recorded) == count

    assert world.recorded == ["diagnosis Allow", "diagnosis Deny"]


async def test_the_log_names_objects_and_rules_but_no_person(world, review_of) -> None:
    await world.send("/validate/kinds", review_of(world.job(), user="alice@clinic.example"))

    (line,) = world.logged
    assert (line["verdict"], line["object"], line["namespace"]) == ("Allow", "diagnosis", "research")
    assert "alice" not in json.dumps(line)


async def test_a_decision_is_one_line_of_json_and_is_written_soon() -> None:
    stream = io.BytesIO()
    log = DecisionLog(stream, every=0.01)

    log({"message": "decision", "object": "a\nb"})
    log({"message": "decision", "object": "c"})
    async with asyncio.timeout(20):
        while not stream.getvalue():  # noqa: ASYNC110 - a stream has no event
            await asyncio.sleep(0.01)

    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["object"], second["object"]) == ("a\nb", "c")
    assert first["logger"] == "mlprivacy.decisions"


def test_log_records_are_json_with_what_they_carry() -> None:
    record = logging.makeLogRecord(
        {"name": "x", "levelno": 40, "levelname": "ERROR", "msg": "no %s", "args": ("way",), "id": "7"}
    )

    assert json.loads(JsonFormatter().format(record)) | {"time": ""} == {
        "time": "",
        "level": "error",
        "logger": "x",
        "message": "no way",
        "id": "7",
    }


async def test_a_very_large_job_is_refused_before_anything_of_it_is_read(world, review_of) -> None:
    job = world.job()
    job["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": f"v{i}", "value": ""} for i in range(30_000)]

    answer = json.loads((await world.send(KINDS, review_of(job))).body)["response"]

    assert (answer["allowed"], answer["status"]["code"]) == (False, 422)
    assert "spec: is larger than 128 KiB" in answer["status"]["message"]
    assert world.gathered == 0


async def test_a_very_large_job_from_before_can_be_suspended_and_made_smaller(world, review_of) -> None:
    large, small = world.job(), world.job()
    large["spec"]["template"]["spec"]["containers"][0]["args"] = ["x" * 1_000_000]
    suspended = {**large, "spec": {**large["spec"], "suspend": True}}

    assert (await world.ask(KINDS, suspended, large))["allowed"]
    assert (await world.ask(KINDS, small, large))["allowed"]
    assert not (await world.ask(KINDS, {**large, "spec": {**large["spec"], "trials": 2}}, large))["allowed"]


async def test_of_large_reviews_two_are_answered_at_once_and_small_ones_in_between(world, review_of) -> None:
    under_way, most, small = 0, 0, asyncio.Event()

    async def slow(*_: object, **__: object) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await small.wait()
        under_way -= 1
        return Answer(allowed=True)

    world.handler._answer = slow
    job = world.job()
    job["metadata"]["annotations"] = {"x": "x" * (LARGE + 1)}
    large = [asyncio.create_task(world.send(KINDS, review_of(job))) for _ in range(8)]
    await asyncio.sleep(0.05)
    assert (under_way, most) == (LARGE_AT_ONCE, LARGE_AT_ONCE)
    waiting = asyncio.create_task(world.send(KINDS, review_of(world.job())))
    await asyncio.sleep(0.05)
    assert under_way == LARGE_AT_ONCE + 1  # the small one waits for nobody
    small.set()
    assert {reply.status for reply in await asyncio.gather(waiting, *large)} == {200}
    assert most <= LARGE_AT_ONCE + 1
