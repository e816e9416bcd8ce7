"""What the admission benchmarks send: a pod of 8.6 kB, governed or not, and a TrainingJob with three datasets."""

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from mlprivacy.controls.render import render
from mlprivacy.policy.engine import evaluate, parse_job
from mlprivacy.policy.gather import select_facts
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.workloads.context import RenderContext, RenderSettings

OBJECTS: Final = Path(__file__).resolve().parents[1] / "unit" / "admission" / "objects.yaml"
POD_BYTES: Final = 8600  # the pod whose cost design facts were measured with
SETTINGS: Final = RenderSettings(
    "mlprivacy-system", "registry.example/mlprivacy-dataplane@sha256:" + "0" * 63 + "2", "192.0.2.1:15019:15019", "a2V5"
)
JOB_UID: Final = "11111111-1111-4111-8111-111111111111"


def objects() -> list[dict[str, Any]]:
    """The clinic and the research team, whose job has so many settings that its pod is about POD_BYTES long."""
    items: list[dict[str, Any]] = yaml.safe_load(OBJECTS.read_text(encoding="utf-8"))["items"]
    for item in items:
        item["metadata"].setdefault("uid", JOB_UID if item["kind"] == "TrainingJob" else item["metadata"]["name"])
        item["metadata"].setdefault("resourceVersion", "1")
        if item["kind"] == "TrainingJob":
            variables = [{"name": f"SETTING_{i:03}", "value": f"value of setting {i:03}"} for i in range(85)]
            item["spec"]["template"]["spec"]["containers"][0]["env"] = variables
    return items


def training_job() -> dict[str, Any]:
    """A compliant TrainingJob with three datasets under all rules."""
    return next(copy.deepcopy(o) for o in objects() if o["kind"] == "TrainingJob")


def digest(job: dict[str, Any]) -> str:
    """Of the decision on this job."""
    return evaluate(job, select_facts(job, ObjectLookup(objects()), datetime.now(UTC))).digest


def pod(labels: dict[str, str], annotations: dict[str, str], *, namespace: str = "research") -> dict[str, Any]:
    """A pod that is POD_BYTES long as JSON, with these labels and annotations."""
    import json  # noqa: PLC0415

    variables = [{"name": f"SETTING_{i:03}", "value": f"value of setting {i:03}"} for i in range(20)]
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "sample", "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": f"part-{n}",
                    "image": f"registry.example/part-{n}@sha256:" + "0" * 64,
                    "env": variables,
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                }
                for n in range(4)
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
    variables.append({"name": "PADDING", "value": ""})
    missing = POD_BYTES - len(json.dumps(made, separators=(",", ":")))
    variables[-1] = {"name": "PADDING", "value": "x" * max(0, missing // 4)}
    return made


def governed_pod(job: dict[str, Any], decision: str) -> dict[str, Any]:
    """The pod as the operator renders it for this job, which the API server has seen, under the decision's digest."""
    kind, parsed = parse_job(job)
    name, namespace, uid = (job["metadata"][key] for key in ("name", "namespace", "uid"))
    made = evaluate(job, select_facts(job, ObjectLookup(objects()), datetime.now(UTC)))
    if parsed.spec is None or made.digest != decision:
        raise RuntimeError("the decision on the sample is another than the one in force")
    pod = render(RenderContext(kind, name, namespace, uid, parsed.spec, made, 1, SETTINGS)).pod
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": f"mlp-{name}-1", "uid": uid, "controller": True}
    pod["metadata"] |= {"name": "sample", "ownerReferences": [owner]}
    return pod


def review(obj: dict[str, Any]) -> dict[str, Any]:
    """An AdmissionReview of a creation as the API server sends it."""
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = {"group": group, "version": version, "kind": obj["kind"]}
    resource = {"group": group, "version": version, "resource": obj["kind"].lower() + "s"}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": obj["metadata"]["name"],
            "namespace": obj["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:job-controller",
                "uid": "d8f5f8f0",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
            },
            "object": obj,
            "oldObject": None,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    }
