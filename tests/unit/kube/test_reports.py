"""Reports against an API server: written once, put right, removed; absent, refused, unreachable.

Matrix: definition (absent, there, later, gone) × report (none, as wanted, other, of an earlier process) × answer.
"""

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from builders import change, decide, training_job

from mlprivacy.controller.reports import Reports, as_kept
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import REPORTS
from mlprivacy.policy.model import Decision
from mlprivacy.report.openreports import content_digest, report_of, stored_bytes

VERSION = "/apis/openreports.io/v1alpha1"
KEY = JobKey("TrainingJob", "research", "diagnosis")
OTHER = JobKey("TrainingJob", "research", "other")
PATH = f"{VERSION}/namespaces/research/reports/mlp-trainingjob-diagnosis"
SERVED = {"kind": "APIResourceList", "resources": [{"name": "reports"}, {"name": "clusterreports"}]}
JOB = change(training_job(), "spec.purpose", "marketing")
REFUSED = decide(JOB)
QUIET = replace(REFUSED, findings=())
LINE = {"message": "patched by hand"}


def about(key: JobKey, decision: Decision = REFUSED) -> Decision:
    return replace(decision, subject=(*key, f"uid-{key.name}"))


class Announced:
    """Events that were said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def say(self, job: Any, type: str, reason: str, note: str) -> None:
        self.said.append((reason, note))


class Desk:
    """The reports of two jobs, and which jobs they want looked at again."""

    def __init__(self, api: Any, client: KubeClient) -> None:
        self.api = api
        self.events = Announced()
        self.wanted: list[JobKey] = []
        self.jobs = [KEY, OTHER]
        self.reports = Reports(client, self.events, self.jobs, self.wanted.append, backoff=(0.01, 0.05))  # type: ignore[arg-type]

    async def report(self, key: JobKey = KEY, decision: Decision = REFUSED, *, governed: bool = True) -> None:
        await self.reports.report(key, JOB, about(key, decision), governed=governed)

    async def next_look(self) -> None:
        await self.reports.look()
        self.reports._retry()

    @property
    def writes(self) -> list[str]:
        return [m for m, path, _ in self.api.requests if m != "GET" and "/reports" in path]

    def asked(self) -> list[JobKey]:
        """The jobs to be looked at again since the last call."""
        found = sorted(self.wanted)
        self.wanted.clear()
        return found


@pytest.fixture
async def absent(api: Any, client: KubeClient) -> AsyncIterator[Desk]:
    """A cluster without the definition."""
    desk = Desk(api, client)
    yield desk
    await desk.reports.stop()


@pytest.fixture
async def desk(absent: Desk, api: Any) -> Desk:
    """A cluster with it, of which it is known that there are no reports."""
    await api.put(VERSION, SERVED)
    await absent.reports.begin()
    await asyncio.sleep(0.02)
    absent.asked()
    return absent


# -- there or not ------------------------------------------------------------------------------------------------------


async def test_without_the_definition_nothing_is_read_written_or_said(absent: Desk, caplog: Any) -> None:
    await absent.reports.begin()
    await absent.report()
    await absent.next_look()
    assert [path for _, path, _ in absent.api.requests] == [VERSION, VERSION]
    assert (absent.asked(), absent.events.said) == ([], [])
    assert [r for r in caplog.records if r.levelno > logging.DEBUG] == []


async def test_a_definition_that_comes_later_has_every_job_looked_at(absent: Desk, eventually: Any) -> None:
    await absent.reports.begin()
    await absent.report()
    await absent.api.put(VERSION, SERVED)
    await absent.reports.look()
    await eventually(lambda: len(absent.wanted) == 2)
    assert absent.asked() == [KEY, OTHER]
    await absent.report()
    assert PATH in absent.api.objects


async def test_it_is_looked_for_twice_a_minute(absent: Desk, api: Any, client: KubeClient, eventually: Any) -> None:
    assert absent.reports._look_seconds == 30
    often = Reports(client, absent.events, absent.jobs, absent.wanted.append, look_seconds=0.02)  # type: ignore[arg-type]
    running = asyncio.create_task(often.run())
    await asyncio.sleep(0.05)
    await api.put(VERSION, SERVED)
    await eventually(lambda: absent.asked() == [KEY, OTHER])
    running.cancel()
    await often.stop()


async def test_another_resource_of_the_group_is_not_enough(absent: Desk, api: Any) -> None:
    await api.put(VERSION, {"resources": [{"name": "clusterreports"}]})
    await absent.reports.begin()
    await absent.report()
    assert absent.writes == []


async def test_a_definition_that_goes_ends_it_quietly(desk: Desk, api: Any) -> None:
    await desk.report()
    await api.remove(PATH)
    await api.remove(VERSION)
    await desk.reports.look()
    desk.asked()
    await desk.report()
    await desk.next_look()
    assert desk.writes == ["PATCH"]
    assert (desk.asked(), desk.events.said) == ([], [])


async def test_an_api_server_that_does_not_say_changes_nothing(desk: Desk, api: Any) -> None:
    api.fail(500, when=VERSION)
    await desk.reports.look()
    await desk.report()
    assert PATH in api.objects


async def test_reports_that_may_not_be_read_are_told_once(absent: Desk, api: Any, caplog: Any) -> None:
    await api.put(VERSION, SERVED)
    for _ in range(3):
        api.fail(403, when="/reports")
        await absent.reports.look()
    assert [r.message.startswith("no reports are written") for r in caplog.records if r.levelno >= logging.WARNING] == [
        True
    ]
    await absent.reports.look()
    assert absent.reports._informer is not None


# -- one job -----------------------------------------------------------------------------------------------------------


async def test_it_is_written_as_built_by_server_side_apply_and_not_twice(desk: Desk, api: Any) -> None:
    for _ in range(3):
        await desk.report()
        await asyncio.sleep(0.02)
    assert desk.writes == ["PATCH"]
    query = next(q for m, path, q in api.requests if m == "PATCH" and path == PATH)
    assert (query["fieldManager"], query["force"]) == ("mlprivacy-controller", "true")
    assert content_digest(api.objects[PATH]) == content_digest(report_of(about(KEY)) or {})
    assert desk.asked() == []  # our own write is no news


async def test_it_is_not_written_twice_while_the_watch_lags(desk: Desk) -> None:
    informer = desk.reports._informer
    assert informer is not None
    await informer.stop()
    await desk.report()
    await desk.report()
    assert desk.writes == ["PATCH"]
    desk.reports._now = lambda: 1e12
    await desk.report()  # it should have been shown by now
    assert desk.writes == ["PATCH", "PATCH"]


async def test_a_process_that_starts_anew_writes_what_differs_alone(desk: Desk, api: Any, client: KubeClient) -> None:
    await desk.report()
    await desk.report(OTHER)
    again = Desk(api, client)
    await again.reports.begin()
    api.requests.clear()
    await again.report()
    await again.report(OTHER, replace(REFUSED, findings=REFUSED.findings[:1]))
    assert [path for m, path, _ in api.requests if m == "PATCH"] == [PATH.replace("diagnosis", "other")]
    await again.reports.stop()


async def test_findings_that_vanish_take_it_away(desk: Desk, api: Any, eventually: Any) -> None:
    await desk.report()
    await eventually(lambda: desk.reports._informer.get("research", "mlp-trainingjob-diagnosis"))
    await desk.report(decision=QUIET)
    assert PATH not in api.objects
    await asyncio.sleep(0.02)
    await desk.report(decision=QUIET)
    assert desk.writes == ["PATCH", "DELETE"]
    assert desk.asked() == []


async def test_it_goes_even_if_the_watch_has_not_shown_it_yet(desk: Desk, api: Any, eventually: Any) -> None:
    await desk.report()
    desk.reports._told.pop(KEY)  # as if the findings vanished before
    await api.put(PATH, api.objects[PATH])
    await eventually(lambda: KEY in desk.wanted)


async def test_a_namespace_that_is_not_governed_has_none(desk: Desk, eventually: Any) -> None:
    await desk.report(governed=False)
    assert desk.writes == []
    await desk.report()
    await eventually(lambda: desk.reports._informer.get("research", "mlp-trainingjob-diagnosis"))
    await desk.report(governed=False)
    assert desk.writes == ["PATCH", "DELETE"]


async def test_what_others_change_or_remove_is_put_right(desk: Desk, api: Any, eventually: Any) -> None:
    await desk.report()
    await asyncio.sleep(0.02)
    await api.put(PATH, {**api.objects[PATH], "results": [LINE]})
    await eventually(lambda: desk.asked() == [KEY])
    await desk.report()
    assert LINE not in api.objects[PATH]["results"]
    await asyncio.sleep(0.02)
    await api.remove(PATH)
    await eventually(lambda: desk.asked() == [KEY])
    await desk.report()
    assert PATH in api.objects


async def test_a_report_that_no_decision_made_is_looked_at(desk: Desk, api: Any, eventually: Any) -> None:
    await api.put(PATH, {"results": [LINE]})
    await eventually(lambda: desk.asked() == [KEY])
    await desk.report(decision=QUIET)
    assert PATH not in api.objects
    await api.put(f"{VERSION}/namespaces/research/reports/of-somebody", {"results": [LINE]})
    await asyncio.sleep(0.05)
    assert desk.asked() == []


async def test_a_definition_that_drops_a_field_is_written_once(desk: Desk, api: Any, eventually: Any) -> None:
    """An older one does not know every field."""
    real = api.put

    async def put(path: str, obj: Any) -> Any:
        return await real(path, {k: v for k, v in obj.items() if k != "source"})

    api.put = put
    await desk.report()
    await eventually(lambda: desk.reports._informer.get("research", "mlp-trainingjob-diagnosis"))
    desk.asked()  # the watch may be faster than the answer
    for _ in range(2):
        await desk.report()
    assert desk.writes == ["PATCH"]
    assert desk.asked() == []


# -- refused -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 422])
async def test_a_refusal_is_told_once_and_tried_by_one_job_until_it_works(
    desk: Desk, api: Any, caplog: Any, status: int
) -> None:
    api.fail(status, when="/reports/")
    await desk.report()
    await desk.report(OTHER)
    await desk.report()
    assert desk.writes == ["PATCH"]  # the others wait
    assert [reason for reason, _ in desk.events.said] == ["ReportNotWritten"]
    assert "research" in desk.events.said[0][1]
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1

    api.fail(status, when="/reports/")
    desk.reports._retry()
    assert desk.asked() == [KEY]
    await desk.report()
    assert desk.writes == ["PATCH", "PATCH"]
    desk.reports._retry()
    assert desk.asked() == [KEY]
    await desk.report()
    assert desk.asked() == [OTHER]
    await desk.report(OTHER)
    assert desk.writes == ["PATCH"] * 4
    assert len(desk.events.said) == 1


async def test_a_namespace_that_refuses_does_not_stop_the_others(desk: Desk, api: Any) -> None:
    elsewhere = JobKey("TrainingJob", "clinic", "diagnosis")
    api.fail(403, when="/namespaces/research/")
    await desk.report()
    await desk.report(elsewhere)
    assert PATH.replace("research", "clinic") in api.objects


async def test_jobs_that_are_gone_are_not_tried(desk: Desk, api: Any) -> None:
    api.fail(403, when="/reports/")
    await desk.report()
    desk.jobs.clear()
    desk.reports.forget(KEY)
    desk.reports._retry()
    assert desk.asked() == []
    assert desk.reports._refused == {}


async def test_a_namespace_on_its_way_out_is_no_refusal(desk: Desk, api: Any) -> None:
    body = (
        '{"kind": "Status", "code": 403, "reason": "Forbidden", "message": "being terminated",'
        ' "details": {"causes": [{"reason": "NamespaceTerminating"}]}}'
    )
    api.fail(403, when="/reports/", body=body)
    await desk.report()
    assert desk.events.said == []


async def test_what_passes_is_tried_again_at_the_next_look(desk: Desk, api: Any) -> None:
    api.fail(409, when="/reports/")
    await desk.report()
    assert (desk.asked(), desk.events.said) == ([], [])
    await desk.next_look()
    assert desk.asked() == [KEY]
    await desk.report()
    assert PATH in api.objects
    await desk.next_look()
    assert desk.asked() == []


async def test_a_namespace_that_is_gone_is_nobodys_concern(desk: Desk, api: Any) -> None:
    api.fail(404, when="/reports/")
    await desk.report()
    await desk.next_look()
    assert (desk.asked(), desk.events.said) == ([], [])


async def test_a_fault_of_ours_fails_no_reconcile(desk: Desk, monkeypatch: Any, caplog: Any) -> None:
    def broken(_: Decision) -> None:
        raise KeyError("x")

    monkeypatch.setattr("mlprivacy.controller.reports.report_of", broken)
    await desk.report()
    assert "a fault of ours" in caplog.text


# -- ten thousand ------------------------------------------------------------------------------------------------------


async def test_ten_thousand_reports_cost_little_memory(client: KubeClient) -> None:
    """As full as they can be; what is kept of each, with what was told of it. A tenth of them is looked at."""
    keys = [JobKey("TrainingJob", f"team-{n % 50}", f"job-{n:05}-{'x' * 28}") for n in range(1_000)]
    made = report_of(about(KEY, replace(REFUSED, findings=REFUSED.findings[:1] * 40)))
    assert made is not None
    assert stored_bytes(made) > 4000
    told = Reports(client, Announced(), keys, lambda _: None)  # type: ignore[arg-type]
    told._informer = Informer(client, REPORTS, transform=as_kept, name="memory")
    told._informer._synced.set()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number, key in enumerate(keys):
        place = {"name": f"mlp-trainingjob-{key.name}", "namespace": key.namespace}
        given = {"uid": f"{number:036}", "resourceVersion": str(number)}
        obj = {**made, "metadata": {**made["metadata"], **place, **given}}
        told._informer._store(obj)
        assert told._stands(told._informer, key, content_digest(obj))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(told._told) == 1_000
    assert used * 10 < 16 * 2**20
