"""`make kind-up`: which commands it gives to kind, docker and helm, and what it says when one is missing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from images import kind
from images.build import Image, Images
from images.errors import ImagesError

Programs = Callable[..., None]


@pytest.fixture
def images(tmp_path: Path) -> Images:
    def image(name: str, digit: str) -> Image:
        digest = f"sha256:{digit * 64}"
        return Image(name, f"mlprivacy.local/{name}", "0.1.0", digest, tmp_path / f"{name}.tar", tmp_path / "sbom", ())

    return Images(image("mlprivacy", "a"), image("mlprivacy-dataplane", "b"), {})


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Puts programs on the PATH that write down how they are called, and nothing else is on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(*names: str, clusters: str = "", fails: str = "") -> None:
        for name in names:
            script = f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/calls\n'
            script += f'case "{name} $*" in\n  "kind get clusters"*) printf "{clusters}";;\n'
            script += f'  "{fails}"*) echo "it is broken" >&2; exit 3;;\n' if fails else ""
            (folder / name).write_text(script + "esac\n", encoding="utf-8")
            (folder / name).chmod(0o755)

    return install


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text(encoding="utf-8").replace(str(tmp_path), "TMP").splitlines() if file.exists() else []


def test_a_new_cluster_gets_images_and_chart(tmp_path: Path, programs: Programs, images: Images) -> None:
    programs("kind", "docker", "helm")
    environment = kind.up(lambda: images, folder=tmp_path / "kind")
    a, b = "a" * 64, "b" * 64
    assert calls(tmp_path) == [
        "docker info",
        "kind get clusters --quiet",
        f"kind create cluster --config {kind.CONFIG} --kubeconfig TMP/kind/kubeconfig --wait 180s",
        "kind export kubeconfig --name mlprivacy --kubeconfig TMP/kind/kubeconfig",
        "kind load image-archive TMP/mlprivacy.tar --name mlprivacy",
        "kind load image-archive TMP/mlprivacy-dataplane.tar --name mlprivacy",
        f"helm upgrade --install mlprivacy {kind.CHART} --kubeconfig TMP/kind/kubeconfig --namespace mlprivacy-system "
        f"--create-namespace --set image.repository=mlprivacy.local/mlprivacy --set image.digest=sha256:{a} "
        f"--set dataplane.image=mlprivacy.local/mlprivacy-dataplane@sha256:{b} --wait --timeout 240s",
    ]
    assert environment == {
        "USE_EXISTING_CLUSTER": "true",
        "KUBECONFIG": f"{tmp_path}/kind/kubeconfig",
        "MLPRIVACY_IMAGE": f"mlprivacy.local/mlprivacy@sha256:{a}",
        "MLPRIVACY_DATAPLANE_IMAGE": f"mlprivacy.local/mlprivacy-dataplane@sha256:{b}",
    }


def test_a_cluster_of_that_name_is_used_again(tmp_path: Path, programs: Programs, images: Images) -> None:
    programs("kind", "docker", "helm", clusters="other\\nmlprivacy\\n")
    kind.up(lambda: images, folder=tmp_path / "kind")
    assert not [call for call in calls(tmp_path) if "create cluster" in call]
    assert calls(tmp_path)[-1].startswith("helm upgrade --install")


@pytest.mark.parametrize("missing", ["kind", "docker", "helm"])
def test_what_is_missing_is_said_before_anything_is_built(
    missing: str, tmp_path: Path, programs: Programs, images: Images
) -> None:
    programs(*({"kind", "docker", "helm"} - {missing}))
    built = []
    with pytest.raises(ImagesError, match=f"There is no {missing} on the PATH") as caught:
        kind.up(lambda: built.append(1) or images, folder=tmp_path / "kind")  # type: ignore[func-returns-value]
    assert str(caught.value).count("There is no") == 1
    assert built == []
    assert calls(tmp_path) == []


def test_a_docker_that_does_not_answer_is_said(tmp_path: Path, programs: Programs, images: Images) -> None:
    programs("kind", "docker", "helm", fails="docker info")
    with pytest.raises(ImagesError, match="does not answer") as caught:
        kind.up(lambda: images, folder=tmp_path / "kind")
    assert "it is broken" in str(caught.value)


def test_a_command_that_fails_is_quoted_and_nothing_follows(tmp_path: Path, programs: Programs, images: Images) -> None:
    programs("kind", "docker", "helm", fails="kind load")
    with pytest.raises(ImagesError, match="`kind load image-archive` failed with exit code 3") as caught:
        kind.up(lambda: images, folder=tmp_path / "kind")
    assert "it is broken" in str(caught.value)
    assert not [call for call in calls(tmp_path) if call.startswith("helm")]


def test_the_command_prints_a_sentence_not_a_traceback(programs: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    programs()
    assert kind.main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("kind-up: There is no kind on the PATH.")
    assert "make node-up" in said


def test_the_name_of_the_cluster_comes_from_its_configuration(tmp_path: Path) -> None:
    assert kind.cluster_name(kind.CONFIG) == "mlprivacy"
    (tmp_path / "plain.yaml").write_text("kind: Cluster\n", encoding="utf-8")
    assert kind.cluster_name(tmp_path / "plain.yaml") == "kind"
