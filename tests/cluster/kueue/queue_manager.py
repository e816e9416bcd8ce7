"""Kueue's part in the life of a Workload, played step by step on the real API server.

It writes what Kueue's controllers write, in the way in which they write it: server-side apply of the admission, its
conditions and all checks as the field manager `kueue-admission`, by force and on the version that was read
(pkg/workload/patching of kubernetes-sigs/kueue); the list of checks by an update. It decides nothing about quota.
"""

import copy
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from controlplane import Cluster

Object = dict[str, Any]
WORKLOADS: Final = "workloads.kueue.x-k8s.io"
API: Final = "kueue.x-k8s.io/v1beta2"
# admissionManagedConditions
_MANAGED: Final = ("QuotaReserved", "Evicted", "Admitted", "Preempted", "Requeued", "DeactivationTarget", "Finished")


def now(after: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(workload: Object | None, type: str) -> Object:
    found = ((workload or {}).get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == type), {})


def is_true(workload: Object | None, type: str) -> bool:
    return condition(workload, type).get("status") == "True"


def set_condition(workload: Object, type: str, status: str, reason: str, message: str) -> None:
    conditions = workload.setdefault("status", {}).setdefault("conditions", [])
    old = condition(workload, type)
    since = old["lastTransitionTime"] if old.get("status") == status else now()
    conditions[:] = [c for c in conditions if c["type"] != type]
    generation = workload["metadata"].get("generation", 0)
    conditions.append(
        {
            "type": type, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since, "observedGeneration": generation,
        }
    )  # fmt: skip


class QueueManager:
    """Kueue, for the Workloads of one namespace whose ClusterQueue asks for these checks."""

    def __init__(self, cluster: Cluster, namespace: str, checks: Sequence[str]) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.checks = list(checks)

    def get(self, name: str) -> Object | None:
        return self.cluster.get(WORKLOADS, name, self.namespace)

    def check(self, name: str, check: str) -> Object:
        found = ((self.get(name) or {}).get("status") or {}).get("admissionChecks") or []
        return next((c for c in found if c["name"] == check), {})

    # -- steps -----------------------------------------------------------------------------------------------------

    def reserve(self, name: str) -> None:
        """Quota is found (SetQuotaReservation), and the checks of the ClusterQueue are put on."""
        self._update_checks(name)

        def change(workload: Object) -> None:
            pod_set = workload["spec"]["podSets"][0]
            status = workload.setdefault("status", {})
            status["admission"] = {
                "clusterQueue": "team",
                "podSetAssignments": [
                    {
                        "name": pod_set["name"], "count": pod_set["count"],
                        "flavors": {"cpu": "default"}, "resourceUsage": {"cpu": "1"},
                    }
                ],
            }  # fmt: skip
            set_condition(workload, "QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue team")
            if is_true(workload, "Evicted"):
                was = condition(workload, "Evicted")["message"]
                set_condition(workload, "Evicted", "False", "QuotaReserved", f"Previously: {was}")

        self._apply(name, change)

    def sync(self, name: str) -> None:
        """One pass of the workload controller: rejected, to be tried again, or admitted."""
        workload = self.get(name) or {}
        checks = workload["status"].get("admissionChecks") or []
        if not is_true(workload, "QuotaReserved") or is_true(workload, "Evicted"):
            return
        rejected = [c for c in checks if c["state"] == "Rejected"]
        retry = [c for c in checks if c["state"] == "Retry"]
        if rejected:
            said = f'AdmissionCheck in Rejected state: "{rejected[0]["name"]}" ({rejected[0]["message"]})'
            self.deactivate(name, "AdmissionCheck", f"The workload is deactivated due to {said}")
        elif retry:
            seconds = max(c.get("requeueAfterSeconds", 0) for c in retry)

            def later(workload: Object) -> None:
                workload["status"]["requeueState"] = {"requeueAt": now(seconds)}

            self._apply(name, later)
            said = f'AdmissionCheck in Retry state: "{retry[0]["name"]}" ({retry[0]["message"]})'
            self.evict(name, "AdmissionCheck", f"Evicted due to {said}")
        elif all(c["state"] == "Ready" for c in checks):
            self._apply(
                name, lambda one: set_condition(one, "Admitted", "True", "Admitted", "The workload is admitted")
            )

    def evict(self, name: str, reason: str, message: str) -> None:
        """prepareForEviction: the condition, and every check back to Pending. The admission stays: it is the job's
        controller that clears it.
        """

        def change(workload: Object) -> None:
            set_condition(workload, "Evicted", "True", reason, message)
            for check in workload["status"].get("admissionChecks") or []:
                if check["state"] != "Pending":
                    check["message"] = f"Reset to Pending after eviction. Previously: {check['state']}"
                    check["state"], check["lastTransitionTime"] = "Pending", now()

        self._apply(name, change)

    def deactivate(self, name: str, cause: str, message: str) -> None:
        self.cluster.kubectl(
            "patch", WORKLOADS, name, "-n", self.namespace, "--type=merge", "-p", '{"spec": {"active": false}}'
        )
        self.evict(name, f"DeactivatedDueTo{cause}", message)

    def backoff_over(self, name: str) -> None:
        """The time of requeueState is over."""

        def change(workload: Object) -> None:
            workload["status"].pop("requeueState", None)
            set_condition(workload, "Requeued", "True", "BackoffFinished", "The workload backoff was finished")

        self._apply(name, change)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _apply(self, name: str, change: Callable[[Object], None]) -> None:
        def body(workload: Object) -> Object:
            change(workload)
            status = workload["status"]
            kept: Object = {
                "conditions": [c for c in status.get("conditions") or [] if c["type"] in _MANAGED],
                "admissionChecks": status.get("admissionChecks") or [],
            }
            for key in ("admission", "requeueState"):
                if status.get(key):
                    kept[key] = status[key]
            return {**_named(workload), "status": kept}

        force = ("--server-side", "--force-conflicts", "--field-manager=kueue-admission")
        self._write(name, body, "apply", "--subresource=status", *force)

    def _update_checks(self, name: str) -> None:
        def body(workload: Object) -> Object:
            status = workload.setdefault("status", {})
            old = {c["name"]: c for c in status.get("admissionChecks") or []}
            fresh = {"state": "Pending", "message": "", "lastTransitionTime": now()}
            status["admissionChecks"] = [old.get(c) or {"name": c, **fresh} for c in self.checks]
            return workload

        if self.checks:
            self._write(name, body, "replace", "--subresource=status", "--field-manager=kueue")

    def _write(self, name: str, body: Callable[[Object], Object], *command: str) -> None:
        """On the version that was read; once more when somebody was faster."""
        for _ in range(8):
            workload = self.get(name)
            assert workload is not None, f"no Workload {name}"
            sent = body(copy.deepcopy(workload))
            done = self.cluster.kubectl(*command, "-f", "-", input=json.dumps(sent), check=False)
            if done.returncode == 0:
                return
            assert "Conflict" in done.stderr or "has been modified" in done.stderr, done.stderr
        raise AssertionError(f"never written: {done.stderr}")


def _named(workload: Object) -> Object:
    keep = ("name", "namespace", "uid", "resourceVersion")
    metadata = {k: workload["metadata"][k] for k in keep}
    return {"apiVersion": workload["apiVersion"], "kind": "Workload", "metadata": metadata}
