"""The controller, whose privacy budget answers from a table: the JSON file named by BUDGET_TABLE.

The file maps NAMESPACE/NAME to the fields of an answer; a job that is not in it needs no budget. Each question is
appended to the file named by BUDGET_ASKED, as NAMESPACE/NAME ATTEMPT.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlprivacy.controller.main as process
from mlprivacy.api.reasons import Reason
from mlprivacy.cli.main import main
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.store import JobKey
from mlprivacy.policy.model import Decision

TABLE, ASKED = Path(os.environ["BUDGET_TABLE"]), Path(os.environ["BUDGET_ASKED"])


def look(job: str, attempt: int) -> dict[str, Any] | None:
    """What the table says of a job now."""
    with ASKED.open("a", encoding="utf-8") as stream:
        stream.write(f"{job} {attempt}\n")
    found: dict[str, Any] | None = json.loads(TABLE.read_text(encoding="utf-8")).get(job)
    return found


class Table:
    """Answers what the file says now."""

    async def ask(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> Answer:
        found = look(f"{key.namespace}/{key.name}", attempt)
        if found is None:
            return Answer("NotNeeded", Reason.NO_BUDGET_NEEDED, "none of its datasets has a privacy budget")
        return Answer(found["state"], Reason(found["reason"]), found["message"], found.get("again"))


run_controller = process.run_controller


async def run(config, stop):
    await run_controller(replace(config, asks=Table()), stop)


process.run_controller = run
main()
