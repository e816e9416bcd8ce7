"""The chart rendered by the real helm: what each way to install makes, and what none may make."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from mlprivacy.cli.main import cli

WAYS = ("outside", "inside", "everything")
ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "mlprivacy"
CRDS = Path(__file__).parents[3] / "crds"


def of(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in objects if one["kind"] == kind]


def annotations(one: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = one["metadata"].get("annotations") or {}
    return found


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(one for one in of(objects, kind) if one["metadata"]["name"] == name)


def pod_specs(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kinds = ("Deployment", "StatefulSet", "Job")
    return {
        f"{one['kind']}/{one['metadata']['name']}": one["spec"]["template"]["spec"]
        for one in objects
        if one["kind"] in kinds
    }


@pytest.mark.parametrize("way", WAYS)
def test_it_lints(helm: Any, ways: Any, way: str) -> None:
    done = helm("lint", "--strict", values=ways[way])

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_no_object_is_rendered_twice(render: Any, way: str) -> None:
    """But for the binding that the uninstall hook puts in the place of the controller's."""
    objects = [one for one in render(way) if annotations(one).get("helm.sh/hook") != "pre-delete"]
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects]

    assert len(keys) == len(set(keys))


def test_processes_outside_leave_accounts_secrets_roles_and_guards(render: Any) -> None:
    objects = render("outside")

    assert pod_specs(objects) == {}
    assert {one["metadata"]["name"] for one in of(objects, "ServiceAccount")} == {
        "mlprivacy-admission",
        "mlprivacy-controller",
        "mlprivacy-collector",
    }
    assert [one["metadata"]["name"] for one in of(objects, "Service")] == ["mlprivacy-collector"]
    for configuration in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for webhook in of(objects, configuration)[0]["webhooks"]:
            assert webhook["clientConfig"]["url"].startswith("https://127.0.0.1:9/")


def test_processes_inside_are_served_by_the_service(render: Any) -> None:
    objects = render("inside")

    assert set(pod_specs(objects)) == {
        "Deployment/mlprivacy-admission",
        "Deployment/mlprivacy-controller",
        "StatefulSet/mlprivacy-collector",
        "Job/mlprivacy-check",
        "Job/mlprivacy-uninstall",
    }
    client = of(objects, "MutatingWebhookConfiguration")[0]["webhooks"][0]["clientConfig"]
    assert client["service"]["name"] == "mlprivacy-admission"
    assert named(objects, "Deployment", "mlprivacy-admission")["spec"]["replicas"] == 2
    assert named(objects, "PodDisruptionBudget", "mlprivacy-admission")["spec"]["minAvailable"] == 1


@pytest.mark.parametrize("way", ["inside", "everything"])
def test_every_process_runs_restricted_and_by_digest(render: Any, way: str) -> None:
    for name, spec in pod_specs(render(way)).items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"]), name
            assert "cpu" not in container["resources"]["limits"], name


@pytest.mark.parametrize("way", WAYS)
def test_no_role_holds_a_wildcard_or_a_way_to_more(render: Any, way: str) -> None:
    objects = render(way)
    for role in of(objects, "ClusterRole") + of(objects, "Role"):
        name = role["metadata"]["name"]
        assert not [key for key in role["metadata"]["labels"] if "aggregate-to" in key], name
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"*", "escalate", "bind", "impersonate"} & set(words), name
            assert not {"roles", "clusterroles", "rolebindings", "clusterrolebindings"} & set(rule["resources"]), name
            if "secrets" in rule["resources"]:
                assert role["kind"] == "Role", f"{name} reads Secrets of every namespace"
                assert rule["resourceNames"], f"{name} reads every Secret of its namespace"
                assert "create" not in rule["verbs"], name
            if "admissionregistration.k8s.io" in rule["apiGroups"] and {"patch", "delete"} & set(rule["verbs"]):
                assert rule["resourceNames"], f"{name} writes every webhook configuration"


@pytest.mark.parametrize("way", WAYS)
def test_only_the_officer_and_the_uninstall_hook_may_weaken(render: Any, way: str) -> None:
    holders = {
        role["metadata"]["name"]
        for role in of(render(way), "ClusterRole")
        for rule in role["rules"]
        if "weaken" in rule["verbs"]
    }

    assert holders == {"mlprivacy-privacy-officer"} | (set() if way == "outside" else {"mlprivacy-uninstall"})


@pytest.mark.parametrize("way", WAYS)
def test_helm_never_writes_a_key_or_a_bundle(render: Any, way: str) -> None:
    """The controller fills them in; a field that no manifest names survives every upgrade and rollback."""
    objects = render(way)
    for secret in of(objects, "Secret"):
        assert not {"data", "stringData"} & set(secret), secret["metadata"]["name"]
    assert {secret["metadata"]["name"] for secret in of(objects, "Secret")} == {
        "mlprivacy-ca",
        "mlprivacy-admission-tls",
        "mlprivacy-collector-tls",
        "mlprivacy-controller-tls",
        "mlprivacy-seal-key",
    }
    assert "caBundle" not in str(
        of(objects, "MutatingWebhookConfiguration") + of(objects, "ValidatingWebhookConfiguration")
    )


def test_webhooks_fail_closed_where_they_must_and_answer_soon(render: Any) -> None:
    objects = render("inside")
    webhooks = {
        webhook["name"]: webhook
        for configuration in of(objects, "MutatingWebhookConfiguration") + of(objects, "ValidatingWebhookConfiguration")
        for webhook in configuration["webhooks"]
    }

    assert {name: webhook["failurePolicy"] for name, webhook in webhooks.items()} == {
        "stamp.mlprivacy.dev": "Fail",
        "kinds.mlprivacy.dev": "Fail",
        "pods-enforce.mlprivacy.dev": "Fail",
        "pods-soft.mlprivacy.dev": "Ignore",
    }
    for webhook in webhooks.values():
        assert webhook["timeoutSeconds"] <= 5
        assert webhook["sideEffects"] == "NoneOnDryRun"
        excluded = webhook["namespaceSelector"]["matchExpressions"][0]
        assert excluded["values"] == ["kube-system", "mlprivacy-system"]


def test_every_guard_fails_closed_is_bound_and_says_what_to_do(render: Any) -> None:
    objects = render("inside")
    bound: dict[str, list[list[str]]] = {}
    for binding in of(objects, "ValidatingAdmissionPolicyBinding"):
        bound.setdefault(binding["spec"]["policyName"], []).append(binding["spec"]["validationActions"])
    for policy in of(objects, "ValidatingAdmissionPolicy"):
        name = policy["metadata"]["name"]
        assert policy["spec"]["failurePolicy"] == "Fail", name
        assert sorted(bound[name]) in ([["Deny"]], [["Audit"], ["Deny"], ["Warn", "Audit"]]), name
        for validation in policy["spec"]["validations"]:
            assert validation["reason"] == "Forbidden", name
            assert validation["message"].endswith("."), name
            assert len(validation["message"]) <= 500, name


@pytest.mark.parametrize("way", ["inside", "everything"])
def test_definitions_are_those_of_crds_and_kept_when_asked(render: Any, way: str) -> None:
    source = {
        one["metadata"]["name"]: one for path in CRDS.glob("*.yaml") for one in yaml.safe_load_all(path.read_text())
    }
    rendered = {one["metadata"]["name"]: one for one in of(render(way), "CustomResourceDefinition")}

    assert rendered.keys() == source.keys()
    for name, crd in rendered.items():
        assert crd["spec"] == source[name]["spec"], name
        kept = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert kept == ("keep" if way == "inside" else None), name


def test_braces_in_a_description_are_text(helm: Any, ways: Any, tmp_path: Path) -> None:
    """A definition is data to Helm, so `{{` in its words is no template."""
    chart = tmp_path / "mlprivacy"
    shutil.copytree(CHART, chart)
    path = next((chart / "files" / "crds").glob("*_datasets.yaml"))
    crd = yaml.safe_load(path.read_text(encoding="utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["description"] = "Written {{ fail `so` }}, {{/* or */}} so."
    path.write_text(yaml.safe_dump(crd), encoding="utf-8")

    done = helm("template", values=ways["inside"], chart=chart)

    assert done.returncode == 0, done.stderr
    assert schema["description"] in [
        one["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"]
        for one in yaml.safe_load_all(done.stdout)
        if one and one["kind"] == "CustomResourceDefinition"
    ]


def test_every_component_that_runs_is_monitored(render: Any) -> None:
    objects = render("everything")

    assert {one["metadata"]["name"] for one in of(objects, "ServiceMonitor")} == {
        "mlprivacy-admission",
        "mlprivacy-controller",
        "mlprivacy-collector",
    }
    for monitor in of(objects, "ServiceMonitor"):
        chosen = monitor["spec"]["selector"]["matchLabels"].items()
        services = [one for one in of(objects, "Service") if chosen <= one["metadata"]["labels"].items()]
        assert len(services) == 1
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in services[0]["spec"]["ports"]}
    groups = of(objects, "PrometheusRule")[0]["spec"]["groups"]
    assert {group["name"]: {rule["alert"] for rule in group["rules"]} for group in groups} == {
        "mlprivacy": {
            "MlprivacyCertificateExpires",
            "MlprivacyCacheStale",
            "MlprivacyAdmissionErrors",
            "MlprivacyAdmissionSkipped",
        },
        "mlprivacy-budgets": {
            "MlprivacyBudgetFills",
            "MlprivacyBudgetAlmostExhausted",
            "MlprivacyBudgetTainted",
            "MlprivacyLedgerBroken",
            "MlprivacyLedgerNotAnchored",
            "MlprivacyLedgerRestored",
            "MlprivacyBudgetJobStarves",
            "MlprivacyBudgetApprovalWaits",
        },
    }


def made_by(text: str) -> set[str]:
    """The metrics of ours in an expression, as the reference calls them."""
    found = set(re.findall(r"\bmlprivacy_[a-z_]+", text))
    return {name.removesuffix("_bucket") for name in found}


def test_what_alerts_and_the_dashboard_ask_for_is_made(render: Any) -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`(mlprivacy_[a-z_]+)`", page))
    objects = render("everything")
    rules = [rule for group in of(objects, "PrometheusRule")[0]["spec"]["groups"] for rule in group["rules"]]
    for rule in rules:
        assert made_by(rule["expr"]) <= known, rule["alert"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert not {"summary", "description"} ^ rule["annotations"].keys()
    (board,) = [one for one in of(objects, "ConfigMap") if one["metadata"]["labels"].get("grafana_dashboard") == "1"]
    panels = json.loads(board["data"]["mlprivacy-budgets.json"])["panels"]
    asked = {target["expr"] for panel in panels for target in panel["targets"]}
    assert set().union(*map(made_by, asked)) <= known
    assert len({panel["id"] for panel in panels}) == len(panels)
    # Every gauge of a domain is seen somewhere: on the board or by an alert.
    budgets = {name for name in known if name.startswith(("mlprivacy_budget_", "mlprivacy_ledger_"))}
    seen = set().union(*map(made_by, asked), *(made_by(rule["expr"]) for rule in rules))
    assert budgets - seen == {"mlprivacy_budget_domains_without_series", "mlprivacy_ledger_sequence"}


def test_an_alert_names_the_people_and_the_number_when_it_fires(render: Any) -> None:
    """Prometheus's own templates come out of Helm's as they are."""
    groups = of(render("everything"), "PrometheusRule")[0]["spec"]["groups"]
    for rule in next(group["rules"] for group in groups if group["name"] == "mlprivacy-budgets"):
        assert "{{ $labels.subject_domain }}" in rule["annotations"]["summary"], rule["alert"]


NONSENSE: dict[str, tuple[dict[str, Any], str, str]] = {
    # values over `inside`, namespace, what is said
    "a tag for a digest": ({"image": {"digest": "latest"}}, "", "image.digest must be sha256:"),
    "alerts in the wrong order": (
        {"prometheusRule": {"budgetUsedRatio": 0.96}},
        "",
        "prometheusRule.budgetUsedRatio is 0.96, not less than the 0.95",
    ),
    "no digest": ({"image": {"digest": ""}}, "", "image.digest must be sha256:"),
    "no repository": ({"image": {"repository": ""}}, "", "image.repository is empty"),
    "a digest in the repository": (
        {"image": {"repository": "a@sha256:b"}},
        "",
        "put what follows the @ into image.digest",
    ),
    "sidecars by tag": (
        {"dataplane": {"image": "registry.example/x:1"}},
        "",
        "dataplane.image must be repository@sha256:",
    ),
    "no sidecars": ({"dataplane": {"image": ""}}, "", "dataplane.image is empty"),
    "training stopped before a sidecar counts as silent": (
        {"controller": {"sidecars": {"silentAfterSeconds": 90, "stopAfterSeconds": 60}}},
        "",
        "controller.sidecars.stopAfterSeconds is 60, less than the 90 of silentAfterSeconds",
    ),
    "a silence of weeks": ({"controller": {"sidecars": {"stopAfterSeconds": 2000000}}}, "", "maximum"),
    "plain http": ({"admission": {"url": "http://127.0.0.1:1"}}, "", "over https only"),
    "a path in the address": ({"admission": {"url": "https://127.0.0.1:1/x"}}, "", "scheme, host and port only"),
    "nobody to answer": ({"admission": {"replicas": 0}}, "", "admission.replicas is 0"),
    "nobody to act": ({"controller": {"replicas": 0}}, "", "controller.replicas is 0"),
    "nobody to record": ({"collector": {"external": True}}, "", "set collector.url"),
    "records over http": ({"collector": {"url": "http://x"}}, "", "over https only"),
    "cut off from the API server": ({"networkPolicy": {"enabled": True}}, "", "needs networkPolicy.apiServerCIDRs"),
    "kube-system": ({}, "kube-system", "can not live in the namespace kube-system"),
    "default": ({}, "default", "can not live in the namespace default"),
    "an unknown key": ({"admision": {}}, "", "'admision' not allowed"),
    "an unknown nested key": ({"webhooks": {"failurePolicy": "Ignore"}}, "", "'failurePolicy' not allowed"),
    "a slow webhook": ({"webhooks": {"timeoutSeconds": 30}}, "", "maximum: got 30, want 5"),
    "a quote in a user's name": (
        {"guards": {"trusted": {"schedulers": ["a' || true || '"]}}},
        "",
        "does not match pattern",
    ),
    "no scheduler": ({"guards": {"trusted": {"schedulers": []}}}, "", "minItems"),
    "a previous image by tag": ({"dataplane": {"previousImages": ["x:1"]}}, "", "does not match pattern"),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_a_nonsense_install_is_refused_with_a_sentence(helm: Any, ways: Any, what: str) -> None:
    changes, namespace, said = NONSENSE[what]
    values = {**ways["inside"]}
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value}

    done = helm("template", values=values, namespace=namespace or "mlprivacy-system")

    assert done.returncode != 0
    assert said in done.stderr


LIMITS = (
    "--seal-deadline=60",
    "--seal-retry=60",
    "--sidecar-silent-after=60",
    "--sidecar-stop-after=300",
    "--grace-period=30",
)


@pytest.mark.parametrize(
    ("controller", "options"),
    [
        ({"seal": None}, LIMITS),
        ({"sidecars": None}, LIMITS),
        ({"seal": {"deadlineSeconds": None}, "sidecars": {"stopAfterSeconds": None}}, LIMITS),
        ({"sidecars": {"stopAfterSeconds": 0}}, (*LIMITS[:3], "--sidecar-stop-after=0", LIMITS[4])),
        ({"sidecars": {"stopAfterSeconds": 86400}}, (*LIMITS[:3], "--sidecar-stop-after=86400", LIMITS[4])),
        ({"gracePeriodSeconds": 5}, (*LIMITS[:4], "--grace-period=5")),
        ({"gracePeriodSeconds": None}, LIMITS),
    ],
)
def test_null_is_the_default_and_zero_is_zero(
    helm: Any, ways: Any, controller: dict[str, Any], options: tuple[str, ...]
) -> None:
    done = helm("template", values={**ways["inside"], "controller": controller})

    assert done.returncode == 0, done.stderr
    assert [
        line.strip(" -") for line in done.stdout.splitlines() if re.search("^ *- --(seal|sidecar|grace)-", line)
    ] == [option.strip("-") for option in options]


@pytest.mark.parametrize("way", ["inside", "everything"])
def test_every_process_is_started_with_options_it_has(render: Any, way: str) -> None:
    for name, spec in pod_specs(render(way)).items():
        for container in spec["containers"]:
            assert container["command"] == ["mlprivacy"]
            word, *options = container["args"]
            command = cli.get_command(click.Context(cli), word)
            assert command is not None, f"{name} starts `mlprivacy {word}`"
            known = {option for parameter in command.params for option in parameter.opts}
            assert {option.split("=")[0] for option in options} <= known, name


@pytest.mark.parametrize("install", [True, False])
def test_the_classes_that_ship_are_made_only_where_asked_and_with_no_more_rights(
    helm: Any, ways: Any, install: bool
) -> None:
    done = helm("template", values={**ways["inside"], "dataClasses": {"install": install}})
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    rules = [
        r for r in named(objects, "ClusterRole", "mlprivacy-controller")["rules"] if r["resources"] == ["dataclasses"]
    ]
    assert [(r["verbs"], bool(r.get("resourceNames"))) for r in rules] == (
        [(["create"], False), (["update"], True)] if install else []
    )
    spec = named(objects, "Deployment", "mlprivacy-controller")["spec"]["template"]["spec"]
    assert ("--default-classes" in spec["containers"][0]["args"]) is install


def test_packs_are_changed_only_by_name_and_never_what_the_chart_itself_writes_down(helm: Any, ways: Any) -> None:
    def changes(*names: str) -> list[Any]:
        done = helm("template", values={**ways["inside"], "packs": {"names": list(names)}})
        assert done.returncode == 0, done.stderr
        objects = [one for one in yaml.safe_load_all(done.stdout) if one]
        rules = named(objects, "Role", "mlprivacy-pack-author")["rules"]
        return [r["resourceNames"] for r in rules if "update" in r["verbs"]]

    assert (changes(), changes("acme")) == ([], [["acme"]])
    for ours in ("mlprivacy-addresses", "mlprivacy-installation"):
        assert helm("template", values={**ways["inside"], "packs": {"names": [ours]}}).returncode != 0


@pytest.mark.parametrize("enabled", [True, False])
def test_reports_are_written_only_where_wanted_and_with_no_more_rights(helm: Any, ways: Any, enabled: bool) -> None:
    done = helm("template", values={**ways["inside"], "openReports": {"enabled": enabled}})
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    roles = of(objects, "ClusterRole") + of(objects, "Role")
    rights = [
        (role["metadata"]["name"], rule["resources"])
        for role in roles
        for rule in role["rules"]
        if "openreports.io" in rule.get("apiGroups", [])
    ]
    assert rights == ([("mlprivacy-controller", ["reports"])] if enabled else [])
    spec = named(objects, "Deployment", "mlprivacy-controller")["spec"]["template"]["spec"]
    assert ("--open-reports" in spec["containers"][0]["args"]) is enabled


@pytest.mark.parametrize("enabled", [True, False])
def test_kueue_is_written_to_only_where_wanted_and_never_the_spec_of_a_check(
    helm: Any, ways: Any, enabled: bool
) -> None:
    done = helm("template", values={**ways["inside"], "kueue": {"enabled": enabled}})
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    rights = {
        (role["metadata"]["name"], resource, verb)
        for role in of(objects, "ClusterRole") + of(objects, "Role")
        for rule in role["rules"]
        if "kueue.x-k8s.io" in rule.get("apiGroups", [])
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    reads = {"get", "list", "watch"}
    written = sorted((resource, verb) for _, resource, verb in rights if verb not in reads)
    assert {name for name, _, _ in rights} == ({"mlprivacy-controller"} if enabled else set())
    changes = [("workloads", verb) for verb in ("create", "delete", "patch")]
    assert written == (
        [("admissionchecks/status", "patch"), *changes, ("workloads/status", "patch")] if enabled else []
    )
    spec = named(objects, "Deployment", "mlprivacy-controller")["spec"]["template"]["spec"]
    assert ("--kueue" in spec["containers"][0]["args"]) is enabled
