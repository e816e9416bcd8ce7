"""An InferenceJob on the real API server: Deployment and Service, whose only open port is the gateway's.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import pytest

pytestmark = pytest.mark.cluster


@pytest.fixture
def serving(lax):
    """An auditing namespace with a served model."""
    lax.apply(lax.serving_scope(), lax.inference_job())

    def served():
        job = lax.inference()
        return job if lax.condition(job, "Running").get("status") == "True" else None

    lax.eventually(served, "the model to be served")
    return lax


def test_the_gateways_port_is_the_only_open_one(serving):
    job = serving.inference()
    assert serving.condition(job, "Accepted")["status"] == "True"
    assert serving.condition(job, "ServingReady")["reason"] == "NoGatewayProxy"
    policy, service = serving.get("networkpolicy", "mlp-api"), serving.get("service", "mlp-api")
    anyone = [rule for rule in policy["spec"]["ingress"] if "from" not in rule]
    assert [rule["ports"] for rule in anyone] == [[{"port": 8080, "protocol": "TCP"}]]
    assert not policy["spec"].get("egress")
    assert [(p["port"], p["targetPort"]) for p in service["spec"]["ports"]] == [(8080, 8080)]
    pod = serving.get("deployment", "mlp-api")["spec"]["template"]["spec"]
    gateway = next(c for c in pod["initContainers"] if c["name"] == "mlprivacy-gateway")
    assert 8080 in [p["containerPort"] for p in gateway["ports"]]
    writes = [e for e in serving.written("deployments") if "dryRun" not in e.raw["requestURI"]]
    controls = [e for e in serving.written("networkpolicies") if e.name == "mlp-api"]
    assert controls[0].completed <= writes[0].received


def test_suspending_scales_to_zero_and_resuming_scales_up(serving):
    serving.patch("inferencejobs.mlprivacy.dev", "api", {"spec": {"suspend": True}})
    serving.eventually(lambda: serving.get("deployment", "mlp-api")["spec"]["replicas"] == 0, "no replica")
    serving.eventually(lambda: not serving.all("pods"), "no pod")
    assert serving.eventually(
        lambda: serving.condition(serving.inference(), "Suspended").get("reason") == "SuspendedByUser", "the status"
    )
    serving.patch("inferencejobs.mlprivacy.dev", "api", {"spec": {"suspend": False}})
    serving.eventually(lambda: serving.get("deployment", "mlp-api")["spec"]["replicas"] == 1, "one replica")


def test_consent_withdrawn_scales_to_zero(serving):
    serving.delete("consentscopes.mlprivacy.dev", "serving")
    serving.eventually(lambda: serving.get("deployment", "mlp-api")["spec"]["replicas"] == 0, "no replica")
    serving.apply(serving.serving_scope())
    serving.eventually(lambda: serving.get("deployment", "mlp-api")["spec"]["replicas"] == 1, "one replica")


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        ("deployment", {"spec": {"replicas": 3}}),
        ("deployment", {"spec": {"template": {"spec": {"hostNetwork": True}}}}),
        ("service", {"spec": {"ports": [{"port": 9999, "targetPort": 9999, "name": "side"}]}}),
        ("service", {"spec": {"externalIPs": ["192.0.2.1"]}}),
    ],
    ids=["replicas", "hostNetwork", "port", "externalIPs"],
)
def test_what_others_change_is_repaired(serving, kind, harm):
    before = serving.get(kind, "mlp-api")["spec"]
    serving.patch(kind, "mlp-api", harm)
    serving.eventually(lambda: serving.get(kind, "mlp-api")["spec"] == before, f"the {kind} as it was")


@pytest.mark.parametrize("kind", ["deployment", "service"])
def test_what_others_delete_is_made_again(serving, kind):
    before = serving.get(kind, "mlp-api")["metadata"]["uid"]
    serving.delete(kind, "mlp-api")
    serving.eventually(
        lambda: ((serving.get(kind, "mlp-api") or {}).get("metadata") or {}).get("uid") not in (None, before),
        f"the {kind} again",
    )


def test_deleting_leaves_nothing_but_the_floor(serving):
    serving.delete("inferencejobs.mlprivacy.dev", "api")
    serving.eventually(lambda: not serving.inference(), "the job to be gone")
    assert not any(serving.rendered().values())


def restarted(serving, *, crashing):
    """Reports that the gateway of the one pod was started a second time; the pod."""
    (pod,) = serving.all("pods")
    at = {"running": {"startedAt": "2026-06-01T12:00:00Z"}}
    serving.end_pod(
        pod, "Running",
        initContainerStatuses=[
            {"name": "mlprivacy-gateway", "state": crashing or at, "lastState": {}, "restartCount": 1, "ready": True,
             "started": True, "image": "i", "imageID": ""},
        ],
        containerStatuses=[
            {"name": pod["spec"]["containers"][0]["name"], "state": at, "lastState": {}, "restartCount": 0,
             "ready": True, "started": True, "image": "i", "imageID": ""},
        ],
    )  # fmt: skip
    return pod


@pytest.mark.parametrize("budget", [False, True])
def test_a_pod_whose_gateway_was_started_anew_is_replaced_whatever_holds_it(serving, budget):
    if budget:  # anyone with `edit` makes one
        spec = {"maxUnavailable": 0, "selector": {"matchLabels": {"mlprivacy.dev/inference-job": "api"}}}
        metadata = {"name": "hold", "namespace": serving.namespace}
        serving.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec})
        serving.eventually(lambda: serving.get("pdb", "hold").get("status", {}).get("expectedPods"), "the budget")
    pod = restarted(serving, crashing=None)

    def replaced():
        pods = [p for p in serving.all("pods") if "deletionTimestamp" not in p["metadata"]]
        return len(pods) == 1 and pods[0]["metadata"]["uid"] != pod["metadata"]["uid"]

    serving.eventually(replaced, "another pod")
    told = ("get", "events", "-n", serving.namespace, "-o", "json")
    serving.eventually(lambda: "GatewayRestarted" in serving.cluster.kubectl(*told).stdout, "the Event")
