"""mlprivacy approve: what an approver sees, that the approval is bound to it, and what a request for it looks like."""

import asyncio
import copy
from typing import Any

import pytest
import yaml
from builders import NOW, change, clinic_world, exception, policy, training_job
from click.testing import CliRunner

from mlprivacy.cli import cluster, confirm
from mlprivacy.cli.access import Access
from mlprivacy.cli.main import cli
from mlprivacy.kube.errors import NotFound

JOB = change(training_job(), "spec.privacy.epsilon", 5)
WAITING = exception(approved=False, approved_by=None)
FINDING = {"path": "spec.privacy.epsilon", "message": "epsilon 5 is more than 4"}


class Cluster:
    """An API server that holds these objects and notes what is sent."""

    def __init__(self, *objects: Any) -> None:
        self.objects = [*clinic_world(policy(packs=[]), *objects)]
        for name in ("research", "clinic"):
            found = {"mlprivacy.dev/enforce": "enforce"}
            self.objects.append({"kind": "Namespace", "metadata": {"name": name, "labels": found}})
        self.sent: list[Any] = []

    async def get(self, resource: Any, name: str, namespace: str | None = None) -> Any:
        for one in self.objects:
            if (one["kind"], one["metadata"]["name"]) == (resource.kind, name):
                return copy.deepcopy(one)
        raise NotFound(404, "NotFound", "gone")

    async def list(self, resource: Any, namespace: str | None = None, **options: Any) -> Any:
        return [copy.deepcopy(one) for one in self.objects if one["kind"] == resource.kind]

    async def merge_patch(self, resource: Any, name: str, patch: Any, namespace: str | None = None) -> Any:
        self.sent.append((resource.kind, name, patch))
        return patch


@pytest.fixture
def run(monkeypatch):
    """Runs a command against these objects; gives its result and what it sent."""

    def runs(*arguments: str, objects: tuple[Any, ...] = (), answer: str = ""):
        there = Cluster(*objects)

        def connected(way: Any, work: Any) -> Any:
            assert isinstance(way, Access)
            return asyncio.run(work(there))

        monkeypatch.setattr(cluster, "run", connected)
        monkeypatch.setattr(confirm, "terminal", lambda: bool(answer))
        return CliRunner().invoke(cli, list(arguments), input=answer), there.sent

    return runs


def words(result) -> str:
    return " ".join(result.output.split())


def test_it_shows_all_that_is_approved_and_sends_the_approval_of_that(run):
    result, sent = run("approve", "visits-dp", objects=(JOB, WAITING), answer="y\n")
    assert result.exit_code == 0, result.output
    for shown in (
        "dp-required", "TrainingJob research/diagnosis", "asked by alice", "The noise is added upstream.", "PRIV-17",
        "2026-06-20T12:00:00Z", "uid uid-policyexception-visits-dp, generation 1",
    ):  # fmt: skip
        assert shown in words(result)
    approval = {"uid": "uid-policyexception-visits-dp", "generation": 1}
    assert sent == [("PolicyException", "visits-dp", {"spec": {"approved": True, "approval": approval}})]


def test_one_without_covers_is_told_plainly(run):
    result, _ = run("approve", "visits-dp", "--yes", objects=(JOB, WAITING))
    assert "whatever dp-required finds in that job until then, also after a change of the job" in words(result)
    assert "What dp-required finds in the job now spec.privacy.epsilon:" in words(result)


def test_what_is_found_now_and_not_covered_is_marked(run):
    result, _ = run("approve", "visits-dp", "--yes", objects=(JOB, change(WAITING, "spec.covers", [FINDING])))
    assert "It lets pass spec.privacy.epsilon: epsilon 5 is more than 4" in words(result)
    assert "(not covered: it refuses the job as before)" in words(result)


def test_a_job_that_is_not_there_is_said(run):
    result, sent = run("approve", "visits-dp", "--yes", objects=(WAITING,))
    assert "does not exist (a refused job is not stored)" in words(result)
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("found", "answer", "code", "word"),
    [
        (WAITING, "n\n", 1, "not approved"),
        (WAITING, "", 2, "there is no terminal to ask on. Add --yes"),
        (exception(), "", 0, "approved already"),
        (change(WAITING, "metadata.deletionTimestamp", "2026-06-01T00:00:00Z"), "y\n", 2, "being deleted"),
    ],
)
def test_nothing_is_sent_without_a_yes_or_in_vain(run, found, answer, code, word):
    result, sent = run("approve", "visits-dp", objects=(JOB, found), answer=answer)
    assert (result.exit_code, sent) == (code, [])
    assert word in words(result)


def test_nothing_in_an_exception_steers_the_terminal(run):
    result, _ = run("approve", "visits-dp", "--yes", objects=(JOB, change(WAITING, "spec.reason", "fine\x1b[2J")))
    assert "\x1b" not in result.output


def test_it_is_revoked(run):
    result, sent = run("revoke", "visits-dp", objects=(exception(),))
    assert result.exit_code == 0
    assert sent == [("PolicyException", "visits-dp", {"spec": {"approved": False}})]


def test_check_writes_the_request_which_then_covers_what_it_found(tmp_path):
    """From the refusal to the exception and back: what it prints, filled in and approved, lets this job pass."""
    objects = [labels_object(name) for name in ("research", "clinic")] + clinic_world(policy(packs=[]), JOB)
    files = tmp_path / "objects.yaml"
    files.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    arguments = ["check", str(files), "--now", NOW.isoformat()]
    printed = CliRunner().invoke(cli, [*arguments, "--exception", "dp-required"])
    assert printed.exit_code == 0, printed.output
    asked = yaml.safe_load(printed.output)
    assert asked["spec"]["covers"][0]["path"] == "spec.privacy.epsilon"
    made = exception(asked["metadata"]["name"])
    made["spec"] |= {key: asked["spec"][key] for key in ("rule", "workload", "covers", "expiresAt")}
    (tmp_path / "exception.yaml").write_text(yaml.safe_dump(made), encoding="utf-8")
    result = CliRunner().invoke(cli, [*arguments, str(tmp_path / "exception.yaml")])
    assert result.exit_code == 0, result.output
    files.write_text(yaml.safe_dump_all([*objects, change(JOB, "spec.privacy.epsilon", 50)]), encoding="utf-8")
    assert CliRunner().invoke(cli, [*arguments, str(tmp_path / "exception.yaml")]).exit_code != 0


@pytest.mark.parametrize(("rule", "word"), [("egress", "no exception from egress"), ("minors", "refuses no job")])
def test_what_can_not_be_asked_for_is_said(tmp_path, rule, word):
    files = tmp_path / "objects.yaml"
    files.write_text(yaml.safe_dump_all([labels_object("research"), JOB]), encoding="utf-8")
    result = CliRunner().invoke(cli, ["check", str(files), "--exception", rule], standalone_mode=False)
    assert word in str(result.exception)


def labels_object(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"mlprivacy.dev/enforce": "enforce"}},
    }
