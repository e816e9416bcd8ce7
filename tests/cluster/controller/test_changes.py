"""What a running job rests on changes: it is suspended when it is no longer allowed, and resumes as a new attempt.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.cluster


def suspended(world, name="study"):
    """Wait until the job is stopped for lack of permission and none of its pods is left."""
    job = world.until("Suspended", "True", "NoLongerAllowed", name)
    assert world.get("jobs", f"mlp-{name}-{job['status']['attempt']}")["spec"]["suspend"] is True
    world.eventually(lambda: not world.all("pods", f"mlprivacy.dev/training-job={name}"), "no pods")
    return job


def test_consent_withdrawn_suspends_and_given_again_resumes(world):
    world.apply(world.training_job())
    world.running()
    world.delete("consentscopes.mlprivacy.dev", "research")
    job = suspended(world)
    assert world.condition(job, "Accepted")["status"] == "Unknown"
    assert world.condition(job, "Accepted")["reason"] == "ConsentScopeNotFound"

    world.apply(world.scope())
    job = world.running(attempt=2)
    assert world.condition(job, "Suspended")["status"] == "False"
    assert [j["metadata"]["name"] for j in world.all("jobs")] == ["mlp-study-2"]


def test_a_class_that_tightens_suspends_what_it_now_refuses(world):
    world.apply(world.training_job())
    world.running()
    strict = {"required": True, "maxEpsilonPerJob": 1, "unit": "User"}
    world.apply(world.klass(differentialPrivacy=strict))
    job = suspended(world)
    assert world.condition(job, "Accepted")["status"] == "False"
    assert world.condition(job, "Stalled")["status"] == "True"
    assert "dp-required" in {f["rule"] for f in job["status"]["decision"]["findings"]}

    world.apply(world.klass(differentialPrivacy={**strict, "maxEpsilonPerJob": 4}))
    world.running(attempt=2)


def test_a_policy_that_changes_suspends_and_restores(world):
    selector = {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}}
    policy = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PrivacyPolicy",
        "metadata": {"name": f"ctl-{world.mark}"},
        "spec": {"namespaceSelector": selector, "mode": "Enforce", "packs": [{"name": "no-such-pack"}]},
    }
    world.apply(world.training_job())
    world.running()
    try:
        world.apply(policy)
        job = suspended(world)
        assert world.condition(job, "Accepted")["reason"] == "PackNotFound"
    finally:
        world.cluster.kubectl("delete", "privacypolicies.mlprivacy.dev", policy["metadata"]["name"], "--wait=false")
    world.running(attempt=2)


def test_a_custom_rule_suspends_what_breaks_it_and_one_that_explodes_holds(world):
    """The second expression is more memory than the worker gets: it is killed, and no answer is never an Allow."""
    grow = ".map(a, a + a + a + a + a + a + a + a)"
    explosive = f"[job.spec.template.spec.containers[0].image]{grow * 12}[0].size() > 0"

    def policy(expression):
        rule = {"id": "own", "expression": expression, "message": "Not as it is."}
        selector = {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}}
        spec = {"namespaceSelector": selector, "custom": [rule]}
        metadata = {"name": f"own-{world.mark}"}
        return {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "PrivacyPolicy", "metadata": metadata, "spec": spec}

    def findings(job):
        return {(f["rule"], f["action"], f["reason"]) for f in job["status"]["decision"]["findings"]}

    world.apply(world.training_job())
    world.running()
    try:
        world.apply(policy("job.spec.trials > 1"))
        assert ("custom/own", "Deny", "Breach") in findings(suspended(world))
        world.apply(policy("job.spec.trials == 1"))
        world.running(attempt=2)
        world.apply(policy(explosive))
        job = suspended(world)
        assert ("custom/own", "Hold", "FactMissing") in findings(job)
        assert world.condition(job, "Accepted")["status"] == "Unknown"
        told = world.cluster.get("privacypolicies.mlprivacy.dev", f"own-{world.mark}")
        assert world.condition(told, "CustomRulesWork")["reason"] == "CustomRuleFails"
        assert (world.condition(told, "Ready")["status"], world.condition(told, "Stalled")["status"]) == (
            "False",
            "True",
        )
        assert f"It selects 1 governed namespace: {world.namespace}." in world.condition(told, "Accepted")["message"]
    finally:
        world.cluster.kubectl("delete", "privacypolicies.mlprivacy.dev", f"own-{world.mark}", "--wait=false")
    world.running(attempt=3)


def test_raising_a_label_takes_no_namespace_out_of_a_policy_that_names_a_level(worlds):
    """Raising is free to whoever may label namespaces; what the softer level was told it would refuse is refused."""
    world = worlds("audit")
    world.data()
    selector = {"mlprivacy.dev/enforce": "audit", "kubernetes.io/metadata.name": world.namespace}
    rule = {"id": "own", "expression": "job.spec.trials > 1", "message": "Not as it is."}
    policy = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PrivacyPolicy",
        "metadata": {"name": f"level-{world.mark}"},
        "spec": {"namespaceSelector": {"matchLabels": selector}, "custom": [rule]},
    }

    def said(job):
        return [
            (f["action"], f.get("enforced")) for f in job["status"]["decision"]["findings"] if f["rule"] == "custom/own"
        ]

    world.apply(policy)
    try:
        world.apply(world.training_job())
        job = world.started()
        assert said(job) == [("Evidence", "Deny")]
        world.cluster.kubectl("label", "--overwrite", "namespace", world.namespace, "mlprivacy.dev/enforce=enforce")
        job = suspended(world)
        assert said(job) == [("Deny", None)]
    finally:
        world.cluster.kubectl("delete", "privacypolicies.mlprivacy.dev", policy["metadata"]["name"], "--wait=false")


def test_a_grant_that_expires_by_time_suspends_without_any_event(worlds):
    owner, user = worlds(), worlds()
    owner.data()
    grant = {
        "from": [{"namespace": user.namespace, "kind": "TrainingJob"}],
        "to": [
            {
                "kind": "Dataset",
                "name": "visits",
                "columns": ["age"],
                "purposes": ["train_ai_system"],
                "processing": ["Training"],
            }
        ],
    }
    until = (datetime.now(UTC) + timedelta(seconds=14)).strftime("%Y-%m-%dT%H:%M:%SZ")
    loan = owner._object("DatasetGrant", "loan", {**grant, "expiresAt": until})
    owner.apply(loan)
    uses = [{"name": "visits", "namespace": owner.namespace, "columns": ["age"], "mountPath": "/data/visits"}]
    user.apply(user.training_job(datasets=uses))
    user.started()
    job = user.until("Suspended", "True", "NoLongerAllowed")
    assert datetime.now(UTC) >= datetime.fromisoformat(until)
    assert user.condition(job, "ResolvedRefs")["status"] == "False"

    owner.apply({**loan, "spec": grant})
    user.started(attempt=2)


def test_a_namespace_that_is_no_longer_governed_stops_its_jobs(world):
    world.apply(world.training_job())
    world.running()
    world.cluster.kubectl("label", "namespace", world.namespace, "mlprivacy.dev/enforce-")
    job = suspended(world)
    assert world.condition(job, "Accepted")["reason"] == "NamespaceNotGoverned"

    world.cluster.kubectl("label", "namespace", world.namespace, "mlprivacy.dev/enforce=enforce")
    world.running(attempt=2)


def test_findings_in_a_warning_namespace_warn_and_the_job_runs(worlds):
    world = worlds("warn")
    world.apply(world.klass(identifiers="Drop"), world.scope(), world.dataset())
    world.apply(world.training_job())
    job = world.started()
    assert world.condition(job, "Accepted")["reason"] == "AllowedWithWarnings"
    assert job["status"]["decision"]["mode"] == "Warn"
    assert {f["action"] for f in job["status"]["decision"]["findings"]} == {"Warn"}


def test_findings_in_an_auditing_namespace_are_evidence_and_the_job_runs(worlds):
    world = worlds("audit")
    world.apply(world.klass(identifiers="Drop"), world.scope(), world.dataset())
    world.apply(world.training_job())
    job = world.started()
    accepted = world.condition(job, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "AllowedWithFindings")
    assert {f["action"] for f in job["status"]["decision"]["findings"]} == {"Evidence"}


def test_the_status_says_what_changed(world):
    world.apply(world.training_job())
    job = world.running()
    assert not job["status"]["decision"].get("changedBy")
    world.delete("consentscopes.mlprivacy.dev", "research")
    job = suspended(world)
    cause = {"kind": "ConsentScope", "namespace": world.namespace, "name": "research"}
    assert job["status"]["decision"]["changedBy"] == [cause]
    said = f"ecided anew after a change of ConsentScope {world.namespace}/research"
    assert said in world.condition(job, "Accepted")["message"]
    told = [e for e in world.all("events") if said in (e.get("message") or e.get("note") or "")]
    assert told, "an Event says it, too"
