"""The seal by example: pods' statuses as a kubelet writes them, whose matter it is, and the pauses between attempts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.reasons import Reason
from mlprivacy.audit.seal import EXIT_NOT_CONFIRMED, EXIT_NOT_ENFORCED
from mlprivacy.controller.sealing import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Unsealed,
    next_attempt_at,
    seal_of,
    sealed,
    told,
    unsealed_attempt,
    unsealed_replica,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ENFORCE = "The pod is not sealed: the canary still answered over TCP and UDP."
WAITING = {"waiting": {"reason": "PodInitializing"}}
RUNNING = {"running": {"startedAt": "2026-06-01T12:00:00Z"}}
CRASHING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}


def ended(code, message="", reason="Error"):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "containerID": "containerd://1"}}


def container(name, state, last=None, restarts=0):
    return {"name": name, "state": state, "lastState": last or {}, "restartCount": restarts, "ready": False}


def status(seal, last=None, phase="Pending", sidecar=WAITING, trainer=WAITING, restarts=0):
    """A pod's status as the kubelet writes it: the probe, the native sidecar, the user's container."""
    return {
        "phase": phase,
        "initContainerStatuses": [
            container("mlprivacy-seal", seal, last, restarts), container("mlprivacy-accountant", sidecar),
        ],
        "containerStatuses": [container("trainer", trainer)],
    }  # fmt: skip


def pod(pod_status, name="p", **metadata):
    """As the controller keeps it."""
    return {
        "metadata": {"name": name, **metadata},
        "status": {"phase": pod_status["phase"], "seal": seal_of(pod_status)},
    }


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        ({}, {}),  # accepted, not on a node yet
        (status(WAITING), {}),
        (status(RUNNING), {}),
        (status(ended(0, reason="Completed")), {"sealed": True}),
        (status(ended(0), sidecar=RUNNING, trainer=RUNNING, phase="Running"), {"sealed": True, "began": True}),
        (status(ended(3, ENFORCE), phase="Failed"), {"code": 3, "sentence": ENFORCE}),
        # Its pod starts it again: what it said last counts until it ends well.
        (status(CRASHING, ended(3, ENFORCE), restarts=1), {"code": 3, "sentence": ENFORCE}),
        (status(RUNNING, ended(3, ENFORCE), restarts=2), {"code": 3, "sentence": ENFORCE}),
        (status(ended(0), ended(3, ENFORCE), restarts=2), {"sealed": True}),
        # The sandbox was made anew: it was sealed once, and is asked again.
        (status(RUNNING, ended(0), restarts=1), {}),
        # What ended without a word: killed for its memory, an image that can not be started, a traceback from its log.
        (
            status(ended(137, reason="OOMKilled")),
            {"code": 137, "sentence": "The seal probe ended with 137 (OOMKilled)."},
        ),
        (status(ended(1, "Traceback:\n  File x\nImportError: no y\n")), {"code": 1, "sentence": "ImportError: no y"}),
        # A node that lost sight of its containers says nothing of how they ended.
        (status(ended(137, "gone", "ContainerStatusUnknown"), phase="Failed"), {}),
        (
            status(ended(137, "gone", "ContainerStatusUnknown"), sidecar=ended(137), trainer=ended(137)),
            {"began": True},
        ),
    ],
)
def test_what_a_status_says_of_the_seal(seen, kept):
    assert seal_of(seen) == kept


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (EXIT_NOT_ENFORCED, Reason.SEAL_NOT_ENFORCED),
        (EXIT_NOT_CONFIRMED, Reason.SEAL_NOT_CONFIRMED),
        (1, Reason.SEAL_FAILED),
        (2, Reason.SEAL_FAILED),
        (137, Reason.SEAL_FAILED),
    ],
)
def test_the_exit_code_says_whose_matter_it_is(code, reason):
    assert Unsealed("p", code, "words").reason is reason


def test_an_attempt_in_which_anything_began_after_the_probe_was_not_held_at_its_seal():
    held = pod(status(ended(3, ENFORCE), phase="Failed"))
    assert unsealed_attempt([held]) == Unsealed("p", 3, ENFORCE)
    for other in ({"sidecar": RUNNING}, {"trainer": ended(1)}):
        assert unsealed_attempt([pod(status(ended(3, ENFORCE), phase="Failed", **other))]) is None


def test_of_several_replicas_the_worst_is_told_and_those_that_go_are_not():
    unconfirmed = pod(status(CRASHING, ended(4, "not confirmed")), "a")
    unenforced = pod(status(CRASHING, ended(3, ENFORCE)), "b")
    going = pod(status(CRASHING, ended(3, ENFORCE)), "c", deletionTimestamp="2026-06-01T12:00:00Z")
    evicted = pod(status(ended(3, ENFORCE), phase="Failed"), "d")
    well = pod(status(ended(0), sidecar=RUNNING, trainer=RUNNING, phase="Running"), "e")
    assert unsealed_replica([unconfirmed, unenforced, going, evicted, well]) == Unsealed("b", 3, ENFORCE)
    assert unsealed_replica([going, evicted, well]) is None
    assert sealed([unconfirmed, well])
    assert not sealed([unconfirmed, unenforced])


def test_a_replica_that_was_served_before_and_is_not_sealed_again_is_told():
    again = status(CRASHING, ended(3, ENFORCE), restarts=3)
    again["containerStatuses"] = [container("server", WAITING, ended(137), restarts=1)]
    assert unsealed_replica([pod(again)]) is not None


def test_the_status_says_since_when():
    stalled = {"type": "Stalled", "status": "True", "reason": "SealNotEnforced", "message": "words"}
    said = told([stalled | {"lastTransitionTime": "2026-06-01T12:00:00Z"}])
    assert (said.reason, said.message, said.since) == (Reason.SEAL_NOT_ENFORCED, "words", NOON)
    assert told([stalled]).since is None
    assert told([stalled | {"reason": "Refused"}]) is None
    assert told([stalled | {"status": "False"}]) is None
    assert told(None) is None


def test_the_pauses_double_from_a_minute_to_a_quarter_of_an_hour():
    pauses, since, failed = [], None, NOON
    for _ in range(8):
        due = next_attempt_at(failed, since)
        pauses.append(int((due - failed).total_seconds()))
        since = since or failed
        failed = due + timedelta(seconds=60)  # the probe's own deadline
    assert pauses == [60, 120, 300, 660, 900, 900, 900, 900]


def test_the_first_pause_is_the_installation_s():
    first = timedelta(seconds=5)
    assert next_attempt_at(NOON, None, first) - NOON == first
    assert next_attempt_at(NOON, NOON - timedelta(seconds=20), first) - NOON == timedelta(seconds=20)


@given(st.integers(-100, 10**6))
def test_no_clock_makes_a_pause_shorter_or_longer_than_that(seconds):
    pause = next_attempt_at(NOON, NOON - timedelta(seconds=seconds)) - NOON
    assert FIRST_PAUSE <= pause <= LONGEST_PAUSE
