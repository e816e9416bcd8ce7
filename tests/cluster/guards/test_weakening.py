"""Threats 1, 13, 37: a PrivacyPolicy or a DataClass made weaker. Stricter is free to who may write it.

AUTHOR is bound to mlprivacy-policy-author and may write both kinds; OFFICER holds the verb. Each refused change passes
when the officer makes it, so that nothing but the guard refuses it.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

AUTHOR, OFFICER = "pauline", "oona"
POLICIES, CLASSES = "privacypolicies.mlprivacy.dev", "dataclasses.mlprivacy.dev"
RULE = {"id": "few-trials", "expression": "job.spec.trials <= 2", "message": "Too many trials."}
POLICY: dict[str, Any] = {
    "packs": [{"name": "eu-gdpr"}],
    "mode": "Warn",
    "namespaceSelector": {"matchLabels": {"mlprivacy.dev/tenant": "nobody", "mlprivacy.dev/region": "eu"}},
    "parameters": {"consent-valid.maxSnapshotAge": "12h"},
    "rules": [{"id": "encryption", "action": "Warn"}],
    "custom": [RULE],
    "exceptions": {"maxDuration": "14d", "allow": ["encryption", "residency"]},
}
STRICT = {"namespaceSelector": {"matchLabels": {"mlprivacy.dev/tenant": "nobody", "mlprivacy.dev/region": "eu"}}}
CLASS: dict[str, Any] = {
    "categories": ["user.health_and_medical", "user.genetic"],
    "sensitivity": "Confidential",
    "specialCategory": True,
    "minimumAssurance": {"training": "Gated", "inference": "Instrumented"},
    "differentialPrivacy": {"required": True, "maxEpsilonPerJob": 4, "unit": "User"},
    "identifiers": "Pseudonymise",
    "encryption": {"inTransit": "Required", "atRest": "Required"},
    "network": {"egress": "Allowlist", "rdma": "ExclusiveOnly"},
    "regions": ["eu-west", "eu-north"],
    "retention": {"maxDays": 100},
}


@pytest.fixture(scope="module")
def desk(guarded: Any) -> Iterator[Any]:
    people = {AUTHOR: "mlprivacy-policy-author", OFFICER: "mlprivacy-privacy-officer"}
    for user, role in people.items():
        guarded.cluster.kubectl(
            "create", "clusterrolebinding", f"weakening-{user}", f"--clusterrole={role}", f"--user={user}"
        )
    guarded.eventually(lambda: guarded.may(AUTHOR, "create", POLICIES), "the author's rights")
    guarded.eventually(
        lambda: guarded.may(OFFICER, "weaken", "governednamespaces.mlprivacy.dev"), "the officer's rights"
    )
    yield guarded
    guarded.cluster.kubectl("delete", "clusterrolebinding", *(f"weakening-{user}" for user in people))


def body(kind: str, spec: Any, by: str) -> dict[str, Any]:
    """An object as the stamp would leave it: no webhook runs here, and the guard `requester` wants the truth."""
    metadata = {"name": f"weak-{uuid.uuid4().hex[:10]}", "annotations": {"mlprivacy.dev/requested-by": by}}
    return {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def made(desk: Any, kind: str, spec: Any) -> str:
    """An object that the officer made; its resource and name."""
    made_by_officer = body(kind, spec, OFFICER)
    desk.allowed("create", "-f", "-", by=OFFICER, body=made_by_officer)
    return f"{POLICIES if kind == 'PrivacyPolicy' else CLASSES}/{made_by_officer['metadata']['name']}"


def patch(what: str, spec: Any, *more: str) -> tuple[str, ...]:
    return "patch", what, "--type=merge", "-p", json.dumps({"spec": spec}), *more


@pytest.mark.xdist_group("weakening")
def test_an_author_writes_both_kinds_and_neither_deletes_nor_weakens(desk: Any) -> None:
    for kind in (POLICIES, CLASSES):
        may = {verb for verb in ("get", "create", "update", "delete") if desk.may(AUTHOR, verb, kind, "")}
        assert may == {"get", "create", "update"}
    assert not desk.may(AUTHOR, "weaken", "governednamespaces.mlprivacy.dev", "")
    assert not desk.may(AUTHOR, "create", "datasets.mlprivacy.dev")


WEAKER_POLICY = {
    "mode lowered": {"mode": "Audit"},
    "narrowed to others": {"namespaceSelector": {"matchLabels": {"mlprivacy.dev/region": "us"}}},
    "widened while soft": {"namespaceSelector": {"matchLabels": {"mlprivacy.dev/tenant": None}}},
    "pack removed": {"packs": []},
    "pack replaced": {"packs": [{"name": "us-hipaa"}]},
    "override weaker": {"rules": [{"id": "encryption", "action": "Evidence"}]},
    "override removed": {"rules": []},
    "soft override added": {"rules": [*POLICY["rules"], {"id": "residency", "action": "Warn"}]},
    "parameter changed": {"parameters": {"consent-valid.maxSnapshotAge": "1h"}},
    "parameter removed": {"parameters": {"consent-valid.maxSnapshotAge": None}},
    "parameter added": {"parameters": {"retention.maxDays": 3}},
    "custom rule removed": {"custom": []},
    "custom rule changed": {"custom": [RULE | {"expression": "true"}]},
    "custom rule softer": {"custom": [RULE | {"action": "Warn"}]},
    "custom rule renamed": {"custom": [RULE | {"id": "other"}]},
    "exceptions longer": {"exceptions": {"maxDuration": "15d"}},
    "exceptions longer in hours": {"exceptions": {"maxDuration": "337h"}},
    "more rules to except": {"exceptions": {"allow": ["encryption", "residency", "retention"]}},
    "all rules to except": {"exceptions": {"allow": None}},
}


@pytest.mark.parametrize("change", WEAKER_POLICY.values(), ids=WEAKER_POLICY.keys())
@pytest.mark.xdist_group("weakening")
def test_a_policy_made_weaker_needs_the_verb(desk: Any, change: Any) -> None:
    what = made(desk, "PrivacyPolicy", POLICY)

    said = desk.refused(*patch(what, change), policy="policies", by=AUTHOR)

    assert "mlprivacy-privacy-officer" in said
    desk.allowed(*patch(what, change), by=OFFICER)
    desk.allowed("delete", what, by=OFFICER)


STRICTER_POLICY = {
    "mode raised": {"mode": "Enforce"},
    "pack added": {"packs": [{"name": "eu-gdpr"}, {"name": "us-hipaa"}]},
    "override stricter": {"rules": [{"id": "encryption", "action": "Deny"}]},
    "strict override added": {"rules": [*POLICY["rules"], {"id": "residency", "action": "Deny"}]},
    "custom rule added": {"custom": [RULE, RULE | {"id": "more"}]},
    "custom words changed": {"custom": [RULE | {"message": "At most two.", "remedy": "set trials to 2"}]},
    "exceptions shorter": {"exceptions": {"maxDuration": "48h"}},
    "fewer rules to except": {"exceptions": {"allow": ["encryption"]}},
}


@pytest.mark.parametrize("change", STRICTER_POLICY.values(), ids=STRICTER_POLICY.keys())
@pytest.mark.xdist_group("weakening")
def test_a_policy_made_stricter_is_free(desk: Any, change: Any) -> None:
    what = made(desk, "PrivacyPolicy", POLICY)
    desk.allowed(*patch(what, change), by=AUTHOR)
    desk.allowed("delete", what, by=OFFICER)


@pytest.mark.xdist_group("weakening")
def test_a_strict_policy_may_be_widened(desk: Any) -> None:
    what = made(desk, "PrivacyPolicy", STRICT)
    wider = {"namespaceSelector": {"matchLabels": {"mlprivacy.dev/region": None}}}
    narrower = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}}}
    desk.allowed(*patch(what, wider), by=AUTHOR)
    desk.refused(*patch(what, narrower), policy="policies", by=AUTHOR)
    desk.allowed("delete", what, by=OFFICER)


NEW = {
    "soft mode": ({"mode": "Audit"}, False),
    "parameters": ({"parameters": {"consent-valid.maxSnapshotAge": "1h"}}, False),
    "soft override": ({"rules": [{"id": "encryption", "action": "Warn"}]}, False),
    "long exceptions": ({"exceptions": {"maxDuration": "31d"}}, False),
    "strict": (
        {"packs": [{"name": "eu-gdpr"}], "rules": [{"id": "encryption", "action": "Deny"}], "custom": [RULE]},
        True,
    ),
    "narrow exceptions": ({"exceptions": {"maxDuration": "7d", "allow": []}}, True),
    "nothing": ({}, True),
}


@pytest.mark.parametrize(("spec", "free"), NEW.values(), ids=NEW.keys())
@pytest.mark.xdist_group("weakening")
def test_a_new_policy_that_is_softer_than_the_defaults_needs_the_verb(desk: Any, spec: Any, free: bool) -> None:
    command = ("create", "--dry-run=server", "-f", "-")
    whole = STRICT | spec
    if free:
        desk.allowed(*command, by=AUTHOR, body=body("PrivacyPolicy", whole, AUTHOR))
    else:
        desk.refused(*command, policy="policies", by=AUTHOR, body=body("PrivacyPolicy", whole, AUTHOR))
        desk.allowed(*command, by=OFFICER, body=body("PrivacyPolicy", whole, OFFICER))


@pytest.mark.xdist_group("weakening")
def test_deleting_needs_the_verb_also_from_who_may_delete(desk: Any) -> None:
    policy, class_ = made(desk, "PrivacyPolicy", POLICY), made(desk, "DataClass", CLASS)
    role = "--resource=privacypolicies.mlprivacy.dev,dataclasses.mlprivacy.dev"
    desk.cluster.kubectl("create", "clusterrole", "deleter", "--verb=get,list,delete,deletecollection", role)
    desk.cluster.kubectl("create", "clusterrolebinding", "deleter", "--clusterrole=deleter", f"--user={AUTHOR}")
    try:
        desk.eventually(lambda: desk.may(AUTHOR, "delete", POLICIES), "the right to delete")
        desk.refused("delete", policy, policy="policies", by=AUTHOR)
        desk.refused("delete", "--raw", "/apis/mlprivacy.dev/v1alpha1/dataclasses", policy="classes", by=AUTHOR)
        desk.refused("delete", class_, policy="classes", by=AUTHOR)
    finally:
        desk.cluster.kubectl("delete", "clusterrolebinding", "deleter")
        desk.cluster.kubectl("delete", "clusterrole", "deleter")
    desk.allowed("delete", policy, class_, by=OFFICER)


@pytest.mark.xdist_group("weakening")
def test_what_leaves_the_spec_alone_is_free(desk: Any) -> None:
    policy, class_ = made(desk, "PrivacyPolicy", POLICY), made(desk, "DataClass", CLASS)
    for what in (policy, class_):
        desk.allowed("label", what, "team=a", by=AUTHOR)
    desk.allowed("delete", policy, class_, by=OFFICER)


WEAKER_CLASS = {
    "sensitivity": {"sensitivity": "Internal", "specialCategory": False},
    "special category": {"specialCategory": False},
    "assurance of training": {"minimumAssurance": {"training": "Instrumented"}},
    "assurance of inference": {"minimumAssurance": {"inference": "Declared"}},
    "differential privacy": {"differentialPrivacy": {"required": False}},
    "more epsilon": {"differentialPrivacy": {"maxEpsilonPerJob": 4.5}},
    "any epsilon": {"differentialPrivacy": {"maxEpsilonPerJob": None}},
    "unit": {"differentialPrivacy": {"unit": "Event"}},
    "identifiers": {"identifiers": "Keep"},
    "in transit": {"encryption": {"inTransit": "Optional"}},
    "at rest": {"encryption": {"atRest": "Optional"}},
    "egress": {"network": {"egress": "Open"}},
    "rdma": {"network": {"rdma": "Allow"}},
    "more regions": {"regions": ["eu-west", "eu-north", "us-east"]},
    "any region": {"regions": []},
    "retention": {"retention": {"maxDays": 101}},
    "any retention": {"retention": None},
    "category": {"categories": ["user.genetic"]},
}


@pytest.mark.parametrize("change", WEAKER_CLASS.values(), ids=WEAKER_CLASS.keys())
@pytest.mark.xdist_group("weakening")
def test_a_class_that_demands_less_needs_the_verb(desk: Any, change: Any) -> None:
    what = made(desk, "DataClass", CLASS)
    desk.refused(*patch(what, change), policy="classes", by=AUTHOR)
    desk.allowed(*patch(what, change), by=OFFICER)
    desk.allowed("delete", what, by=OFFICER)


@pytest.mark.xdist_group("weakening")
def test_a_class_that_demands_more_is_free(desk: Any) -> None:
    what = made(desk, "DataClass", CLASS)
    stricter = {
        "sensitivity": "Restricted",
        "minimumAssurance": {"training": "Attested", "inference": "Gated"},
        "differentialPrivacy": {"maxEpsilonPerJob": 0.5, "maxDelta": 1e-9},
        "identifiers": "Drop",
        "network": {"egress": "Sealed", "rdma": "Deny"},
        "regions": ["eu-west"],
        "retention": {"maxDays": 1},
        "categories": [*CLASS["categories"], "user.biometric"],
    }
    desk.allowed(*patch(what, stricter), by=AUTHOR)
    desk.allowed("delete", what, by=OFFICER)


@pytest.mark.xdist_group("weakening")
def test_a_class_without_bounds_may_get_them(desk: Any) -> None:
    what = made(desk, "DataClass", {"categories": ["system"], "sensitivity": "Public"})
    bounded = {"regions": ["eu-west"], "retention": {"maxDays": 30}, "differentialPrivacy": {"maxEpsilonPerJob": 8}}
    desk.allowed(*patch(what, bounded), by=AUTHOR)
    desk.allowed("delete", what, by=OFFICER)


PACK = 'name: acme\nversion: "1"\ntitle: Acme\nnotice: Not legal advice.\nrules: []\n'


@pytest.mark.xdist_group("weakening")
def test_a_pack_of_users_is_added_freely_and_changed_or_deleted_with_the_verb(desk: Any) -> None:
    home, name = "mlprivacy-system", f"weak-{uuid.uuid4().hex[:10]}"
    verbs = "--verb=get,list,create,update,patch,delete"
    desk.cluster.kubectl("create", "role", name, "-n", home, verbs, "--resource=configmaps")
    for user in (AUTHOR, OFFICER):
        desk.cluster.kubectl("create", "rolebinding", f"{name}-{user}", "-n", home, f"--role={name}", f"--user={user}")
    desk.eventually(lambda: desk.may(OFFICER, "delete", "configmaps", home), "the rights in the operator's namespace")
    packs = {
        which: {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{name}-{which}", "namespace": home, "labels": labels},
            "data": {"pack.yaml": PACK},
        }
        for which, labels in (("pack", {"mlprivacy.dev/pack": "true"}), ("plain", {}))
    }
    pack, plain = (f"configmap/{name}-{which}" for which in packs)
    changes = (
        ("patch", pack, "-n", home, "--type=merge", "-p", json.dumps({"data": {"pack.yaml": PACK + "# more\n"}})),
        ("label", pack, "-n", home, "mlprivacy.dev/pack-"),
        ("delete", pack, "-n", home),
    )

    for body_ in packs.values():
        desk.allowed("create", "-f", "-", by=AUTHOR, body=body_)
    for change in changes:
        desk.refused(*change, policy="packs", by=AUTHOR)
    desk.allowed("label", pack, "-n", home, "team=a", by=AUTHOR)
    desk.allowed("delete", plain, "-n", home, by=AUTHOR)
    desk.allowed(*changes[0], by=OFFICER)
    desk.allowed(*changes[2], by=OFFICER)
    desk.cluster.kubectl("delete", "rolebinding", "-n", home, f"{name}-{AUTHOR}", f"{name}-{OFFICER}")
    desk.cluster.kubectl("delete", "role", "-n", home, name)
