"""Every rule on a real API server: it stops, warns of or records a job, and following its remedy literally helps.

The table is every_rule.yaml. Refusals are asked for by dry runs. What is held, warned of or recorded is created, and
its status says so. The same job is then accepted by a dry run; what was held is accepted by itself where the remedy
asks for something else than a change of the job. Nodes are simulated: what is made for a job is seen as objects alone.
"""

import json
from typing import Any


def finding_in_refusal(answer: Any, entry: Any) -> str | None:
    """The remedy of the entry's finding in a refusal, or None."""
    if answer.ok or answer.by != "webhook kinds":
        return None
    for line in answer.message.splitlines():
        if line.startswith(f"{entry.rule}: {entry.path}: "):
            return str(line.partition("To fix it: ")[2])
    return None


def finding_in_status(office: Any, job: dict[str, Any], entry: Any) -> dict[str, Any] | None:
    """The entry's finding in the job's status, or None."""
    status = live(office, job).get("status") or {}
    found = (status.get("decision") or {}).get("findings") or []
    return next(
        (f for f in found if (f["rule"], f["path"], f["action"]) == (entry.rule, entry.path, entry.action)), None
    )


def live(office: Any, job: dict[str, Any]) -> dict[str, Any]:
    metadata = job["metadata"]
    found: dict[str, Any] = office.cluster.get(
        f"{job['kind'].lower()}s.mlprivacy.dev", metadata["name"], metadata["namespace"]
    )
    return found or {}


def accepted(office: Any, job: dict[str, Any]) -> bool:
    conditions = (live(office, job).get("status") or {}).get("conditions") or []
    return any((c["type"], c["status"]) == ("Accepted", "True") for c in conditions)


def test_a_job_is_stopped_by_the_rule_and_accepted_after_its_printed_remedy(
    office: Any, jobs: dict[str, dict[str, Any]], entry: Any
) -> None:
    job = jobs[entry.slug]
    namespace = job["metadata"]["namespace"]
    seen: list[str] = []

    def stopped() -> str | None:
        if entry.action == "Deny":
            answer = office.admin.create(namespace, job, dryRun="All")
            seen[:] = [str(answer)]
            return finding_in_refusal(answer, entry)
        found = finding_in_status(office, job, entry)
        seen[:] = [json.dumps(live(office, job).get("status"))]
        return found and str(found["remedy"])

    if entry.action != "Deny":
        created = office.admin.create(namespace, job)
        assert created.ok, created
    remedy = once(office, stopped, f"{entry.action} of {entry.rule} at {entry.path}", seen)
    assert entry.own(entry.remedy) in remedy

    changes = entry.changes(remedy)
    mended = office.follow(job, changes)
    mended["metadata"] = {**mended["metadata"], "name": "mended"}

    def passes() -> bool:
        answer = office.admin.create(namespace, mended, dryRun="All")
        seen[:] = [str(answer), *answer.warnings]
        told = [w for w in answer.warnings if not any(f"{rule}: " in w for rule in entry.still)]
        return answer.ok and not told

    once(office, passes, f"the mended job accepted without a word ({entry.rule})", seen)
    if entry.action != "Deny" and mended["spec"] == job["spec"]:
        once(office, lambda: accepted(office, job), f"{entry.rule}: what was held is accepted by itself", seen)
    if entry.then:
        once(office, lambda: entry.then in (finding_in_status(office, job, entry) or {})["remedy"], entry.then, seen)
    if entry.made:
        look_at_what_is_made(office, mended, entry)


def once(office: Any, look: Any, what: str, seen: list[str]) -> Any:
    """The first true result; a failure shows what was seen last."""
    try:
        return office.eventually(look, what, 30)
    except BaseException:
        print("\n".join(seen))
        raise


def look_at_what_is_made(office: Any, job: dict[str, Any], entry: Any) -> None:
    """Create the job, and look at its pod's template, its NetworkPolicy and its decision."""
    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    created = office.admin.create(namespace, job)
    assert created.ok, created
    seen: list[str] = []

    def workload() -> Any:
        seen[:] = [json.dumps(live(office, job).get("status"))]
        return office.admin.read(namespace, f"jobs/mlp-{name}-1")

    found = once(office, workload, "the Job", seen)
    network = office.admin.read(namespace, f"networkpolicies/mlp-{name}")
    decision = office.admin.read(namespace, f"configmaps/mlp-{name}-decision")
    objects = json.dumps([found["spec"], network["spec"]], sort_keys=True)
    text = objects + json.dumps(decision["data"]).replace("\\", "")
    for part in entry.made.get("has", ()):
        assert part in text
    for part in entry.made.get("not", ()):
        assert entry.own(part) not in objects  # the decision may say what was taken away
