"""residency: a job runs in regions where its data may be, or where a transfer mechanism lets it go."""

from builders import change, data_class, dataset, decide, finding, policy, training_job

from mlprivacy.policy.model import Action, Verdict

SELECTOR = "topology.kubernetes.io/region"


def eu_only(**spec):
    return data_class("demographic", regions=["eu-west", "eu-north"], **spec)


def test_without_regions_a_job_may_run_anywhere():
    assert decide(training_job()).obligations.regions is None


def test_the_scheduler_is_bound_to_the_regions_of_the_class():
    decision = decide(training_job(), eu_only())
    assert decision.verdict is Verdict.ALLOW
    assert decision.obligations.regions == ("eu-north", "eu-west")


def test_a_dataset_kept_elsewhere_is_refused_and_moving_it_is_the_remedy():
    found = finding(decide(training_job(), eu_only(), dataset(region="us-east")), "residency")
    assert (found.action, found.path) == (Action.DENY, "spec.datasets[0].name")
    assert "us-east" in found.message
    assert found.private
    assert decide(training_job(), eu_only(), dataset(region="eu-west")).verdict is Verdict.ALLOW


def test_a_node_selector_for_another_region_is_refused():
    elsewhere = change(training_job(), "spec.template.spec.nodeSelector", {SELECTOR: "us-east"})
    found = finding(decide(elsewhere, eu_only()), "residency")
    assert "choose one of eu-north, eu-west" in found.remedy
    there = change(training_job(), "spec.template.spec.nodeSelector", {SELECTOR: "eu-west"})
    assert decide(there, eu_only()).verdict is Verdict.ALLOW


def test_classes_without_a_common_region_are_refused():
    health = data_class(
        "health", regions=["us-east"], sensitivity="Restricted", differentialPrivacy={"required": False}
    )
    job = change(training_job(), "spec.datasets[0].columns", ["age", "diagnosis"])
    found = finding(decide(job, eu_only(), health), "residency")
    assert "no region is allowed for all" in found.message


def test_a_transfer_mechanism_opens_regions_and_none_opens_nothing():
    moved = dataset(region="us-east")
    named = {"special-category.minimumAssurance": "Declared", "residency.transferRegions": "us-east"}
    assert finding(decide(training_job(), eu_only(), moved, policy(parameters=named)), "residency")
    opened = decide(training_job(), eu_only(), moved, policy(parameters={**named, "residency.mechanism": "A46"}))
    assert opened.verdict is Verdict.ALLOW
    assert opened.obligations.regions == ("eu-north", "eu-west", "us-east")
