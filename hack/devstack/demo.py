"""The demonstration: the examples on a real API server, and what became of each job."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml

from controlplane.client import Cluster
from controlplane.cluster import ControlPlane
from controlplane.existing import ExistingCluster, use_existing_cluster
from devstack import outcomes
from devstack.outcomes import Outcome
from devstack.personas import bind, persona_for
from devstack.stack import ROOT, DevStack

EXAMPLES: Final = ROOT / "examples"
DIRECTORY: Final = ROOT / "build" / "demo"
Say = Callable[[str], None]


def run_demo(say: Say, *, show: str | None = None, keep: bool = False) -> int:
    """Run it; 0 when every job came out as expected and the audit log verifies."""
    DevStack.stop_in(DIRECTORY / "stack")
    shutil.rmtree(DIRECTORY / "stack", ignore_errors=True)
    if use_existing_cluster():
        return _on(ExistingCluster(), say, show, keep)
    say("starting etcd, API server, controller-manager, scheduler and a simulated node")
    ControlPlane.stop_in(DIRECTORY)
    cluster = ControlPlane(DIRECTORY, owner=None) if keep else ControlPlane(DIRECTORY)
    cluster.start()
    try:
        return _on(cluster, say, show, keep)
    finally:
        if not keep:
            cluster.stop()


def _on(cluster: Cluster, say: Say, show: str | None, keep: bool) -> int:
    stack = DevStack(cluster, DIRECTORY / "stack", screen=say, default_classes=True)
    try:
        stack.start()
        found = _apply(cluster, say)
        code = _tell(cluster, stack, found, show)
    finally:
        if not keep:
            stack.stop()
    if keep:
        print(f"\nStill running. Use it with: export KUBECONFIG={cluster.kubeconfig}")
        print(f"Stop it with: make dev-down DIR={DIRECTORY.relative_to(ROOT)}")
    return code


def _apply(cluster: Cluster, say: Say) -> list[Outcome]:
    """Apply everything as the person whose work it is; jobs before datasets, as a directory may hold them."""
    objects = [o for folder in outcomes.FOLDERS for o in outcomes.load(EXAMPLES, folder)]
    namespaces = [o for o in objects if o["kind"] == "Namespace"]
    say(f"creating {len(namespaces)} namespaces, governed by their label {'mlprivacy.dev/enforce'}")
    cluster.apply(*namespaces)
    bind(cluster, [n["metadata"]["name"] for n in namespaces])
    jobs = [o for o in objects if o["kind"] in outcomes.RESOURCES]
    for obj in objects:
        persona = persona_for(obj)
        if persona is not None and obj not in jobs:
            cluster.apply(obj, as_user=persona.user)
    say("classes, policies and privacy budgets by the privacy officer, datasets, consents and grants by the data owner")
    refused, created = [], []
    rules = outcomes.rules_of(objects)
    for job in jobs:
        persona = persona_for(job)
        done = cluster.apply(job, as_user=persona.user if persona else None, check=False)
        if done.returncode:
            refused.append(outcomes.refused_at_apply(job, done.stderr, rules))
        else:
            created.append(job)
    say(f"{len(jobs)} jobs by the ML engineer: {len(refused)} refused at apply, {len(created)} created; deciding")
    found = {(o.kind, o.namespace, o.name): o for o in (*refused, *outcomes.settled(cluster, created))}
    return [found[j["kind"], j["metadata"]["namespace"], j["metadata"]["name"]] for j in jobs]


def _tell(cluster: Cluster, stack: DevStack, found: list[Outcome], show: str | None) -> int:
    width = min(shutil.get_terminal_size((150, 24)).columns, 180)
    print("\n" + outcomes.table(found, width) + "\n")
    code = _compare(found)
    _order(cluster, found)
    if show is not None:
        code = _show(cluster, found, show) or code
    else:
        print("See the objects made for one of them: make demo SHOW=diagnosis\n")
    verified = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", "verify", str(stack.audit_directory)], check=False
    )
    if isinstance(cluster, ControlPlane):
        print("The node is simulated: this proves which objects were made and in which order, never a process.")
    return verified.returncode or code


def _compare(found: list[Outcome]) -> int:
    wanted = outcomes.expected(EXAMPLES)
    wrong = [o for o in found if wanted[o.kind, o.namespace, o.name] != (o.outcome, tuple(sorted(o.rules)))]
    counts = {
        name: sum(o.outcome == name for o in found) for name in ("accepted", "warned", "waiting", "held", "refused")
    }
    print(f"{len(found)} jobs: " + ", ".join(f"{n} {name}" for name, n in counts.items()) + ".")
    for o in wrong:
        outcome, rules = wanted[o.kind, o.namespace, o.name]
        print(f"NOT AS EXPECTED: {o.ref} is {o.outcome} {list(o.rules)}, expected {outcome} {list(rules)}.")
    if not wrong:
        print("Each as examples/expected.yaml says.")
    return 1 if wrong else 0


def _order(cluster: Cluster, found: list[Outcome]) -> None:
    """From the API server's own audit log: when the NetworkPolicy of an accepted job was made, and when its Job was."""
    job = next((o for o in found if o.outcome == "accepted" and o.kind == "TrainingJob"), None)
    if job is None or not isinstance(cluster, ControlPlane):
        return
    name = f"mlp-{job.name}"
    policies = cluster.audit_events(resource="networkpolicies", namespace=job.namespace, name=name)
    jobs = cluster.audit_events(verb="create", resource="jobs", namespace=job.namespace, name=f"{name}-1", code=201)
    if policies and jobs:
        made, started = policies[0].completed, jobs[-1].received
        print(f"From the API server's audit log: NetworkPolicy {job.namespace}/{name} at {made:%H:%M:%S.%f}, "
              f"Job {name}-1 at {started:%H:%M:%S.%f}.")  # fmt: skip


def _show(cluster: Cluster, found: list[Outcome], name: str) -> int:
    job = next((o for o in found if name in (o.name, o.ref)), None)
    if job is None:
        print(f"There is no job {name}. Choose among: {', '.join(o.name for o in found)}.")
        return 2
    live = cluster.get(outcomes.RESOURCES[job.kind], job.name, job.namespace)
    rendered = ((live or {}).get("status") or {}).get("rendered") or []
    if not rendered:
        print(f"Nothing was rendered for {job.ref}: it is {job.outcome}.")
        return 0
    print(f"# What was made for {job.ref}, in this order; the {rendered[-1]['kind']} last.")
    for item in rendered:
        obj = cluster.get(item["kind"].lower(), item["name"], job.namespace)
        print("---\n" + yaml.safe_dump(_plain(obj or {}), sort_keys=False, width=120).rstrip())
    print()
    return 0


def _plain(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Without what the API server and its watchers add."""
    metadata = {
        k: v
        for k, v in obj.get("metadata", {}).items()
        if k in ("name", "namespace", "labels", "annotations", "ownerReferences")
    }
    return {**{k: v for k, v in obj.items() if k not in ("metadata", "status")}, "metadata": metadata}
