"""A day without trouble: the examples in one directory, jobs before their data; the order of things; a readable no."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from devstack import DevStack
from devstack.outcomes import expected, load, settled

EXAMPLES: Final = Path(__file__).parents[3] / "examples"
FOLDERS: Final = ("clinic", "shop", "laws", "budget")


@pytest.fixture(scope="module")
def applied(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`kubectl apply -f` of one directory with all examples, in which namespaces come first and jobs before data."""
    directory = tmp_path_factory.mktemp("everything")
    for folder in FOLDERS:
        for path in sorted((EXAMPLES / folder).glob("*.yaml")):
            first = path.name in ("00-namespaces.yaml", "10-policies.yaml")  # what admits a device comes before it
            turn = "0" if first else "1" if "-jobs-" in path.name else "2"
            shutil.copy(path, directory / f"{turn}-{folder}-{path.name}")
    done = stack.cluster.kubectl("apply", "-f", str(directory), check=False)
    yield done
    stack.cluster.kubectl("delete", "-f", str(directory), "--ignore-not-found", "--wait=false", check=False)


def test_a_directory_with_jobs_before_their_data_settles_as_expected(stack: DevStack, applied: Any) -> None:
    wanted = expected(EXAMPLES)
    jobs = [o for folder in FOLDERS for o in load(EXAMPLES, folder) if o["kind"] in ("TrainingJob", "InferenceJob")]
    refused = [j for j in jobs if f'"{j["metadata"]["name"]}"' not in applied.stderr and not created(stack, j)]

    assert len(jobs) == len(wanted) >= 8
    found = {
        (o.kind, o.namespace, o.name): (o.outcome, tuple(sorted(o.rules))) for o in settled_as(stack, jobs, wanted)
    }
    # What the webhook refused at once was wrong in itself, whatever data there would be.
    for job in refused:
        key = (job["kind"], job["metadata"]["namespace"], job["metadata"]["name"])
        assert wanted[key][0] == "refused"
        found.setdefault(key, wanted[key])
    assert found == {key: (outcome, tuple(sorted(rules))) for key, (outcome, rules) in wanted.items()}


def created(stack: DevStack, job: dict[str, Any]) -> bool:
    plural = job["kind"].lower() + "s.mlprivacy.dev"
    return stack.cluster.get(plural, job["metadata"]["name"], job["metadata"]["namespace"]) is not None


def settled_as(stack: DevStack, jobs: list[dict[str, Any]], wanted: dict[Any, Any]) -> list[Any]:
    """Outcomes once they are the expected ones, or as they are when time is up: a directory settles step by step."""
    there = [job for job in jobs if created(stack, job)]
    outcomes: list[Any] = []
    for _ in range(60):
        outcomes = settled(stack.cluster, there)
        if all(wanted[o.kind, o.namespace, o.name] == (o.outcome, tuple(sorted(o.rules))) for o in outcomes):
            break
    return outcomes


def test_the_workload_comes_after_every_control(stack: DevStack, applied: Any) -> None:
    """From the API server's audit log: policies, account and evidence were written before the Job or Deployment."""
    for namespace, job, resource in (("research", "diagnosis", "jobs"), ("shop", "product-search", "deployments")):
        stack.cluster.kubectl(
            "wait", "--for=condition=ControlsReady", "--timeout=120s", "-n", namespace,
            f"{'trainingjob' if resource == 'jobs' else 'inferencejob'}.mlprivacy.dev/{job}",
        )  # fmt: skip

        def written(resource: str, name: str, namespace: str = namespace) -> list[Any]:
            events = stack.cluster.audit_events(resource=resource, namespace=namespace, name=name)
            return [e for e in events if e.verb in ("create", "patch") and e.code in (200, 201) and real(e)]

        workload = written(resource, f"mlp-{job}-1" if resource == "jobs" else f"mlp-{job}")
        controls = [
            written("networkpolicies", "mlprivacy-default-deny"),
            written("networkpolicies", f"mlp-{job}"),
            written("serviceaccounts", f"mlp-{job}"),
            written("configmaps", f"mlp-{job}-decision"),
        ]
        assert workload
        for control in controls:
            assert control
            assert control[0].completed <= workload[0].received


def real(event: Any) -> bool:
    return "dryRun" not in event.raw["requestURI"]


@pytest.mark.parametrize(
    ("namespace", "name", "rule", "field", "remedy"),
    [
        ("research", "marketing", "purpose-limitation", "spec.purpose", "train_ai_system.research"),
        ("research", "no-promise", "dp-required", "spec.privacy", "To fix it:"),
        ("shop", "host-access", "pod-hardening", "spec.template.spec", "remove"),
    ],
)
def test_a_job_that_does_not_comply_fails_at_apply_with_rule_field_and_remedy(
    stack: DevStack, applied: Any, namespace: str, name: str, rule: str, field: str, remedy: str
) -> None:
    """As an ML engineer meets it, once the data is there: `kubectl apply` of one file."""
    (job,) = [
        o for f in FOLDERS for o in load(EXAMPLES, f) if o["metadata"]["name"] == name and o["kind"] == "TrainingJob"
    ]
    job = {**job, "metadata": {**job["metadata"], "name": f"{name}-again"}}
    done = stack.cluster.apply(job, check=False)

    assert done.returncode != 0
    for text in (f"{rule}: ", field, "To fix it: ", remedy):
        assert text in done.stderr
    assert stack.cluster.get("trainingjobs.mlprivacy.dev", f"{name}-again", namespace) is None
