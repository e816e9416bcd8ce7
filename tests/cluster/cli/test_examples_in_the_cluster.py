"""The examples in a cluster come to what examples/expected.yaml says, in any order of the files.

What is held is there with Accepted=Unknown, what is refused does not get in; with the jobs before their data, what is
refused gets in as held and is refused by the controller as soon as the data is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack.stack import DevStack

from .conftest import Run, eventually

EXAMPLES = Path(__file__).parents[3] / "examples"
EXPECTED: list[Mapping[str, Any]] = yaml.safe_load((EXAMPLES / "expected.yaml").read_text(encoding="utf-8"))["jobs"]
ACCEPTED = {
    "accepted": [("True", "Allowed"), ("True", "AllowedWithFindings")],
    "warned": [("True", "AllowedWithWarnings")],
    "refused": [("False", "Refused"), None],  # None: the API server did not take it
}


def jobs(folder: str) -> list[Mapping[str, Any]]:
    return [job for job in EXPECTED if job["folder"] == folder]


def accepted(stack: DevStack, job: Mapping[str, Any]) -> tuple[str, str] | None:
    found = stack.cluster.get(f"{job['kind'].lower()}s.mlprivacy.dev", job["name"], job["namespace"])
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Accepted"), None)


def settled(stack: DevStack, job: Mapping[str, Any]) -> bool:
    found = accepted(stack, job)
    if job["outcome"] == "held":
        return found is not None and found[0] == "Unknown"
    return found in ACCEPTED[job["outcome"]]


@pytest.fixture(params=["clinic", "shop", "laws", "budget"])
def folder(request: pytest.FixtureRequest, stack: DevStack) -> Any:
    """A folder of examples; all of it is deleted after the test."""
    name = str(request.param)
    yield name
    stack.cluster.kubectl("delete", "--ignore-not-found", "--wait", "-f", str(EXAMPLES / name))


def test_applied_as_a_folder_refused_jobs_are_refused_at_apply_with_rule_field_and_remedy(
    stack: DevStack, folder: str
) -> None:
    done = stack.cluster.kubectl("apply", "-f", str(EXAMPLES / folder), check=False)
    refusals = [text for text in done.stderr.split("Error from server") if "denied the request" in text]
    refused = [job for job in jobs(folder) if job["outcome"] == "refused"]
    assert len(refusals) == len(refused)
    for job in refused:
        assert any(all(f"{rule}: spec" in text for rule in job["rules"]) and "To fix it:" in text for text in refusals)
    for job in jobs(folder):
        eventually(lambda job=job: settled(stack, job), f"{job['name']} as {job['outcome']}")
        if job["outcome"] == "refused":
            assert accepted(stack, job) is None


def test_applied_with_the_jobs_first_everything_settles(stack: DevStack, folder: str) -> None:
    files = sorted((EXAMPLES / folder).glob("*.yaml"))
    # Namespaces, since the API server wants them first, policies that admit what is refused without them, and budgets:
    # data without one is used uncounted.
    names = [path for path in files if path.name in ("00-namespaces.yaml", "10-policies.yaml", "20-budgets.yaml")]
    for path in [*names, *reversed([path for path in files if path not in names])]:
        stack.cluster.kubectl("apply", "-f", str(path), check=False)
    for job in jobs(folder):
        eventually(lambda job=job: settled(stack, job), f"{job['name']} as {job['outcome']}")


def test_the_cluster_and_the_files_give_one_decision(stack: DevStack, folder: str, mlprivacy: Run) -> None:
    stack.cluster.kubectl("apply", "-f", str(EXAMPLES / folder), check=False)
    me = json.loads(stack.cluster.kubectl("auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]["username"]
    offline = json.loads(mlprivacy("check", "-o", "json", "--requester", me, str(EXAMPLES / folder)).stdout)["jobs"]
    by_name = {(j["subject"]["kind"], j["subject"]["name"]): j for j in offline}
    for job in jobs(folder):
        if job["outcome"] == "refused":
            continue
        eventually(lambda job=job: settled(stack, job), f"{job['name']} as {job['outcome']}")
        done = mlprivacy("explain", f"{job['kind']}/{job['name']}", "-n", job["namespace"], "-o", "json")
        explained, file = json.loads(done.stdout), by_name[job["kind"], job["name"]]
        for key in ("verdict", "mode", "findings", "obligations", "assurance"):
            wanted = file[key]
            if key == "findings":
                wanted = [{k: v for k, v in f.items() if k not in ("line", "column")} for f in wanted]
            assert explained[key] == wanted, (job["name"], key)
        assert explained["digest"] == explained["status"]["decision"]["digest"]
        assert explained["notes"] == []
