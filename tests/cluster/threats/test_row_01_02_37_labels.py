"""Rows 1, 2, 37: labels of what runs, of jobs and of namespaces; edits of what is being deleted."""

from typing import Any

import pytest

GUARDED = "mlprivacy.dev/rendered"


def bodies(name: str) -> list[tuple[str, Any]]:
    """The same wish, to be rid of the governed label, in every patch language."""
    off = {"metadata": {"labels": {GUARDED: None}}}
    return [
        ("merge", off),
        ("strategic", off),
        ("json", [{"op": "remove", "path": "/metadata/labels/mlprivacy.dev~1rendered"}]),
        ("json", [{"op": "replace", "path": "/metadata/labels", "value": {"app": "x"}}]),
        ("json", [{"op": "move", "from": "/metadata/labels/mlprivacy.dev~1rendered", "path": "/metadata/labels/x"}]),
        ("strategic", {"metadata": {"labels": {"$patch": "replace", "app": "x"}}}),
    ]


def test_row_1_the_label_of_a_running_pod_stays(scene: Any, ward: Any) -> None:
    ns, trainer, server = ward
    for person in scene.attackers:
        for pod in (trainer, server):
            for how, body in bodies(pod["metadata"]["name"]):
                for sub in ("", "status"):
                    answer = person.patch(ns, f"pods/{pod['metadata']['name']}", body, how, sub)
                    scene.refused(answer, "guard label-chain|rbac" if person is scene.mallory else "guard label-chain")

    emptied = [
        {**trainer, "metadata": {**trainer["metadata"], "labels": {}, "managedFields": how}} for how in ([], [{}])
    ]
    for forged in emptied:
        del forged["metadata"]["resourceVersion"]
        for sub in ("", "status", "ephemeralcontainers"):
            answer = scene.heidi.put(ns, f"pods/{trainer['metadata']['name']}", forged, sub)
            scene.refused(answer, "guard (label-chain|ephemeral-containers)")
    stored = scene.admin.read(ns, f"pods/{trainer['metadata']['name']}")
    assert stored["metadata"]["labels"] == trainer["metadata"]["labels"]


@pytest.mark.parametrize("target", ["jobs/mlp-study-1", "deployments/mlp-triage"])
def test_row_1_the_label_of_its_workload_stays(scene: Any, ward: Any, target: str) -> None:
    ns, _, _ = ward
    for person in scene.attackers:
        for how, body in bodies(target.split("/")[1]):
            for sub in ("", "status"):
                by = "guard (rendered-objects|label-chain)" + ("" if person is scene.heidi else "|rbac")
                scene.refused(person.patch(ns, target, body, how, sub), by)


@pytest.mark.parametrize(
    "change",
    [
        {"mlprivacy.dev/enforce": None},
        {"mlprivacy.dev/enforce": "audit"},
        {"mlprivacy.dev/enforce": "warn"},
        {"mlprivacy.dev/enforce": "Enforce"},
        {"mlprivacy.dev/enforce": ""},
        {"mlprivacy.dev/enforce": "enforce", "mlprivacy.dev/tenant": "somewhere-lax"},
        {"mlprivacy.dev/region": "us"},
    ],
    ids=str,
)
def test_row_1_37_a_namespace_is_not_moved_out_of_its_policies(scene: Any, ward: Any, change: dict[str, Any]) -> None:
    ns, _, _ = ward
    body = {"metadata": {"labels": change}}
    for sub in ("", "status"):
        scene.refused(scene.heidi.patch(None, f"namespaces/{ns}", body, "merge", sub), "guard namespace-label")
        scene.refused(scene.mallory.patch(None, f"namespaces/{ns}", body, "merge", sub), "rbac")
    bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns, "labels": {}}}
    for sub in ("", "status", "finalize"):
        scene.refused(scene.heidi.put(None, f"namespaces/{ns}", bare, sub), "guard namespace-label")


def test_row_37_policies_and_data_are_not_the_attackers_to_declare(scene: Any, ward: Any) -> None:
    """Not aggregated into `edit`, and a namespace's owner owns nothing that is cluster scoped."""
    ns, _, _ = ward
    lax = scene.ours("PrivacyPolicy", "lax", {"mode": "Audit"})
    soft = scene.ours("DataClass", "soft", {"categories": ["user"], "sensitivity": "Public"})
    for person in scene.attackers:
        for obj in (lax, soft):
            scene.refused(person.create(None, obj), "rbac")
            scene.refused(person.apply(None, obj), "rbac")
        scene.refused(person.delete(None, "privacypolicies"), "rbac")
    for kind, spec in (("Dataset", {}), ("DatasetGrant", {}), ("ConsentScope", {})):
        scene.refused(scene.mallory.create(ns, scene.ours(kind, "mine", spec)), "rbac")
        scene.refused(scene.mallory.apply(ns, scene.ours(kind, "mine", spec)), "rbac")


def test_row_2_a_job_under_deletion_is_still_judged_and_starts_nothing(scene: Any) -> None:
    """A finalizer of one's own holds the job in its deletion; edits are judged as ever, nothing starts again."""
    ns = scene.namespace()
    scene.allowed(scene.mallory.create(ns, scene.training_job("held")))
    scene.running_pod(ns, "held")
    mine = [{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/mine"}]
    scene.allowed(scene.mallory.patch(ns, "trainingjobs/held", mine, "json"))
    scene.allowed(scene.mallory.delete(ns, "trainingjobs/held"))

    for spec in ({"purpose": "marketing"}, {"template": {"spec": {"hostNetwork": True}}}):
        scene.refused(scene.mallory.patch(ns, "trainingjobs/held", {"spec": spec}), "webhook kinds")
    for change in ({"metadata": {"annotations": {"mlprivacy.dev/requested-by": "bob"}}}, {"spec": {"suspend": True}}):
        scene.mallory.patch(ns, "trainingjobs/held", change)
    scene.mallory.patch(ns, "trainingjobs/held", {"spec": {"suspend": False}})

    def torn_down() -> bool:
        held = scene.admin.read(ns, "trainingjobs/held")
        return held["metadata"]["finalizers"] == ["example.com/mine"] and not scene.admin.items(ns, "jobs")

    scene.eventually(torn_down, "the teardown of a job that others hold")
    held = scene.admin.read(ns, "trainingjobs/held")
    assert held["metadata"]["annotations"]["mlprivacy.dev/requested-by"] == "mallory"
    assert scene.pods_of(ns, "held") == []
    scene.allowed(scene.mallory.patch(ns, "trainingjobs/held", {"metadata": {"finalizers": []}}))
    scene.eventually(lambda: scene.admin.read(ns, "trainingjobs/held") is None, "the end of the job")


def test_row_2_a_governed_pod_under_deletion_stays_guarded(scene: Any) -> None:
    ns = scene.namespace()
    scene.allowed(scene.mallory.create(ns, scene.training_job("ending")))
    pod = scene.running_pod(ns, "ending")
    target = f"pods/{pod['metadata']['name']}"
    holding = {"metadata": {"finalizers": ["example.com/mine"]}}
    for person in scene.attackers:
        for how in ("merge", "strategic"):
            scene.refused(person.patch(ns, target, holding, how), "guard label-chain")
    scene.allowed(scene.mallory.delete(ns, target))
    for how, body in bodies("x"):
        answer = scene.heidi.patch(ns, target, body, how)
        assert answer.code == 404 or answer.by == "guard label-chain", answer
