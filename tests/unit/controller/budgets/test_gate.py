"""The gate in front of attempts, over ledgers in memory: held, granted, bound, spent; and all or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit import ledger_world as world
from tests.unit.controller.budgets.office import NOON, budget, charge, key

from mlprivacy.api.base import Assurance
from mlprivacy.api.reasons import Reason
from mlprivacy.audit.client import CollectorUnavailable
from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.transitions import Open, Register
from mlprivacy.controller.budgets.desk import Desk, InForce
from mlprivacy.controller.budgets.desks import Closed, Desks
from mlprivacy.controller.budgets.gate import Gate
from mlprivacy.controller.budgets.look import Look, Passed
from mlprivacy.controller.plan import Phase, Plan, Seen, Step
from mlprivacy.controller.sealing import Unsealed
from mlprivacy.controller.store import JobKey
from mlprivacy.policy.charge import Charge, Selection
from mlprivacy.policy.model import Decision, Obligations, Verdict

run = world.run
OTHER = "clinic-staff"


class Keeper:
    """A keeper to whom the collector never said anything."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}
        self.away: str | None = None

    def broken(self, domain: str) -> str | None:
        return self.wrong.get(domain)

    def not_ready(self, domain: str) -> str | None:
        return self.wrong.get(domain) or self.away

    def behind(self, domain: str) -> int:
        return 0

    def found_broken(self, domain: str, why: str) -> str:
        return self.wrong.setdefault(domain, why)

    async def admit(self, books: Desk) -> str | None:
        if self.away is not None:
            raise CollectorUnavailable(self.away)
        return None


class House:
    """One process: desks of two domains, and the gate."""

    def __init__(self, log: world.MemoryLog | None = None) -> None:
        self.log = log or world.MemoryLog()
        self.woken: list[JobKey] = []
        self.desks = Desks(self.log, "one", lambda: NOON, self.woken.append, lambda _: None, Keeper())
        self.gate = Gate(self.desks, lambda _: (Register("urn:clinic:visits"),))
        for domain in (world.DOMAIN, OTHER):
            try:
                desk = run(self.desks.open(domain))
            except Closed:
                continue
            if desk.ledger.fold.head.sequence == 0:
                run(desk.write([world.promise(), Open((Range(0, 7),))]))
            desk.in_force(InForce("patients", budget(domain), NOON))

    def desk(self, domain: str = world.DOMAIN) -> Desk:
        return self.desks.of(domain)


def look(number: int, *charges: Charge, **changes: Any) -> Look:
    decision = Decision(
        verdict=Verdict.ALLOW,
        mode="Enforce",
        findings=(),
        obligations=Obligations(),
        achieved=Assurance.DECLARED,
        required=Assurance.DECLARED,
        subject=("TrainingJob", "research", f"job-{number}", f"uid-{number}"),
        spec_digest="",
        charges=charges,
    )
    raw = {
        "kind": "TrainingJob",
        "metadata": {
            "name": f"job-{number}",
            "namespace": "research",
            "uid": f"uid-{number}",
            "creationTimestamp": "2026-03-14T12:00:00Z",
        },
        "status": changes.pop("status", {}),
    }
    fields: dict[str, Any] = {"attempts": (), "gated": (), "pods_alive": False, **changes}
    return Look(key(number), raw, decision, **fields)


def start(attempt: int = 1) -> Plan:
    return Plan(Step.START, Phase.STARTING, attempt, Reason.PROGRESSING)


def keep(attempt: int = 1) -> Plan:
    return Plan(Step.KEEP, Phase.RUNNING, attempt, Reason.ATTEMPT_CREATED)


async def _before(house: House, look: Look, plan: Plan) -> Passed:
    return await house.gate.before(look, await house.gate.ready(look, plan))


def before(house: House, look: Look, plan: Plan) -> Any:
    """What a reconcile does with the gate."""
    return _before(house, look, plan)


def states(passed: Passed) -> list[str]:
    return [line["state"] for line in passed.budgets]


def test_a_job_without_a_budget_passes_and_says_so() -> None:
    passed = run(before(House(), look(1), start()))
    assert passed.plan == start()
    assert passed.condition is not None
    assert passed.condition[:2] == ("True", Reason.NO_BUDGET_NEEDED)


def test_a_start_is_let_through_once_its_loss_is_reserved() -> None:
    house = House()
    passed = run(before(house, look(1, charge(0.4)), start()))

    assert passed.plan == start()
    assert passed.condition is not None
    assert passed.condition[1] is Reason.BUDGET_HELD
    assert passed.condition[2] == "uses 40 % of each of 8 blocks of clinic-patients (epsilon 2.5, reserved)"
    (line,) = passed.budgets
    assert line["noiseMultiplier"] == 1.1
    assert line["entry"] == house.log.entries()[-1].name


def test_a_job_that_would_overspend_waits_and_starts_when_another_gives_back() -> None:
    house = House()
    run(before(house, look(1, charge(0.7)), start()))

    held = run(before(house, look(2, charge(0.5)), start()))
    assert (held.plan.step, held.plan.phase) == (Step.HOLD, Phase.WAITING)
    assert held.condition is not None
    assert held.condition[0] == "False"
    assert states(held) == ["Waiting"]

    run(house.gate.gone(key(1), "uid-1"))
    assert house.woken == [key(2)]
    assert run(before(house, look(2, charge(0.5)), start())).plan.step is Step.START


def test_a_pod_is_let_go_only_when_it_is_bound() -> None:
    house = House()
    run(before(house, look(1, charge(0.4)), start()))

    passed = run(before(house, look(1, charge(0.4), gated=(("pod", "pod-uid"),), pods_alive=True), keep()))
    assert passed.let_go == (("pod", "pod-uid"),)
    assert house.desk().state.reservations["uid-1", 1].pod == "pod-uid"

    another = run(before(house, look(1, charge(0.4), gated=(("pod2", "other"),), pods_alive=True), keep()))
    assert another.let_go == ()


def test_the_end_of_a_training_is_spent_and_told() -> None:
    house = House()
    passed = run(before(house, look(1, charge(0.4)), start()))
    ended = Seen("mlp-job-1-1", "j", 1, "", suspended=False, running=False, finished="Complete", sealed=True)
    finish = Plan(Step.FINISH, Phase.SUCCEEDED, 1, Reason.SUCCEEDED, seen=ended)

    over = run(before(house, look(1, charge(0.4), attempts=(ended,), status={"budgets": list(passed.budgets)}), finish))

    assert states(over) == ["Committed"]
    assert house.desk().state.reservations == {}


def test_an_attempt_that_ended_at_its_seal_gave_back_what_it_held() -> None:
    house = House()
    passed = run(before(house, look(1, charge(0.4)), start()))
    run(before(house, look(1, charge(0.4), gated=(("p", "p1"),), pods_alive=True), keep()))
    unsealed = Unsealed("p", 3, "no")
    ended = Seen("mlp-job-1-1", "j", 1, "", suspended=False, running=False, finished="Failed", unsealed=unsealed)
    stop = Plan(Step.REST, Phase.FAILED, 1, Reason.FAILED, seen=ended)

    over = run(before(house, look(1, charge(0.4), attempts=(ended,), status={"budgets": list(passed.budgets)}), stop))

    assert states(over) == ["Released"]
    assert over.condition is not None
    assert over.condition[2] == "nothing is reserved any more: the job has ended"
    assert house.desk().state.table.committed[0].tolist() == [0, 0, 0]


def test_the_next_attempt_pays_again() -> None:
    house = House()
    run(before(house, look(1, charge(0.4)), start()))
    run(before(house, look(1, charge(0.4), gated=(("p", "p1"),), pods_alive=True), keep()))

    second = run(before(house, look(1, charge(0.4)), start(2)))

    assert second.plan.attempt == 2
    table = house.desk().state.table
    assert table.used[0].tolist() == [2 * value for value in world.part_of(0.4)]


def test_a_job_that_was_edited_before_it_started_asks_for_what_it_asks_now() -> None:
    house = House()
    run(before(house, look(1, charge(0.4)), start()))

    edited = run(before(house, look(1, charge(0.2)), start()))

    assert edited.plan.attempt == 2
    assert list(house.desk().state.reservations) == [("uid-1", 2)]


def test_two_domains_are_reserved_both_or_neither() -> None:
    house = House()
    run(before(house, look(1, charge(0.7, OTHER)), start()))
    both = (charge(0.5, OTHER), charge(0.5))

    held = run(before(house, look(2, *both), start()))
    assert held.plan.step is Step.HOLD
    assert house.desk().state.reservations == {}

    run(house.gate.gone(key(1), "uid-1"))
    assert house.woken == [key(2)]
    assert states(run(before(house, look(2, *both), start()))) == ["Reserved", "Reserved"]


def test_what_one_domain_refuses_at_the_last_moment_is_given_back_at_the_other() -> None:
    house = House()
    both = (charge(0.5, OTHER), charge(0.5))
    # Another process takes the patients' blocks between the look at them and the reservation.
    stranger = House(house.log)
    desk, reserve = house.desk(), house.desk().reserve

    async def late(wish: Any) -> None:
        await _before(stranger, look(9, charge(0.7)), start())
        await reserve(wish)

    desk.reserve = late  # type: ignore[method-assign]
    names = sorted((OTHER, world.DOMAIN))
    held = run(before(house, look(1, *sorted(both, key=lambda c: c.domain)), start()))

    assert held.plan.step is Step.HOLD
    for domain in names:
        assert not house.desk(domain).held_by("uid-1")


def test_what_is_used_outside_accounting_marks_its_blocks_and_is_not_reserved() -> None:
    house = House()
    passed = run(before(house, look(1, replace(charge(), outside="Exception", loss=None)), start()))

    assert passed.plan.step is Step.START
    assert states(passed) == ["Outside"]
    assert passed.condition is not None
    assert passed.condition[:2] == ("False", Reason.OUTSIDE_ACCOUNTING)
    assert house.desk().state.table.tainted[:8].all()
    assert house.desk().state.reservations == {}


RUNS = Seen("mlp-job-1-1", "j", 1, "", suspended=False, running=True, sealed=True)


def test_a_job_that_ran_before_the_budget_was_there_marks_its_blocks() -> None:
    house = House()
    passed = run(before(house, look(1, charge(0.4), attempts=(RUNS,), pods_alive=True), keep()))

    assert states(passed) == ["Outside"]
    (mark,) = house.desk().state.taints.values()
    assert mark.reason == "Ungoverned"
    entries = len(house.log.specs)
    run(before(house, look(1, charge(0.4), attempts=(RUNS,), pods_alive=True), keep()))
    assert len(house.log.specs) == entries


def test_so_does_one_that_is_stopped_for_it_since_it_can_not_be_counted() -> None:
    house = House()
    stop = Plan(Step.STOP, Phase.STOPPED, 1, Reason.NO_LONGER_ALLOWED, seen=RUNS)
    run(before(house, look(1, charge(loss=None), attempts=(RUNS,), pods_alive=True), stop))

    assert house.desk().state.table.tainted[:8].all()


def test_and_one_that_ended_before_unless_it_was_counted() -> None:
    house = House()
    rest = Plan(Step.REST, Phase.SUCCEEDED, 1, Reason.SUCCEEDED)
    counted = {
        "startedAt": "2026-03-14T12:00:00Z",
        "finishedAt": "2026-03-14T13:00:00Z",
        "attempt": 1,
        "budgets": [{"subjectDomain": world.DOMAIN, "attempt": 1, "state": "Committed", "blocks": 8}],
    }
    run(before(house, look(1, charge(0.4), status=counted), rest))
    assert not house.desk().state.table.tainted.any()

    run(before(house, look(2, charge(0.4), status={**counted, "budgets": []}), rest))
    assert house.desk().state.table.tainted[:8].all()


def test_a_job_that_reaches_more_blocks_later_marks_those_too() -> None:
    """One that was tainted on a block, and was edited to use all."""
    house = House()
    one = replace(charge(), outside="Audit", loss=None, selections=(Selection("bucket 3", "bucket 3"),))
    run(before(house, look(1, one), start()))
    assert house.desk().state.table.tainted[:8].tolist() == [False] * 3 + [True] + [False] * 4

    run(before(house, look(1, replace(one, selections=(Selection(),))), start(2)))

    assert house.desk().state.table.tainted[:8].all()


def test_a_job_that_is_edited_to_reach_more_blocks_before_it_starts_pays_for_them() -> None:
    house = House()
    few = replace(charge(0.4), selections=(Selection("bucket 3", "bucket 3"),))
    run(before(house, look(1, few), start()))

    more = run(before(house, look(1, charge(0.4)), start()))

    assert more.plan.attempt == 2
    assert more.budgets[0]["blocks"] == 8
    assert (house.desk().state.table.used[:8] > house.desk().state.table.committed[:8]).all()


def test_an_attempt_that_was_counted_marks_nothing_while_the_next_is_claimed() -> None:
    house = House()
    run(before(house, look(1, charge(0.1)), start()))
    run(before(house, look(1, charge(0.1), gated=(("p", "p1"),), attempts=(RUNS,), pods_alive=True), keep()))
    stopped = replace(RUNS, suspended=True, running=False)
    ending = Plan(Step.END, Phase.STOPPED, 2, Reason.PROGRESSING, seen=stopped)

    run(before(house, look(1, charge(0.1), attempts=(stopped,), status={"attempt": 2}), ending))

    assert house.desk().state.taints == {}
    assert house.desk().state.reservations == {}


def test_a_pod_behind_its_gate_is_not_let_go_without_a_reservation() -> None:
    house = House()
    passed = run(before(house, look(1, charge(0.4), gated=(("pod", "pod-uid"),), pods_alive=True), keep()))
    assert passed.let_go == ()
    nothing = run(before(house, look(1, gated=(("pod", "pod-uid"),), pods_alive=True), keep()))
    assert nothing.let_go == ()


def test_a_broken_ledger_starts_nothing_and_lets_go_of_nothing() -> None:
    house = House()
    run(before(house, look(1, charge(0.4)), start()))
    name = next(iter(house.log.specs))
    house.log.specs[name]["writer"] = "somebody"

    domain = house.log.specs[name]["subjectDomain"]
    anew = House(house.log)
    held = run(before(anew, look(2, charge(0.1, domain)), start()))
    assert held.plan.step is Step.HOLD
    assert held.condition is not None
    assert held.condition[1] is Reason.LEDGER_BROKEN
    assert name in held.condition[2]


def test_a_collector_that_is_away_starts_nothing_and_is_asked_again() -> None:
    house = House()
    keeper = Keeper()
    keeper.away = "no answer"
    house.desks._keeper = keeper

    held = run(before(house, look(1, charge(0.4)), start()))

    assert held.plan.step is Step.HOLD
    assert held.plan.again is not None
    assert held.condition is not None
    assert held.condition[1] is Reason.LEDGER_UNAVAILABLE


def test_nothing_is_written_to_a_ledger_that_may_not_be_the_one_that_was() -> None:
    house = House()
    run(before(house, look(1, charge(0.4)), start()))
    entries = len(house.log.specs)
    house.desks._keeper.found_broken(world.DOMAIN, "an anchor is ahead of it")

    run(house.gate.gone(key(1), "uid-1"))

    assert len(house.log.specs) == entries


def test_when_a_ledger_opens_the_jobs_that_hold_something_of_it_are_looked_at() -> None:
    house = House()
    run(before(house, look(1, charge(0.4)), start()))

    class Late(Keeper):
        admitted = False

        def not_ready(self, domain: str) -> str | None:
            return None if self.admitted else "not compared yet"

        async def admit(self, books: Desk) -> str | None:
            await books.ledger.refresh()
            self.admitted = True
            return None

    later = House(house.log)
    later.desks._keeper = Late()
    run(later.desks.open(world.DOMAIN))

    assert key(1) in later.woken
