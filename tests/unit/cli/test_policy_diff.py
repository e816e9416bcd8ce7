"""``mlprivacy policy diff``: the same jobs under two sets of policies and packs.

Matrix: what differs (action, date, parameter, policy, a built-in name) × what it changes (verdict, findings, nothing).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from builders import asked, clinic_world, labels, policy, training_job
from click.testing import CliRunner, Result

from mlprivacy.cli.main import cli
from mlprivacy.cli.offline import Settings, parse_now
from mlprivacy.cli.policydiff import Live, compare

PACK = """\
name: acme
version: "1"
title: Acme's own
notice: House rules.
rules:
  - {id: high-risk-ai, action: Warn}
"""
FLAGGED = training_job(namespace="clinic", datasets=[asked(namespace="clinic")], highRisk={})


def namespace(name: str) -> dict:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels(name)}}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with the clinic, its jobs and a policy that names the pack acme."""
    named = policy(packs=[{"name": "acme"}])
    write(tmp_path / "world" / "all.yaml", namespace("clinic"), namespace("research"), *clinic_world(named), FLAGGED)
    return tmp_path


def write(path: Path, *objects: dict | str) -> str:
    path.parent.mkdir(exist_ok=True)
    texts = [o if isinstance(o, str) else yaml.safe_dump(o, sort_keys=False) for o in objects]
    path.write_text("---\n".join(texts), encoding="utf-8")
    return str(path)


def diff(world: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["policy", "diff", *arguments, "-f", str(world / "world")], catch_exceptions=False)


def test_a_pack_that_denies_now_refuses_the_job_and_says_why(world):
    old, new = write(world / "1.yaml", PACK), write(world / "2.yaml", PACK.replace("Warn", "Deny"))
    done = diff(world, old, new)
    assert done.exit_code == 1, done.output
    assert "TrainingJob clinic/diagnosis  WARNED -> REFUSED" in done.output
    assert "~ Warn -> Deny  high-risk-ai  spec.highRisk.instructions  (pack acme)" in done.output
    assert "1 job: 1 decided otherwise." in done.output


def test_the_same_pack_changes_nothing(world):
    old = write(world / "1.yaml", PACK)
    done = diff(world, old, old)
    assert (done.exit_code, done.output) == (0, "1 job: 0 decided otherwise.\n")


def test_findings_without_another_decision_are_shown_and_no_failure(world):
    old, new = write(world / "1.yaml", PACK), write(world / "2.yaml", PACK.replace("Warn", "Evidence"))
    done = diff(world, old, new)
    assert done.exit_code == 0
    assert "1 job: 0 decided otherwise, 1 with other findings." in done.output


@pytest.mark.parametrize(("now", "code"), [("2027-12-01", 0), ("2027-12-02", 1)])
def test_a_date_is_compared_at_the_moment_asked_for(world, now, code):
    changing = PACK.replace("action: Warn", 'action: Warn, changes: [{from: "2027-12-02", action: Deny}]')
    assert diff(world, write(world / "1.yaml", PACK), write(world / "2.yaml", changing), "--now", now).exit_code == code


def test_json_holds_both_decisions(world):
    old, new = write(world / "1.yaml", PACK), write(world / "2.yaml", PACK.replace("Warn", "Deny"))
    body = json.loads(diff(world, old, new, "-o", "json").output)
    assert (body["exitCode"], body["jobs"]) == (1, 1)
    (change,) = body["changes"]
    assert (change["before"]["verdict"], change["after"]["verdict"]) == ("Allow", "Deny")
    assert {(a["before"], a["action"], a["pack"]) for a in change["altered"]} == {("Warn", "Deny", "acme")}


def test_policies_of_the_sides_count_instead_of_those_of_the_files(world):
    hard = write(world / "hard.yaml", policy(rules=[{"id": "high-risk-ai", "action": "Deny"}]))
    soft = write(world / "soft.yaml", policy(mode="Audit"))
    done = diff(world, soft, hard)
    assert done.exit_code == 1
    assert "ALLOWED -> REFUSED  (mode Audit -> Enforce)" in done.output
    assert "+ Deny  high-risk-ai" in done.output


def test_a_file_may_bear_the_name_of_a_built_in_pack(world):
    named = policy(packs=[{"name": "eu-ai-act"}])
    old = write(world / "old.yaml", named)
    (world / "new").mkdir()
    write(world / "new" / "policy.yaml", named)
    write(world / "new" / "pack.yaml", PACK.replace("acme", "eu-ai-act").replace("Warn", "Deny"))
    assert diff(world, old, str(world / "new"), "--now", "2026-12-01").exit_code == 1


def test_a_bad_pack_is_bad_input_with_its_line(world):
    old, new = write(world / "1.yaml", PACK), write(world / "2.yaml", PACK.replace("high-risk-ai", "nope"))
    done = diff(world, old, new)
    assert done.exit_code == 2
    assert "nope is no rule" in done.output
    twice = write(world / "3.yaml", PACK + "name: acme\n")
    assert f"{twice}:7:1" in diff(world, old, twice).output


def test_without_jobs_there_is_nothing_to_compare(world):
    old = write(world / "1.yaml", PACK)
    done = CliRunner().invoke(cli, ["policy", "diff", old, old])
    assert (done.exit_code, "no job to decide on" in done.output) == (2, True)
    assert CliRunner().invoke(cli, ["policy", "diff", old]).exit_code == 2


def test_the_live_objects_are_the_other_side(world):
    live = Live((namespace("clinic"), *clinic_world(policy(mode="Audit")), FLAGGED), ("you may not list secrets",))
    hard = write(world / "hard.yaml", policy(rules=[{"id": "high-risk-ai", "action": "Deny"}]))
    found = compare(live, hard, [], settings=Settings(parse_now("2026-06-01")))
    assert [c.what for c in found.changes if c.decided_otherwise] == ["TrainingJob clinic/diagnosis"]
    assert found.incomplete == ("you may not list secrets: a job may be decided otherwise than is shown.",)


def test_a_live_policy_that_the_new_files_do_not_name_stays(world):
    live = Live((namespace("clinic"), *clinic_world(policy("other", rules=[{"id": "high-risk-ai", "action": "Deny"}])),
                 FLAGGED))  # fmt: skip
    found = compare(
        live, write(world / "soft.yaml", policy(mode="Audit")), [], settings=Settings(parse_now("2026-06-01"))
    )
    assert [c.decided_otherwise for c in found.changes] == [False]


class TestCheckWithPacksInConfigMaps:
    MAP: ClassVar = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "acme", "namespace": "mlprivacy-system", "labels": {"mlprivacy.dev/pack": "true"}},
    }

    def check(self, world: Path) -> Result:
        return CliRunner().invoke(cli, ["check", str(world / "world"), "--now", "2026-06-01"], catch_exceptions=False)

    def test_the_pack_counts(self, world):
        assert self.check(world).exit_code == 3, "the policy names a pack that is not there"
        write(world / "world" / "pack.yaml", self.MAP | {"data": {"pack.yaml": PACK.replace("Warn", "Deny")}})
        done = self.check(world)
        assert done.exit_code == 1, done.output
        assert "(pack acme)" in done.output

    def test_a_bad_one_is_told_with_its_line_and_holds(self, world):
        body = yaml.safe_dump(self.MAP, sort_keys=False) + "data:\n  pack.yaml: |\n"
        body += "".join(f"    {text}\n" for text in [*PACK.splitlines(), "name: again"])
        path = write(world / "world" / "pack.yaml", body)
        done = self.check(world)
        assert done.exit_code == 2
        line = body.splitlines().index("    name: again") + 1
        assert f"{path}:{line}" in done.output
        assert "which can not be used" in " ".join(done.output.split())

    def test_one_without_the_label_is_another_kind_of_object(self, world):
        write(world / "world" / "pack.yaml", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}})
        assert "1 objects of other kinds" in self.check(world).output


def test_a_namespace_that_no_file_holds_is_no_all_clear(tmp_path: Path) -> None:
    job = write(tmp_path / "job.yaml", *clinic_world(), FLAGGED)
    hard = write(tmp_path / "hard.yaml", policy(rules=[{"id": "high-risk-ai", "action": "Deny"}]))
    soft = write(tmp_path / "soft.yaml", policy(mode="Audit"))
    run = CliRunner().invoke
    done = run(cli, ["policy", "diff", soft, hard, "-f", job])
    assert done.exit_code == 3
    assert done.output.startswith("INCOMPLETE  the namespace clinic of 1 job is not among what was read")
    assert run(cli, ["policy", "diff", soft, hard, "-f", job, "--default-mode", "enforce"]).exit_code == 1


def test_a_label_and_a_deletion_need_no_file(world: Path) -> None:
    hard = write(world / "hard.yaml", policy(rules=[{"id": "high-risk-ai", "action": "Deny"}]))
    softer = diff(world, hard, "--namespace-label", "clinic=audit")
    assert (softer.exit_code, "REFUSED -> ALLOWED  (mode Enforce -> Audit" in softer.output) == (1, True)
    done = diff(world, hard, "--delete", "eu")
    assert (done.exit_code, "- Deny  high-risk-ai" in done.output) == (0, True), "refused by the default instead"
    assert "There is no PrivacyPolicy x to delete." in diff(world, hard, "--delete", "x").output
    assert "--namespace-label or --delete" in diff(world).output


def test_what_only_some_decisions_rest_on_is_said_for_these_alone(world: Path) -> None:
    unread_of = {"PersistentVolumeClaim": "you may not list claims"}
    live = Live((namespace("clinic"), *clinic_world(policy()), FLAGGED), (), unread_of, audit_retention_days=2192)
    same = compare(live, None, [], settings=Settings(parse_now("2026-06-01")))
    assert (same.incomplete, same.exit_code) == ((), 0), "no job names a claim"
