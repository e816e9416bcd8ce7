"""Has custom rules evaluated without stopping the event loop: the facts of a job with their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlprivacy.kube import metrics
from mlprivacy.policy.custom import CustomRules, Key, NoAnswer, Outcome
from mlprivacy.policy.custom_trial import trial
from mlprivacy.policy.engine import custom_asked
from mlprivacy.policy.facts import Facts

_WORD = {True: "passed", False: "breached"}


async def with_outcomes(
    raw: Mapping[str, Any], facts: Facts, custom: CustomRules | None, deadline: float | None = None
) -> Facts:
    """These facts with the outcomes of the custom rules that apply to this raw job.

    Without an evaluator, and after `deadline` (loop time), they have none, which holds the job.
    """
    asked = None if custom is None else custom_asked(raw, facts)
    if custom is None or asked is None:
        return facts
    outcomes: Mapping[Key, Outcome]
    try:
        with metrics.CUSTOM_SECONDS.time():
            async with asyncio.timeout_at(deadline):
                outcomes = await asyncio.to_thread(custom.evaluate, asked.rules, asked.document)
    except TimeoutError:  # the thread ends within its own time
        outcomes = {rule.key: NoAnswer("there was no time left for it in this request") for rule in asked.rules}
    for outcome in outcomes.values():
        word = outcome.kind if isinstance(outcome, NoAnswer) else _WORD[outcome]
        metrics.CUSTOM_RULES.labels(word).inc()
    return replace(facts, custom=outcomes)


async def expression_errors(texts: Sequence[str], custom: CustomRules | None) -> Mapping[str, str]:
    """Of these expressions those that can not be compiled, with why and where."""
    return {} if custom is None or not texts else await asyncio.to_thread(custom.errors, texts)


async def expression_trial(texts: Sequence[str], custom: CustomRules | None) -> Mapping[str, Mapping[str, str]]:
    """Of these expressions those that give no answer on a sample: the kinds of job, with why."""
    return {} if custom is None or not texts else await asyncio.to_thread(trial, custom, texts)
