"""/validate/kinds: refusals help, holds warn, updates are judged by what they change, strangers learn nothing."""

import asyncio
import copy
import re
from typing import Any

import pytest
from builders import exception

from mlprivacy.admission.kinds import REVIEW_SECONDS, in_time

KINDS = "/validate/kinds"


def changed(obj: dict[str, Any], **spec: Any) -> dict[str, Any]:
    result = copy.deepcopy(obj)
    result["spec"].update(spec)
    return result


def wrong_purpose(job: dict[str, Any]) -> dict[str, Any]:
    return changed(job, purpose="marketing.advertising")


async def test_a_compliant_job_is_allowed_without_a_word(world) -> None:
    answer = await world.ask(KINDS, world.job())

    assert answer["allowed"]
    assert "warnings" not in answer
    assert answer["auditAnnotations"]["verdict"] == "Allow"
    assert answer["auditAnnotations"]["digest"].startswith("sha256:")


async def test_a_refusal_names_rule_field_remedy_and_law(world) -> None:
    answer = await world.ask(KINDS, wrong_purpose(world.job()))

    assert not answer["allowed"]
    assert (answer["status"]["code"], answer["status"]["reason"]) == (403, "Forbidden")
    line = next(text for text in answer["status"]["message"].splitlines() if text.startswith("purpose-limitation: "))
    assert "spec.purpose: the purpose marketing.advertising is not among those of" in line
    assert "[GDPR 5(1)(b), GDPR 6(4), " in line
    assert "To fix it: " in line
    assert answer["auditAnnotations"]["verdict"] == "Deny"
    assert "purpose-limitation" in answer["auditAnnotations"]["rules"]


async def test_a_refusal_has_a_few_lines_and_counts_the_rest(world) -> None:
    job = world.job()
    job["spec"]["template"]["spec"] |= {f"field{i}": True for i in range(9)}

    lines = (await world.ask(KINDS, job))["status"]["message"].splitlines()

    assert lines[0] == "TrainingJob diagnosis is refused."
    assert len(lines) == 7
    assert lines[-1] == "and 4 more; `mlprivacy check FILE` shows all"


async def test_a_reference_that_does_not_resolve_is_a_warning(world) -> None:
    job = world.job()
    job["spec"]["datasets"][0]["name"] = "visitz"

    answer = await world.ask(KINDS, job)

    assert answer["allowed"]
    assert answer["auditAnnotations"]["verdict"] == "Hold"
    assert answer["warnings"][0].startswith("TrainingJob diagnosis is accepted and held")
    assert any("Did you mean clinic/visits" in text for text in answer["warnings"])
    assert all(len(text) <= 250 for text in answer["warnings"])


@pytest.mark.parametrize(
    "late",
    [("Dataset", "visits"), ("DatasetGrant", "to-research"), ("PrivacyPolicy", "eu"), ("ConsentScope", "research")],
)
async def test_a_job_applied_right_behind_what_it_rests_on_is_decided_with_it(world, late) -> None:
    arriving = world.get(*late)
    world.objects.remove(arriving)
    assert (await world.ask(KINDS, world.job()))["auditAnnotations"]["verdict"] != "Allow"

    world.arriving = [arriving]
    answer = await world.ask(KINDS, world.job())

    assert answer["auditAnnotations"]["verdict"] == "Allow"


async def test_what_is_allowed_waits_for_nothing(world) -> None:
    world.arriving = [world.get("Dataset", "visits")]
    await world.ask(KINDS, world.job())
    assert world.arriving


async def test_under_a_soft_label_findings_are_warnings(world) -> None:
    for name in ("clinic", "research"):
        world.get("Namespace", name)["metadata"]["labels"]["mlprivacy.dev/enforce"] = "warn"

    answer = await world.ask(KINDS, wrong_purpose(world.job()))

    assert answer["allowed"]
    assert any(text.startswith("purpose-limitation: ") for text in answer["warnings"])


# --- updates --------------------------------------------------------------------------------------------------------


def withdraw_consent(world) -> None:
    world.get("ConsentScope", "research")["spec"]["state"] = "Withdrawn"


async def test_a_standing_breach_lets_metadata_change(world) -> None:
    withdraw_consent(world)
    old = world.job()
    new = copy.deepcopy(old)
    new["metadata"]["annotations"] = {"team": "x"}
    gathered = world.gathered

    assert not (await world.ask(KINDS, old))["allowed"], "a new job like it is refused"
    assert (await world.ask(KINDS, new, old))["allowed"]
    assert world.gathered == gathered + 1, "an unchanged spec is not decided on"


async def test_a_standing_breach_lets_the_job_be_suspended(world) -> None:
    withdraw_consent(world)
    old = world.job()

    assert (await world.ask(KINDS, changed(old, suspend=True), old))["allowed"]


async def test_suspending_does_not_carry_another_change_along(world) -> None:
    old = world.job()

    answer = await world.ask(KINDS, changed(wrong_purpose(old), suspend=True), old)

    assert not answer["allowed"]


async def test_a_standing_breach_lets_the_job_be_edited_and_says_that_it_stands(world) -> None:
    withdraw_consent(world)
    old = world.job()

    answer = await world.ask(KINDS, changed(old, activeDeadlineSeconds=60), old)

    assert answer["allowed"]
    assert answer["warnings"][0].startswith("TrainingJob diagnosis is refused as it stands")


async def test_a_standing_breach_does_not_excuse_a_new_one(world) -> None:
    withdraw_consent(world)
    old = world.job()

    answer = await world.ask(KINDS, wrong_purpose(old), old)

    assert not answer["allowed"]
    assert "purpose-limitation" in answer["status"]["message"]
    assert "was withdrawn" not in answer["status"]["message"]


async def test_an_object_that_is_being_deleted_loses_its_finalizers_and_is_still_judged(world) -> None:
    withdraw_consent(world)
    old = world.job()
    old["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["mlprivacy.dev/teardown"]}
    free = copy.deepcopy(old)
    free["metadata"]["finalizers"] = []
    world.fresh = "nothing has been read yet"

    assert (await world.ask(KINDS, free, old))["allowed"], "even while nothing can be decided"
    world.fresh = None
    assert not (await world.ask(KINDS, wrong_purpose(old), old))["allowed"]


# --- what is not known ----------------------------------------------------------------------------------------------


async def test_without_fresh_facts_what_needs_a_decision_is_refused_for_now(world) -> None:
    world.fresh = "mlprivacy has had no word from the API server for 400 s"

    answer = await world.ask(KINDS, world.job())

    assert not answer["allowed"]
    assert answer["status"]["code"] == 503
    assert "400 s; try again shortly" in answer["status"]["message"]


# --- strangers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "value", "secret"),
    [
        ("name", "visitz", "clinic/visits"),
        ("columns", ["nosuch"], "diagnosis"),
    ],
)
async def test_a_stranger_learns_no_names(world, part, value, secret) -> None:
    job = world.job()
    job["metadata"]["name"] = "some-job"  # its own name is no secret
    job["spec"]["datasets"] = [job["spec"]["datasets"][0] | {part: value}]

    told = await world.ask(KINDS, job)
    stranger = await world.ask(KINDS, job, trusted=False)

    assert secret in str(told)
    assert secret not in str(stranger)
    assert told["allowed"] == stranger["allowed"]


async def test_a_stranger_learns_no_names_of_the_namespace_it_claims(world) -> None:
    job = world.job()
    job["metadata"]["namespace"] = "clinic"
    job["spec"]["datasets"] = [job["spec"]["datasets"][0] | {"columns": ["nosuch"]}]

    stranger = await world.ask(KINDS, job, trusted=False)

    assert "postcode" not in str(stranger)
    assert "minimisation: spec.datasets[0].columns[0]: " in stranger["status"]["message"]


async def test_a_stranger_is_told_what_its_own_object_says(world) -> None:
    job = world.job()
    job["spec"]["template"]["spec"]["hostNetwork"] = True

    assert "hostNetwork" in (await world.ask(KINDS, job, trusted=False))["status"]["message"]


# --- other kinds ----------------------------------------------------------------------------------------------------


async def test_a_spec_that_can_not_be_read_is_refused_with_its_field(world) -> None:
    bad = changed(world.get("DataClass", "health"), sensitivity="Extreme")

    answer = await world.ask(KINDS, bad)

    assert answer["status"]["code"] == 422
    assert answer["status"]["message"].startswith("spec.sensitivity: ")


@pytest.mark.parametrize(
    ("kind", "name", "spec", "warning"),
    [
        (
            "Dataset",
            "census",
            {"columns": [{"name": "person", "dataClass": "nosuch"}]},
            "spec.columns[0].dataClass: the DataClass nosuch does not exist (yet)",
        ),
        (
            "ConsentScope",
            "research",
            {"dataClasses": ["health", "nosuch"]},
            "spec.dataClasses[1]: the DataClass nosuch does not exist (yet)",
        ),
        (
            "DatasetGrant",
            "to-research",
            {"to": [{"kind": "ConsentScope", "name": "nosuch"}]},
            "spec.to[0].name: the ConsentScope nosuch does not exist (yet)",
        ),
        ("PrivacyPolicy", "eu", {"packs": [{"name": "moon-law"}]}, "spec.packs[0].name: the pack moon-law is not inst"),
        ("DataClass", "health", {"newField": 1}, "spec.newField: is not a field that this version knows"),
    ],
)
async def test_what_is_not_there_yet_is_a_warning(world, kind, name, spec, warning) -> None:
    answer = await world.ask(KINDS, changed(world.get(kind, name), **spec))

    assert answer["allowed"]
    assert any(text.startswith(warning) for text in answer["warnings"]), answer["warnings"]


async def test_objects_as_they_should_be_get_no_warning(world) -> None:
    for obj in [o for o in world.objects if o["apiVersion"].startswith("mlprivacy.dev")]:
        assert (await world.ask(KINDS, obj)).keys() & {"warnings", "status"} == set(), obj["metadata"]["name"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"rules": [{"id": "no-such-rule", "action": "Deny"}]},
            "spec.rules[0].id: no-such-rule is no rule; choose among",
        ),
        ({"parameters": {"egress.nosuch": 1}}, "spec.parameters[egress.nosuch]: no rule has such a parameter; choose"),
        ({"parameters": {"consent-valid.maxSnapshotAge": "soon"}}, "spec.parameters[consent-valid.maxSnapshotAge]: "),
        ({"parameters": {"encryption.nodeStorageEncrypted": "maybe"}}, "'maybe' is neither true nor false"),
        (
            {"custom": [{"id": i, "expression": e, "message": "m"} for i, e in (("aa", "true"), ("bb", "1 +"))]},
            "spec.custom[1].expression: can not be compiled: at 1:4: Syntax error",
        ),
    ],
)
async def test_a_policy_with_rules_or_parameters_that_do_not_exist_is_refused(world, spec, words) -> None:
    answer = await world.ask(KINDS, changed(world.get("PrivacyPolicy", "eu"), **spec))

    assert not answer["allowed"]
    assert words in answer["status"]["message"]


async def test_a_custom_rule_that_compiles_gets_no_warning(world) -> None:
    rule = {"id": "no-night", "expression": "true", "message": "m"}
    answer = await world.ask(KINDS, changed(world.get("PrivacyPolicy", "eu"), custom=[rule]))

    assert answer["allowed"]
    assert "warnings" not in answer


async def test_weakening_a_policy_is_not_refused_here(world) -> None:
    """The guard `policies` decides who may, with the verb weaken: tests/cluster/guards/test_weakening.py."""
    old = world.get("PrivacyPolicy", "eu")

    assert (await world.ask(KINDS, changed(old, mode="Audit", packs=[]), old))["allowed"]


async def test_a_foreign_kind_is_refused(world) -> None:
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "research"}}

    assert (await world.ask(KINDS, other))["status"]["code"] == 400


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"rule": "egress"}, "spec.rule: the rule egress knows no exception"),
        ({"rule": "dp-requird"}, "spec.rule: dp-requird is no rule; did you mean dp-required? There are: "),
        ({"workload": {"kind": "TrainingJob", "namespace": "research", "name": "*"}}, "spec.workload.name: "),
        ({"expiresAt": "soon"}, "spec.expiresAt: "),
    ],
)
async def test_an_exception_that_can_never_count_is_refused(world, spec, words) -> None:
    answer = await world.ask(KINDS, exception(**spec))

    assert not answer["allowed"]
    assert words in answer["status"]["message"]


@pytest.mark.parametrize("end", ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_an_exception_that_does_not_count_now_is_warned_of(world, end) -> None:
    answer = await world.ask(KINDS, exception(expiresAt=end))

    assert answer["allowed"]
    assert "spec.expiresAt" in answer["warnings"][0]


# --- what is told so that it can be acted upon ------------------------------------------------------------------------


async def test_a_remedy_is_never_cut_where_it_is_to_be_copied(world) -> None:
    """The digest of an assessment stands at the end of a long sentence."""
    world.get("PrivacyPolicy", "eu")["spec"]["rules"] = [{"id": "impact-assessment", "action": "Deny"}]

    answer = await world.ask(KINDS, world.job())

    assert answer["allowed"]
    assert all(len(text) <= 250 for text in answer["warnings"])
    assert any(re.search(r"digest: sha256:[0-9a-f]{64},", text) for text in answer["warnings"]), answer["warnings"]
    assert "nothing runs until people act" in answer["warnings"][0]


async def test_a_refusal_says_what_would_hold_it_then_and_that_an_exception_can_be_asked_for(world) -> None:
    world.get("PrivacyPolicy", "eu")["spec"]["rules"] = [{"id": "impact-assessment", "action": "Deny"}]

    told = (await world.ask(KINDS, wrong_purpose(world.job())))["status"]["message"].splitlines()

    assert "It would then be held: impact-assessment (spec.impactAssessment); `mlprivacy check FILE` shows all" in told
    assert told[-1].startswith("A PolicyException can be asked for from ")
    assert "purpose-limitation" in told[-1]


async def test_a_softer_mode_says_what_enforce_would_do(world) -> None:
    for name in ("clinic", "research"):
        world.get("Namespace", name)["metadata"]["labels"]["mlprivacy.dev/enforce"] = "warn"

    answer = await world.ask(KINDS, wrong_purpose(world.job()))

    assert any("Under Enforce the job would be refused." in text for text in answer["warnings"]), answer["warnings"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"namespaceSelector": {"matchLabels": {"mlprivacy.dev/enforce": "Audit"}}}, "Audit is no level"),
        (
            {"exceptions": {"allow": ["dp-requird"]}},
            "spec.exceptions.allow[0]: dp-requird is no rule; did you mean dp",
        ),
        (
            {"exceptions": {"allow": ["egress"]}},
            "spec.exceptions.allow[0]: the rule egress knows no exception;",
        ),
        ({"rules": [{"id": "dp-requird", "action": "Warn"}]}, "dp-requird is no rule; did you mean dp-required?"),
        ({"parameters": {"audit-retention.minimumDays": "-10"}}, "'-10' is not a whole number of zero or more"),
        ({"parameters": {"audit-retention.minimumDays": "many"}}, "'many' is not a whole number of zero or more"),
    ],
)
async def test_a_policy_that_can_never_mean_what_it_says_is_refused(world, spec, words) -> None:
    answer = await world.ask(KINDS, changed(world.get("PrivacyPolicy", "eu"), **spec))

    assert words in answer["status"]["message"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"packs": [{"name": "us-hippa"}]}, "did you mean us-hipaa?"),
        ({"namespaceSelector": {"matchLabels": {"mlprivacy.dev/region": "moon"}}}, "selects no governed namespace"),
        (
            {"custom": [{"id": "own", "expression": "misspelt", "message": "No."}]},
            "on a sample TrainingJob that has",
        ),
    ],
)
async def test_a_policy_that_will_not_do_what_was_meant_is_warned_of(world, spec, words) -> None:
    answer = await world.ask(KINDS, changed(world.get("PrivacyPolicy", "eu"), **spec))

    assert answer["allowed"]
    assert any(words in text for text in answer["warnings"]), answer["warnings"]


async def test_an_end_that_the_policies_do_not_allow_is_warned_of_with_the_latest_one_that_counts(world) -> None:
    asked = exception(expiresAt="2026-12-01T00:00:00Z", made="2026-06-01T00:00:00Z")

    warnings = (await world.ask(KINDS, asked))["warnings"]

    assert "Write 2026-07-01T00:00:00Z at the latest" in warnings[0]
    assert "spec.covers: names no finding" in warnings[1]  # it is given approved


async def test_all_that_one_review_waits_for_ends_at_one_moment(world) -> None:
    world.arriving = [world.get("Dataset", "visits")]
    world.objects.remove(world.arriving[0])
    old = wrong_purpose(world.job())
    begun = asyncio.get_running_loop().time()

    await world.ask(KINDS, changed(wrong_purpose(world.job()), assurance="Gated"), old)

    assert world.gathered == 3
    assert len(set(world.deadlines)) == 1
    assert begun < world.deadlines[0] <= asyncio.get_running_loop().time() + REVIEW_SECONDS


async def test_what_does_not_come_in_time_is_not_waited_for(world) -> None:
    now = asyncio.get_running_loop().time()
    assert await in_time(now, asyncio.sleep(60, result=True), otherwise=False) is False
    assert await in_time(now + 60, asyncio.sleep(0, result=True), otherwise=False) is True
