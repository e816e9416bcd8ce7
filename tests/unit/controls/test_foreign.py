"""Which network policies of others open a governed pod."""

from typing import Any

import pytest

from mlprivacy.controls.foreign import opening, selects

POD = {
    "mlprivacy.dev/rendered": "training",
    "mlprivacy.dev/job-uid": "u-1",
    "app.kubernetes.io/managed-by": "mlprivacy",
}


def expression(operator: str, *values: str, key: str = "mlprivacy.dev/rendered") -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


def policy(name: str, selector: dict[str, Any] | None, **rules: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"podSelector": selector, **(rules or {"egress": [{}]})}}


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"matchLabels": {"mlprivacy.dev/rendered": "training"}},
        {"matchLabels": {"app.kubernetes.io/managed-by": "mlprivacy"}},
        expression("Exists"),
        expression("In", "training", "other"),
        expression("NotIn", "inference"),
        expression("DoesNotExist", key="app"),
        expression("NotIn", "x", key="app"),
        expression("an operator of a later release"),
    ],
)
def test_it_selects_the_pod(selector: dict[str, Any]) -> None:
    assert selects(selector, POD)
    assert opening([policy("open", selector)], POD, []) == ["open"]


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"app": "x"}},
        {"matchLabels": {"mlprivacy.dev/job-uid": "u-2"}},
        {"matchLabels": {"mlprivacy.dev/rendered": "training"}, **expression("DoesNotExist")},
        expression("DoesNotExist"),
        expression("In", "inference"),
        expression("NotIn", "training"),
        expression("Exists", key="app"),
    ],
)
def test_it_leaves_the_pod_alone(selector: dict[str, Any]) -> None:
    assert not selects(selector, POD)
    assert opening([policy("open", selector)], POD, []) == []


def test_a_policy_that_allows_nothing_opens_nothing() -> None:
    assert (
        opening([policy("deny", {}, policyTypes=["Egress"]), policy("both", {}, ingress=[], egress=[])], POD, []) == []
    )


def test_own_policies_are_known_by_name_and_never_by_a_label() -> None:
    named = [policy("mlp-visits", {}), policy("mlprivacy-default-deny", {}), policy("mlp-other", None)]
    named[2]["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "mlprivacy"}

    assert opening(named, POD, ["mlp-visits"]) == ["mlp-other"]
