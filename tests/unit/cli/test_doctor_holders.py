"""Who holds weaken and approve, from ClusterRoles and their bindings: by name, by wildcard, by group, by account."""

from __future__ import annotations

from typing import Any

import pytest

from mlprivacy.cli.checks.holders import holders


def rule(group: str = "mlprivacy.dev", resource: str = "governednamespaces", verb: str = "weaken") -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb]}


def binding(role: str, *subjects: dict[str, str]) -> dict[str, Any]:
    return {"roleRef": {"name": role}, "subjects": list(subjects)}


OFFICE = {"kind": "Group", "name": "privacy-office"}
BOT = {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (rule(), True),
        (rule(group="*", resource="*", verb="*"), True),
        ({**rule(), "resourceNames": ["research"]}, True),
        (rule(verb="get"), False),
        (rule(resource="policyexceptions"), False),
        (rule(group="apps"), False),
        ({"nonResourceURLs": ["*"], "verbs": ["*"]}, False),
    ],
)
def test_a_rule_gives_the_verb_or_not(given: dict[str, Any], held: bool) -> None:
    found = holders({"r": [given]}, [binding("r", OFFICE)], "weaken", "governednamespaces")
    assert found == ({"Group privacy-office": ["r"]} if held else {})


def test_every_holder_is_named_once_with_all_its_roles() -> None:
    roles = {"officer": [rule()], "admin": [rule("*", "*", "*")], "reader": [rule(verb="get")]}
    bindings = [binding("officer", OFFICE, BOT), binding("admin", OFFICE), binding("reader", BOT), binding("admin")]
    assert holders(roles, bindings, "weaken", "governednamespaces") == {
        "Group privacy-office": ["officer", "admin"],
        "ServiceAccount ci/bot": ["officer"],
    }
