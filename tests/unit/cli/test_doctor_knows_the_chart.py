"""What the doctor looks for is what the chart makes."""

from __future__ import annotations

import re
from pathlib import Path

from mlprivacy.cli.checks import all_checks
from mlprivacy.cli.checks.guards import GUARDS
from mlprivacy.cli.checks.namespaces import opens
from mlprivacy.cli.checks.nodes import is_simulated
from mlprivacy.cli.checks.webhooks import DECIDE, STAMP

TEMPLATES = Path(__file__).parents[3] / "charts" / "mlprivacy" / "templates"


def test_the_guards_are_those_of_the_chart() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted((TEMPLATES / "guards").glob("*.yaml"))]
    made = {name for text in texts for name in re.findall(r'\$name := "(mlprivacy-[a-z-]+)"', text)}
    assert set(GUARDS) == made


def test_the_webhook_configurations_are_those_of_the_chart() -> None:
    for file, name in (("stamp.yaml", STAMP), ("decide.yaml", DECIDE)):
        assert f"  name: {name}\n" in (TEMPLATES / "webhooks" / file).read_text(encoding="utf-8")


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in all_checks()]
    assert len(set(names)) == len(names) >= 9


def test_a_network_policy_opens_unless_it_is_ours_or_excludes_rendered_pods() -> None:
    def policy(labels: dict[str, str], selector: dict[str, object]) -> dict[str, object]:
        return {"metadata": {"name": "x", "labels": labels}, "spec": {"podSelector": selector}}

    excluding = {"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "DoesNotExist"}]}
    assert opens(policy({}, {}))
    assert opens(policy({}, {"matchLabels": {"app": "x"}}))
    assert opens(policy({}, {"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "Exists"}]}))
    assert not opens(policy({}, excluding))
    assert not opens(policy({"app.kubernetes.io/managed-by": "mlprivacy"}, {}))


def test_a_node_of_kwok_is_simulated() -> None:
    assert is_simulated({"metadata": {"name": "a", "annotations": {"kwok.x-k8s.io/node": "fake"}}})
    assert is_simulated({"metadata": {"name": "a", "labels": {"type": "kwok"}}})
    assert not is_simulated({"metadata": {"name": "a", "labels": {"type": "gpu"}}})
