"""The worker of custom rules: right answers, and whatever an expression does, an end within bounds and no Allow.

Matrix: what is asked (fine, wrong, explosive) x what becomes of it (answer, reason, killed), then life and memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlprivacy.cel import pool as pool_module
from mlprivacy.cel.pool import CelPool, Gone, Worker
from mlprivacy.policy.custom import Expression, Key, NoAnswer, Outcome

NUMBERS = "job.spec.numbers"
DOCUMENT: dict[str, Any] = {
    "job": {"spec": {"trials": 2, "epsilon": 3.0, "numbers": list(range(500)), "text": "a" * 500}},
    "datasets": [{"name": "visits", "spec": {"region": "eu-west"}}],
    "classes": [],
    "namespaceObject": {"metadata": {"name": "lab", "labels": {"mlprivacy.dev/tenant": "clinic"}}},
    "now": "2026-06-01T23:00:00+00:00",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[CelPool]:
    with CelPool(expression_seconds=20, total_seconds=60) as pool:
        yield pool


def ask(pool: CelPool, text: str, **changed: Any) -> Outcome:
    key = Key("own", "rule")
    return pool.evaluate([Expression(key, text)], {**DOCUMENT, **changed})[key]


def why(outcome: Outcome) -> str:
    assert isinstance(outcome, NoAnswer), f"an answer: {outcome}"
    return outcome.why


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("job.spec.trials <= 2", True),
        ("job.spec.trials <= 1", False),
        ("job.spec.epsilon <= 3 && job.spec.epsilon > 2.5", True),
        ("datasets.all(d, d.spec.region.startsWith('eu-'))", True),
        ("datasets.exists(d, d.name.matches('^v.*s$'))", True),
        ("!has(job.spec.output)", True),
        ("namespaceObject.metadata.labels['mlprivacy.dev/tenant'] == 'clinic'", True),
        ("now.getHours() < 22", False),
        ("now < timestamp('2027-01-01T00:00:00Z')", True),
        ("size(classes) == 0", True),
    ],
)
def test_an_expression_sees_the_document(shared: CelPool, text: str, expected: bool) -> None:
    assert ask(shared, text) is expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("job.spec.trials <", "at 1:18: Syntax error"),
        ("jobs.spec.trials < 2", "at 1:10: undeclared reference to 'jobs.spec.trials'"),
        ("true && 'x'", "at 1:6: found no matching overload"),
        ("namespace.name == 'x'", "reserved identifier: namespace"),
        ("1 + 1", "of type int"),
        ("[true]", "of type list<bool>"),
        ("now == 'x'", "found no matching overload"),
        ("(" * 100 + "true" + ")" * 100, "recursion limit"),
        ("![{" * 60, "recursion limit"),
    ],
)
def test_what_does_not_compile_is_told_with_its_place(shared: CelPool, text: str, reason: str) -> None:
    assert reason in shared.errors([text, "true"])[text]
    outcome = ask(shared, text)
    assert isinstance(outcome, NoAnswer)
    assert outcome.kind == "invalid"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("job.spec.nothing == 1", 'Key not found in map : "nothing"'),
        ("job.spec.text", "of type string, not bool"),
        ("job.spec.trials / 0 == 1", "divide by zero"),
        ("job.spec.numbers[1000] == 1", "index"),
    ],
)
def test_an_error_or_another_type_is_no_answer(shared: CelPool, text: str, reason: str) -> None:
    assert shared.errors([text]) == {}
    outcome = ask(shared, text)
    assert reason in why(outcome)
    assert isinstance(outcome, NoAnswer)
    assert outcome.kind == "failed"


GROW = ".map(a, a + a + a + a + a + a + a + a)"
EXPLOSIVE = [
    pytest.param(f"{NUMBERS}.all(a, {NUMBERS}.all(b, {NUMBERS}.all(c, a + b + c >= 0)))", id="nested comprehensions"),
    pytest.param(f"[job.spec.text]{GROW * 10}[0].size() > 0", id="a huge string"),
    pytest.param(f"[{NUMBERS}]{GROW * 10}[0].size() > 0", id="a huge list"),
    pytest.param(f"[{NUMBERS}]" + ".map(a, a + a)" * 29 + "[0].size() > 0", id="too deep"),
]


@pytest.mark.parametrize("text", EXPLOSIVE)
def test_what_explodes_ends_soon_and_has_no_answer(text: str) -> None:
    with CelPool(expression_seconds=10, total_seconds=20) as pool:
        ask(pool, "true")
        began = time.monotonic()
        outcome = ask(pool, text)
        assert isinstance(outcome, NoAnswer)
        assert time.monotonic() - began < 10
        assert ask(pool, "job.spec.trials == 2") is True, "the next expression has a worker again"


def test_a_regular_expression_takes_linear_time(shared: CelPool) -> None:
    began = time.monotonic()
    assert ask(shared, "job.spec.text.matches('(a*)*(a*)*(a|aa|aaa)*b')") is False
    assert time.monotonic() - began < 5


def test_one_that_breaks_the_worker_does_not_take_the_others_along() -> None:
    bomb = EXPLOSIVE[1].values[0]
    rules = [Expression(Key("own", n), t) for n, t in (("one", "true"), ("bomb", bomb), ("two", "false"))]
    with CelPool(expression_seconds=20, total_seconds=60) as pool:
        outcomes = pool.evaluate(rules, DOCUMENT)
    assert outcomes[Key("own", "one")] is True
    assert outcomes[Key("own", "two")] is False
    assert "more memory" in why(outcomes[Key("own", "bomb")])


class Stuck(Worker):
    """A worker that is stopped as soon as it is asked: it lives and does not answer."""

    def ask(self, request: Any, deadline: float) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)
        super().ask(request, deadline)


def test_one_that_does_not_answer_is_killed_at_its_time_and_not_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(pool_module, "Worker", Stuck)
    with CelPool(expression_seconds=0.3, total_seconds=30, clock=lambda: clock[0]) as pool:
        pool._worker = stuck = Stuck(time.monotonic() + 30)
        began = time.monotonic()
        assert "took too long" in why(ask(pool, "job.spec.trials == 2"))
        assert time.monotonic() - began < 5
        assert stuck._process.returncode == -signal.SIGKILL
        monkeypatch.setattr(pool_module, "Worker", Worker)
        assert "a moment ago" in why(ask(pool, "job.spec.trials == 2"))
        assert ask(pool, "job.spec.trials == 2", classes=[1]) is True, "of another job it is tried"
        clock[0] += pool_module.AGAIN_SECONDS + 1
        assert ask(pool, "job.spec.trials == 2") is True


def test_all_rules_of_a_job_share_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "Worker", Stuck)
    rules = [Expression(Key("own", f"rule-{n}"), f"job.spec.trials == {n}") for n in range(16)]
    with CelPool(expression_seconds=0.5, total_seconds=1.0) as pool:
        began = time.monotonic()
        outcomes = pool.evaluate(rules, DOCUMENT)
        assert time.monotonic() - began < 5
    assert len(outcomes) == 16
    assert all(isinstance(outcome, NoAnswer) for outcome in outcomes.values())


def test_a_worker_that_was_killed_between_is_replaced_unnoticed() -> None:
    with CelPool(expression_seconds=20, total_seconds=60) as pool:
        assert ask(pool, "job.spec.trials == 2") is True
        assert pool._worker is not None
        pool._worker._process.kill()
        pool._worker._process.wait()
        assert ask(pool, "job.spec.trials == 3") is False
        assert pool.started == 2


def test_without_an_interpreter_there_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with CelPool() as pool:
        assert "can not be started" in why(ask(pool, "true"))
        assert "can not be started" in pool.errors(["true"])["true"]


def test_a_document_that_is_too_large_is_not_sent() -> None:
    with CelPool() as pool:
        assert "larger than 256 KiB" in why(ask(pool, "true", job={"spec": "x" * (300 << 10)}))
        assert pool.started == 0


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), object()])
def test_what_json_can_not_hold_has_no_answer(odd: object) -> None:
    with CelPool() as pool:
        assert "JSON" in why(ask(pool, "true", job={"spec": odd}))
        deep: Any = []
        for _ in range(20_000):
            deep = [deep]
        assert "JSON" in why(ask(pool, "true", job=deep))


@pytest.mark.parametrize("odd", [2**70, "\ud800", "\x00", [[[]]] * 50, {"": {"": None}}, -0.0, 1e308])
def test_odd_values_in_a_job_end_in_an_answer_or_a_reason(shared: CelPool, odd: object) -> None:
    outcome = ask(shared, "job.spec.odd != 'x'", job={"spec": {"odd": odd}})
    assert outcome is True or isinstance(outcome, NoAnswer)
    assert ask(shared, "job.spec.trials == 2") is True


def test_a_document_nested_as_deeply_as_json_is_written_is_survived(shared: CelPool) -> None:
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    outcome = ask(shared, "size(job.spec.odd) == 1", job={"spec": {"odd": deep}})
    assert outcome is True or isinstance(outcome, NoAnswer)
    assert ask(shared, "job.spec.trials == 2") is True


def alive(process: Path) -> bool:
    """True for a process that runs; one that only waits to be reaped does not."""
    try:
        return process.joinpath("stat").read_text(encoding="ascii").split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_worker_ends_with_its_parent() -> None:
    code = (
        "import time; from mlprivacy.cel.pool import Worker; w = Worker(time.monotonic() + 60); "
        "print(w._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = Path("/proc", parent.stdout.readline().strip())
        assert alive(worker)
        parent.kill()
        parent.wait()
    end = time.monotonic() + 20
    while alive(worker):
        assert time.monotonic() < end, "the worker outlived its parent"
        time.sleep(0.05)


def test_an_outcome_is_remembered_for_the_same_document_and_the_same_time_where_it_counts() -> None:
    with CelPool(expression_seconds=20, total_seconds=60) as pool:
        assert ask(pool, "job.spec.trials == 2") is True
        assert ask(pool, "now.getHours() == 23") is True
        pool.close()
        later = "2026-06-02T01:00:00+00:00"
        assert ask(pool, "job.spec.trials == 2", now=later) is True
        assert pool.started == 1, "answered from memory"
        assert ask(pool, "now.getHours() == 23", now=later) is False
        assert pool.started == 2


def test_the_worker_is_bounded_and_sees_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_OPERATOR", "x")
    worker = Worker(time.monotonic() + 60)
    try:
        process = f"/proc/{worker._process.pid}"
        limits = Path(process, "limits").read_text(encoding="utf-8")
        assert f"Max address space         {96 << 20}" in limits
        for line in ("Max file size             0", "Max core file size        0", "Max processes             0"):
            assert line in limits
        assert b"SECRET" not in Path(process, "environ").read_bytes()
        assert Path(process, "oom_score_adj").read_text(encoding="ascii").strip() == "1000"
    finally:
        worker.kill()


def test_an_answer_that_is_too_long_or_no_json_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, reason in (("'x' * 100000", "too long"), ("'no json'", "nonsense")):
        code = f"import sys; print({{}}, flush=True); sys.stdin.readline(); print({said}, flush=True); sys.stdin.read()"
        monkeypatch.setattr(pool_module, "_WORKER", ("-c", code))
        worker = Worker(time.monotonic() + 60)
        worker.ask({}, time.monotonic() + 60)
        with pytest.raises(Gone, match=reason):
            worker.answer(time.monotonic() + 60)
        assert worker._process.returncode is not None


def test_the_library_is_loaded_by_the_worker_alone() -> None:
    code = (
        "import sys, mlprivacy.admission.main, mlprivacy.controller.main, mlprivacy.cli.cases; "
        "sys.exit(any(m.startswith('cel_expr_python') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
