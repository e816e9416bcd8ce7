"""Sidecars that the collector does not hear: when a job says so, when training is stopped, and what starts it again."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, decide, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.audit.client import CollectorUnavailable, PodHeard
from mlprivacy.controller import heartbeats
from mlprivacy.controller.heartbeats import Heartbeats
from mlprivacy.controller.plan import Phase, Plan, Seen, Step, plan_inference, plan_training
from mlprivacy.controller.silence import Patience, Silence
from mlprivacy.controller.status import Outcome, job_status

ALLOWED = decide(training_job())
PATIENCE = Patience(60, 300)
SILENT, TOO_LONG = Silence(PATIENCE, too_long=False), Silence(PATIENCE, too_long=True)
JOB = Seen("mlp-diagnosis-1", "uid-1", 1, ALLOWED.digest, suspended=False, running=True, sealed=True)
STARTED = {"attempt": 1, "startedAt": "2026-06-01T11:00:00Z"}


def plan(*jobs: Seen, status: Any = STARTED, suspend: bool = False) -> Plan:
    return plan_training(
        status, ALLOWED, jobs, suspend=suspend, pods_alive=False, ttl_seconds=None, controls_left=True, now=NOW
    )


def conditions(status: Any) -> dict[str, str]:
    return {c["type"]: f"{c['status']}/{c['reason']}" for c in status["conditions"]}


def reported(found: Plan) -> Any:
    outcome = Outcome(found.phase, found.reason, found.message, attempt=found.attempt, started_at=STARTED["startedAt"])
    return job_status(training_job(), ALLOWED, outcome, NOW)


def test_a_job_that_runs_unheard_goes_on_and_says_so() -> None:
    found = plan(replace(JOB, silence=SILENT))
    assert (found.step, found.phase, found.reason) == (Step.KEEP, Phase.RUNNING, Reason.SIDECAR_SILENT)
    told = conditions(reported(found))
    assert (told["Running"], told["Stalled"]) == ("True/SidecarSilent", "False/Progressing")
    assert conditions(reported(plan(JOB)))["Running"] == "True/AttemptRunning"


def test_a_sidecar_that_does_not_answer_the_kubelet_either_is_no_way_out() -> None:
    """Its pod runs and is not ready then, so its Job counts no ready pod."""
    assert plan(replace(JOB, running=False, silence=SILENT)).phase is Phase.RUNNING
    assert plan(replace(JOB, running=False, silence=TOO_LONG)).step is Step.STOP


def test_training_that_nothing_meters_is_stopped_until_people_decide() -> None:
    found = plan(replace(JOB, silence=TOO_LONG))
    assert (found.step, found.phase, found.reason) == (Step.STOP, Phase.STOPPED, Reason.SIDECAR_SILENT)
    status = reported(found)
    told = conditions(status)
    assert (told["Suspended"], told["Stalled"]) == ("True/SidecarSilent", "True/SidecarSilent")

    stopped = replace(JOB, suspended=True, running=False)
    later = plan(stopped, status=status)
    assert (later.step, later.phase, later.message) == (Step.REST, Phase.STOPPED, found.message)
    assert plan(status=status).step is Step.REST  # others deleted its Job
    assert plan(replace(stopped, digest="sha256:old"), status=status).step is Step.END  # it was edited

    suspended = reported(plan(stopped, status=status, suspend=True))
    assert conditions(suspended)["Suspended"] == "True/SuspendedByUser"
    again = plan(stopped, status=suspended)
    assert (again.step, again.attempt) == (Step.END, 2)


def test_a_patience_without_end_never_stops() -> None:
    heard = Heartbeats(Nobody(), Patience(60, 0), lambda *_: None)
    heard.take([PodHeard("n", "p", "u", 1e6)])
    silence = heard.silence(["u"])
    assert silence is not None
    assert not silence.too_long
    assert "stopped" not in silence.while_it_runs(training=True)


def test_a_served_model_goes_on_and_says_so() -> None:
    found = plan_inference(ALLOWED, replace(JOB, silence=TOO_LONG), suspend=False, replicas=1)
    assert (found.step, found.phase, found.reason) == (Step.KEEP, Phase.RUNNING, Reason.SIDECAR_SILENT)
    found = plan_inference(ALLOWED, replace(JOB, running=False, silence=TOO_LONG), suspend=False, replicas=1)
    assert (found.step, found.phase, found.reason) == (Step.KEEP, Phase.STARTING, Reason.SIDECAR_SILENT)


class Nobody:
    """A collector that is away."""

    async def silent_pods(self, seconds: int) -> list[PodHeard]:
        raise CollectorUnavailable("away")


class Answers:
    """A collector with these answers; None is an outage."""

    def __init__(self, *answers: list[PodHeard] | None) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []
        self.all_asked = asyncio.Event()

    async def silent_pods(self, seconds: int) -> list[PodHeard]:
        self.asked.append(seconds)
        if not self.answers:
            self.all_asked.set()
        answer = self.answers.pop(0) if self.answers else None
        if answer is None:
            raise CollectorUnavailable("away")
        return answer


def pod(seconds: float, uid: str = "u") -> PodHeard:
    return PodHeard("research", f"pod-{uid}", uid, seconds)


def test_a_job_is_looked_at_where_a_silence_passes_a_limit_or_ends() -> None:
    changed: list[str] = []
    heard = Heartbeats(Nobody(), PATIENCE, lambda _, name: changed.append(name))
    for answer, expected in (
        ([], None),
        ([pod(61)], SILENT),
        ([pod(76), pod(60, "other")], SILENT),
        ([pod(301), pod(75, "other")], TOO_LONG),
        ([pod(75, "other")], None),
    ):
        heard.take(answer)
        assert heard.silence(["u", "unknown"]) == expected
    assert changed == ["pod-u", "pod-other", "pod-u", "pod-u"]


async def test_while_the_collector_is_away_nothing_gets_older_and_nothing_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeats, "EVERY", 0.001)
    source = Answers([pod(100)], None, None)
    heard = Heartbeats(source, PATIENCE, lambda *_: None)
    asking = asyncio.create_task(heard.run())
    async with asyncio.timeout(30):
        await source.all_asked.wait()
    asking.cancel()
    assert heard.silence(["u"]) == SILENT
    assert source.asked[0] == 60
