"""The server of admission and `mlprivacy check` decide alike: 1,000 jobs in 25 worlds, through the entry of each.

Admission: the bytes of a review go through the server's handler, over the real fact store with its informers (the API
server is in memory). Offline: the same objects in a file, read and judged as `mlprivacy check` does it. Custom rules
are evaluated by the real worker in both.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders import NOW, Raw
from stage import OPERATOR, MemoryApi
from worlds import Maker

from mlprivacy.admission import kinds
from mlprivacy.admission.handler import KINDS, Handler
from mlprivacy.cel.pool import CelPool
from mlprivacy.cli import objects, offline
from mlprivacy.kube.facts import FactStore
from mlprivacy.policy.custom import CustomRules
from mlprivacy.policy.engine import losses_asked
from mlprivacy.policy.model import Decision

from .conftest import review

WORLDS, EACH = 25, 40
RETENTION = 2192


@pytest.fixture(scope="module")
def custom() -> Any:
    with CelPool(expression_seconds=5, total_seconds=30) as pool:
        yield pool


def settled(decision: Decision) -> Raw:
    """All that a decision says, until when, and what it rests on."""
    rests_on = sorted(decision.dependencies)
    return decision.as_dict() | {"until": decision.valid_until, "digest": decision.digest, "restsOn": rests_on}


async def by_admission(
    world: list[Raw], jobs: list[Raw], custom: CustomRules, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Raw, Decision]]:
    """The response to each job's CREATE, and the decision behind it."""
    api = MemoryApi()
    for raw in world:
        api.put(raw)
    store = FactStore(
        api,  # type: ignore[arg-type]
        operator_namespace=OPERATOR,
        audit_retention_days=RETENTION,
        custom=custom,
        reads_per_second=1e6,
        read_seconds=30,
    )
    made: list[Decision] = []
    real = kinds.evaluate_parsed

    def kept(*args: Any) -> Decision:
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(kinds, "evaluate_parsed", kept)
    handler = Handler(
        store,
        None,
        namespace=OPERATOR,
        fresh=lambda: None,
        log=lambda _: None,
        clock=lambda: NOW,  # type: ignore[arg-type]
    )
    store.start()
    found = []
    try:
        await store.wait_synced()
        for job in jobs:
            await counted(store, job)
            made.clear()
            reply = await handler.handle(KINDS, "application/json", json.dumps(review(job)).encode(), trusted=True)
            found.append((json.loads(reply.body)["response"], made[0]))
    finally:
        await store.stop()
        monkeypatch.undo()
    return found


async def counted(store: FactStore, job: Raw) -> None:
    """Wait until the job's losses are known: whether a webhook has the time to count them is another matter."""
    for _ in range(30):
        facts = await store.gather(job, NOW)
        if facts.losses.keys() == set(losses_asked(job, facts)):
            return


def by_check(
    world: list[Raw], job: Raw, custom: CustomRules, folder: Path
) -> tuple[offline.Judgement, Decision | None]:
    """The judgement of `mlprivacy check` on this one job, with the world in the same file."""
    file = folder / "all.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*world, job]}), encoding="utf-8")
    settings = offline.Settings(NOW, audit_retention_days=RETENTION, operator_namespace=OPERATOR)
    judgement = offline.judge(objects.read([str(file)], default_namespace="default"), settings, custom)
    return judgement, judgement.judged[0].decision if judgement.judged else None


def as_stored(value: Any) -> Any:
    """JSON as the API server writes it: it has one kind of number, so 1.0 becomes 1."""
    if isinstance(value, dict):
        return {k: as_stored(v) for k, v in value.items()}
    if isinstance(value, list):
        return [as_stored(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


SEEN: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(WORLDS))
async def test_the_decision_is_the_same(
    seed: int, custom: CustomRules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Maker(seed)
    world = maker.objects()
    jobs = [as_stored(maker.job(n)) for n in range(EACH)]
    for job, (response, decision) in zip(jobs, await by_admission(world, jobs, custom, monkeypatch), strict=True):
        judgement, checked = by_check(world, job, custom, tmp_path)
        annotations = response["auditAnnotations"]
        assert annotations["verdict"] == decision.verdict.value
        assert response["allowed"] is (decision.verdict.value != "Deny")
        if checked is None:  # bad input: the CLI names the fields, and admission refuses for the same ones
            told = {bad.path for bad in judgement.bad}
            assert {f.rule for f in decision.findings} == {"schema"}, job
            assert {f.path for f in decision.findings} <= told
            SEEN["schema"] += 1
            continue
        assert settled(checked) == settled(decision), f"world {seed}: {json.dumps(job)}"
        SEEN[decision.verdict.value] += 1
        SEEN.update({f.rule.partition("/")[0] for f in decision.findings})
        SEEN.update("excepted" for _ in decision.exceptions)


def test_the_worlds_show_enough() -> None:
    """Guards the property: worlds in which every job is refused for the same reason would show nothing."""
    if sum(SEEN[v] for v in ("Allow", "Hold", "Deny", "schema")) < WORLDS * EACH:
        pytest.fail("run the whole file: this counts what the property has seen")
    assert min(SEEN[v] for v in ("Allow", "Hold", "Deny", "schema", "excepted", "custom")) >= 10, dict(SEEN)
    assert len(SEEN) >= 30, dict(SEEN)
