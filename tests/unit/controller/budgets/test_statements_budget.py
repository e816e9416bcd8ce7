"""The statements of the accounting that live in the controller and the API, each by its number (privacy-accounting.md).

The others are in tests/unit/budget and tests/unit/policy under the same kind of name.
"""

from __future__ import annotations

from dataclasses import replace

from tests.unit import ledger_world as world
from tests.unit.controller.budgets.office import Counter, budget, wish
from tests.unit.controller.budgets.test_gate import House, before, charge, look, start

from mlprivacy.api.base import Assurance
from mlprivacy.api.dataset import KIND as DATASET
from mlprivacy.api.workload import BudgetUse
from mlprivacy.budget.ledger.summary import guarantee_holds, status_of, worst_case
from mlprivacy.budget.ledger.transitions import Bind, Commit
from mlprivacy.policy.assurance import achieved
from mlprivacy.policy.facts import IN_FORCE

run = world.run


def test_statement_4_a_block_remembers_the_weakest_assurance_with_which_it_was_spent() -> None:
    desk = Counter().desk()
    for number, assurance in ((1, Assurance.ATTESTED), (2, Assurance.DECLARED), (3, Assurance.GATED)):
        run(desk.ask(replace(wish(number, 0.1), assurance=assurance)))
        run(desk.write([Bind(f"uid-{number}", 1, f"pod-{number}")]))
        run(desk.settle([Commit(f"uid-{number}", 1, "Unknown", f"pod-{number}")]))

    found = status_of(desk.state)

    assert found["weakestAssurance"] == "Declared"
    assert {block["weakestAssurance"] for block in found["fullest"]} == {"Declared"}


def test_statement_4_a_budget_demands_how_a_loss_is_known() -> None:
    desk = Counter().desk(budget(minimumAssurance="ByConstruction"))
    assert run(desk.ask(replace(wish(1), assurance=Assurance.GATED))).answer.state == "Refused"
    assert run(desk.ask(replace(wish(2), assurance=Assurance.BY_CONSTRUCTION))).answer.may_start


def test_statement_5_a_use_outside_accounting_marks_the_blocks_for_good() -> None:
    house = House()
    run(before(house, look(1, replace(charge(), outside="Exception", loss=None)), start()))

    state = House(house.log).desk().state  # another process, later
    assert not guarantee_holds(state)
    assert worst_case(state)[0] is None
    assert status_of(state)["blocks"]["tainted"] == 8


def test_statement_8_without_the_hook_that_owns_the_noise_a_run_is_declared_and_no_more() -> None:
    assert achieved("Training", IN_FORCE) is Assurance.DECLARED


def test_statement_10_what_a_stopped_job_did_not_use_is_spent_unless_nothing_can_be_told_from_it() -> None:
    desk = Counter().desk()
    run(desk.ask(wish(1, 0.4)))
    run(desk.write([Bind("uid-1", 1, "pod-1")]))

    run(desk.settle([Commit("uid-1", 1, "Adaptive", "pod-1", ended=True)]))

    assert desk.state.table.committed[0].tolist() == list(world.part_of(0.4))


def test_statement_11_what_a_status_says_of_a_job_was_fixed_before_it_saw_data() -> None:
    """No count of rows, no accuracy, no time of the data's making. A field that comes here has to go through publish()
    first; whoever adds one thinks of that here.
    """
    fixed_at_reservation = {
        "subject_domain", "budget", "state", "attempt", "blocks", "epsilon", "delta", "share_percent",
        "noise_multiplier", "sampling_rate", "steps", "entry",
    }  # fmt: skip
    assert set(BudgetUse.model_fields) == fixed_at_reservation
    assert not {"rows", "count", "accuracy", "size"} & set(DATASET.status.model_fields)


def test_statement_14_a_budget_made_anew_finds_what_was_spent() -> None:
    counter = Counter()
    run(counter.desk().ask(wish(1, 0.7)))

    anew = counter.desk(budget(epsilon=1000, noticeVersion="2"))  # a larger promise, which nobody approved

    assert run(anew.ask(wish(2, 0.5))).answer.state == "Waiting"
