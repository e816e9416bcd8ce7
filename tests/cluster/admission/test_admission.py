"""The admission process behind a real API server: stamps, refusals, warnings, outages, certificates, strangers."""

import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.certificates import Authority
from controlplane.processes import wait_until

REQUESTED = "mlprivacy.dev/requested-by"
CHANGED = "mlprivacy.dev/last-changed-by"
DECISION = "mlprivacy.dev/decision-digest"


@pytest.fixture(scope="module")
def job(labs) -> Callable[..., dict[str, Any]]:
    return labs.job


@pytest.fixture(scope="module", autouse=True)
def people(lab) -> None:
    for user in ("alice", "bob"):
        lab.cluster.kubectl(
            "create",
            "rolebinding",
            f"{user}-works",
            "-n",
            "research",
            "--clusterrole=mlprivacy-ml-engineer",
            f"--user={user}",
        )


def annotations(lab, name: str) -> dict[str, str]:
    found: dict[str, str] = lab.cluster.get("trainingjobs.mlprivacy.dev", name, "research")["metadata"]["annotations"]
    return {key: value for key, value in found.items() if key in (REQUESTED, CHANGED)}


def eventually(look: Callable[[], Any], what: str) -> None:
    wait_until(look, 60, what=what, interval=0.2)


def governed(lab, labs, name: str, **labels: str) -> dict[str, Any]:
    """A pod as the operator renders it for the job `name`, under the decision that admission wrote to the audit log."""
    stored = lab.cluster.get("trainingjobs.mlprivacy.dev", name, "research")
    (created,) = lab.cluster.audit_events(verb="create", resource="trainingjobs", namespace="research", name=name)
    pod: dict[str, Any] = labs.rendered(stored, f"mlp-{name}-{time.monotonic_ns()}", **labels)
    assert pod["metadata"]["annotations"][DECISION] == created.annotations["kinds.mlprivacy.dev/digest"]
    if lab.cluster.get("serviceaccounts", f"mlp-{name}", "research") is None:
        lab.cluster.kubectl("create", "serviceaccount", f"mlp-{name}", "-n", "research")
    return pod


# --- stamps ---------------------------------------------------------------------------------------------------------


def test_the_requester_can_not_be_forged_at_any_time(lab, job) -> None:
    forged = job("forged")
    forged["metadata"]["annotations"] = {REQUESTED: "the-boss", CHANGED: "the-boss"}
    lab.cluster.apply(forged, as_user="alice")
    assert annotations(lab, "forged") == {REQUESTED: "alice"}

    forged["spec"]["activeDeadlineSeconds"] = 60
    lab.cluster.apply(forged, as_user="bob")
    assert annotations(lab, "forged") == {REQUESTED: "alice", CHANGED: "bob"}

    patch = json.dumps({"metadata": {"annotations": {REQUESTED: None, CHANGED: "the-boss"}}})
    lab.cluster.kubectl(
        "patch", "trainingjobs.mlprivacy.dev", "forged", "-n", "research", "--type=merge", "-p", patch, as_user="alice"
    )
    assert annotations(lab, "forged") == {REQUESTED: "alice", CHANGED: "bob"}


def test_server_side_apply_by_two_people_keeps_the_stamps(lab, job) -> None:
    plain = job("applied")
    for user in ("alice", "bob"):
        lab.cluster.kubectl(
            "apply",
            "--server-side",
            f"--field-manager={user}",
            "--force-conflicts",
            "-f",
            "-",
            input=plain,
            as_user=user,
        )
        plain["spec"]["activeDeadlineSeconds"] = 77

    assert annotations(lab, "applied") == {REQUESTED: "alice", CHANGED: "bob"}


# --- decisions ------------------------------------------------------------------------------------------------------


def test_a_refusal_reads_well_in_kubectl(lab, job) -> None:
    refused = lab.cluster.apply(job("refused", purpose="marketing.advertising"), as_user="alice", check=False)

    assert refused.returncode != 0
    assert 'admission webhook "kinds.mlprivacy.dev" denied the request' in refused.stderr
    assert "purpose-limitation: spec.purpose: the purpose marketing.advertising is not among those" in refused.stderr
    assert "To fix it: " in refused.stderr
    assert lab.cluster.get("trainingjobs.mlprivacy.dev", "refused", "research") is None


def test_a_reference_that_does_not_resolve_is_accepted_with_a_warning(lab, job) -> None:
    held = job("held")
    held["spec"] = {**held["spec"], "datasets": [{**held["spec"]["datasets"][0], "name": "visitz"}]}

    applied = lab.cluster.apply(held, as_user="alice")

    assert "Warning: TrainingJob held is accepted and held" in applied.stderr
    assert "Did you mean clinic/visits" in applied.stderr


def test_a_directory_with_jobs_before_datasets_applies(lab, labs, job) -> None:
    early = job("early")
    early["spec"] = {**early["spec"], "datasets": [{**early["spec"]["datasets"][2], "name": "late"}]}
    (census,) = [o for o in labs.objects("Dataset") if o["metadata"]["name"] == "census"]
    late = {**census, "metadata": {"name": "late", "namespace": "research"}}
    late["spec"] = {**census["spec"], "identity": "urn:research:late"}

    applied = lab.cluster.apply(early, late)
    again = lab.cluster.apply(job("early-2", datasets=early["spec"]["datasets"]))

    assert "early is accepted and held" in applied.stderr
    assert "Warning" not in again.stderr


def test_a_dry_run_says_the_same_and_writes_nothing(lab, job) -> None:
    bad = job("rehearsed", purpose="marketing.advertising")

    real = lab.cluster.kubectl("create", "-f", "-", input=bad, as_user="alice", check=False)
    rehearsal = lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=bad, as_user="alice", check=False)
    fine = lab.cluster.kubectl(
        "create", "--dry-run=server", "-o", "json", "-f", "-", input=job("fine"), as_user="alice"
    )

    assert rehearsal.stderr == real.stderr
    assert json.loads(fine.stdout)["metadata"]["annotations"] == {REQUESTED: "alice"}
    assert lab.cluster.get("trainingjobs.mlprivacy.dev", "fine", "research") is None


def test_the_evidence_is_in_the_audit_log(lab, job) -> None:
    lab.cluster.apply(job("evident"), as_user="alice")

    (event,) = lab.cluster.audit_events(verb="create", resource="trainingjobs", namespace="research", name="evident")

    assert event.annotations["kinds.mlprivacy.dev/verdict"] == "Allow"
    assert event.annotations["kinds.mlprivacy.dev/digest"].startswith("sha256:")


def test_a_policy_with_an_unknown_rule_is_refused(lab) -> None:
    policy = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PrivacyPolicy",
        "metadata": {"name": "typo"},
        "spec": {"rules": [{"id": "purpose-limitations", "action": "Warn"}]},
    }

    refused = lab.cluster.apply(policy, check=False)

    assert "spec.rules[0].id: purpose-limitations is no rule; did you mean purpose-limitation?" in refused.stderr


def test_a_custom_rule_is_compiled_when_it_is_applied_and_refuses_jobs_from_then_on(lab, job) -> None:
    def policy(expression: str) -> dict:
        rule = {"id": "no-risky-names", "expression": expression, "message": "Not under this name.", "remedy": "rename"}
        selector = {"matchLabels": {"kubernetes.io/metadata.name": "research"}}
        spec = {"namespaceSelector": selector, "custom": [rule]}
        metadata = {"name": "own-rules"}
        return {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "PrivacyPolicy", "metadata": metadata, "spec": spec}

    wrong = lab.cluster.apply(policy("job.metadata.name != "), check=False)
    assert "spec.custom[0].expression: can not be compiled: at 1:22: Syntax error" in wrong.stderr
    nothing = lab.cluster.apply(policy("jobs.metadata.name != 'x'"), check=False)
    assert "undeclared reference to 'jobs.metadata.name'" in nothing.stderr

    lab.cluster.apply(policy("!job.metadata.name.startsWith('risky')"))
    try:

        def refused() -> bool:
            done = lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=job("risky-one"), check=False)
            return "custom/no-risky-names" in done.stderr and "Not under this name" in done.stderr

        eventually(refused, "a job refused by the custom rule")
        lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=job("tame-one"))
    finally:
        lab.cluster.kubectl("delete", "privacypolicies.mlprivacy.dev", "own-rules")


# --- pods -----------------------------------------------------------------------------------------------------------


def test_pods_are_held_to_the_decision_on_their_job(lab, labs, job) -> None:
    lab.cluster.apply(job("podded"), as_user="alice")
    create = ("create", "-f", "-")

    lab.cluster.kubectl(*create, input=governed(lab, labs, "podded"))
    stale = governed(lab, labs, "podded")
    stale["metadata"]["annotations"]["mlprivacy.dev/decision-digest"] = "sha256:" + "0" * 64
    wrong = lab.cluster.kubectl(*create, input=stale, check=False)
    namesake = governed(lab, labs, "podded", **{"mlprivacy.dev/job-uid": "22222222-2222-4222-8222-222222222222"})
    other = lab.cluster.kubectl(*create, input=namesake, check=False)
    adopted = labs.pod("adopted", "research", {"mlprivacy.dev/training-job": "podded"}, {})
    adoption = lab.cluster.kubectl(*create, input=adopted, check=False)

    assert 'webhook "pods-enforce.mlprivacy.dev" denied the request' in wrong.stderr
    assert "made from another decision" in wrong.stderr
    assert "is another one" in other.stderr
    assert "adopted, which is not enforced here yet" in adoption.stderr


def test_a_planted_pod_with_a_program_of_its_own_is_refused(lab, labs, job) -> None:
    """As a ReplicaSet would make it that somebody put there before the namespace was governed: everything but the
    program, the canary and the owner is as it should be.
    """
    lab.cluster.apply(job("planted"), as_user="alice")

    def answer(change: Callable[[dict[str, Any]], object]) -> str:
        pod = governed(lab, labs, "planted")
        change(pod)
        refused: str = lab.cluster.kubectl("create", "-f", "-", input=pod, check=False).stderr
        return refused

    trainer = answer(lambda p: p["spec"]["containers"][0].update(command=["python3", "-c", "print('planted')"]))
    canary = answer(
        lambda p: [
            e.update(value="127.0.0.1:9:9") for e in p["spec"]["initContainers"][0]["env"] if "CANARY" in e["name"]
        ]
    )
    owner = answer(
        lambda p: p["metadata"]["ownerReferences"][0].update(apiVersion="apps/v1", kind="ReplicaSet", name="plant")
    )

    assert "rendered for the TrainingJob planted: spec.containers[0].command is another" in trainer
    assert "spec.initContainers[0].env" in canary
    assert "it is not owned by the Job mlp-planted-1 alone" in owner
    assert answer(lambda p: None) == ""


def test_a_limit_range_and_amounts_in_words_of_the_template_make_no_difference(lab, labs, job) -> None:
    """The API server and its plugins fill in and rewrite fields of a pod."""
    limits = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "given", "namespace": "research"},
        "spec": {"limits": [{"type": "Container", "default": {"ephemeral-storage": "1Gi"}}]},
    }
    wordy = job("wordy")
    wordy["spec"] = json.loads(json.dumps(wordy["spec"]))
    wordy["spec"]["template"]["spec"] |= {
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi"}}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    wordy["spec"]["template"]["spec"]["containers"][0] |= {
        "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}},
        "env": [
            {"name": "EMPTY", "value": ""},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "livenessProbe": {"tcpSocket": {"port": 9000}, "initialDelaySeconds": 0},
        "ports": [{"containerPort": 9000}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch", "readOnly": False}],
    }
    lab.cluster.apply(limits, wordy)
    try:
        lab.cluster.kubectl("create", "-f", "-", input=governed(lab, labs, "wordy"))
    finally:
        lab.cluster.kubectl("delete", "limitrange", "given", "-n", "research")


def test_a_suspended_job_gets_no_pod_at_once(lab, labs, job) -> None:
    lab.cluster.apply(job("paused"))
    pod = governed(lab, labs, "paused")
    lab.cluster.apply(job("paused", suspend=True))

    def refused() -> bool:
        done = lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=pod, check=False)
        return "is suspended" in done.stderr

    eventually(refused, "the pod of a suspended job refused")


# --- who asks -------------------------------------------------------------------------------------------------------


def forged_review(lab, context: ssl.SSLContext, path: str = "/validate/kinds") -> tuple[int, str]:
    request = urllib.request.Request(
        f"https://127.0.0.1:{lab.port}{path}", method="POST", data=b"{}", headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310 - our own loopback
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_without_the_api_servers_certificate_nothing_is_answered(lab, tmp_path: Path) -> None:
    context = ssl.create_default_context(cadata=lab.ca.certificate.decode())
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        forged_review(lab, context)

    mine = Authority(tmp_path, "my-own-ca").client("kube-apiserver", "kube-apiserver")
    context.load_cert_chain(mine.certificate, mine.key)
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        forged_review(lab, context)


def test_another_client_of_the_same_authority_is_refused(lab, tmp_path: Path) -> None:
    authority = Authority(lab.cluster.layout.pki, "webhook-client-ca")
    authority.folder = tmp_path
    stranger = authority.client("stranger", "somebody-else")
    context = ssl.create_default_context(cadata=lab.ca.certificate.decode())
    context.load_cert_chain(stranger.certificate, stranger.key)

    status, text = forged_review(lab, context)

    assert status == 403
    assert "it does not come from the API server" in text


# --- outages --------------------------------------------------------------------------------------------------------


def test_a_killed_process_fails_closed_and_only_where_governed(lab, labs, job) -> None:
    lab.cluster.apply(job("running"))
    pod = governed(lab, labs, "running")
    lab.cluster.create_namespace("ungoverned")
    lab.end(kill=True)
    try:
        refused_job = lab.cluster.apply(job("unchecked"), check=False)
        refused_pod = lab.cluster.kubectl("create", "-f", "-", input=pod, check=False)
        plain = labs.pod("plain", "research", {}, {})
        lab.cluster.kubectl("create", "-f", "-", input=plain)
        lab.cluster.kubectl(
            "create", "-f", "-", input=labs.pod("free", "ungoverned", {"mlprivacy.dev/rendered": "x"}, {})
        )
        lab.cluster.kubectl("create", "configmap", "free", "-n", "ungoverned")
        deletable = lab.cluster.kubectl(
            "patch", "trainingjobs.mlprivacy.dev", "running", "-n", "research", "--type=merge", "-p",
            json.dumps({"metadata": {"finalizers": []}}), check=False,
        )  # fmt: skip
    finally:
        lab.start()

    assert "failed calling webhook" in refused_job.stderr
    assert "failed calling webhook" in refused_pod.stderr
    assert deletable.returncode == 0, "deletion does not wait for a webhook that is away"
    assert lab.cluster.get("trainingjobs.mlprivacy.dev", "unchecked", "research") is None
    lab.cluster.apply(job("unchecked"))


def test_what_changed_while_the_api_server_was_away_is_decided_on(lab, job) -> None:
    lab.cluster.restart_apiserver()
    lab.cluster.kubectl("delete", "datasetgrants.mlprivacy.dev", "to-research", "-n", "clinic")

    def held() -> bool:
        done = lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=job("after"), check=False)
        return "accepted and held" in done.stderr

    try:
        eventually(held, "the deletion of the grant taken into account")
    finally:
        lab.load()
    eventually(lambda: not held(), "the grant taken into account again")


# --- certificates ---------------------------------------------------------------------------------------------------


class Asking(threading.Thread):
    """Creates jobs in dry-run without a pause, and notes every failure."""

    def __init__(self, lab, body: Mapping[str, Any]) -> None:
        super().__init__(daemon=True)
        self.lab = lab
        self.body = body
        self.failures: list[str] = []
        self.count = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            done = self.lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=self.body, check=False)
            self.count += 1
            if done.returncode != 0:
                self.failures.append(done.stderr)

    def __enter__(self) -> "Asking":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(60)


DAYS = 'mlprivacy_certificate_days_left{name="mlprivacy-admission-tls"}'


def test_a_certificate_is_exchanged_without_a_gap(lab, job) -> None:
    with Asking(lab, job("asked")) as asking:
        eventually(lambda: asking.count > 2, "answers under the first certificate")
        for days in (21, 11):
            lab.certify(lifetime=timedelta(days=days))
            eventually(lambda days=days: days - 1 < lab.metric(DAYS) <= days, f"the certificate of {days} days loaded")
            seen = asking.count
            eventually(lambda seen=seen: asking.count > seen + 2, "answers under the new certificate")

    assert asking.failures == []


def test_an_expired_certificate_makes_it_unready_and_a_new_one_ready_again(lab, job) -> None:
    lab.certify(lifetime=timedelta(seconds=6))
    eventually(lambda: lab.health("/readyz")[0] == 503, "not ready with an expired certificate")
    try:
        assert "certificate in use has expired" in lab.health("/readyz")[1]
    finally:
        lab.certify()
    eventually(lambda: lab.health("/readyz")[0] == 200, "ready with a new certificate")
    lab.cluster.apply(job("certified"))


# --- end ------------------------------------------------------------------------------------------------------------


def test_it_drains_before_it_ends(lab, job) -> None:
    process = lab.stack.processes["admission"]
    with Asking(lab, job("drained")) as asking:
        eventually(lambda: asking.count > 1, "answers")
        process.signal(15)
        eventually(lambda: lab.health("/readyz")[0] == 503, "not ready while it drains")
        seen = asking.count
        eventually(lambda: asking.count > seen + 1, "answers while it drains")
        failed_while_draining = list(asking.failures)
        asking.over.set()
    try:
        assert failed_while_draining == []
        assert "this process is ending" in lab.health("/readyz")[1]
        eventually(lambda: not process.alive(), "the end of the process")
    finally:
        lab.stack.processes.pop("admission").stop()
        lab.start()
