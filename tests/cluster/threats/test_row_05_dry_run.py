"""Row 5: a dry run gets the answer of the real thing, and leaves nothing behind."""

from pathlib import Path
from typing import Any

import pytest

REFUSED = {
    "a purpose that was never granted": {"purpose": "marketing.advertising"},
    "a field of the template": {"template": {"spec": {"hostNetwork": True, "containers": [{"name": "a"}]}}},
    "a column that is not there": {"datasets": [{"name": "visits", "columns": ["name"], "mountPath": "/d"}]},
    "a broken spec": {"purpose": "Train AI"},
}


@pytest.mark.parametrize("what", REFUSED)
def test_row_5_a_refusal_reads_the_same(scene: Any, ward: Any, what: str) -> None:
    ns, _, _ = ward
    job = scene.training_job("probe", **REFUSED[what])
    tried, real = (scene.mallory.create(ns, job, **query) for query in ({"dryRun": "All"}, {}))

    for answer in (tried, real):
        scene.refused(answer, "webhook kinds|schema")
    assert (tried.code, tried.message) == (real.code, real.message)
    assert scene.mallory.apply(ns, job, dryRun="All").message == tried.message
    assert scene.admin.read(ns, "trainingjobs/probe") is None


def test_row_5_a_dry_run_writes_nothing(scene: Any, ward: Any, stack: Any) -> None:
    ns, _, _ = ward
    kinds = ("trainingjobs", "jobs", "pods", "networkpolicies", "configmaps", "serviceaccounts", "events")

    def everything() -> dict[str, set[str]]:
        return {kind: {o["metadata"]["name"] for o in scene.admin.items(ns, kind)} for kind in kinds}

    before = everything()
    tried = scene.allowed(scene.mallory.create(ns, scene.training_job("shadow-run"), dryRun="All"))
    scene.allowed(scene.mallory.apply(ns, scene.training_job("shadow-run"), dryRun="All"))
    scene.allowed(scene.mallory.patch(ns, "trainingjobs/study", {"spec": {"suspend": True}}, dryRun="All"))
    scene.allowed(scene.mallory.delete(ns, "trainingjobs/study", dryRun=["All"]))
    # Whatever was to be written would have been before the answer about a job that came later.
    scene.refused(scene.mallory.create(ns, scene.training_job("later", purpose="marketing")), "webhook kinds")
    scene.allowed(scene.mallory.create(ns, scene.training_job("after", suspend=True)))
    scene.await_condition(ns, "after", "Suspended", "True")

    assert tried.body["metadata"]["annotations"] == {"mlprivacy.dev/requested-by": "mallory"}
    scene.allowed(scene.mallory.delete(ns, "trainingjobs/after"))
    grown = {kind: names - before[kind] for kind, names in everything().items()}
    assert not any("shadow-run" in name for names in grown.values() for name in names)
    assert "deletionTimestamp" not in scene.admin.read(ns, "trainingjobs/study")["metadata"]
    assert scene.admin.read(ns, "jobs/mlp-study-1")["spec"]["suspend"] is False
    records = "".join(p.read_text(encoding="utf-8") for p in Path(stack.audit_directory).rglob("*") if p.is_file())
    assert "shadow-run" not in records
    assert '"study"' in records


def test_row_5_a_dry_run_is_no_way_past_a_guard(scene: Any, ward: Any) -> None:
    ns, trainer, _ = ward
    forged = scene.pod("forged", {"mlprivacy.dev/rendered": "training"})
    for person in scene.attackers:
        scene.refused(person.create(ns, forged, dryRun="All"), "guard (label-chain|pod-[a-z]+)")
        answer = person.delete(ns, f"pods/{trainer['metadata']['name']}", gracePeriodSeconds=0, dryRun=["All"])
        scene.refused(answer, "guard grace")
        scene.refused(person.delete(ns, "networkpolicies/mlp-study", dryRun=["All"]), "guard rendered-objects")
        # Only the operator tries governed pods, and only in a dry run: its account makes none (../guards).
