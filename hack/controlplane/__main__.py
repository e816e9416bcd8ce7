"""Command line: build the binaries; start, inspect and stop a control plane that outlives the command."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from controlplane.build import BuildError, ensure_binaries, trim
from controlplane.cluster import DEFAULT_RUN_SECONDS, ControlPlane
from controlplane.existing import ExistingCluster, use_existing_cluster
from controlplane.processes import ControlPlaneError
from controlplane.runs import locked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="controlplane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build or find every binary, and print where each is")
    build.add_argument("--trim", action="store_true", help="delete binaries of other versions from the cache")
    up = commands.add_parser("up", help="start a control plane and leave it running; prints its KUBECONFIG")
    up.add_argument("--run-seconds", type=int, default=DEFAULT_RUN_SECONDS, help="how long simulated pods of jobs run")
    up.add_argument("--nodes", type=int, default=1, help="how many simulated nodes there are")
    down = commands.add_parser("down", help="stop exactly what `up` started")
    status = commands.add_parser("status", help="say which processes run; exit code 1 unless all do")
    env = commands.add_parser("env", help="print shell lines that set KUBECONFIG and PATH")
    for command in (up, down, status, env):
        command.add_argument("--dir", type=Path, default=Path("build/dev"), help="where its state is kept")
    return parser


def _build(arguments: argparse.Namespace) -> int:
    for name, path in sorted(ensure_binaries().items()):
        print(f"{name}\t{path}")
    if arguments.trim:
        for folder in trim():
            print(f"deleted {folder}", file=sys.stderr)
    return 0


def _up(arguments: argparse.Namespace) -> int:
    if use_existing_cluster():
        print(ExistingCluster().kubeconfig)
        return 0
    with locked(arguments.dir / "control-plane" / "up.lock"):
        try:
            running = ControlPlane.attach(arguments.dir)
            print(f"It is running already, with the state in {arguments.dir}.", file=sys.stderr)
        except ControlPlaneError:
            running = ControlPlane(arguments.dir, run_seconds=arguments.run_seconds, nodes=arguments.nodes, owner=None)
            running.start()
    print(running.kubeconfig)
    return 0


def _down(arguments: argparse.Namespace) -> int:
    if use_existing_cluster():
        print("USE_EXISTING_CLUSTER is set: that cluster was not started here, so it is not stopped.", file=sys.stderr)
        return 0
    stopped = ControlPlane.stop_in(arguments.dir)
    print(f"Stopped {stopped} processes." if stopped else "Nothing was running.", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    processes = ControlPlane.processes_in(arguments.dir)
    for process in processes:
        print(f"{process.name}\t{'running' if process.alive() else 'gone'}\t{process.pid}\t{process.log}")
    if not processes:
        print(f"No control plane has its state in {arguments.dir}.", file=sys.stderr)
    return 0 if processes and all(process.alive() for process in processes) else 1


def _env(arguments: argparse.Namespace) -> int:
    if use_existing_cluster():
        print(f"export KUBECONFIG={shlex.quote(str(ExistingCluster().kubeconfig))}")
        return 0
    running = ControlPlane.attach(arguments.dir)
    print(f"export KUBECONFIG={shlex.quote(str(running.kubeconfig))}")
    print(f"export KUBECACHEDIR={shlex.quote(str(running.scratch() / 'kubectl-cache'))}")
    print(f'export PATH={shlex.quote(str(running.layout.bin))}:"$PATH"')
    return 0


_COMMANDS = {"build": _build, "up": _up, "down": _down, "status": _status, "env": _env}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when it worked, 1 when `status` finds something gone, 2 when it could not be done."""
    arguments = _parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except (BuildError, ControlPlaneError) as error:
        print(f"controlplane: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("controlplane: interrupted; what was started has been stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
