"""Puts mlprivacy on a kind cluster: builds the images, makes the cluster, loads the images, installs the chart."""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from controlplane.build import Progress
from images.build import Images, ensure_images
from images.description import CHECKOUT
from images.errors import ImagesError

CONFIG: Final = CHECKOUT / "kind-config.yaml"
CHART: Final = CHECKOUT / "charts" / "mlprivacy"
FOLDER: Final = CHECKOUT / "build" / "kind"
RELEASE: Final = "mlprivacy"
NAMESPACE: Final = "mlprivacy-system"
_WAIT_SECONDS: Final = 240
_PROGRAMS: Final = {
    "kind": "It makes the cluster; https://kind.sigs.k8s.io says how to install it.",
    "docker": "kind runs its nodes in it; install Docker, and start it.",
    "helm": "It installs the chart; https://helm.sh says how to install it.",
}


def up(
    images: Callable[[], Images] = ensure_images,
    say: Callable[[str], None] = lambda _: None,
    folder: Path = FOLDER,
    config: Path = CONFIG,
) -> dict[str, str]:
    """Make or reuse the cluster that `config` names, and install mlprivacy from this checkout on it.

    Returns the environment that `make test-node` takes to run against it. Running it again brings the cluster up to
    the checkout. The user's own kubeconfig is not touched. Raises ImagesError.
    """
    _require_programs()
    name = cluster_name(config)
    existing = _run(["kind", "get", "clusters", "--quiet"]).split()
    built = images()
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig = folder / "kubeconfig"
    if name in existing:
        say(f"the kind cluster {name} is there already; it is used as it is")
    else:
        say(f"making the kind cluster {name}; some minutes the first time")
        _run(["kind", "create", "cluster", "--config", str(config), "--kubeconfig", str(kubeconfig), "--wait", "180s"])
    _run(["kind", "export", "kubeconfig", "--name", name, "--kubeconfig", str(kubeconfig)])
    for image in built:
        say(f"loading {image.tagged} into every node")
        _run(["kind", "load", "image-archive", str(image.archive), "--name", name])
    say("installing the chart with helm")
    _run(
        [
            *("helm", "upgrade", "--install", RELEASE, str(CHART), "--kubeconfig", str(kubeconfig)),
            *("--namespace", NAMESPACE, "--create-namespace", *built.helm_values()),
            *("--wait", "--timeout", f"{_WAIT_SECONDS}s"),
        ]
    )
    return {
        "USE_EXISTING_CLUSTER": "true",
        "KUBECONFIG": str(kubeconfig),
        "MLPRIVACY_IMAGE": built.mlprivacy.reference,
        "MLPRIVACY_DATAPLANE_IMAGE": built.dataplane.reference,
    }


def cluster_name(config: Path) -> str:
    """The name in a kind configuration; kind's own default when it has none. Raises ImagesError."""
    try:
        found = re.search(r"^name:\s*([a-z0-9.-]+)\s*$", config.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError as error:
        raise ImagesError(f"{config} can not be read: {error}. Is the checkout complete?") from error
    return found.group(1) if found else "kind"


def _require_programs() -> None:
    """Raises ImagesError that names everything that is missing, before anything is built."""
    missing = [f"There is no {name} on the PATH. {why}" for name, why in _PROGRAMS.items() if not shutil.which(name)]
    if missing:
        raise ImagesError("\n".join([*missing, "Without kind, `make node-up` runs real pods on this machine (Linux)."]))
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if answer.returncode != 0:
        raise ImagesError(f"docker is there but does not answer. Start it. It said:\n{_end(answer.stderr)}")


def _run(argv: Sequence[str]) -> str:
    """The output of a command. Raises ImagesError with what the command said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ImagesError(
            f"`{' '.join(argv[:3])}` failed with exit code {done.returncode}. Mend what it says and run it again: "
            f"what is done is kept. It said:\n{_end(done.stderr or done.stdout)}"
        )
    return done.stdout


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-12:])


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when mlprivacy runs on the cluster, 2 when it could not be done."""
    argparse.ArgumentParser(prog="images.kind", description=__doc__).parse_args(argv)
    progress = Progress(sys.stderr)
    try:
        environment = up(lambda: ensure_images(progress), progress.say)
    except ImagesError as error:
        print(f"kind-up: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("kind-up: interrupted; run it again to go on, or `kind delete cluster`.", file=sys.stderr)
        return 130
    for name, value in environment.items():
        print(f"{name}={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
