"""crds/ is what the models say, each file is small, and no two kinds share a name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlprivacy.api.kinds import all_kinds
from mlprivacy.api.names import CATEGORY, GROUP
from mlprivacy.api.schema import crd, file_name, render, rendered_files
from mlprivacy.api.schema.__main__ import main

CRDS = Path(__file__).parents[3] / "crds"
# What kubectl already understands on every cluster, long and short.
BUILT_IN = (
    "cm configmaps cs ds daemonsets deploy deployments ep endpoints ev events ing ingresses jobs cj cronjobs limits "
    "netpol networkpolicies no nodes ns namespaces pc pdb po pods podtemplates pv pvc quota rc rs sa sc secrets sts "
    "svc services crd crds csr hpa"
)


def test_the_files_are_what_the_models_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--output", str(CRDS)]) == 0, capsys.readouterr().err


def test_check_says_what_differs_and_writing_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(tmp_path)]) == 0
    name = file_name(all_kinds()[0])
    path = tmp_path / name
    path.write_text(path.read_text(encoding="utf-8").replace("scope: ", "scope: Not"), encoding="utf-8")
    gone = tmp_path / f"{GROUP}_ghosts.yaml"
    gone.write_text((tmp_path / file_name(all_kinds()[1])).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "kustomization.yaml").write_text("resources: []\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["--check", "--output", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "scope: Not" in said
    assert "ghosts" in said
    assert "python -m mlprivacy.api.schema" in said
    assert main(["--output", str(tmp_path)]) == 0
    assert main(["--check", "--output", str(tmp_path)]) == 0
    assert not gone.exists()
    assert (tmp_path / "kustomization.yaml").exists()


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.kind)
def test_a_file_is_small_plain_yaml_and_the_same_each_time(kind: Any) -> None:
    text = render(kind)
    assert len(text.encode()) < 100_000
    assert yaml.safe_load(text) == crd(kind)
    assert render(kind) == text == rendered_files()[file_name(kind)]
    assert "&id" not in text
    assert text.startswith("# Generated")


def test_no_two_kinds_share_a_name_and_none_takes_a_built_in_one() -> None:
    names = [name for kind in all_kinds() for name in (kind.plural, kind.singular, *kind.short_names)]
    assert len(names) == len(set(names))
    assert not set(BUILT_IN.split()) & set(names)
    assert all(short.startswith("ml") for kind in all_kinds() for short in kind.short_names)


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.kind)
def test_what_every_crd_has(kind: Any) -> None:
    definition = crd(kind)
    spec = definition["spec"]
    version = spec["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    assert definition["metadata"]["name"] == f"{spec['names']['plural']}.{GROUP}"
    assert spec["names"]["categories"] == [CATEGORY]
    assert spec["names"]["listKind"] == f"{kind.kind}List"
    assert version["subresources"] == {"status": {}}
    assert root["required"] == ["spec"]
    required = {field.alias for field in kind.spec.model_fields.values() if field.is_required()}
    assert set(root["properties"]["spec"].get("required", [])) == required
    assert {"conditions", "observedGeneration"} <= set(root["properties"]["status"]["properties"])
    assert 4 <= len(version["additionalPrinterColumns"]) <= 6
    assert any("metadata.name" in rule["rule"] for rule in root["x-kubernetes-validations"])


@pytest.mark.parametrize("kind", ["TrainingJob", "InferenceJob"])
def test_the_template_declares_nothing(kind: str) -> None:
    """A declared metadata would prune annotations, a declared spec would prune the fields of next year."""
    definition = next(crd(known) for known in all_kinds() if known.kind == kind)
    root = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    template = root["properties"]["spec"]["properties"]["template"]
    assert set(template) == {"description", "type", "x-kubernetes-preserve-unknown-fields"}
