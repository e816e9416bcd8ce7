"""`mlprivacy check`: what no object says (how long the audit log is kept, who asks) is an option."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from mlprivacy.cli.check import CHART_RETENTION_DAYS
from mlprivacy.cli.main import cli

OBJECTS = """\
apiVersion: v1
kind: Namespace
metadata: {{name: lab, labels: {{mlprivacy.dev/enforce: enforce}}}}
---
apiVersion: mlprivacy.dev/v1alpha1
kind: DataClass
metadata: {{name: plain}}
spec: {{categories: [system], sensitivity: Internal}}
---
apiVersion: mlprivacy.dev/v1alpha1
kind: PrivacyPolicy
metadata: {{name: office}}
spec:
  mode: Enforce
  rules: [{{id: {rule}, action: Deny}}]
  parameters: {{audit-retention.minimumDays: 2192}}
---
apiVersion: mlprivacy.dev/v1alpha1
kind: InferenceJob
metadata: {{name: job, namespace: lab}}
spec:
  model: {{image: "registry.example/s@sha256:{digest}"}}
  purpose: essential
  dataClasses: [plain]
  legalBasis: "eu-gdpr:A6-1-b"
  template: {{spec: {{containers: [{{name: server}}]}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: training, namespace: {namespace}, labels: {{mlprivacy.dev/training-attestations: "true"}}}}
data: {{alice_40example.org: "2027-01-01"}}
"""


def check(rule: str, *args: str, namespace: str = "mlprivacy-system") -> Result:
    text = OBJECTS.format(rule=rule, digest="0" * 64, namespace=namespace)
    return CliRunner().invoke(cli, ["check", "-", "--now", "2026-06-01", *args], input=text)


def test_the_default_is_the_chart_s() -> None:
    chart = Path(__file__).parents[3] / "charts" / "mlprivacy" / "values.yaml"
    assert yaml.safe_load(chart.read_text(encoding="utf-8"))["audit"]["retentionDays"] == CHART_RETENTION_DAYS


@pytest.mark.parametrize(
    ("args", "code"),
    [((), 0), (("--audit-retention-days", "2191"), 1), (("--audit-retention-days", "2192"), 0)],
)
def test_the_days_of_the_installation_are_an_option(args: tuple[str, ...], code: int) -> None:
    assert check("audit-retention", *args).exit_code == code


@pytest.mark.parametrize(("user", "code"), [("alice@example.org", 0), ("bob@example.org", 1), (None, 3)])
def test_who_applies_it_is_an_option(user: str | None, code: int) -> None:
    assert check("trained-personnel", *(("--requester", user) if user else ())).exit_code == code


def test_a_register_counts_in_the_operator_s_namespace_only() -> None:
    alice = ("--requester", "alice@example.org")
    assert check("trained-personnel", *alice, namespace="lab").exit_code == 3
    assert check("trained-personnel", *alice, "--operator-namespace", "lab", namespace="lab").exit_code == 0


def test_explain_assumes_the_chart_s_days_as_well(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(OBJECTS.format(rule="audit-retention", digest="0" * 64, namespace="x"), encoding="utf-8")
    result = CliRunner().invoke(cli, ["explain", "-f", str(file), "--now", "2026-06-01"])
    assert result.output.startswith("ALLOWED")
