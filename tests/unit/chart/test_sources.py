"""The chart's sources against the repository: definitions copied, values described, names from one place."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import sync_chart_crds
from mlprivacy.api import names
from mlprivacy.api.kinds import all_kinds
from mlprivacy.policy.classes import default_classes
from mlprivacy.workloads.installation import KEY_ADDRESSES

CHART = Path(__file__).parents[3] / "charts" / "mlprivacy"
TEMPLATES = sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def test_the_charts_definitions_are_those_of_crds() -> None:
    assert sync_chart_crds.differences() == [], "run hack/sync_chart_crds.py"


def test_sync_copies_what_changed_and_drops_what_is_gone(tmp_path: Path) -> None:
    source, target = tmp_path / "crds", tmp_path / "copy"
    source.mkdir()
    target.mkdir()
    (source / "a.yaml").write_text("new", encoding="utf-8")
    (target / "a.yaml").write_text("old", encoding="utf-8")
    (target / "gone.yaml").write_text("left over", encoding="utf-8")

    assert sync_chart_crds.sync(source, target) == ["a.yaml", "gone.yaml"]

    assert [path.name for path in target.iterdir()] == ["a.yaml"]
    assert sync_chart_crds.differences(source, target) == []


def test_the_default_values_fit_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)


def keys_of_schema(schema: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for name, child in schema.get("properties", {}).items():
        found |= {f"{path}{name}"} | keys_of_schema(child, f"{path}{name}.")
    return found


def keys_of_values(values: Any, free: set[str], path: str = "") -> set[str]:
    if not isinstance(values, dict):
        return set()
    found = set()
    for name, child in values.items():
        here = f"{path}{name}"
        found |= {here} | (set() if here in free else keys_of_values(child, free, f"{here}."))
    return found


def open_maps(schema: dict[str, Any], path: str = "") -> set[str]:
    """Paths of objects whose keys the chart does not fix (labels, resources of the user)."""
    found = set()
    for name, child in schema.get("properties", {}).items():
        if child.get("type") == "object" and child.get("additionalProperties") is not False:
            found.add(f"{path}{name}")
        found |= open_maps(child, f"{path}{name}.")
    return found


def test_schema_and_values_name_the_same_keys() -> None:
    free = open_maps(SCHEMA)
    not_written = {"global"} | {key for key in keys_of_schema(SCHEMA) if key.endswith("resources.claims")}

    assert keys_of_values(VALUES, free) == keys_of_schema(SCHEMA) - not_written


def test_every_key_is_described_and_every_fixed_object_is_closed() -> None:
    def walk(schema: dict[str, Any], path: str) -> None:
        for name, child in schema.get("properties", {}).items():
            here = f"{path}.{name}"
            if not here.endswith(("requests", "limits", "claims", ".name")):
                assert child.get("description"), here
            assert child.get("type"), here
            if "properties" in child:
                assert child["additionalProperties"] is False, here
            walk(child, here)

    assert SCHEMA["additionalProperties"] is False
    walk(SCHEMA, "")


def test_the_chart_speaks_of_all_our_kinds() -> None:
    helpers = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    listed = re.search(r'define "mlprivacy.readKinds" -}}\n\[(.*?)\]', helpers)

    assert listed is not None
    assert set(listed[1].split(", ")) == {kind.plural for kind in all_kinds()}


KNOWN = {value for name, value in vars(names).items() if isinstance(value, str) and value.startswith(f"{names.GROUP}/")}
# Labels of namespaces, which only the guards and the policies' selectors read.
KNOWN |= {f"{names.GROUP}/region", f"{names.GROUP}/tenant"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_uses_no_label_that_names_py_does_not_know(template: Path) -> None:
    used = set(re.findall(r"mlprivacy\.dev/[a-z][a-z0-9-]*", template.read_text(encoding="utf-8")))

    assert used - KNOWN - {names.API_VERSION} == set()


GUARDED = {
    "label-chain.yaml": [names.LABEL_RENDERED, names.LABEL_TRAINING_JOB, names.LABEL_INFERENCE_JOB],
    "pod-sidecar.yaml": [
        f"'{names.CONTAINER_SEAL}'",
        f"'{names.RESERVED_PREFIX}'",
        names.CONTAINER_ACCOUNTANT,
        names.CONTAINER_GATEWAY,
        f"'{names.PORT_SIDECAR}'",
        str(names.UID_SIDECAR),
    ],
    "pod-volumes.yaml": [names.VOLUME_RUN, names.VOLUME_LOG, names.MOUNT_RUN, names.SEALED_PREFIX],
    "sealed-names.yaml": [names.SEALED_PREFIX, f"'{names.OBJECT_PREFIX}'"],
    "sealed-clones.yaml": [names.SEALED_PREFIX],
    "rendered-objects.yaml": [names.LABEL_RENDERED, names.LABEL_FLOOR, f"'{names.OBJECT_PREFIX}'"],
    "namespace-label.yaml": [names.LABEL_ENFORCE, names.WEAKEN_RESOURCE, f"'{names.WEAKEN_VERB}'"],
    "ownership.yaml": [names.FINALIZER],
    "operator-scope.yaml": [names.LABEL_RENDERED, names.LABEL_FLOOR, names.LABEL_ENFORCE, f"'{names.ADDRESSES}'"],
    "external-addresses.yaml": [names.ADDRESSES, f"'{KEY_ADDRESSES}'"],
    "foreign-services.yaml": [
        f"'{names.GROUP}/'",
        f"'{names.OBJECT_PREFIX}'",
        f"'{names.LABEL_MANAGED_BY}' && variables.selector[key] == '{names.MANAGED_BY}'",
    ],
    "requester.yaml": [names.ANNOTATION_REQUESTED_BY, names.ANNOTATION_LAST_CHANGED_BY],
}


@pytest.mark.parametrize("guard", GUARDED)
def test_a_guard_matches_on_the_names_that_the_operator_writes(guard: str) -> None:
    text = (CHART / "templates" / "guards" / guard).read_text(encoding="utf-8")

    assert [name for name in GUARDED[guard] if name not in text] == []


def test_the_controller_may_update_the_classes_that_ship_and_no_others() -> None:
    text = (CHART / "templates" / "rbac" / "controller.yaml").read_text(encoding="utf-8")
    written = r"resources: \[dataclasses\]\n    resourceNames:\n((?:      - .*\n)+)    verbs: \[update\]"
    listed = re.search(written, text)
    assert listed is not None
    assert listed[1].split() == [w for c in default_classes() for w in ("-", c["metadata"]["name"])]
