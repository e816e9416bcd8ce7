"""Has custom rules evaluated without stopping the event loop: the facts of a job with their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlprivacy.policy.custom import CustomRules
from mlprivacy.policy.engine import custom_asked
from mlprivacy.policy.facts import Facts


async def with_outcomes(raw: Mapping[str, Any], facts: Facts, custom: CustomRules | None) -> Facts:
    """These facts with the outcomes of the custom rules that apply to this raw job.

    Without an evaluator they have none, which holds the job.
    """
    asked = None if custom is None else custom_asked(raw, facts)
    if custom is None or asked is None:
        return facts
    return replace(facts, custom=await asyncio.to_thread(custom.evaluate, asked.rules, asked.document))


async def expression_errors(texts: Sequence[str], custom: CustomRules | None) -> Mapping[str, str]:
    """Of these expressions those that can not be compiled, with why and where."""
    return {} if custom is None or not texts else await asyncio.to_thread(custom.errors, texts)
