"""The accounting worker: right answers, and whatever becomes of it, an end within bounds and a sentence.

Matrix: the real worker (answers, refusals, killed, started anew) x stand-ins that misbehave (silent, garbage, endless,
missing library, wrong question), then the memory of answers and the bound on those who wait.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlprivacy.accountant import client as client_module
from mlprivacy.accountant.client import Accountant, NoAnswer, NotInstalled, interval_for
from mlprivacy.budget.accounting.events import (
    Composed,
    Gaussian,
    GaussianMixture,
    Laplace,
    Refused,
    Repeated,
    dp_sgd,
    with_trials,
)

READY = "print('{\"ready\": true}', flush=True)"
READ = "import sys; line = sys.stdin.readline()"


def script(*lines: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", "\n".join(lines))


@pytest.fixture
async def accountant() -> AsyncIterator[Accountant]:
    async with Accountant(seconds=120) as found:
        yield found


async def test_answers_and_refusals(accountant: Accountant) -> None:
    assert await accountant.pld_epsilon(dp_sgd(0.0025, 6_000, 1.3), 1e-5) == pytest.approx(0.640111, abs=5e-7)
    assert await accountant.pld_epsilon(Composed((Gaussian(2.0), Laplace(4.0))), 1e-6, 1e-3) > 1
    assert await accountant.rdp_curve(Gaussian(1.0), [2.0, 4.0]) == (1.0, 2.0)
    with pytest.raises(Refused, match="no privacy loss distribution"):
        await accountant.pld_epsilon(with_trials(Gaussian(2.0), 3), 1e-5)
    with pytest.raises(ValueError, match="delta is 0"):
        await accountant.pld_epsilon(Gaussian(2.0), 0)
    assert accountant.started == 1


async def test_a_worker_that_was_killed_is_replaced(accountant: Accountant) -> None:
    await accountant.rdp_curve(Gaussian(1.0), [2.0])
    process = accountant._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert await accountant.rdp_curve(Gaussian(2.0), [2.0]) == (0.25,)
    assert accountant.started == 2


async def test_an_answer_is_remembered(accountant: Accountant) -> None:
    first = await accountant.pld_epsilon(Gaussian(3.0), 1e-5, 1e-3)
    await accountant.close()
    assert await accountant.pld_epsilon(Gaussian(3.0), 1e-5, 1e-3) == first
    assert accountant.started == 1


async def test_the_event_loop_goes_on_meanwhile(accountant: Accountant) -> None:
    asked = asyncio.create_task(accountant.rdp_curve(Gaussian(1.0), [2.0]))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 3


async def test_too_slow_is_stopped_and_not_asked_again_at_once() -> None:
    now = 0.0
    slow = script(READY, READ, "import time; time.sleep(600)")
    async with Accountant(seconds=1, command=slow, clock=lambda: now) as accountant:
        with pytest.raises(NoAnswer, match="longer than 1 seconds and was stopped"):
            await accountant.rdp_curve(Gaussian(1.0), [2.0])
        assert accountant._process is None
        with pytest.raises(NoAnswer, match="tried again after ten minutes"):
            await accountant.rdp_curve(Gaussian(1.0), [2.0])
        assert accountant.started == 1
        now = client_module.AGAIN_SECONDS + 1
        with pytest.raises(NoAnswer, match="was stopped"):
            await accountant.rdp_curve(Gaussian(1.0), [2.0])
        assert accountant.started == 2


@pytest.mark.parametrize(
    "reply",
    [
        "print('garbage', flush=True)",
        "print('[1, 2]', flush=True)",
        'print(\'{"id": 7, "curve": [1.0]}\', flush=True)',
        'print(\'{"id": 1, "curve": [1.0, 2.0]}\', flush=True)',
        'print(\'{"id": 1, "curve": [-1.0]}\', flush=True)',
        'print(\'{"id": 1, "curve": ["x"]}\', flush=True)',
        "print('x' * 1_000_000, flush=True)",
        "raise SystemExit(3)",
    ],
)
async def test_nonsense_is_no_answer(reply: str) -> None:
    async with Accountant(seconds=30, command=script(READY, READ, reply, "sys.stdin.readline()")) as accountant:
        with pytest.raises(NoAnswer, match="nonsense"):
            await accountant.rdp_curve(Gaussian(1.0), [2.0])


async def test_the_libraries_are_missing() -> None:
    missing = script("print('{\"ready\": false}', flush=True)")
    async with Accountant(seconds=30, command=missing) as accountant:
        with pytest.raises(NotInstalled, match=r"pip install 'mlprivacy\[accounting\]'"):
            await accountant.rdp_curve(Gaussian(1.0), [2.0])


async def test_what_needs_more_memory_than_is_allowed_is_no_answer(accountant: Accountant) -> None:
    with pytest.raises(NoAnswer, match="ended"):
        await accountant.pld_epsilon(Gaussian(0.01), 1e-5, 1e-7)
    assert await accountant.rdp_curve(Gaussian(1.0), [2.0]) == (1.0,)


async def test_no_such_program(tmp_path: Path) -> None:
    async with Accountant(command=[str(tmp_path / "none")]) as accountant:
        with pytest.raises(NoAnswer, match="can not be started"):
            await accountant.rdp_curve(Gaussian(1.0), [2.0])


async def test_who_stops_waiting_takes_the_worker_along() -> None:
    """Its answer would be taken for the next one's."""
    slow = script(READY, READ, "import time; time.sleep(600)")
    async with Accountant(seconds=60, command=slow) as accountant:
        asked = asyncio.create_task(accountant.rdp_curve(Gaussian(1.0), [2.0]))
        while accountant._process is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert accountant._process is None


async def test_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "WAITING_MAX", 2)
    slow = script(READY, READ, "import time; time.sleep(600)")
    async with Accountant(seconds=60, command=slow) as accountant:
        waiting = [asyncio.create_task(accountant.rdp_curve(Gaussian(s), [2.0])) for s in (1.0, 2.0)]
        await asyncio.sleep(0)
        with pytest.raises(NoAnswer, match="2 others wait"):
            await accountant.rdp_curve(Gaussian(3.0), [2.0])
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_only_so_many_answers_are_kept(monkeypatch: pytest.MonkeyPatch, accountant: Accountant) -> None:
    monkeypatch.setattr(client_module, "REMEMBERED", 2)
    for sigma in (1.0, 2.0, 3.0):
        await accountant.rdp_curve(Gaussian(sigma), [2.0])
    assert len(accountant._known) == 2


def test_slow_distributions_are_rounded_more_coarsely() -> None:
    assert interval_for(dp_sgd(0.01, 100, 1.0), 1e-5) == 1e-4
    several = dp_sgd(0.004, 14_063, 1.1, 5)
    assert 1e-4 < interval_for(several, 1e-5) < 1e-2
    assert interval_for(Repeated(GaussianMixture(1.0, (0.0, 2.0), (0.5, 0.5)), 50), 1e-5) > 1e-4
    assert math.isclose(interval_for(with_trials(several, 2), 1e-5), interval_for(several, 1e-5), rel_tol=0.5)
