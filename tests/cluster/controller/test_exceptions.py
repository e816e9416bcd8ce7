"""Threat 13: an exception counts and ends alike wherever a decision is made, and a job that needs it is then suspended.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

EXCEPTIONS = "policyexceptions.mlprivacy.dev"
OFFICER, ENGINEER = "olga", "erik"
STRICT = {"required": True, "maxEpsilonPerJob": 1, "unit": "User"}  # the job declares 3


def moment(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Office:
    """A world whose job breaks dp-required, an engineer who asks and an officer who approves."""

    def __init__(self, world: Any) -> None:
        self.world, self.cluster = world, world.cluster
        self.made: list[str] = []
        self.policies: list[str] = []
        world.apply(world.klass(differentialPrivacy=STRICT), world.scope(), world.dataset())
        self.bound = [f"{user}-{world.mark}" for user in (OFFICER, ENGINEER)]
        for name, role, user in zip(
            self.bound, ("mlprivacy-privacy-officer", "mlprivacy-exception-requester"), (OFFICER, ENGINEER), strict=True
        ):
            self.cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={role}", f"--user={user}")
        self.cluster.kubectl(
            "create", "rolebinding", "engineers", "--clusterrole=mlprivacy-ml-engineer", f"--user={ENGINEER}", "-n",
            world.namespace,
        )  # fmt: skip

    def manifest(self, name: str = "study", until: str | None = None, **spec: Any) -> Any:
        base = {
            "rule": "dp-required",
            "workload": {"kind": "TrainingJob", "namespace": self.world.namespace, "name": name},
            "reason": "The noise is added upstream.",
            "ticket": "PRIV-17",
            "expiresAt": until or moment(3600),
        }
        metadata = {"name": f"{name}-{self.world.mark}-{len(self.made)}"}
        return {
            "apiVersion": "mlprivacy.dev/v1alpha1",
            "kind": "PolicyException",
            "metadata": metadata,
            "spec": base | spec,
        }

    def ask(self, name: str = "study", until: str | None = None, **spec: Any) -> str:
        body = self.manifest(name, until, **spec)
        made = str(body["metadata"]["name"])
        self.world.eventually(
            lambda: (
                self.cluster.kubectl("create", "-f", "-", input=body, as_user=ENGINEER, check=False).returncode == 0
            ),
            f"{made} asked for",
        )
        self.made.append(made)
        return made

    def set(self, name: str, by: str = OFFICER, check: bool = True, **spec: Any) -> Any:
        if spec.get("approved"):
            metadata = self.get(name)["metadata"]
            spec["approval"] = {"uid": metadata["uid"], "generation": metadata["generation"]}
        patch = json.dumps({"spec": spec})
        return self.cluster.kubectl("patch", EXCEPTIONS, name, "--type=merge", "-p", patch, as_user=by, check=check)

    def approved(self, name: str = "study", until: str | None = None, **spec: Any) -> str:
        made = self.ask(name, until, **spec)
        self.world.eventually(lambda: self.set(made, check=False, approved=True).returncode == 0, f"{made} approved")
        return made

    def get(self, name: str) -> Any:
        return self.cluster.get(EXCEPTIONS, name)

    def state(self, name: str, reason: str) -> Any:
        def look() -> Any:
            found = self.get(name)
            return found if self.world.condition(found, "Ready").get("reason") == reason else None

        return self.world.eventually(look, f"{name} as {reason}")

    def create_job(self, name: str = "study") -> None:
        """Create the job once admission has heard of the exception."""
        job = self.world.training_job(name)
        self.world.eventually(
            lambda: self.cluster.kubectl("create", "-f", "-", input=job, check=False).returncode == 0,
            f"{name} accepted",
        )

    def close(self) -> None:
        for name in self.made:
            self.cluster.kubectl("delete", EXCEPTIONS, name, "--ignore-not-found", "--wait=false")
        for name in self.policies:
            self.cluster.kubectl("delete", "privacypolicies.mlprivacy.dev", name, "--ignore-not-found", "--wait=false")
        for name in self.bound:
            self.cluster.kubectl("delete", "clusterrolebinding", name)


@pytest.fixture
def office(worlds):
    made = Office(worlds())
    yield made
    made.close()


def uses_in(stack, name: str) -> list[Any]:
    """The records of the audit log about uses of this exception."""
    found = []
    for path in sorted(stack.audit_directory.glob("mlprivacy-controller/*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record.get("kind") == "exception-used" and record["subject"]["name"] == name:
                found.append(record)
    return found


def changes_in(stack, name: str) -> list[tuple[Any, ...]]:
    """What the audit log has of the life of this exception: what happened, and who did it."""
    found = []
    for path in sorted(stack.audit_directory.glob("mlprivacy-*/*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["subject"]["name"] == name and record["kind"] in ("object-changed", "object-deleted"):
                found.append((record["time"], record["data"].get("change", "deleted"), record["data"].get("by")))
    return [entry[1:] for entry in sorted(found, key=lambda entry: datetime.fromisoformat(entry[0]))]


# -- the five paths ----------------------------------------------------------------------------------------------------


def mlprivacy(stack, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", *arguments],
        env={**os.environ, "KUBECONFIG": str(stack.cluster.kubeconfig)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def told(body: Any) -> tuple[str, list[str]]:
    """The verdict of a decision in JSON, and the exceptions that its findings name."""
    return body["verdict"], sorted({f["exception"] for f in body["findings"] if "exception" in f})


def answers(stack, office, directory) -> dict[str, Any]:
    """What each path says of the job now: the verdict, and the exception where it names one."""
    world = office.world
    study, probe = world.job("study"), world.training_job("probe")
    tried = office.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=probe, check=False)
    status = study.get("status") or {}
    files = directory / "objects.json"
    kinds = ("datasets", "dataclasses", "consentscopes", "privacypolicies", "policyexceptions", "trainingjobs")
    objects = [
        item
        for kind in (*(f"{kind}.mlprivacy.dev" for kind in kinds), "namespaces")
        for item in json.loads(office.cluster.kubectl("get", kind, "-A", "-o", "json").stdout)["items"]
        if world.mark in json.dumps(item)
    ]
    files.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), encoding="utf-8")
    offline = mlprivacy(stack, "check", "-o", "json", str(files))
    judged = next(job for job in offline["jobs"] if job["subject"]["name"] == "study")
    attempt = world.get("jobs", "mlp-study-1")
    accepted = world.condition(study, "Accepted")
    return {
        "admission": "Allow" if tried.returncode == 0 else "Deny" if "dp-required" in tried.stderr else tried.stderr,
        "reconcile": "Deny" if attempt["spec"]["suspend"] else "Allow",
        "status": (status["decision"]["verdict"], accepted["reason"], status.get("exceptions", [])),
        "explain": told(mlprivacy(stack, "explain", "trainingjob/study", "-n", world.namespace, "-o", "json")),
        "check": (*told(judged), len(offline["notes"])),
    }


@pytest.fixture(scope="module")
def before_and_after(stack, make_world, tmp_path_factory):
    """The answers of all paths while two exceptions of one end are in force, and after it."""
    directory = tmp_path_factory.mktemp("files")
    office = Office(make_world(stack.cluster))
    try:
        until = moment(45)
        name = office.approved(until=until)
        office.approved("probe", until)
        office.create_job()
        office.world.running()
        office.world.eventually(
            lambda: office.cluster.kubectl(
                "create", "--dry-run=server", "-f", "-", input=office.world.training_job("probe"), check=False
            ).returncode == 0,
            "the other exception heard of",
        )  # fmt: skip
        first = answers(stack, office, directory)
        assert datetime.now(UTC) < datetime.fromisoformat(until), "too slow: the exceptions ended during the look"
        office.world.until("Suspended", "True", "NoLongerAllowed")
        assert datetime.now(UTC) >= datetime.fromisoformat(until)
        second = answers(stack, office, directory)
        yield name, first, second, office.state(name, "Expired")
    finally:
        office.close()
        office.world.close()


@pytest.mark.parametrize("path", ["admission", "reconcile", "status", "explain", "check"])
def test_it_counts_and_ends_alike(before_and_after, path):
    name, first, second, _ = before_and_after
    expected = {
        "admission": ("Allow", "Deny"),
        "reconcile": ("Allow", "Deny"),
        "status": (("Allow", "AllowedByException", [name]), ("Deny", "Refused", [])),
        "explain": (("Allow", [name]), ("Deny", [])),
        "check": (("Allow", [name], 1), ("Deny", [], 0)),
    }
    assert (first[path], second[path]) == expected[path]


def test_one_that_ended_says_so(before_and_after):
    exception = before_and_after[3]
    ready = next(c for c in exception["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Expired")
    assert "ended at" in ready["message"]
    assert exception["status"]["uses"] == 1


# -- its life ----------------------------------------------------------------------------------------------------------


def test_it_waits_until_another_person_approves_and_both_are_stamped(stack, office):
    forged = office.manifest()
    forged["metadata"]["annotations"] = {"mlprivacy.dev/requested-by": OFFICER, "mlprivacy.dev/approved-by": OFFICER}
    name = forged["metadata"]["name"]
    office.world.eventually(
        lambda: (
            office.cluster.kubectl("create", "-f", "-", input=forged, as_user=ENGINEER, check=False).returncode == 0
        ),
        "asked for",
    )
    office.made.append(name)
    assert office.get(name)["metadata"]["annotations"] == {"mlprivacy.dev/requested-by": ENGINEER}
    office.state(name, "WaitingForApproval")
    refused = office.cluster.kubectl("create", "-f", "-", input=office.world.training_job(), check=False)
    assert refused.returncode != 0
    assert "it waits for the approval of another person" in refused.stderr

    assert office.set(name, by=ENGINEER, check=False, approved=True).returncode != 0
    office.set(name, approved=True)
    annotations = office.state(name, "Approved")["metadata"]["annotations"]
    assert annotations["mlprivacy.dev/approved-by"] == OFFICER
    assert annotations["mlprivacy.dev/requested-by"] == ENGINEER


def test_a_revoked_one_suspends_and_each_attempt_counts_once(stack, office):
    name = office.approved()
    office.create_job()
    job = office.world.running()
    assert job["status"]["exceptions"] == [name]
    accepted = office.world.condition(job, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "AllowedByException")
    assert name in accepted["message"]
    office.world.eventually(lambda: office.get(name)["status"].get("uses") == 1, "one use")

    office.set(name, approved=False)
    job = office.world.until("Suspended", "True", "NoLongerAllowed")
    assert office.world.condition(job, "Accepted")["status"] == "False"
    revoked = office.state(name, "Revoked")
    assert "mlprivacy.dev/approved-by" not in revoked["metadata"]["annotations"]
    assert revoked["metadata"]["annotations"]["mlprivacy.dev/revoked-by"] == OFFICER
    assert office.world.condition(revoked, "Ready")["message"].startswith(f"It was revoked by {OFFICER} at 20")

    office.set(name, approved=True)
    office.world.running(attempt=2)
    office.world.eventually(lambda: office.get(name)["status"].get("uses") == 2, "two uses")
    last = office.get(name)["status"]["lastUsed"]
    assert (last["jobUID"], last["attempt"]) == (job["metadata"]["uid"], 2)
    records = uses_in(stack, name)
    assert [r["data"]["attempt"] for r in records] == [1, 2]
    assert {(r["data"]["requestedBy"], r["data"]["approvedBy"], r["data"]["rule"]) for r in records} == {
        (ENGINEER, OFFICER, "dp-required")
    }
    # A change that decides nothing anew is no further use.
    office.world.patch("trainingjobs.mlprivacy.dev", "study", {"metadata": {"labels": {"seen": "yes"}}})
    office.world.pause(2)
    assert office.get(name)["status"]["uses"] == 2


def test_its_life_is_in_the_audit_log_and_a_dry_run_is_not(stack, office):
    name = office.ask()
    office.set(name, by=ENGINEER, reason="Another reason.")
    body = json.dumps({"spec": {"reason": "Tried."}})
    office.cluster.kubectl("patch", EXCEPTIONS, name, "--type=merge", "-p", body, "--dry-run=server", as_user=ENGINEER)
    office.set(name, approved=True)
    office.set(name, approved=False)
    office.cluster.kubectl("delete", EXCEPTIONS, name, as_user=ENGINEER)
    life = [("asked", ENGINEER), ("changed", ENGINEER), ("approved", OFFICER), ("revoked", OFFICER), ("deleted", None)]
    office.world.eventually(lambda: changes_in(stack, name) == life, "its life in the log")
    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", "verify", str(stack.audit_directory)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_command_approves_what_it_showed(stack, office):
    name = office.ask()
    shown = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", "approve", name, "--yes", "--as", OFFICER],
        env={**os.environ, "KUBECONFIG": str(stack.cluster.kubeconfig)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert f"TrainingJob {office.world.namespace}/study" in shown.stdout
    assert office.state(name, "Approved")["metadata"]["annotations"]["mlprivacy.dev/approved-by"] == OFFICER
    mine = office.ask("probe")
    refused = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", "approve", mine, "--yes", "--as", ENGINEER],
        env={**os.environ, "KUBECONFIG": str(stack.cluster.kubeconfig)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "You may not do this" in refused.stderr


def test_serving_is_scaled_to_nothing_when_its_exception_is_revoked(office):
    world = office.world
    api = world.inference_job(assurance="Instrumented")  # more than is reached here
    name = office.approved(
        "api", rule="assurance", workload={"kind": "InferenceJob", "namespace": world.namespace, "name": "api"}
    )
    world.apply(world.serving_scope())
    world.eventually(
        lambda: office.cluster.kubectl("create", "-f", "-", input=api, check=False).returncode == 0, "api accepted"
    )
    world.eventually(
        lambda: (world.get("deployment", "mlp-api") or {}).get("spec", {}).get("replicas") == 1, "a replica"
    )
    world.eventually(lambda: office.get(name)["status"].get("uses") == 1, "one use")
    assert world.inference()["status"]["exceptions"] == [name]
    office.set(name, approved=False)
    world.eventually(lambda: world.get("deployment", "mlp-api")["spec"]["replicas"] == 0, "no replica")
    world.eventually(lambda: world.condition(world.inference(), "Suspended").get("reason") == "NoLongerAllowed", "why")


def test_a_deleted_one_suspends(office):
    name = office.approved()
    office.create_job()
    office.world.running()
    office.cluster.kubectl("delete", EXCEPTIONS, name, as_user=ENGINEER)
    office.world.until("Suspended", "True", "NoLongerAllowed")


def test_one_that_is_made_to_end_earlier_ends_then(office):
    name = office.approved()
    office.create_job()
    office.world.running()
    until = moment(8)
    office.set(name, by=ENGINEER, expiresAt=until)
    office.world.until("Suspended", "True", "NoLongerAllowed")
    assert datetime.now(UTC) >= datetime.fromisoformat(until)


def test_a_policy_that_allows_less_ends_it(office):
    name = office.approved()
    office.create_job()
    office.world.running()
    policy = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PrivacyPolicy",
        "metadata": {"name": f"terms-{office.world.mark}"},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": office.world.namespace}},
            "exceptions": {"maxDuration": "30m"},
        },
    }
    office.policies.append(policy["metadata"]["name"])
    office.cluster.apply(policy)
    office.world.until("Suspended", "True", "NoLongerAllowed")
    ready = office.world.condition(office.state(name, "InvalidDates"), "Ready")
    assert "more than 30m" in ready["message"]
    office.cluster.apply({**policy, "spec": {**policy["spec"], "exceptions": {"allow": ["minimisation"]}}})
    office.state(name, "NotExceptable")
    office.cluster.apply({**policy, "spec": {**policy["spec"], "exceptions": {"allow": ["dp-required"]}}})
    office.state(name, "Approved")
    office.world.running(attempt=2)


@pytest.mark.parametrize(
    ("until", "reason", "word"),
    [
        ("9999-12-31T23:59:59Z", "InvalidDates", "more than 30d"),
        ("1970-01-01T00:00:00Z", "InvalidDates", "before it was made"),
    ],
)
def test_an_absurd_end_is_warned_of_and_a_clear_condition(office, until, reason, word):
    body = office.manifest(until=until)
    office.made.append(body["metadata"]["name"])
    done = office.cluster.kubectl("create", "-f", "-", input=body)
    assert "Warning: spec.expiresAt" in done.stderr
    ready = office.world.condition(office.state(body["metadata"]["name"], reason), "Ready")
    assert ready["status"] == "False"
    assert word in ready["message"]


@pytest.mark.parametrize(("rule", "word"), [("egress", "knows no exception"), ("dp-requird", "is no rule")])
def test_what_knows_no_exception_is_refused_when_it_is_asked_for(office, rule, word):
    done = office.cluster.kubectl("create", "-f", "-", input=office.manifest(rule=rule), check=False)
    assert done.returncode != 0
    assert word in done.stderr
