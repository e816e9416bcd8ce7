"""What the worker makes of a request, without a process; and that nothing else loads the libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mlprivacy.accountant.worker import answer, rdp_curve, to_library
from mlprivacy.budget.accounting.events import NoOp, SampledGaussian, ZeroConcentrated
from mlprivacy.budget.accounting.serialised import dump


def test_a_request_that_is_refused() -> None:
    body = {"op": "pld", "event": {"class_name": "NonPrivateDpEvent"}, "delta": 1e-5, "interval": 1e-4}
    assert answer(body) == {"refused": "NonPrivateDpEvent is refused: it releases the data without noise"}


def test_zcdp_has_a_curve_and_no_loss_distribution() -> None:
    event = dump(ZeroConcentrated(0.5, 0.0))
    assert answer({"op": "rdp", "event": event, "orders": [2.0]}) == {"curve": [1.0]}
    refused = answer({"op": "pld", "event": event, "delta": 1e-5, "interval": 1e-4})
    assert "no privacy loss distribution" in refused["refused"]


def test_nothing_costs_nothing() -> None:
    assert answer({"op": "pld", "event": dump(NoOp()), "delta": 1e-5, "interval": 1e-4}) == {"epsilon": 0.0}
    assert rdp_curve(NoOp(), [2.0]) == [0.0]


def test_rare_components_are_shifted_up_and_never_dropped() -> None:
    """50 rows at 1e-4: what is rarer than 1e-30 goes to the largest shift, and all still sums to 1."""
    event = to_library(SampledGaussian(1e-4, 1.0, 50))
    assert event.sensitivities[-1] == 50
    assert len(event.sensitivities) < 51
    assert sum(event.sampling_probs) == pytest.approx(1, abs=1e-12)
    assert min(event.sampling_probs) > 0


def test_all_rows_always_drawn_is_plain_noise() -> None:
    assert to_library(SampledGaussian(1.0, 3.0, 3)).noise_multiplier == pytest.approx(1.0)


def test_client_and_planner_load_no_accounting_library() -> None:
    code = (
        "import sys, mlprivacy.accountant.client, mlprivacy.budget.planner, mlprivacy.cli.plan;"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'dp_accounting', 'scipy', 'matplotlib'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
