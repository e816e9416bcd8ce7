"""`mlprivacy plan --budget NAME`: what a PrivacyBudget of the cluster has left, from its ledger or from its status."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from budget_objects import Server, budget, ledger_objects
from builders import change
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import CAPACITY, DOMAIN, FOUNDING, NOON, ORDERS, commit, promise, reserve

from mlprivacy.api.base import parse_spec
from mlprivacy.api.privacy_budget import KIND as PRIVACY_BUDGET
from mlprivacy.budget.accounting.events import dp_sgd
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.checks import Terms, check
from mlprivacy.budget.ledger.entry import stamp
from mlprivacy.budget.ledger.errors import Refused
from mlprivacy.budget.ledger.promise import terms_of
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import Open, Retire
from mlprivacy.budget.ledger.units import Units
from mlprivacy.budget.schedulers.base import Demand, Reason
from mlprivacy.cli import cluster
from mlprivacy.cli.budgets import room, selecting
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.cli.main import cli
from mlprivacy.controller.budgets.asks import block_ids
from mlprivacy.controller.budgets.queues import queue_of

JOB = ("-n", "60000", "--batch-size", "256", "--noise-multiplier", "1.1", "--epochs", "60", "--delta", "1e-7")
SPENT = (reserve(1, 0.5), commit(1))
FULL = (reserve(1, 0.9), commit(1), reserve(2, 0.0999))
HELD = (reserve(1, 0.8), commit(1), reserve(2, 0.1999))


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: str, objects: Any, hidden: Any = (), job: tuple[str, ...] = JOB) -> Result:
        server = Server(*objects, hidden=hidden)
        monkeypatch.setattr(cluster, "run", lambda access, work: asyncio.run(work(server)))
        return CliRunner().invoke(cli, ["plan", *job, "--no-pld", *arguments])

    return run


def answered(result: Result) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(result.stdout)["budget"]
    return body


def test_a_delta_that_the_controller_refuses_is_told(plan: Any) -> None:
    objects = [budget(*SPENT), *ledger_objects(*SPENT)]
    result = plan("--budget", DOMAIN, objects=objects, job=(*JOB[:-1], "1e-5"))
    assert result.exit_code == 1
    assert "It would be refused: with a budget, delta is at most 1/(100 N), here 1.7e-07." in result.output


def test_exactly_from_the_ledger(plan: Any) -> None:
    found = answered(plan("--budget", "patients", "-o", "json", objects=[budget(*SPENT), *ledger_objects(*SPENT)]))
    demand = curve_of(dp_sgd(256 / 60_000, 14_063, 1.1, 1), ORDERS)
    left = [(cap - cap // 2) / 1e9 // asked for cap, asked in zip(CAPACITY, demand, strict=True) if cap]
    assert (found["jobs"], found["exact"], found["blocks"]) == (max(left), True, 8)
    assert found["budget"] == "patients"
    assert "It would be granted now." in found["sentence"]


def test_a_guess_from_the_status_says_that_it_is_one(plan: Any) -> None:
    objects = [budget(*SPENT), *ledger_objects(*SPENT)]
    exact = answered(plan("--budget", "patients", "-o", "json", objects=objects))
    guess = answered(plan("--budget", "clinic-patients", "-o", "json", objects=objects, hidden=["LedgerEntry"]))
    assert not guess["exact"]
    assert guess["share"] == pytest.approx(exact["share"], rel=1e-6)
    assert abs(guess["jobs"] - exact["jobs"]) <= 1
    table = plan("--budget", "patients", objects=objects, hidden=["LedgerEntry"]).stdout
    assert "The ledger decides" in " ".join(table.split())


@pytest.mark.parametrize("hidden", [(), ("LedgerEntry",)])
def test_without_room_it_names_the_largest_epsilon_and_what_may_come_back(plan: Any, hidden: Any) -> None:
    result = plan("--budget", "patients", "-o", "json", objects=[budget(*FULL), *ledger_objects(*FULL)], hidden=hidden)
    assert result.exit_code == 1
    found = answered(result)
    assert found["largest"]["noise_multiplier"] > 1.1
    assert "It can never be granted: bucket 0 (and 7 more) has too little left." in found["sentence"]
    assert "it would fit" in found["sentence"]
    objects = [budget(*HELD), *ledger_objects(*HELD)]
    held = answered(plan("--budget", "patients", "-o", "json", objects=objects, hidden=hidden))
    assert "It would wait: bucket 0 (and 7 more) has room only once running jobs give back" in held["sentence"]


def test_blocks_that_are_named_or_retired(plan: Any) -> None:
    steps = (reserve(1, 0.999, blocks=(0, 3)), commit(1))
    objects = [budget(*steps), *ledger_objects(*steps)]
    free = plan("--budget", "patients", "--blocks", "4..7", objects=objects)
    assert (free.exit_code, "granted now" in free.stdout) == (0, True)
    assert plan("--budget", "patients", "--blocks", "bucket 3", objects=objects).exit_code == 1
    retired = (*steps, Retire((Range(0, 3),), "Exhausted"))
    objects = [budget(*retired), *ledger_objects(*retired)]
    for hidden in ((), ("LedgerEntry",)):
        assert plan("--budget", "patients", objects=objects, hidden=hidden).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "other"), "There are: patients (clinic-patients)."),
        (
            ("--budget", "patients", "--blocks", "6..12"),
            "bucket 12 is no block of clinic-patients; there are bucket 0 to",
        ),
        (("--budget", "patients", "--blocks", "2026-W01"), "is no block"),
        (("--budget", "patients", "--blocks", "4..2"), "bucket 4 comes after bucket 2; write 2..4"),
        (("--budget", "patients", "--blocks", "4.."), "it has no last block; write FROM..TO, or one block alone"),
        (("--budget", "no-such-file.json"), "is not a budget: No such file or directory. Name a file"),
        (("--blocks", "1"), "add --budget NAME"),
        (("--namespace", "research"), "add --budget NAME"),
        (("--budget", "no-such-file.json", "--namespace", "research"), "a file has none"),
        (
            ("--budget", "patients", "--namespace", "reserch"),
            "There is no namespace reserch. Name one with --namespace",
        ),
        (("--budget", "patients", "-n", "research"), "-n is the number of records here, and --namespace the namespace"),
    ],
)
@pytest.mark.parametrize("hidden", [(), ("LedgerEntry",)])
def test_bad_input_is_a_sentence(plan: Any, arguments: tuple[str, ...], said: str, hidden: Any) -> None:
    result = plan(*arguments, objects=[budget(*SPENT), *ledger_objects(*SPENT)], hidden=hidden)
    assert (result.exit_code, said in " ".join(result.output.split())) == (2, True), result.output


@pytest.mark.parametrize("hidden", [(), ("LedgerEntry",)])
def test_blocks_that_are_all_retired_say_which_there_are(plan: Any, hidden: Any) -> None:
    some, all_ = Retire((Range(0, 3),), "Owner"), Retire((Range(0, 7),), "Owner")
    labels = [f"bucket {key}" for key in range(8)]
    objects = [budget(some, retired=labels[:4]), *ledger_objects(some)]
    partly = plan("--budget", "patients", "--blocks", "1..3", objects=objects, hidden=hidden)
    assert (partly.exit_code, "retired" in partly.output) == (2, True)
    assert "bucket 7" in partly.output
    mixed = plan("--budget", "patients", "--blocks", "3..5", "-o", "json", objects=objects, hidden=hidden)
    assert answered(mixed)["blocks"] == 2
    objects = [budget(all_, retired=labels), *ledger_objects(all_)]
    gone = plan("--budget", "patients", objects=objects, hidden=hidden)
    assert (gone.exit_code, "every block (bucket 0 to bucket 7) is retired" in gone.output) == (2, True)


def test_before_a_block_is_open_nothing_is_granted(plan: Any) -> None:
    empty = change(budget(), "status.blocks", {"open": 0, "exhausted": 0, "retired": 0, "tainted": 0})
    result = plan("--budget", "patients", objects=[empty])
    assert (result.exit_code, "patients: no block is open yet" in result.output) == (2, True)


def test_weeks_that_are_not_there_are_named_from_the_status_too(plan: Any) -> None:
    """Three weeks were opened up to this one, one of them is retired."""
    cut, now = Cut("SubjectCohort", "Week"), room.utc_now()
    newest = cut.key_at(now)
    first, old, following = (cut.label(newest + by) for by in (-2, -9, 1))
    weeks = budget(blocks={"by": "SubjectCohort", "period": "Week"}, retired=[first])
    weeks = change(weeks, "status.blocks", {"open": 2, "exhausted": 0, "retired": 1, "tainted": 0})
    for asked, wrong in ((f"{old}..{first}", old), (f"{first}..{following}", following)):
        result = plan("--budget", "patients", "--blocks", asked, objects=[weeks])
        said = f"{wrong} is no block of clinic-patients; there are {first} to {cut.label(newest)}"
        assert (result.exit_code, said in " ".join(result.output.split())) == (2, True), result.output
    fine = plan("--budget", "patients", "--blocks", f"{first}..{cut.label(newest)}", "-o", "json", objects=[weeks])
    assert answered(fine)["blocks"] == 2


QUOTAS = [{"namespace": "research", "share": 0.4}, {"namespace": "ads", "share": 0.05}]
SPACES = [{"kind": "Namespace", "metadata": {"name": name}} for name in ("research", "ads", "labs")]
BUSY = (
    reserve(1, 0.35, blocks=(0, 3)),
    commit(1),
    reserve(2, 0.04, namespace="ads"),
)


def governed(*steps: Any) -> list[Any]:
    return [budget(*steps, quotas=QUOTAS), *ledger_objects(*steps), *SPACES]


def test_a_quota_is_what_the_controller_keeps_to(plan: Any) -> None:
    """A job takes about a tenth of a block: 35 of the 40 % of research are spent, and 4 of the 5 % of ads held."""
    full = plan("--budget", "patients", "-o", "json", objects=governed(*BUSY))
    found = answered(full)
    assert (full.exit_code, found["never"], found["jobs"]) == (1, [], 0)
    assert found["quota"]["namespace"] == "research"
    assert found["quota"]["reached"] == [f"bucket {key}" for key in range(4)]
    assert "It would wait: research has had its share of bucket 0 (and 3 more)." in found["sentence"]
    assert "What jobs of research spent of it is spent for good" in " ".join(found["notes"])
    assert found["largest"]["noise_multiplier"] > 1.1
    free = plan("--budget", "patients", "--blocks", "4..7", "-o", "json", objects=governed(*BUSY))
    assert free.exit_code == 0
    assert "of which the namespace research may take 40 %" in answered(free)["sentence"]
    whole = answered(plan("--budget", "patients", "-o", "json", objects=[budget(), *ledger_objects()]))
    assert 0 < answered(free)["jobs"] < whole["jobs"]


@pytest.mark.parametrize("hidden", [(), ("LedgerEntry",), ("LedgerEntry", "Namespace")])
def test_a_quota_that_is_too_small_or_none_refuses(plan: Any, hidden: Any) -> None:
    small = plan("--budget", "patients", "--namespace", "ads", objects=governed(), hidden=hidden)
    text = " ".join(small.stdout.split())
    assert (small.exit_code, "It would be refused: ads may take no more than 5 % of a block." in text) == (1, True)
    assert "Take less, or ask the privacy office for a larger quota." in text
    none = plan("--budget", "patients", "--namespace", "labs", objects=governed(), hidden=hidden)
    text = " ".join(none.stdout.split())
    assert (none.exit_code, "the budget has quotas, and none for labs." in text) == (1, True)
    assert "for a namespace that has one (ads, research)" in text
    assert "it would fit" not in text


def test_without_the_ledger_only_the_cap_is_known(plan: Any) -> None:
    found = answered(plan("--budget", "patients", "-o", "json", objects=governed(*BUSY), hidden=["LedgerEntry"]))
    assert (found["exact"], found["quota"]["reached"]) == (False, [])
    assert "Of the quota only the cap is known" in " ".join(found["notes"])
    objects = [change(governed()[0], "spec.quotas", [])]
    assert answered(plan("--budget", "patients", "-o", "json", objects=objects))["quota"] is None


def test_what_running_jobs_hold_of_a_quota_may_come_back(plan: Any) -> None:
    found = answered(plan("--budget", "patients", "-o", "json", objects=governed(reserve(1, 0.35))))
    assert "Part of the quota is held by jobs of research" in " ".join(found["notes"])


def test_the_context_s_namespace_must_be_there_where_quotas_count(plan: Any) -> None:
    result = plan("--budget", "patients", objects=governed()[:-3])
    said = "There is no namespace research, which the kubeconfig's context names"
    assert (result.exit_code, said in " ".join(result.output.split())) == (2, True)


def test_what_else_the_budget_demands_is_told(plan: Any) -> None:
    strict = budget(minimumAssurance="Gated", reviewedImages=["sha256:" + "a" * 64])
    notes = " ".join(answered(plan("--budget", "patients", "-o", "json", objects=[strict]))["notes"])
    assert "reach the assurance Gated or better" in notes
    assert "reviewedImages" in notes


CURVES = st.tuples(*(st.floats(0.0005, 0.6) for _ in CAPACITY)).map(
    lambda shares: tuple(int(share * room) for share, room in zip(shares, CAPACITY, strict=True))
)


@given(
    taken=st.lists(
        st.tuples(st.sampled_from(["research", "ads"]), st.integers(0, 7), CURVES, st.booleans()), max_size=6
    ),
    curve=CURVES,
    namespace=st.sampled_from(["research", "ads", "labs"]),
    blocks=st.tuples(st.integers(0, 7), st.integers(0, 7)).map(sorted),
)
@settings(max_examples=150, deadline=None)
def test_what_is_said_is_what_the_queue_and_the_ledger_of_the_controller_do(
    taken: Any, curve: Units, namespace: str, blocks: list[int]
) -> None:
    state = State(DOMAIN)
    state.observe(stamp(NOON), "1")
    for step in FOUNDING:
        state.apply(step, 1)
    raw = budget(quotas=QUOTAS)
    parsed = parse_spec(PRIVACY_BUDGET, {**raw, "metadata": {"name": "patients"}}).spec
    assert parsed is not None
    terms = terms_of(parsed)
    for number, (whose, block, part, ends) in enumerate(taken):
        asked = reserve(number, blocks=(block, 7), namespace=whose, curve=part)
        if refuses(state, asked, terms):
            continue
        state.apply(asked, 2)
        if ends:
            state.apply(commit(number), 3)
    wanted = reserve(99, blocks=(blocks[0], blocks[1]), namespace=namespace, curve=curve)
    found = room.exact(state, Budget.of(raw), wanted.curve, NOON, wanted.ranges, namespace)
    assert ("granted now" in found.sentence) is not refuses(state, wanted, terms), found.sentence
    if namespace == "labs":
        return  # the desk refuses it before the queue
    queue = queue_of(parsed, state, NOON)
    ids = block_ids(wanted.ranges)
    queue.submit(Demand("it", ids, tuple(map(float, wanted.curve)), namespace=namespace, arrival=NOON.timestamp()))
    decided = queue.decide(NOON.timestamp())
    assert bool(decided.granted) is ("granted now" in found.sentence)
    if decided.waiting:
        quota = decided.waiting[0].reason is Reason.QUOTA
        assert quota is bool(found.left.capped and not found.left.never), found.sentence


def refuses(state: State, step: Any, terms: Terms) -> bool:
    try:
        check(state, step, terms)
    except Refused:
        return True
    return False


@pytest.mark.parametrize("hidden", [(), ("LedgerEntry",)])
def test_delta_is_that_of_a_job_that_says_none(plan: Any, hidden: Any) -> None:
    """1/(100 N) where N is known, whatever the budget promises; else what it promises."""
    objects = [budget(*SPENT), *ledger_objects(*SPENT)]

    def of(*arguments: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(
            plan(*arguments, "--budget", "patients", "-o", "json", objects=objects, hidden=hidden, job=()).stdout
        )
        return body

    rate = ("--sampling-rate", "0.004", "--epochs", "10", "--noise-multiplier", "1.1")
    known = ("-n", "60000", "--batch-size", "256", "--epochs", "60", "--noise-multiplier", "1.1")
    assert (of(*rate)["delta"], of(*rate)["delta_from"]) == (1e-3, "budget")
    assert (of(*known)["delta"], of(*known)["delta_from"]) == (1 / 6_000_000, "records")
    assert of(*known)["budget"]["delta"] == 1e-3
    assert (of(*rate, "--delta", "1e-6")["delta"], of(*rate, "--delta", "1e-6")["delta_from"]) == (1e-6, "given")
    text = plan(*known, "--budget", "patients", objects=objects, hidden=hidden, job=()).stdout
    assert "1.66667e-07 (1/(100 N), as for a job that says none; the budget promises 0.001)" in text
    assert (
        "0.001 (what the budget promises, since N is not known)"
        in plan(*rate, "--budget", "patients", objects=objects, hidden=hidden, job=()).stdout
    )


def test_a_file_says_itself_which_blocks_there_are(plan: Any, tmp_path: Path) -> None:
    path = tmp_path / "budget"
    path.write_text(json.dumps({"epsilon": 10, "delta": 1e-8, "blocks": [{"name": "w"}]}))
    assert plan("--budget", str(path), objects=[]).exit_code == 0
    assert plan("--budget", str(path), "--blocks", "1", objects=[]).exit_code == 2


def test_nothing_is_granted_before_a_promise_nor_from_a_broken_ledger(plan: Any) -> None:
    fresh = plan("--budget", "patients", objects=[{**budget(), "status": {}}])
    assert (fresh.exit_code, "patients: nothing is promised yet" in fresh.output) == (2, True)
    entries = ledger_objects(*SPENT)
    entries[1]["spec"]["writer"] = "somebody"
    broken = plan("--budget", "patients", objects=[budget(*SPENT), *entries])
    assert (broken.exit_code, "The ledger of clinic-patients is broken" in broken.output) == (2, True)


def test_what_time_unlocks_is_waited_for() -> None:
    """Unlocked over seventy days from when the budget was made, one day ago."""
    scheduling = {"policy": "DPF", "unlocking": {"lifetime": "70d"}}
    weeks = change(budget(scheduling=scheduling), "metadata.creationTimestamp", "2026-03-09T00:00:00Z")
    found = Budget.of(change(weeks, "status.fullest", [{"block": "bucket 3", "usedPercent": 5, "reservedPercent": 0}]))
    tuesday, day = datetime(2026, 3, 10, tzinfo=UTC), 86_400
    guess = room.guess(found, 0.1, tuesday)
    assert guess.left.blocked == ("bucket 3",)
    assert guess.left.wait == pytest.approx(0.15 * 70 * day - day)
    assert "It would be granted in 10 days, when enough of bucket 3 is unlocked" in guess.sentence
    assert room.guess(found, 0.1, tuesday + timedelta(days=10)).left.wait == 0
    assert room.guess(found, 0.96, tuesday).left.never == ("bucket 3",)


def test_a_block_unlocks_from_when_its_period_begins() -> None:
    """As the controller's queue has it: a newer week is less unlocked than older ones."""
    blocks = {"by": "SubjectCohort", "period": "Week"}
    weeks = budget(scheduling={"policy": "DPF", "unlocking": {"lifetime": "70d"}}, blocks=blocks)
    weeks = change(weeks, "metadata.creationTimestamp", "2026-01-05T00:00:00Z")
    found = Budget.of(change(weeks, "status.fullest", [{"block": "2026-W02", "usedPercent": 5, "reservedPercent": 0}]))
    day = 86_400
    wednesday = datetime(2026, 3, 11, tzinfo=UTC)  # of week 11, 65 days after the budget was made
    guess = room.guess(found, 0.1, wednesday)
    assert guess.left.blocked == ("2026-W11",)
    assert guess.left.wait == pytest.approx(0.1 * 70 * day - 2 * day)
    assert room.guess(found, 0.1, wednesday, ["2026-W02"]).left.wait == 0
    assert room.guess(found, 0.1, wednesday, ["2026-W10"]).left.wait == 0
    assert room.guess(found, 0.5, wednesday, ["2026-W10"]).left.wait == pytest.approx((35 - 9) * day)


def test_exactly_each_block_unlocks_from_its_own_week() -> None:
    cut = Cut("SubjectCohort", "Week", None)
    first, last = cut.key_of("2026-W02"), cut.key_of("2026-W11")
    state = State(DOMAIN)
    state.apply(promise(cut=cut), 1)
    state.apply(Open((Range(first, last),)), 1)
    weeks = budget(
        scheduling={"policy": "DPF", "unlocking": {"lifetime": "70d"}}, blocks={"by": "SubjectCohort", "period": "Week"}
    )
    found = Budget.of(change(weeks, "metadata.creationTimestamp", "2026-01-12T00:00:00Z"))  # with week 3
    wednesday = datetime(2026, 3, 11, tzinfo=UTC)
    demand = tuple(value // 10 for value in CAPACITY)
    exact = room.exact(state, found, demand, wednesday, selecting.of_ledger(state, found, None))
    assert exact.left.blocked == ("2026-W11",)
    assert exact.left.wait == pytest.approx((7 - 2) * 86_400)
    old = room.exact(state, found, tuple(9 * value for value in demand), wednesday, (Range(first, first),))
    assert old.left.wait == pytest.approx((63 - 58) * 86_400)  # it is older than the budget, which is 58 days old


def test_what_arrivals_unlock_is_said_not_to_be_known() -> None:
    scheduling = {"policy": "DPF", "unlocking": {"arrivals": 100}}
    assert any(
        "only the controller knows" in note
        for note in room.guess(Budget.of(budget(scheduling=scheduling)), 0.1, datetime.now(UTC)).notes
    )
