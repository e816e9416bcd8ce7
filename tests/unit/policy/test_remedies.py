"""Remedies of dp-consistent and dp-budget are tried: whoever does what one says has no finding of that rule any more.

The matrix: batches larger than the data, too many steps, noise and ceilings that are tiny or huge, deltas above
1/(100 N), several rows and trials, events that can not be counted or come to too much; with and without a budget.
"""

import json
import re
from collections.abc import Iterator

import pytest
from builders import Raw, asked, budget, change, decide, finding, health_class, rules_of, training_job, without
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mlprivacy.api.base import parse_spec
from mlprivacy.api.training_job import KIND
from mlprivacy.policy.model import Decision

PLAIN = health_class(differentialPrivacy={"required": False})  # so that no class asks for a promise
RULES = ("dp-consistent", "dp-budget")
NUMBER = r"([0-9.e+-]+)"
FIELD = re.compile(rf"(?:set )?(batchSize|epochs|epsilon|delta|noiseMultiplier) to {NUMBER}(?: or (?:less|more))?")
OF_EVENT = re.compile(
    r"set (?:each )?(noise_multiplier|standard_deviation|count|sampling_probability|neighboring_relation)"
    r" of the event to ([A-Za-z_0-9.e+-]+).*"
)
OTHER_EVENT = re.compile(r"write what the trainer does in a form that is accounted .* such as (\{.*\})")
BY_OTHERS = ("ask for a PolicyException", "if the data holds more", "ask the privacy office")


def with_privacy(job: Raw | None = None, **fields: object) -> Raw:
    job = job or training_job()
    return change(job, "spec.privacy", job["spec"]["privacy"] | fields)


def of_event(event: object, **fields: object) -> Raw:
    text = event if isinstance(event, str) else json.dumps(event)
    return training_job(privacy={"mechanism": "Event", "event": text, "epsilon": 3, "delta": 1e-8} | fields)


def gaussian(noise: float) -> Raw:
    return {"class_name": "GaussianDpEvent", "noise_multiplier": noise}


def poisson(rate: float, noise: float) -> Raw:
    return {"class_name": "PoissonSampledDpEvent", "sampling_probability": rate, "event": gaussian(noise)}


def repeated(count: float, event: Raw) -> Raw:
    return {"class_name": "SelfComposedDpEvent", "count": count, "event": event}


def ways(remedy: str) -> list[str]:
    """What of a remedy whoever writes the job can do, each enough by itself."""
    found = []
    for way in re.split("; or,? ", remedy):
        if way.startswith(BY_OTHERS):
            continue
        one, mark, _ = way.partition(", or leave it out so that it is derived from epsilon")
        found += [one, "leave noiseMultiplier out"] if mark else [one]
    return found


def done(job: Raw, way: str) -> Raw:
    """The job as the remedy has it. A sentence that this can not read fails the test: nobody can do it either."""
    if way.startswith("set mechanism to DPSGD"):
        return training_job()
    if (another := OTHER_EVENT.fullmatch(way)) is not None:
        return change(job, "spec.privacy.event", another[1])
    for step in way.removesuffix(": as it is, no epsilon can be granted").split(" and "):
        plain = re.sub(r" \(.*\)$", "", step)
        if plain.startswith("leave noiseMultiplier out"):
            job = without(job, "spec.privacy.noiseMultiplier")
        elif (field := FIELD.fullmatch(plain)) is not None:
            name, number = field[1], float(field[2])
            job = change(job, f"spec.privacy.{name}", int(number) if name in ("batchSize", "epochs") else number)
        elif (inner := OF_EVENT.fullmatch(plain)) is not None:
            body = json.loads(job["spec"]["privacy"]["event"])
            job = change(job, "spec.privacy.event", json.dumps(changed(body, inner[1], inner[2])))
        else:
            raise AssertionError(f"nobody knows how to do {plain!r} of {way!r}")
    assert parse_spec(KIND, job).errors == ()
    return job


def changed(body: object, name: str, value: str) -> object:
    """The event with at least this noise everywhere, or this number, in the fields of this name."""
    if not isinstance(body, dict):
        return [changed(inner, name, value) for inner in body] if isinstance(body, list) else body
    new = {key: changed(inner, name, value) for key, inner in body.items()}
    if name in body:
        known = body[name] if isinstance(body[name], int | float) and body[name] == body[name] else 0
        new[name] = value if value.isupper() else max(float(value), known if known <= 1e6 else 0)
        new[name] = float(value) if name in ("count", "sampling_probability") else new[name]
    return new


def mended(job: Raw, decision: Decision, rule: str) -> Iterator[Raw]:
    """The job after each remedy of each finding of the rule; several findings are mended by their first ones."""
    said = [ways(found.remedy) for found in decision.findings if found.rule == rule]
    if len(said) == 1:
        yield from (done(job, way) for way in said[0])
        return
    for first, *_ in said:
        job = done(job, first)
    yield job


def holds(job: Raw, *world: Raw) -> set[str]:
    """Which of the two rules found something; every remedy does away with the finding that it belongs to."""
    decision = decide(job, PLAIN, *world)
    found = {rule for rule in RULES if rule in rules_of(decision)}
    for rule in found:
        tried = list(mended(job, decision, rule))
        assert tried, f"{rule} tells nothing that the job's author can do"
        for attempt in tried:
            after = decide(attempt, PLAIN, *world)
            left = [f.sentence() for f in after.findings if f.rule in (rule, "schema")]
            assert left == [], f"{[f.sentence() for f in decision.findings if f.rule == rule]} became {left}"
    return found


JOBS = {
    "batch above N": with_privacy(batchSize=300_000),
    "batch above N, noise": with_privacy(batchSize=300_000, noiseMultiplier=1.0),
    "batch above N, tiny ceiling": with_privacy(batchSize=300_000, epsilon=1e-9),
    "batch above a small N": with_privacy(training_job(datasets=[asked(unitsAtLeast=100)]), noiseMultiplier=30),
    "noise 1e-6": with_privacy(noiseMultiplier=1e-6),
    "noise 1e-6 and room for it": with_privacy(noiseMultiplier=1e-6, epsilon=500),
    "noise 1e-6, ceiling 1e-9": with_privacy(noiseMultiplier=1e-6, epsilon=1e-9),
    "noise 0.01": with_privacy(noiseMultiplier=0.01),
    "ceiling 1e-9, noise 1": with_privacy(noiseMultiplier=1.0, epsilon=1e-9),
    "ceiling 0.01, noise 1000": with_privacy(noiseMultiplier=1000, epsilon=0.01),
    "ceiling 5e-324": with_privacy(epsilon=5e-324, noiseMultiplier=1.0),
    "delta 1e-300": with_privacy(delta=1e-300, noiseMultiplier=1.0),
    "delta 5e-324": with_privacy(delta=5e-324, noiseMultiplier=1.0),
    "all rows of a million epochs": with_privacy(batchSize=200_000, epochs=1_000_000, noiseMultiplier=1.0),
    "200 billion steps": with_privacy(batchSize=1, epochs=1_000_000, noiseMultiplier=1.0),
    "rows": with_privacy(training_job(datasets=[asked(maxRecordsPerUnit=20)]), noiseMultiplier=0.8),
    "trials": change(with_privacy(noiseMultiplier=0.8), "spec.trials", 30),
    "trials, tiny ceiling": change(with_privacy(epsilon=0.01, noiseMultiplier=1.0), "spec.trials", 30),
}
CHARGED = {
    "ceiling 1e-9": with_privacy(epsilon=1e-9),
    "ceiling 1000": with_privacy(epsilon=1000),
    "ceiling 1000, noise 1e-6": with_privacy(epsilon=1000, noiseMultiplier=1e-6),
    "delta 0.1": with_privacy(delta=0.1),
    "delta 0.1, ceiling 500": with_privacy(delta=0.1, epsilon=500),
    "200 billion steps, derived": with_privacy(batchSize=1, epochs=1_000_000),
}
EVENTS = {
    "too little noise": of_event(gaussian(1)),
    "hardly any noise": of_event(gaussian(0.01)),
    "noise 1e-6": of_event(gaussian(1e-6)),
    "noise 0": of_event(gaussian(0)),
    "noise 1e300": of_event(gaussian(1e300)),
    "noise NaN": of_event('{"class_name": "GaussianDpEvent", "noise_multiplier": NaN}'),
    "laplace": of_event({"class_name": "LaplaceDpEvent", "noise_multiplier": 0.05}),
    "several": of_event({"class_name": "ComposedDpEvent", "events": [gaussian(0.5), gaussian(9), poisson(0.01, 0.1)]}),
    "a million steps": of_event(repeated(1_000_000, gaussian(1))),
    "0 steps": of_event(repeated(0, gaussian(1))),
    "10^10 steps": of_event(repeated(10**10, gaussian(1))),
    "rate 2": of_event(poisson(2, 20)),
    "rate 0": of_event(poisson(0, 20)),
    "rate 1e-9": of_event(poisson(1e-9, 20)),
    "zCDP": of_event({"class_name": "ZCDpEvent", "rho": 1}),
    "zCDP without bound": of_event({"class_name": "ZCDpEvent", "rho": 1e6}),
    "batches of a fixed size": of_event({"class_name": "SampledWithoutReplacementDpEvent"}),
    "another relation": of_event(gaussian(20) | {"neighboring_relation": "REPLACE_ONE"}),
    "no JSON": of_event("{"),
    "ceiling 1e-9": of_event(gaussian(20), epsilon=1e-9),
}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_job_after_the_remedy_keeps_what_it_declares(job: Raw) -> None:
    assert "dp-consistent" in holds(job)


@pytest.mark.parametrize("job", (JOBS | CHARGED).values(), ids=JOBS | CHARGED)
def test_a_job_after_the_remedy_is_counted_and_fits(job: Raw) -> None:
    assert holds(job, budget())


@pytest.mark.parametrize("job", EVENTS.values(), ids=EVENTS)
def test_an_event_after_the_remedy_keeps_what_the_job_declares(job: Raw) -> None:
    assert "dp-consistent" in holds(job)


@pytest.mark.parametrize("name", sorted(EVENTS.keys() - {"zCDP", "zCDP without bound"}))
def test_an_event_after_the_remedy_is_counted_and_fits(name: str) -> None:
    assert holds(EVENTS[name], budget())


def test_a_block_with_little_room_names_the_epochs_or_the_epsilon_that_fit() -> None:
    long = with_privacy(batchSize=200_000, epochs=1_000_000)
    small = budget(epsilon=0.5, quotas=[{"namespace": "research", "share": 0.01}])
    assert "dp-budget" in holds(with_privacy(epsilon=100), budget(quotas=[{"namespace": "research", "share": 0.1}]))
    told = finding(decide(long, PLAIN, small), "dp-budget").remedy
    assert re.fullmatch(
        rf"set epochs to [0-9]+ or less and epsilon to {NUMBER}: as it is, no epsilon can be granted|"
        rf"set epsilon to {NUMBER} or less",
        told,
    )
    assert "dp-budget" in holds(long, small)


def test_a_job_that_claims_fewer_units_than_there_are_may_claim_more() -> None:
    claimed = with_privacy(training_job(datasets=[asked(unitsAtLeast=100)]))
    said = finding(decide(claimed), "dp-consistent").remedy
    assert "raise spec.datasets[0].unitsAtLeast, at most to the 200000 that its owner promises" in said


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(
    batch=st.sampled_from([1, 256, 100_000, 250_000, 100_000_000]),
    epochs=st.sampled_from([1, 10, 5_000, 1_000_000]),
    noise=st.sampled_from([None, 1e-300, 0.009, 0.3, 5, 1000]),
    epsilon=st.sampled_from([1e-12, 0.0102, 0.3, 3, 50, 1000]),
    delta=st.sampled_from([1e-100, 1e-8, 1e-3, 0.9]),
    rows=st.sampled_from([1, 1, 2]),
    trials=st.sampled_from([1, 1, 20]),
    limit=st.sampled_from([None, 0.3, 10, 1000]),
)
def test_whatever_the_schema_takes_can_be_mended_in_one_step(
    batch: int,
    epochs: int,
    noise: float | None,
    epsilon: float,
    delta: float,
    rows: int,
    trials: int,
    limit: float | None,
) -> None:
    given_noise = {} if noise is None else {"noiseMultiplier": noise}
    job = change(training_job(datasets=[asked(maxRecordsPerUnit=rows)]), "spec.trials", trials)
    job = with_privacy(job, batchSize=batch, epochs=epochs, epsilon=epsilon, delta=delta, **given_noise)
    assert parse_spec(KIND, job).errors == ()
    holds(job, *([] if limit is None else [budget(epsilon=limit)]))
