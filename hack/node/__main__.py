"""Command line: start a node with real pods, put the operator on it, say what runs, stop exactly what was started."""

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controlplane.build import BuildError, ensure_binaries
from controlplane.client import CommandError
from controlplane.components import COMPONENTS
from controlplane.existing import use_existing_cluster
from controlplane.processes import ControlPlaneError
from controlplane.runs import locked
from images.build import ensure_images
from images.errors import ImagesError
from node.cluster import NodeCluster, running_in, stop_in
from node.components import NODE_COMPONENTS
from node.operator import NAMESPACE, Operator, references
from node.requirements import unsupported, usable


def _screen() -> Callable[[str], None]:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", file=sys.stderr, flush=True)

    return say


def _build(arguments: argparse.Namespace) -> int:
    for name, path in sorted(ensure_binaries(components=(*COMPONENTS, *NODE_COMPONENTS)).items()):
        print(f"{name}\t{path}")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    if not use_existing_cluster():
        _supported()  # before minutes of building
    _build(arguments)
    if references() is None:
        for image in ensure_images():
            print(f"{image.tagged}\t{image.archive}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    why = unsupported()
    print(why or "A node can run here.", file=sys.stderr)
    return 1 if why else 0


def _supported() -> None:
    if why := unsupported():
        raise ControlPlaneError(why)


def _up(arguments: argparse.Namespace) -> int:
    say = _screen()
    _supported()
    usable(arguments.dir)
    with locked(arguments.dir / "control-plane" / "up.lock"):
        try:
            cluster = running_in(arguments.dir)
            say(f"the node runs already, with its state in {arguments.dir}")
        except ControlPlaneError:
            if gone := _gone(arguments.dir):
                say(
                    f"the node of before in {arguments.dir} is not whole ({gone}): "
                    "the rest of it is ended, its state is discarded, and a new node is made"
                )
            stop_in(arguments.dir)  # what a killed run left half-way
            cluster = NodeCluster(arguments.dir, owner=None, enforce=not arguments.no_enforcer, say=say)
            cluster.start()
            say("the node is Ready; stop it with: make node-down")
    _print_surroundings(cluster)
    if cluster.get("namespaces", NAMESPACE) is None:
        say("there is no operator on it yet; put it there with: make node-install")
    return 0


def _gone(directory: Path) -> str:
    """Which processes of the node in this folder have ended, in words; empty when there was none."""
    processes = NodeCluster.processes_in(directory)
    gone = [process.name for process in processes if not process.alive()]
    if gone and len(gone) == len(processes):
        return "all of its processes are gone"
    return f"gone: {', '.join(gone)}" if gone else ""


def _print_surroundings(cluster: NodeCluster) -> None:
    """The two lines that a shell needs: KUBECONFIG, and a PATH with mlprivacy, kubectl and helm."""
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    tools = [str(Path(sys.executable).parent)]
    tools += [str(cluster.binary(name).parent) for name in ("kubectl", "helm") if shutil.which(name) is None]
    print(f'export PATH={shlex.quote(":".join(tools))}:"$PATH"', flush=True)


def _install(arguments: argparse.Namespace) -> int:
    say = _screen()
    _supported()
    try:
        cluster = running_in(arguments.dir)
    except ControlPlaneError as error:
        raise ControlPlaneError(f"{error} (make node-up)") from error
    with locked(arguments.dir / "control-plane" / "up.lock"):
        Operator(cluster, say=say).install()
    say(f"the operator is ready in the namespace {NAMESPACE}; next: kubectl apply -f examples/clinic")
    _print_surroundings(cluster)
    return 0


def _down(arguments: argparse.Namespace) -> int:
    running = [process for process in NodeCluster.processes_in(arguments.dir) if process.alive()]
    if running and os.geteuid() != 0:
        raise ControlPlaneError(f"The node in {arguments.dir} runs as root. Stop it as root.")
    ended = stop_in(arguments.dir)
    print(f"Stopped {ended} processes and their pods." if ended else "Nothing was running.", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    processes = NodeCluster.processes_in(arguments.dir)
    for process in processes:
        print(f"{process.name}\t{'running' if process.alive() else 'gone'}\t{process.pid}\t{process.log}")
    if not processes:
        print(f"No node has its state in {arguments.dir}. Start one with: make node-up", file=sys.stderr)
    return 0 if processes and all(process.alive() for process in processes) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when it worked, 1 when `status` or `check` finds something amiss, 2 when it could not be done."""
    parser = argparse.ArgumentParser(prog="node", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build or find every binary").set_defaults(run=_build)
    prepare = commands.add_parser("prepare", help="build or find every binary and both images")
    prepare.set_defaults(run=_prepare)
    commands.add_parser("check", help="say whether a node can run on this machine").set_defaults(run=_check)
    up = commands.add_parser("up", help="start a node and leave it running; prints KUBECONFIG and PATH")
    up.add_argument("--no-enforcer", action="store_true", help="as a cluster whose network plugin ignores policies")
    up.set_defaults(run=_up)
    install = commands.add_parser("install", help="install the operator on the node of `up`, or upgrade it")
    install.set_defaults(run=_install)
    down = commands.add_parser("down", help="stop exactly what `up` started")
    down.set_defaults(run=_down)
    status = commands.add_parser("status", help="say which processes run; exit code 1 unless all do")
    status.set_defaults(run=_status)
    for command in (up, install, down, status):
        command.add_argument("--dir", type=Path, default=Path("build/node"), help="where its state is kept")
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (BuildError, ControlPlaneError, CommandError, ImagesError) as error:
        print(f"node: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("node: interrupted; what was started has been stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
