"""The examples come to what examples/expected.yaml says, each folder alone and in any order of its files."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlprivacy.cli.cases import find, run
from mlprivacy.cli.main import cli

EXAMPLES = Path(__file__).parents[3] / "examples"
DOCUMENT: Mapping[str, Any] = yaml.safe_load((EXAMPLES / "expected.yaml").read_text(encoding="utf-8"))
EXPECTED: list[Mapping[str, Any]] = DOCUMENT["jobs"]
RECORDED: frozenset[str] = frozenset(DOCUMENT["recorded"])
FOLDERS = ("clinic", "shop", "laws", "budget")
NOW = "2027-01-15"


def outcome(job: Mapping[str, Any]) -> str:
    warned = any(finding["action"] == "Warn" for finding in job["findings"])
    return {"Allow": "warned" if warned else "accepted", "Hold": "held", "Deny": "refused"}[job["verdict"]]


def judged(*paths: str) -> tuple[int, dict[tuple[str, str, str], dict[str, Any]]]:
    result = CliRunner().invoke(cli, ["check", "-o", "json", "--now", NOW, *paths])
    body = json.loads(result.stdout)
    assert body["errors"] == []
    jobs = {(j["subject"]["kind"], j["subject"]["namespace"], j["subject"]["name"]): j for j in body["jobs"]}
    return result.exit_code, jobs


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_job_comes_to_the_expected_outcome_by_the_expected_rules(folder: str) -> None:
    code, jobs = judged(str(EXAMPLES / folder))
    for job in jobs.values():
        assert {f["action"] for f in job["findings"] if f["rule"] in RECORDED} <= {"Evidence"}
    found = {k: (outcome(job), sorted({f["rule"] for f in job["findings"]} - RECORDED)) for k, job in jobs.items()}
    wanted = {
        (e["kind"], e["namespace"], e["name"]): (e["outcome"], e["rules"]) for e in EXPECTED if e["folder"] == folder
    }
    assert found == wanted
    assert code == 1  # the worst of them is a refusal


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_order_of_the_files_does_not_matter(folder: str) -> None:
    files = [str(path) for path in sorted((EXAMPLES / folder).glob("*.yaml"))]
    _, in_order = judged(*files)
    for seed in range(3):
        random.Random(seed).shuffle(files)  # noqa: S311 - an order, no secret
        _, shuffled = judged(*files)
        assert {key: job["digest"] for key, job in shuffled.items()} == {
            key: job["digest"] for key, job in in_order.items()
        }


def test_one_folder_does_not_change_the_decisions_of_the_others() -> None:
    _, together = judged(*(str(EXAMPLES / folder) for folder in FOLDERS))
    for folder in FOLDERS:
        _, alone = judged(str(EXAMPLES / folder))
        assert {key: together[key]["digest"] for key in alone} == {key: job["digest"] for key, job in alone.items()}


@pytest.mark.parametrize("folder", find([EXAMPLES]), ids=lambda path: path.name)
def test_what_depends_on_the_day_comes_to_what_its_case_says(folder: Path) -> None:
    result = run(folder)
    assert (result.outcome, result.problems, result.differences) == ("passed", (), ())


def test_the_cases_show_each_law_before_and_after_it_changes() -> None:
    names = {path.name for path in find([EXAMPLES])}
    for before, after in (
        ("high-risk-before-the-day", "high-risk-from-the-day"),
        ("exception-approved", "exception-ended"),
    ):
        objects = [(EXAMPLES / "laws" / "cases" / name / "objects.yaml").read_text() for name in (before, after)]
        assert objects[0] == objects[1]  # nothing but the day is another
        assert {before, after} <= names
    packs = [EXAMPLES / "laws" / "cases" / f"pack-version-{n}" for n in (1, 2)]
    assert len({(p / "objects.yaml").read_text() for p in packs}) == 1
    changed = CliRunner().invoke(
        cli, ["policy", "diff", *(f"{p}/pack.yaml" for p in packs), "-f", f"{packs[0]}/objects.yaml", "--now", NOW]
    )
    assert (changed.exit_code, "ALLOWED -> HELD" in changed.stdout) == (1, True)


def test_the_examples_show_every_outcome_and_both_kinds_of_job() -> None:
    assert {e["outcome"] for e in EXPECTED} == {"accepted", "warned", "held", "refused"}
    assert {(e["kind"], e["outcome"]) for e in EXPECTED} >= {("InferenceJob", "accepted"), ("InferenceJob", "refused")}
    assert len(EXPECTED) >= 10


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_no_job_carries_annotations_or_an_image_by_tag_unless_it_is_refused_for_it(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if document.get("kind") not in ("TrainingJob", "InferenceJob"):
            continue
        assert "annotations" not in document["metadata"]
        images = [c.get("image", "@sha256:") for c in document["spec"]["template"]["spec"]["containers"]]
        assert all("@sha256:" in image for image in images) or document["metadata"]["name"] == "host-access"
