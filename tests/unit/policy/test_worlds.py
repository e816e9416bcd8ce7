"""Properties over 1,000 jobs in generated worlds (``worlds``): what softer modes tell, and that time is foreseen.

Worlds have exceptions, packs of users whose actions change by date, grants and attestations that end.
"""

import copy
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from builders import NOW, Raw, counted
from worlds import DAYS, MOMENTS, Maker

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.gather import select_facts
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.policy.model import Action, Decision, Finding, Verdict

WORLDS, EACH = 25, 40
FIRM = "dp-budget"  # what a mode of Warn does not soften
SHORT = timedelta(seconds=1)
ENGINE = ("references", "not-enforced-here", "schema")  # findings of the engine itself, alike in every mode
SEEN: Counter[str] = Counter()


def facts(objects: list[Raw], job: Raw, now: datetime = NOW) -> Facts:
    return counted(job, select_facts(job, ObjectLookup(objects, audit_retention_days=2192), now))


def in_mode(objects: list[Raw], mode: str) -> list[Raw]:
    """The world with every namespace under this ceiling and every policy in Enforce, so that the ceiling decides."""
    world = copy.deepcopy(objects)
    for raw in world:
        if raw["kind"] == "Namespace":
            raw["metadata"]["labels"]["mlprivacy.dev/enforce"] = mode
        if raw["kind"] == "PrivacyPolicy":
            raw["spec"]["mode"] = "Enforce"
    return world


def by_rules(decision: Decision) -> list[Finding]:
    return [f for f in decision.findings if f.rule not in ENGINE]


def told(found: list[Finding]) -> set[tuple[str, str, str]]:
    return {(f.rule, f.path, f.message) for f in found}


@pytest.mark.parametrize("mode", ["warn", "audit"])
@pytest.mark.parametrize("seed", range(WORLDS))
def test_softer_modes_list_exactly_what_enforce_would_say(seed: int, mode: str) -> None:
    """Each finding of Enforce is in the softer report and none besides, and what would refuse is told from the rest."""
    maker = Maker(seed)
    objects = maker.objects()
    jobs = [maker.job(n) for n in range(EACH)]
    strict_world, soft_world = in_mode(objects, "enforce"), in_mode(objects, mode)
    limit = Action.WARN if mode == "warn" else Action.EVIDENCE
    for job in jobs:
        strict, soft = evaluate(job, facts(strict_world, job)), evaluate(job, facts(soft_world, job))
        assert told(by_rules(strict)) == told(by_rules(soft)), job
        would = {(f.rule, f.path, f.message, f.enforced) for f in by_rules(soft)}
        assert would == {(f.rule, f.path, f.message, f.action) for f in by_rules(strict)}, job
        refused = {(f.rule, f.path, f.message) for f in by_rules(strict) if f.action.rank >= Action.HOLD.rank}
        for finding in by_rules(soft):
            # What no grant covers is access and not policy, and what is spent of a budget can not be taken back.
            stays = finding.action is Action.HOLD or (finding.rule == FIRM and mode == "warn")
            assert stays or finding.action.rank <= limit.rank
            excepted = finding.exception is not None
            assert not stays or excepted or (finding.rule, finding.path, finding.message) in refused
        recorded = {f.message for f in by_rules(soft) if f.reason is Reason.RECORDED}
        assert not recorded & {message for _, _, message in refused}, "it only is written down"
        invalid = any(f.rule == "schema" for f in soft.findings)
        firm = any(f.rule == FIRM and f.action is Action.DENY for f in soft.findings)
        assert (soft.verdict is Verdict.DENY) is (invalid or firm)
        if not any(f.action is Action.HOLD for f in soft.findings) and not invalid and not firm:
            assert soft.verdict is Verdict.ALLOW
        SEEN[f"{mode} {strict.verdict}"] += 1
        SEEN.update(f"{mode} {f.rule}" for f in by_rules(strict) if f.action.rank >= Action.HOLD.rank)
        SEEN[f"{mode} excepted"] += len(strict.exceptions)
        assert {f.rule for f in soft.findings if f.exception} <= {FIRM}, "what is not refused needs no exception"


def moments() -> list[datetime]:
    """Around each date of the worlds: just before, on it, and just after; attestations end with their day."""
    dates = [parse_time(m) for m in MOMENTS] + [parse_time(f"{day}T00:00:00Z") for day in DAYS]
    dates += [date + timedelta(days=1) for date in dates] + [NOW]
    return sorted({date + shift for date in dates for shift in (-SHORT, timedelta(0), SHORT)})


def said(decision: Decision) -> Any:
    return decision.as_dict()


@pytest.mark.parametrize("seed", range(WORLDS))
def test_a_decision_is_what_it_is_until_it_said_it_could_change(seed: int) -> None:
    """Grants, exceptions, attestations, retention, snapshots, dates of packs: none changes a decision unforeseen."""
    maker = Maker(seed)
    objects = maker.objects()
    jobs = [maker.job(n) for n in range(EACH // 2)]
    times = moments()
    for job in jobs:
        at_first = facts(objects, job)
        made = [(now, evaluate(job, replace(facts(objects, job, now), custom=at_first.custom))) for now in times]
        for (now, before), (later, after) in pairwise(made):
            assert before.valid_until is None or before.valid_until > now
            if said(before) != said(after):
                assert before.valid_until is not None, (job, now)
                assert before.valid_until <= later, (job, now, before.valid_until)
                SEEN["changed by time"] += 1
                SEEN.update(f"time {f.rule}" for f in set(before.findings) ^ set(after.findings))


def test_the_worlds_show_enough() -> None:
    """Guards the properties: they are worth what the worlds hold."""
    if SEEN["audit Deny"] + SEEN["audit Hold"] + SEEN["audit Allow"] < WORLDS * EACH:
        pytest.fail("run the whole file: this counts what the properties have seen")
    assert SEEN["audit Deny"] > 100, dict(SEEN)
    assert SEEN["audit excepted"] > 10, dict(SEEN)
    assert SEEN["changed by time"] > 100, dict(SEEN)
    for rule in ("retention", "high-risk-ai", "trained-personnel", "consent-valid", "references"):
        assert SEEN[f"time {rule}"], dict(SEEN)
    assert len([what for what in SEEN if what.startswith("audit ")]) > 20, dict(SEEN)
