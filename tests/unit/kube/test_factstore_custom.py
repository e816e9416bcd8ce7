"""The fact store has custom rules evaluated: outcomes are among the facts, and the event loop goes on meanwhile."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.facts import FactStore
from mlprivacy.policy.custom import Expression, Key, NoAnswer, Outcome
from mlprivacy.policy.engine import evaluate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = "/apis/mlprivacy.dev/v1alpha1"
JOB: dict[str, Any] = {
    "apiVersion": "mlprivacy.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "job", "namespace": "lab"},
    "spec": {
        "purpose": "essential",
        "datasets": [{"name": "events", "columns": ["value"], "mountPath": "/data"}],
        "template": {"spec": {"containers": [{"name": "t", "image": "registry.example/t@sha256:" + "a" * 64}]}},
    },
}


class Evaluator:
    """Answers False once it is let go, and notes what it was asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.seen: list[Mapping[str, Any]] = []

    def evaluate(self, rules: Sequence[Expression], document: Mapping[str, Any]) -> Mapping[Key, Outcome]:
        self.go.wait(10)
        self.seen.append(document)
        return {rule.key: False for rule in rules}

    def errors(self, texts: Sequence[str]) -> Mapping[str, str]:
        return {text: "at 1:1: no" for text in texts if text == "bad"}


async def put(api: Any, *, governed: bool = True) -> None:
    labels = {"mlprivacy.dev/enforce": "enforce"} if governed else {}
    await api.put("/api/v1/namespaces/lab", {"metadata": {"labels": labels}})
    rule = {"id": "never", "expression": "false", "message": "Never."}
    await api.put(f"{ROOT}/privacypolicies/own", {"kind": "PrivacyPolicy", "spec": {"custom": [rule]}})


async def started(client: KubeClient, custom: Evaluator | None) -> FactStore:
    store = FactStore(client, custom=custom, backoff=(0.01, 0.05))
    store.start()
    assert await store.wait_synced(20)
    return store


async def test_outcomes_are_among_the_facts_and_nothing_waits_for_them_but_the_job(api, client: KubeClient) -> None:
    await put(api)
    evaluator = Evaluator()
    store = await started(client, evaluator)
    gathering = asyncio.create_task(store.gather(JOB, NOW))
    await asyncio.sleep(0.2)
    assert not gathering.done()
    evaluator.go.set()
    facts = await gathering
    await store.stop()
    assert facts.custom == {Key("own", "never"): False}
    assert evaluator.seen[0]["namespaceObject"]["metadata"]["name"] == "lab"
    assert "custom/never" in {f.rule for f in evaluate(JOB, facts).findings if f.action == "Deny"}


async def test_without_an_evaluator_the_job_holds(api, client: KubeClient) -> None:
    await put(api)
    store = await started(client, None)
    facts = await store.gather(JOB, NOW)
    await store.stop()
    assert facts.custom == {}
    assert "custom/never" in {f.rule for f in evaluate(JOB, facts).findings if f.action == "Hold"}
    assert await store.expression_errors(["bad"]) == {}


async def test_errors_of_expressions_are_asked_of_the_evaluator(api, client: KubeClient) -> None:
    store = FactStore(client, custom=Evaluator())
    assert await store.expression_errors(["fine", "bad"]) == {"bad": "at 1:1: no"}
    assert await store.expression_errors([]) == {}


async def test_an_answer_that_comes_too_late_is_none_and_holds_the_job(api, client: KubeClient) -> None:
    await put(api)
    evaluator = Evaluator()  # which is not let go
    store = await started(client, evaluator)
    facts = await store.gather(JOB, NOW, deadline=asyncio.get_running_loop().time() + 0.1)
    evaluator.go.set()
    await store.stop()
    assert facts.custom == {Key("own", "never"): NoAnswer("there was no time left for it in this request")}
    assert "custom/never" in {f.rule for f in evaluate(JOB, facts).findings if f.action == "Hold"}
