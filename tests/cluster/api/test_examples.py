"""Every kind's examples apply, come back as they were meant, and can be found: columns, short names, selectors."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from mlprivacy.api.base import parse_spec
from mlprivacy.api.kinds import kind_named, modelled_kinds
from mlprivacy.api.names import CATEGORY, GROUP

Example = Callable[..., dict[str, Any]]
KINDS = [kind.kind for kind in modelled_kinds()]


@pytest.mark.parametrize("full", [False, True], ids=["minimal", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_example_applies_and_is_read_alike_before_and_after(
    kind: str, full: bool, server: Any, example: Example
) -> None:
    """The server fills defaults in and the models fill defaults in: both have to arrive at the same spec."""
    manifest = example(kind, full=full)
    answer = server.create(manifest, kind)
    assert answer.accepted, answer.text
    info = kind_named(kind)
    assert info is not None
    before, after = parse_spec(info, manifest), parse_spec(info, answer.object)
    assert (before.errors, before.unknown, after.errors, after.unknown) == ((), (), (), ())
    assert before.spec == after.spec


@pytest.mark.parametrize("kind", KINDS)
def test_the_full_example_leaves_no_field_out(kind: str, example: Example) -> None:
    info = kind_named(kind)
    assert info is not None
    wanted = {field.alias or name for name, field in info.spec.model_fields.items()}
    assert set(example(kind, full=True)["spec"]) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_nulls_mean_absent(kind: str, server: Any, example: Example) -> None:
    """What is not required may be null, in a request as in a file; the default applies."""
    info = kind_named(kind)
    assert info is not None
    manifest = example(kind)
    for name, field in info.spec.model_fields.items():
        if not field.is_required():
            manifest["spec"][field.alias or name] = None
    answer = server.create(manifest, kind)
    assert answer.accepted, answer.text
    assert (
        parse_spec(info, manifest).spec == parse_spec(info, answer.object).spec == parse_spec(info, example(kind)).spec
    )


def test_a_null_in_a_map_is_absent(server: Any, example: Example) -> None:
    manifest = example("PrivacyPolicy")
    manifest["spec"] = {
        "parameters": {"a.b": None, "c.d": 1},
        "namespaceSelector": {"matchLabels": {"mlprivacy.dev/region": None}},
    }
    answer = server.create(manifest, "PrivacyPolicy")
    assert answer.accepted, answer.text
    assert answer.object["spec"]["parameters"] == {"c.d": 1}
    assert answer.object["spec"]["namespaceSelector"] == {"matchLabels": {}}
    info = kind_named("PrivacyPolicy")
    assert info is not None
    assert parse_spec(info, manifest).spec == parse_spec(info, answer.object).spec


def test_an_unknown_field_is_pruned_with_a_warning_when_not_strict(server: Any, example: Example) -> None:
    manifest = example("TrainingJob")
    manifest["spec"]["egress"] = "Open"
    answer = server.create(manifest, "TrainingJob", validation="Warn")
    assert answer.accepted, answer.text
    assert 'unknown field "spec.egress"' in answer.warnings
    assert "egress" not in answer.object["spec"]


def test_the_template_is_kept_to_the_letter(server: Any, example: Example) -> None:
    """What is unknown today may be a field tomorrow; the allow-list can only refuse what it gets to see."""
    template = {
        "metadata": {"annotations": {"a.example/b": "c"}, "labels": {"l": "m"}, "madeUp": {"deep": [1, {"er": None}]}},
        "spec": {"containers": [{"name": "x", "fieldOf2031": {"y": 1.5}}], "hyperContainers": [{"name": "z"}]},
        "notAPodField": True,
    }
    manifest = example("TrainingJob")
    manifest["metadata"]["name"] = f"kept-{uuid.uuid4().hex[:10]}"
    manifest["spec"]["template"] = template
    assert server.apply(manifest)["spec"]["template"] == template


def test_jobs_are_found_by_purpose(server: Any, example: Example) -> None:
    for purpose in ("train_ai_system", "improve_service"):
        manifest = example("TrainingJob")
        manifest["metadata"]["name"] = f"found-{purpose.replace('_', '-')}"
        manifest["spec"]["purpose"] = purpose
        server.apply(manifest)
    found = listed(server, "mltj", "--field-selector", "spec.purpose=improve_service")
    assert found == ["trainingjob.mlprivacy.dev/found-improve-service"]
    assert "trainingjob.mlprivacy.dev/found-train-ai-system" in listed(server, CATEGORY)


@pytest.mark.parametrize("kind", modelled_kinds(), ids=lambda kind: kind.kind)
def test_selectable_fields_short_names_and_columns(kind: Any, server: Any, example: Example) -> None:
    manifest = example(kind.kind, full=True)
    if kind.kind != "LedgerEntry":  # whose name says which it is
        manifest["metadata"]["name"] = f"shown-{uuid.uuid4().hex[:10]}"
    name = manifest["metadata"]["name"]
    spec = server.apply(manifest)["spec"]
    try:
        for path in kind.selectable_fields:
            value = spec
            for step in path.removeprefix(".spec.").split("."):
                value = value[step]
            text = json.dumps(value).strip('"')
            selector = f"{path.removeprefix('.')}={text}"
            for short in kind.short_names:
                assert f"{kind.singular}.{GROUP}/{name}" in listed(server, short, "--field-selector", selector)
        table = server.cluster.kubectl("get", kind.short_names[0], name, "-n", server.namespace, "-o", "wide").stdout
        assert all(column.name.upper() in table for column in kind.printer_columns)
        assert "<invalid>" not in table
    finally:
        server.cluster.kubectl("delete", f"{kind.plural}.{GROUP}", name, "-n", server.namespace, "--wait=false")


def listed(server: Any, *args: str) -> list[str]:
    """Names that `kubectl get` prints."""
    done = server.cluster.kubectl("get", *args, "-n", server.namespace, "-o", "name")
    return [line for line in done.stdout.splitlines() if line]
