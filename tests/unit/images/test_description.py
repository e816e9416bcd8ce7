"""images.toml: what it says about our images, and what is refused with a sentence that names the place."""

import shutil
from pathlib import Path

import pytest

from images import dockerfile
from images.description import CHECKOUT, HERE, SOURCES, code_digest, digest_of, load
from images.errors import ImagesError


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """images.toml with one change."""
    text = (HERE / "images.toml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "images.toml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


def test_our_two_images() -> None:
    images = {image.name: image for image in load().images}
    assert {name: (image.user.uid, image.user.gid, image.entrypoint) for name, image in images.items()} == {
        "mlprivacy": (65532, 65532, ("mlprivacy",)),
        "mlprivacy-dataplane": (64998, 64999, ("mlprivacy-dataplane",)),
    }
    assert any(wheel.startswith("aiohttp") for wheel in images["mlprivacy"].requirements)
    assert [wheel.partition(">")[0] for wheel in images["mlprivacy-dataplane"].requirements] == ["cryptography"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("uid = 65532", "uid = 0", "users.mlprivacy is root"),
        ('entrypoint = ["mlprivacy"]', 'entrypoint = ["sh"]', "does not begin with a command of pyproject.toml"),
        ('entrypoint = ["mlprivacy"]', "entrypoint = []", "does not begin with a command of pyproject.toml"),
        ('python = "3.13"', 'python = "3.12"', "debian.packages must have python3.12-minimal"),
        ("epoch = 1767225600", "epoch = -1", "epoch is not a number of seconds"),
        ('wheels = "dataplane"', 'wheels = "nothing"', "KeyError: 'nothing'"),
        ('user = "mlprivacy"', 'user = "somebody"', "KeyError: 'somebody'"),
        ("packages = [", "packages = [1,", "debian.packages must be a list of words"),
        ("epoch = 1767225600", "epoch = ", "can not be read"),
    ],
)
def test_what_can_not_be_built_is_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match=r"images\.toml") as caught:
        load(description=changed(tmp_path, old, new))
    assert words in str(caught.value)


def test_the_sources_of_the_wheel_and_nothing_that_a_run_leaves(tmp_path: Path) -> None:
    for name in (*SOURCES, "constraints.txt"):
        source = CHECKOUT / name
        if source.is_file():
            shutil.copyfile(source, tmp_path / name)
    module = tmp_path / "operator" / "mlprivacy" / "x.py"
    module.parent.mkdir(parents=True)
    module.write_text("x = 1\n", encoding="utf-8")
    before = load(tmp_path)
    assert sorted(before.sources) == ["LICENSE", "README.md", "operator/mlprivacy/x.py", "pyproject.toml"]

    (module.parent / "__pycache__").mkdir()
    (module.parent / "__pycache__" / "x.cpython-313.pyc").write_bytes(b"")
    (module.parent / ".x.py.swp").write_bytes(b"")
    assert load(tmp_path).source_digest() == before.source_digest()

    module.write_text("x = 2\n", encoding="utf-8")
    assert load(tmp_path).source_digest() != before.source_digest()


def test_a_checkout_that_is_not_whole_is_a_sentence(tmp_path: Path) -> None:
    shutil.copyfile(CHECKOUT / "pyproject.toml", tmp_path / "pyproject.toml")
    with pytest.raises(ImagesError, match="Is it complete"):
        load(tmp_path)


def test_parts_of_a_digest_do_not_run_into_each_other() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("ab", b"c") == digest_of(b"ab", "c")
    assert code_digest(["tree"]) != code_digest(["oci"])


def test_the_dockerfile_is_the_one_of_images_toml() -> None:
    """On a difference: PYTHONPATH=hack python -m images dockerfile > hack/images/Dockerfile"""
    assert dockerfile.DOCKERFILE.read_text(encoding="utf-8") == dockerfile.text_of(load())


def test_the_dockerfile_follows_the_description(tmp_path: Path) -> None:
    text = dockerfile.text_of(load(description=changed(tmp_path, "uid = 65532", "uid = 4711")))
    assert "USER 4711:65532\n" in text
    text = dockerfile.text_of(load(description=changed(tmp_path, 'suite = "trixie"', 'suite = "forky"')))
    assert "FROM debian:forky-slim AS build\n" in text
    text = dockerfile.text_of(load(description=changed(tmp_path, 'LANG = "C.UTF-8"', "LANG = 'a $b \"c\"'")))
    assert 'ENV LANG="a \\$b \\"c\\""\n' in text


def test_only_the_stage_that_is_thrown_away_runs_commands() -> None:
    build, *images = dockerfile.text_of(load()).split("\nFROM scratch AS ")
    assert build.count("\nRUN ") == 2
    assert len(images) == 2
    assert not any("RUN" in image or "ADD" in image for image in images)
    assert all(f"COPY {name}" in build or f" {name}" in build for name in (*SOURCES, "constraints.txt", "hack"))
