"""The webhook on PrivacyBudgets and Datasets, without any guard: whose names are stamped, and what goes together."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controlplane.processes import wait_until
from mlprivacy.cli.main import cli

BUDGETS, DATASETS = "privacybudgets.mlprivacy.dev", "datasets.mlprivacy.dev"
PROMISED, APPROVED = "mlprivacy.dev/promised-by", "mlprivacy.dev/approved-by"

Object = dict[str, Any]


def budget(name: str = "patients", **spec: Any) -> Object:
    base = {
        "subjectDomain": "clinic-patients",
        "identities": ["urn:clinic:visits", "urn:clinic:labs"],
        "epsilon": 10,
        "delta": 1e-8,
        "noticeVersion": "1",
        "unit": "User",
        "blocks": {"by": "SubjectCohort", "period": "Week"},
    }
    api = "mlprivacy.dev/v1alpha1"
    return {"apiVersion": api, "kind": "PrivacyBudget", "metadata": {"name": name}, "spec": base | spec}


def stamps(lab: Any) -> tuple[str | None, str | None]:
    found = lab.cluster.get(BUDGETS, "patients")["metadata"]["annotations"]
    return found.get(PROMISED), found.get(APPROVED)


@pytest.fixture
def made(lab: Any) -> Any:
    """The budget of the clinic, applied by anna; gone afterwards."""
    for user in ("anna", "bert", "olga"):
        binding = ("create", "clusterrolebinding", f"budgets-{user}", "--clusterrole=mlprivacy-privacy-officer")
        lab.cluster.kubectl(*binding, f"--user={user}", check=False)
    lab.cluster.apply(budget(), as_user="anna")
    yield lab
    lab.cluster.kubectl("delete", BUDGETS, "--all")


def refused(lab: Any, obj: Object, **options: Any) -> str:
    done = lab.cluster.kubectl("create", "-f", "-", input=obj, check=False, **options)
    assert done.returncode != 0, done.stdout
    assert 'admission webhook "kinds.mlprivacy.dev" denied' in done.stderr, done.stderr
    return str(done.stderr)


def test_stamps_are_true_whatever_is_sent_along(made: Any) -> None:
    lab = made
    assert stamps(lab) == ("anna", None)
    more = budget(epsilon=12, noticeVersion="2")
    more["metadata"]["annotations"] = {PROMISED: "olga", APPROVED: "olga"}
    lab.cluster.apply(more, as_user="bert")
    # No controller says here what is in force: nobody is forgotten.
    assert stamps(lab) == ("anna,bert", None)
    given = {"epsilon": 12, "delta": 1e-8, "noticeVersion": "2"}
    lab.cluster.apply(budget(epsilon=12, noticeVersion="2", approval=given), as_user="olga")
    assert stamps(lab) == ("anna,bert", "olga")
    lab.cluster.apply(budget(epsilon=8, noticeVersion="2", approval=given), as_user="anna")
    assert stamps(lab) == ("anna,bert", None)


def test_what_can_not_be_kept_or_is_there_already_is_refused(made: Any) -> None:
    given = {"epsilon": 10, "delta": 1e-8, "noticeVersion": "1"}
    for spec, said in (
        ({"identities": ["urn:research:census"], "subjectDomain": "x", "delta": 1e-4}, "for N = 900,000"),
        ({"identities": ["urn:other:x"]}, "clinic-patients has a PrivacyBudget already, patients"),
        ({"subjectDomain": "x"}, "urn:clinic:visits belongs to the subject domain clinic-patients"),
        ({"subjectDomain": "x", "identities": ["urn:x:y"], "retired": ["2026-03"]}, "is no block"),
        ({"subjectDomain": "x", "identities": ["urn:x:y"], "approval": given}, "without an approval"),
    ):
        assert said in refused(made, budget("second", **spec))


@pytest.mark.parametrize(
    "uri", ["s3://CLINIC//visits/2026.parquet", "s3://clinic/%76isits/x.parquet", "s3://clinic/**"]
)
def test_the_same_data_under_another_identity_is_refused(made: Any, uri: str) -> None:
    found = made.cluster.get(DATASETS, "visits", "clinic")
    spec = found["spec"] | {"identity": "urn:research:copy", "source": {"uri": uri, "format": "Parquet"}}
    copied = {"apiVersion": found["apiVersion"], "kind": "Dataset", "spec": spec}
    copied["metadata"] = {"name": "copy", "namespace": "research"}
    said = refused(made, copied)
    assert "in the subject domain clinic-patients: the same people's data has one budget" in said
    assert "urn:clinic:visits" not in said


def animals(name: str, uri: str) -> Object:
    """A Dataset of 900,000 animals, in an address of its own."""
    spec = {
        "identity": f"urn:zoo:{name}",
        "source": {"uri": uri, "format": "Parquet"},
        "subjects": {"column": "id", "kind": "patient", "atLeast": 900_000},
        "columns": [{"name": "id", "dataClass": "health"}],
        "uses": [{"purpose": "essential", "processing": "Training", "legalBasis": "eu-gdpr:A6-1-b"}],
    }
    metadata = {"name": name, "namespace": "clinic"}
    return {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "Dataset", "metadata": metadata, "spec": spec}


def test_check_and_apply_of_the_same_file_say_the_same_sentences(lab: Any, tmp_path: Path) -> None:
    """Refusals and warnings, word for word, each with its field and what to do."""
    cohorts = {"subjectDomain": "zoo", "identities": ["urn:zoo:lions", "urn:zoo:bears"]}
    first = [animals("lions", "s3://zoo/lions"), budget("zoo", **cohorts)]
    others = [
        budget("zoo-2", subjectDomain="zoo", identities=["urn:zoo:apes"]),
        budget("zoo-3", subjectDomain="savanna", identities=["urn:zoo:lions"], delta=1e-3, retired=["bucket 7"]),
        budget("zoo-4", subjectDomain="caves", identities=["urn:zoo:bats"], epsilon=1e-6),
        animals("cubs", "s3://ZOO//lions/cubs.parquet"),
    ]
    file = tmp_path / "zoo.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*first, *others]}), encoding="utf-8")

    def sentences(text: str) -> set[str]:
        return set(re.findall(r"spec\.[A-Za-z.]+(?:\[[0-9]+\])?: .*", text))

    try:
        there = lab.cluster.kubectl("apply", "-f", "-", input={"apiVersion": "v1", "kind": "List", "items": first})

        def known() -> bool:
            """The budget and its data are in the server's copies."""
            done = [
                lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=one, check=False)
                for one in (others[0], others[-1])
            ]
            return all(one.returncode != 0 for one in done)

        wait_until(known, 30, what="the budget in the copies of admission")
        applied = lab.cluster.kubectl("apply", "-f", str(file), check=False)
        assert applied.returncode != 0
        said = sentences(there.stderr) | sentences(applied.stderr)
    finally:
        lab.cluster.kubectl("delete", "-f", str(file), "--ignore-not-found", check=False)

    done = CliRunner().invoke(cli, ["check", str(file), "-o", "json"])
    assert done.exit_code == 1, done.output
    findings = [finding for one in json.loads(done.stdout)["data"] for finding in one["findings"]]
    told = {f"{f['path']}: {f['message']}" + (f". To fix it: {f['remedy']}" if f["remedy"] else "") for f in findings}
    assert told == said
    assert len(told) >= 7
