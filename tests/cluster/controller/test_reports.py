"""Reports of openreports.io on a real API server: absent, installed later, kept right, refused, taken along.

On a control plane of its own, since its definitions and the controller's rights are changed. The definition is the
recorded one (openreports-crd.yaml). The tests build on each other's cluster and not on each other's objects.
"""

import json
import time
from pathlib import Path

import pytest

from devstack import DevStack
from mlprivacy.report.openreports import OBJECT_BYTES

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
CRD = Path(__file__).parent / "openreports-crd.yaml"
REPORTS = "reports.openreports.io"
OURS = "mlp-trainingjob-study"
CONTROLLER = "system:serviceaccount:mlprivacy-system:mlprivacy-controller"


@pytest.fixture(scope="module")
def own(private_cluster, tmp_path_factory):
    """The whole operator."""
    folder = tmp_path_factory.mktemp("reports")
    with DevStack(private_cluster, folder, extra={"collector": ["--simulated-nodes"]}) as running:
        yield running


@pytest.fixture
def world(own, make_world):
    """A world on that control plane, whatever is installed there."""
    made = make_world(own.cluster)
    made.data()
    yield made
    made.close()


@pytest.fixture
def installed(own, world):
    """A world where reports are written."""
    own.cluster.kubectl("apply", "-f", str(CRD))
    own.cluster.kubectl("wait", "--for=condition=Established", f"crd/{REPORTS}", "--timeout=30s")
    return world


LOST = {"name": "lost", "columns": ["age"], "mountPath": "/data/lost"}


def held(world, name="study"):
    """A job that waits for a dataset. One that breaks a rule would not pass admission."""
    return world.training_job(name, datasets=[LOST])


def found(world, purpose="train_ai_system"):
    """The dataset it waits for."""
    made = world.dataset(
        identity=f"urn:{world.namespace}:lost",
        source={"uri": f"s3://{world.namespace}/lost/*.parquet", "format": "Parquet"},
        uses=[{"purpose": purpose, "processing": "Training", "legalBasis": "eu-gdpr:A6-1-f"}],
    )
    made["metadata"]["name"] = "lost"
    return made


def report_on(world, name="study", which=lambda report: True):
    """The report on a job, once it is there and as asked."""

    def look():
        found = world.get(REPORTS, f"mlp-trainingjob-{name}")
        return found if found and which(found) else None

    return world.eventually(look, f"the report on {name}")


def gone(world, name="study"):
    return world.eventually(lambda: world.get(REPORTS, f"mlp-trainingjob-{name}") is None, f"no report on {name}")


def lines(own, word):
    """Lines of the controller's log."""
    log = (own.directory / "logs" / "controller.log").read_text(encoding="utf-8")
    return [line for line in log.splitlines() if word in line]


def test_a_definition_that_is_installed_later_is_noticed_within_a_minute(own, world):
    world.apply(held(world))
    world.until("Accepted", "Unknown")
    assert lines(own, "openreports") == []

    began = time.monotonic()
    own.cluster.kubectl("apply", "-f", str(CRD))
    report_on(world)
    assert time.monotonic() - began < 60


def test_a_report_says_what_the_status_says_and_who_owns_it(own, installed):
    world = installed
    world.apply(held(world))
    report = report_on(world)

    job = world.until("Accepted", "Unknown")
    findings = job["status"]["decision"]["findings"]
    assert [(r["rule"], r["properties"]["action"], r["properties"]["path"]) for r in report["results"]] == [
        (f["rule"], f["action"], f["path"]) for f in findings
    ]
    assert report["summary"]["warn"] == len(findings) > 0
    (owner,) = report["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("TrainingJob", "study", job["metadata"]["uid"])
    shown = own.cluster.kubectl("get", "reports", "-n", world.namespace, "--no-headers").stdout.split()
    assert shown[:4] == [OURS, "0", "0", str(len(findings))]


def test_it_follows_the_decision_and_is_written_when_that_changes_alone(own, installed):
    world = installed
    world.apply(held(world))
    report_on(world, which=lambda report: report["summary"]["warn"] == 1)
    world.patch("trainingjobs.mlprivacy.dev", "study", {"metadata": {"labels": {"team": "a"}}})
    world.apply(found(world, "marketing"))
    report_on(world, which=lambda report: report["results"][0]["rule"] == "purpose-limitation")
    world.until("Accepted", "False")

    world.apply(found(world))
    world.until("Accepted", "True")
    gone(world)
    world.pause(2)
    assert [e.verb for e in world.written("reports")] == ["patch", "patch", "delete"]


def test_a_restart_writes_nothing(own, installed):
    world = installed
    world.apply(held(world))
    version = report_on(world)["metadata"]["resourceVersion"]
    own.end("controller")
    own.run("controller")
    own.wait_ready("controller")
    world.apply(held(world, "second"))
    report_on(world, "second")
    assert [e.name for e in world.written("reports")] == [OURS, "mlp-trainingjob-second"]
    assert report_on(world)["metadata"]["resourceVersion"] == version


def test_what_others_change_is_put_right_and_the_job_takes_it_along(installed):
    world = installed
    world.apply(held(world))
    before = report_on(world)
    forged = [{"policy": "all", "result": "pass"}]
    world.patch(REPORTS, OURS, {"results": forged, "summary": {"fail": 0}, "metadata": {"ownerReferences": None}})
    after = report_on(world, which=lambda report: report["results"] != forged)
    for part in ("results", "summary"):
        assert after[part] == before[part]
    assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]

    world.delete(REPORTS, OURS)
    report_on(world, which=lambda report: report["metadata"]["uid"] != before["metadata"]["uid"])

    world.delete("trainingjobs.mlprivacy.dev", "study")
    gone(world)


def test_the_largest_report_is_within_its_bytes_as_it_is_stored(own, installed):
    world = installed
    name = "s" * 40
    wanted = [{"name": f"lost-{n}-{'x' * 50}", "columns": ["age"], "mountPath": f"/data/{n}"} for n in range(15)]
    world.apply(world.training_job(name, datasets=wanted))
    report = report_on(world, name)

    raw = own.cluster.kubectl(
        "get", "--raw", f"/apis/openreports.io/v1alpha1/namespaces/{world.namespace}/reports/mlp-trainingjob-{name}"
    ).stdout
    assert "managedFields" in raw
    assert 4000 < len(raw.encode()) <= OBJECT_BYTES
    *kept, last = report["results"]
    assert last["rule"] == "more-findings"
    assert sum(report["summary"].values()) == len(kept) + int(last["properties"]["more"])


def test_a_refused_write_is_told_once_and_jobs_go_on(own, installed):
    world = installed
    rules = own.cluster.get("clusterrole", "mlprivacy-controller")["rules"]
    fewer = [r | ({"verbs": ["get", "list", "watch"]} if r["apiGroups"] == ["openreports.io"] else {}) for r in rules]

    may(own, fewer)
    try:
        world.eventually(lambda: not may_write(own, world), "the rights are gone")
        world.apply(held(world), held(world, "second"), world.training_job("third"))
        world.until("Accepted", "Unknown")
        world.until("Accepted", "Unknown", name="second")
        world.started(name="third")
        events = world.eventually(lambda: events_of(world, "ReportNotWritten"), "an Event")
        world.pause(2)
        assert len(events_of(world, "ReportNotWritten")) == len(events) == 1
        assert len(lines(own, f"no reports are written in the namespace {world.namespace}")) == 1
    finally:
        may(own, rules)
    report_on(world)
    report_on(world, "second")


def may(own, rules):
    """What the controller's role says from now on."""
    own.cluster.kubectl(
        "patch", "clusterrole", "mlprivacy-controller", "--type=merge", "-p", json.dumps({"rules": rules})
    )


def may_write(own, world):
    question = ("auth", "can-i", "patch", REPORTS, "-n", world.namespace)
    return own.cluster.kubectl(*question, as_user=CONTROLLER, check=False).returncode == 0


def events_of(world, reason):
    return [e for e in world.all("events") if e["reason"] == reason]


def test_the_guard_keeps_the_controllers_account_to_its_own_reports(own, installed, make_world):
    world = installed
    world.apply(held(world))
    report_on(world)
    theirs = {
        "apiVersion": "openreports.io/v1alpha1",
        "kind": "Report",
        "metadata": {"name": "of-a-scanner", "namespace": world.namespace},
        "results": [{"policy": "cis", "result": "fail"}],
    }
    world.apply(theirs)
    patch = ("--type=merge", "-p", json.dumps({"results": []}), "-n", world.namespace)
    kubectl = own.cluster.kubectl

    for done in (
        kubectl("patch", REPORTS, "of-a-scanner", *patch, as_user=CONTROLLER, check=False),
        kubectl("delete", REPORTS, "of-a-scanner", "-n", world.namespace, as_user=CONTROLLER, check=False),
    ):
        assert done.returncode != 0
        assert "The operator writes only objects of its own names" in done.stderr
    outside = make_world(own.cluster, None)
    made = {**theirs, "metadata": {"name": OURS, "namespace": outside.namespace}}
    made["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "mlprivacy"}
    done = kubectl("create", "-f", "-", input=made, as_user=CONTROLLER, check=False)
    outside.close()
    assert "in namespaces that carry the label mlprivacy.dev/enforce only" in done.stderr


def test_a_definition_that_goes_is_noticed_and_jobs_go_on(own, installed):
    world = installed
    world.apply(held(world))
    report_on(world)
    own.cluster.kubectl("delete", "crd", REPORTS)
    world.eventually(lambda: lines(own, "is gone, so no reports are written"), "it was noticed")
    world.apply(held(world, "second"))
    world.until("Accepted", "Unknown", name="second")
    own.cluster.kubectl("apply", "-f", str(CRD))
    report_on(world)
    report_on(world, "second")
