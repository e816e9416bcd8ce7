"""The whole decision: it never raises, needs no order, knows what it rests on, never allows what it can not see."""

import copy
import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from builders import (
    NOW,
    Raw,
    change,
    clinic_world,
    consent_scope,
    consent_use,
    data_class,
    dataset,
    decide,
    facts_of,
    finding,
    grant,
    grant_to,
    health_class,
    inference_job,
    labels,
    policy,
    selecting,
    template,
    training_job,
    triage_grant,
    triage_scope,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.facts import Claim
from mlprivacy.policy.model import Dependency, Verdict

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["Training", "1e-5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
INFERENCE = inference_job(dataClasses=["health"], consentScope={"name": "triage", "namespace": "clinic"})
CLAIM_JOB = training_job(
    template=template(volumes=[{"name": "m", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}])
)
JOBS = [training_job(), INFERENCE, CLAIM_JOB]


def rich_world() -> list[Raw]:
    """The clinic with much besides: several grants, policies, and objects that nobody asks for."""
    return clinic_world(
        health_class(encryption={"atRest": "Required"}),
        policy("wide", packs=[], parameters={"encryption.storageClasses": "encrypted, vault"}),
        policy("clinic-only", namespaceSelector=selecting("clinic"), mode="Warn"),
        policy("shop", namespaceSelector=selecting("shop"), mode="Audit"),
        grant("half", to=[grant_to(columns=["age"])], expiresAt="2026-08-01T00:00:00Z"),
        grant("other-half", to=[grant_to(columns=["diagnosis"])], expiresAt="2026-07-01T00:00:00Z"),
        grant("counted", maxUses=3),
        grant("foreign", namespace="shop"),
        grant("elsewhere", namespace="archive"),
        data_class("unasked"),
        dataset("unasked"),
        dataset(namespace="shop"),
        consent_scope("unasked"),
        consent_scope(namespace="shop"),
    )


MODES = {"clinic": "enforce", "research": "warn", "shop": "audit", "archive": None}
CLAIMS = {
    ("research", "models"): Claim("encrypted"),
    ("research", "other"): Claim("x"),
    ("clinic", "models"): Claim("x"),
}


def rich_facts(objects=None):
    return facts_of(rich_world() if objects is None else objects, modes=MODES, claims=CLAIMS)


def paths_of(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


def mutated(raw, path, value):
    copied = copy.deepcopy(raw)
    holder = copied
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return copied


@st.composite
def mutations(draw, originals):
    raw = draw(st.sampled_from(originals))
    path = draw(st.sampled_from([p for p in paths_of(raw) if p and p[0] in ("spec", "status")]))
    return mutated(raw, path, draw(JSON))


class TestNeverRaises:
    @settings(max_examples=300)
    @given(st.sampled_from(["TrainingJob", "InferenceJob"]), JSON, JSON)
    def test_on_any_spec_and_metadata(self, kind, spec, metadata):
        decision = evaluate({"kind": kind, "metadata": metadata, "spec": spec}, facts_of(clinic_world()))
        assert decision.verdict is not Verdict.ALLOW
        assert decision.digest.startswith("sha256:")

    @settings(max_examples=300)
    @given(mutations(JOBS))
    def test_on_a_job_with_one_field_changed(self, job):
        decision = evaluate(job, rich_facts())
        assert decision.digest.startswith("sha256:")
        assert all(f.path and f.message and f.remedy for f in decision.findings)

    @settings(max_examples=300)
    @given(mutations([*clinic_world(), {**consent_scope(), "status": {"snapshot": {"takenAt": NOW.isoformat()}}}]))
    def test_on_facts_with_one_field_changed(self, changed):
        for job in JOBS:
            decision = decide(job, changed)
            assert all(f.path and f.message and f.remedy for f in decision.findings)

    def test_what_is_no_job_is_told(self):
        with pytest.raises(ValueError, match="takes a TrainingJob or an InferenceJob"):
            evaluate({"kind": "Pod"}, facts_of([]))

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("path", ["spec.privacy.epsilon", "spec.template.spec.tolerations", "spec.unknown"])
    def test_a_number_that_json_does_not_have_is_refused(self, path, number):
        decision = decide(change(training_job(), path, number))
        assert (decision.verdict, decision.findings[0].rule) == (Verdict.DENY, "schema")

    def test_a_spec_without_end_is_refused(self):
        deep: dict = {}
        for _ in range(10_000):
            deep = {"a": deep}
        decision = decide(change(training_job(), "spec.template.spec.tolerations", deep))
        assert decision.verdict is Verdict.DENY
        assert "nested too deeply" in decision.findings[0].message

    @pytest.mark.parametrize("mode", ["Audit", "Warn"])
    def test_a_spec_that_can_not_be_read_is_refused_in_every_mode(self, mode):
        decision = decide(change(training_job(), "spec.privacy.epsilon", -1), policy(mode=mode))
        assert decision.verdict is Verdict.DENY
        assert finding(decision, "schema").path == "spec.privacy.epsilon"


class TestDigest:
    @settings(max_examples=60)
    @given(st.permutations(rich_world()), st.sampled_from(JOBS))
    def test_the_order_of_facts_does_not_matter(self, shuffled, job):
        one, two = evaluate(job, rich_facts()), evaluate(job, rich_facts(shuffled))
        assert one.as_dict() == two.as_dict()
        assert (one.digest, one.valid_until, one.dependencies) == (two.digest, two.valid_until, two.dependencies)

    @pytest.mark.parametrize("job", JOBS)
    def test_suspending_does_not_change_it(self, job):
        digests = {decide(change(job, "spec.suspend", s)).digest for s in (True, False)} | {decide(job).digest}
        assert len(digests) == 1

    def test_time_does_not_change_it(self):
        fresh = {**consent_scope(), "status": {"snapshot": {"takenAt": NOW.isoformat()}}}
        world = (fresh, grant(expiresAt="2027-01-01T00:00:00Z"))
        digests = {decide(training_job(), *world, now=NOW + timedelta(hours=h)).digest for h in range(0, 24, 3)}
        assert len(digests) == 1

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("spec.purpose", "train_ai_system.vision"),
            ("spec.template.spec.containers[0].command", ["python", "/app/other.py"]),
            ("metadata.uid", "another"),
            ("metadata.name", "another"),
        ],
    )
    def test_anything_else_does(self, path, value):
        assert decide(change(training_job(), path, value)).digest != decide(training_job()).digest

    def test_labels_and_annotations_of_the_job_do_not(self):
        job = change(training_job(), "metadata.annotations", {"a": "b"})
        assert decide(job).digest == decide(training_job()).digest

    def test_what_is_demanded_changes_it(self):
        demanding = health_class(encryption={"atRest": "Required"})
        assert decide(training_job(), demanding).digest != decide(training_job()).digest

    def test_a_warning_changes_the_record_and_not_what_runs(self):
        """Else a new wording would restart every job."""
        warned, quiet = decide(training_job(assurance="Gated"), policy(mode="Warn")), policy(mode="Audit")
        noted = decide(training_job(assurance="Gated"), quiet)
        assert warned.digest == noted.digest
        assert warned.record_digest != noted.record_digest

    def test_the_record_needs_no_order_no_time_and_no_suspend_either(self):
        one = evaluate(training_job(), rich_facts())
        other = evaluate(
            change(training_job(), "spec.suspend", True),
            replace(rich_facts(rich_world()[::-1]), now=NOW + timedelta(hours=1)),
        )
        assert one.record_digest == other.record_digest


class TestDependencies:
    @settings(max_examples=300)
    @given(st.data())
    def test_what_is_not_among_them_never_changes_the_decision(self, data):
        """An object that the decision does not name is altered or removed: same decision, same end."""
        job = data.draw(st.sampled_from([*JOBS, training_job(namespace="clinic"), inference_job()]))
        facts = rich_facts()
        before = evaluate(job, facts)
        others = [o for o in rich_world() if not named(before.dependencies, o)]
        other = data.draw(st.sampled_from(others))
        rest = [o for o in rich_world() if o != other]
        if data.draw(st.booleans()):
            path = data.draw(st.sampled_from([p for p in paths_of(other) if p and p[0] == "spec"]))
            rest.append(mutated(other, path, data.draw(JSON)))
        same(before, evaluate(job, rich_facts(rest)))

    @pytest.mark.parametrize("job", [*JOBS, inference_job()])
    def test_nor_do_labels_of_other_namespaces_and_other_claims(self, job):
        facts = rich_facts()
        before = evaluate(job, facts)
        for name, mode in itertools.product(facts.namespaces, ("enforce", "audit", None)):
            if Dependency("Namespace", "", name) not in before.dependencies:
                same(before, evaluate(job, replace(facts, namespaces={**facts.namespaces, name: labels(name, mode)})))
        for key in CLAIMS:
            if Dependency("PersistentVolumeClaim", *key) not in before.dependencies:
                same(before, evaluate(job, replace(facts, claims={k: c for k, c in CLAIMS.items() if k != key})))

    def test_a_job_that_waits_names_what_it_waits_for(self):
        for left_out, dependency in [
            ("Dataset/visits", Dependency("Dataset", "clinic", "visits")),
            ("DatasetGrant/to-research", Dependency("DatasetGrant", "clinic", "Dataset/visits")),
            ("DataClass/health", Dependency("DataClass", "", "health")),
            ("ConsentScope/research-consent", Dependency("ConsentScope", "clinic", "research-consent")),
        ]:
            assert dependency in decide(training_job(), leave_out=[left_out]).dependencies

    def test_the_namespace_of_a_scope_is_one(self):
        assert Dependency("Namespace", "", "clinic") in decide(INFERENCE).dependencies


def named(dependencies, raw) -> bool:
    namespace = raw["metadata"].get("namespace", "")
    if raw["kind"] == "DatasetGrant":  # by what it grants; one that is altered may grant anything of its namespace
        return any((d.kind, d.namespace) == ("DatasetGrant", namespace) for d in dependencies)
    return any(Dependency(raw["kind"], namespace, n) in dependencies for n in (raw["metadata"]["name"], "*"))


def same(one, two):
    assert one.as_dict() == two.as_dict()
    assert (one.valid_until, one.dependencies) == (two.valid_until, two.dependencies)


NEEDED = {
    "training": (
        training_job(),
        (
            "Dataset/visits",
            "DatasetGrant/to-research",
            "DataClass/health",
            "DataClass/demographic",
            "ConsentScope/research-consent",
        ),
    ),
    "inference": (INFERENCE, ("ConsentScope/triage", "DatasetGrant/triage-to-research", "DataClass/health")),
}


class TestNeverAllowsWhatItCanNotSee:
    @pytest.mark.parametrize("which", NEEDED)
    def test_every_object_left_out_alone_or_together_holds(self, which):
        job, needed = NEEDED[which]
        assert decide(job).verdict is Verdict.ALLOW
        for count in range(1, len(needed) + 1):
            for gone in itertools.combinations(needed, count):
                assert decide(job, leave_out=gone).verdict is Verdict.HOLD, gone

    @pytest.mark.parametrize("which", NEEDED)
    @pytest.mark.parametrize("spec", [None, {}, [], {"x": 1}])
    def test_every_object_that_can_not_be_read_holds(self, which, spec):
        job, needed = NEEDED[which]
        for item in clinic_world():
            if f"{item['kind']}/{item['metadata']['name']}" in needed:
                assert decide(job, {**item, "spec": spec}).verdict is Verdict.HOLD, item["metadata"]["name"]

    @pytest.mark.parametrize("namespace", ["clinic", "research"])
    def test_every_namespace_left_out_holds(self, namespace):
        modes = {n: "enforce" for n in ("clinic", "research") if n != namespace}
        assert decide(training_job(), modes=modes).verdict is Verdict.HOLD
        assert decide(INFERENCE, modes=modes).verdict is Verdict.HOLD

    @pytest.mark.parametrize("mode", ["audit", "warn"])
    def test_softer_modes_hold_for_missing_references_too(self, mode):
        soft = {"clinic": mode, "research": mode}
        job, needed = NEEDED["training"]
        for gone in needed[:-1]:
            assert decide(job, leave_out=[gone], modes=soft).verdict is Verdict.HOLD

    @pytest.mark.parametrize("columns", [["no_such"], ["age", "no_such"], ["no_such", "none_either"]])
    def test_no_class_at_all_is_no_permission(self, columns):
        decision = decide(change(training_job(), "spec.datasets[0].columns", columns))
        assert decision.verdict is Verdict.DENY
        assert decision.obligations.egress == "Sealed"

    def test_a_dataset_whose_uses_are_for_something_else(self):
        for uses in ([], [consent_use(processing="Inference")], [consent_use(purpose="other")]):
            assert decide(training_job(), dataset(uses=uses)).verdict is Verdict.DENY

    def test_a_job_that_asks_for_no_data_is_no_job(self):
        for spec in ({"datasets": []}, {"datasets": None}):
            assert decide(training_job(**spec)).verdict is Verdict.DENY
        assert decide(inference_job(dataClasses=[])).verdict is Verdict.DENY

    def test_grants_and_scopes_of_the_world_are_used(self):
        """Guards these tests against a world in which something else allows the job."""
        assert decide(INFERENCE, triage_scope(state="Withdrawn")).verdict is Verdict.DENY
        assert decide(INFERENCE, triage_grant(purposes=["other"])).verdict is Verdict.HOLD
