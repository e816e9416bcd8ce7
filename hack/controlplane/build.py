"""Builds the control plane's binaries from source into a cache outside the checkout, and finds them there again."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from controlplane.components import BUILD_FLAGS, COMPONENTS, Component, host_platform, required_go
from controlplane.processes import Process, tail
from controlplane.toolchain import ToolchainError, find_go

Binaries = dict[str, Path]
_CI_LINE_SECONDS: Final = 15.0
_STAMP: Final = "stamp.json"


class BuildError(RuntimeError):
    """A binary is missing and could not be built; the message is a sentence with a remedy."""


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Where binaries are kept: MLPRIVACY_CACHE, else XDG_CACHE_HOME/mlprivacy, else ~/.cache/mlprivacy."""
    environment = os.environ if environ is None else environ
    if chosen := environment.get("MLPRIVACY_CACHE"):
        return Path(chosen).expanduser().resolve()
    if base := environment.get("XDG_CACHE_HOME"):
        return Path(base).expanduser().resolve() / "mlprivacy"
    return Path.home() / ".cache" / "mlprivacy"


def assets_dir(environ: Mapping[str, str] | None = None) -> Path | None:
    """The folder that KUBEBUILDER_ASSETS names, or None. Raises BuildError when it names something else."""
    environment = os.environ if environ is None else environ
    named = environment.get("KUBEBUILDER_ASSETS")
    if not named:
        return None
    folder = Path(named).expanduser().resolve()
    if not folder.is_dir():
        raise BuildError(f"KUBEBUILDER_ASSETS names {folder}, which is not a folder. Correct it or unset it.")
    return folder


def find_binaries(
    cache: Path, environ: Mapping[str, str] | None = None, components: Sequence[Component] = COMPONENTS
) -> tuple[Binaries, list[Component]]:
    """What is there already and what has to be built; KUBEBUILDER_ASSETS wins for each binary that it holds."""
    assets = assets_dir(environ)
    found: Binaries = {}
    missing: list[Component] = []
    for component in components:
        from_assets = assets / component.name if assets else None
        cached = cached_binary(cache, component)
        if from_assets and os.access(from_assets, os.X_OK) and from_assets.is_file():
            found[component.name] = from_assets
        elif os.access(cached, os.X_OK) and (cached.parent / _STAMP).is_file():
            found[component.name] = cached
        else:
            missing.append(component)
    return found, missing


def cached_binary(cache: Path, component: Component) -> Path:
    return cache / "bin" / component.cache_key(*host_platform()) / component.name


def ensure_binaries(
    cache: Path | None = None,
    environ: Mapping[str, str] | None = None,
    screen: TextIO | None = None,
    components: Sequence[Component] = COMPONENTS,
) -> Binaries:
    """Path of every binary by name, after building what is missing of `components`.

    Two runs never build at once: the second waits for the first and then finds its work. A killed build leaves
    nothing that a later one would take for whole. Raises BuildError.
    """
    root = cache or cache_dir(environ)
    found, missing = find_binaries(root, environ, components)
    if not missing:
        return found
    progress = Progress(screen or sys.stderr)
    with _lock(root, progress):
        found, missing = find_binaries(root, environ, components)
        if missing:
            _build_all(root, missing, len(components), progress, os.environ if environ is None else environ)
            found, missing = find_binaries(root, environ, components)
    if missing:
        names = ", ".join(component.name for component in missing)
        raise BuildError(f"{names} vanished from {root} right after the build. Is something else cleaning that folder?")
    return found


def trim(cache: Path | None = None, components: Sequence[Component] = COMPONENTS) -> list[str]:
    """Delete other versions of these binaries from the cache; returns the names of the folders deleted."""
    root = cache or cache_dir()
    wanted = {component.cache_key(*host_platform()) for component in components}
    ours = tuple(f"{component.name}-v" for component in components)
    removed = []
    with _lock(root, Progress(sys.stderr)):
        for folder in sorted((root / "bin").iterdir()) if (root / "bin").is_dir() else []:
            if folder.name not in wanted and folder.name.startswith(ours):
                shutil.rmtree(folder)
                removed.append(folder.name)
    return removed


class Progress:
    """One line on the screen: rewritten in place on a terminal, a fresh line every 15 s elsewhere."""

    def __init__(self, screen: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._clock = clock
        self._terminal = screen.isatty()
        self._last = float("-inf")
        self._width = 0

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=self._screen, flush=True)
        self._last = self._clock()

    def tick(self, text: str) -> None:
        """A line that the next one may replace."""
        if self._terminal:
            self._clear()
            print(text, end="", file=self._screen, flush=True)
            self._width = len(text)
        elif self._clock() - self._last >= _CI_LINE_SECONDS:
            self.say(text)

    def _clear(self) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._screen)
            self._width = 0


@contextlib.contextmanager
def _lock(cache: Path, progress: Progress) -> Iterator[None]:
    """One builder per cache. The kernel drops the lock with its holder, so a killed build blocks nobody."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        stream = (cache / "build.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise BuildError(
            f"The cache folder {cache} cannot be written: {error}. Set MLPRIVACY_CACHE to another."
        ) from error
    with stream:
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress.tick(f"another run is building in {cache}; waiting, {time.monotonic() - begun:.0f} s")
                time.sleep(0.5)
        yield


def _build_all(
    cache: Path, missing: list[Component], total: int, progress: Progress, environ: Mapping[str, str]
) -> None:
    try:
        go = find_go(cache, progress.say, environ, required_go(missing))
    except ToolchainError as error:
        raise BuildError(str(error)) from error
    staging = cache / "staging"
    shutil.rmtree(staging, ignore_errors=True)  # what a killed build left; we hold the lock
    staging.mkdir(parents=True)
    progress.say(
        f"Building {len(missing)} of {total} binaries into {cache}, once; "
        "on two cores each takes from some seconds to five minutes."
    )
    begun = time.monotonic()
    for number, component in enumerate(missing, start=1):
        position = f"{number} of {len(missing)}"
        _build(go, cache, component, position=position, progress=progress, environ=environ)
    shutil.rmtree(staging, ignore_errors=True)
    progress.say(f"Built what was missing in {time.monotonic() - begun:.0f} s.")


def _build(
    go: Path, cache: Path, component: Component, *, position: str, progress: Progress, environ: Mapping[str, str]
) -> None:
    """Compile one binary aside, stamp it, and publish it with one rename."""
    goos, goarch = host_platform()
    log = cache / "logs" / f"build-{component.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{component.name}-", dir=cache / "staging"))
    argv = [str(go), "build", *BUILD_FLAGS, "-ldflags", component.ldflags, "-o", str(work / component.name)]
    environment = {**environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    process = Process("go build", [*argv, component.package], log)
    begun = time.monotonic()
    label = f"{component.name} {component.version} ({position})"
    process.start(environment, cwd=component.module_dir)
    try:
        while process.alive():
            progress.tick(f"building {label}, {time.monotonic() - begun:.0f} s")
            time.sleep(0.25)
    finally:
        process.stop(grace=1)  # a no-op when it has ended; on Ctrl-C nothing keeps compiling
    seconds = time.monotonic() - begun
    if process.exit_code() != 0 or not (work / component.name).is_file():
        raise BuildError(
            f"Building {component.name} {component.version} failed after {seconds:.0f} s (exit code "
            f"{process.exit_code()}). The log is {log}; its end:\n"
            f"{tail(log)}\nIf Go could not reach its module proxy or the disk is full, mend that and run it again: "
            "what was built is kept."
        )
    stamp = {
        "name": component.name,
        "version": component.version,
        "platform": f"{goos}/{goarch}",
        "go": _compiler(go, environment),
        "builtAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "buildSeconds": round(seconds, 1),
    }
    (work / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    work.chmod(0o755)
    target = cached_binary(cache, component).parent
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)
    progress.say(f"built {label} in {seconds:.0f} s")


def _compiler(go: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run([str(go), "version"], capture_output=True, text=True, check=False, env=dict(environment))
    return done.stdout.strip()
