"""Command line: the operator on a control plane of its own, left running (`up`) or for a demonstration (`demo`)."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controlplane.build import BuildError
from controlplane.client import CommandError
from controlplane.cluster import ControlPlane
from controlplane.existing import ExistingCluster, use_existing_cluster
from controlplane.processes import ControlPlaneError
from devstack.demo import run_demo
from devstack.stack import DevStack, StackError


def _screen() -> Callable[[str], None]:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", file=sys.stderr, flush=True)

    return say


def _up(arguments: argparse.Namespace) -> int:
    say = _screen()
    directory: Path = arguments.dir
    if DevStack.stop_in(directory / "stack"):
        say("the operator was running and is started again")
    if use_existing_cluster():
        say("using the cluster of KUBECONFIG")
        cluster: ControlPlane | ExistingCluster = ExistingCluster()
    else:
        try:
            cluster = ControlPlane.attach(directory)
            say(f"the control plane in {directory} runs already")
        except ControlPlaneError:
            say("starting etcd, API server, controller-manager, scheduler and a simulated node")
            cluster = ControlPlane(directory, run_seconds=arguments.run_seconds, owner=None)
            cluster.start()
    stack = DevStack(cluster, directory / "stack", screen=say, default_classes=True)
    try:
        stack.start()
    except BaseException:
        stack.stop()
        raise
    say("the operator is ready; logs are in " + str((directory / "stack" / "logs").resolve()))
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    tools = [str(Path(sys.executable).parent)]
    if shutil.which("kubectl") is None and isinstance(cluster, ControlPlane):
        tools.append(str(cluster.binary("kubectl").parent))
    print(f'export PATH="{":".join(tools)}:$PATH"')
    say("next: kubectl apply -f examples/clinic; stop it with: make dev-down")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    processes = DevStack.stop_in(arguments.dir / "stack")
    if not use_existing_cluster():
        processes += ControlPlane.stop_in(arguments.dir)
    print(f"Stopped {processes} processes." if processes else "Nothing was running.", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    processes = [*ControlPlane.processes_in(arguments.dir), *DevStack.processes_in(arguments.dir / "stack")]
    for process in processes:
        print(f"{process.name}\t{'running' if process.alive() else 'gone'}\t{process.pid}\t{process.log}")
    if not processes:
        print(f"Nothing has its state in {arguments.dir}. Start it with: make dev-up", file=sys.stderr)
    return 0 if processes and all(p.alive() for p in processes) else 1


def _demo(arguments: argparse.Namespace) -> int:
    return run_demo(_screen(), show=arguments.show, keep=arguments.keep)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="devstack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start control plane and operator and leave them running")
    up.add_argument("--run-seconds", type=int, default=60, help="how long simulated pods of jobs run")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="stop exactly what `up` started")
    down.set_defaults(run=_down)
    status = commands.add_parser("status", help="say what runs; exit code 1 unless all does")
    status.set_defaults(run=_status)
    for command in (up, down, status):
        command.add_argument("--dir", type=Path, default=Path("build/dev"), help="where its state is kept")
    demo = commands.add_parser("demo", help="apply the examples and show what became of them")
    demo.add_argument("--show", metavar="JOB", help="print the objects that were rendered for this job")
    demo.add_argument("--keep", action="store_true", help="leave everything running, as `up` does")
    demo.set_defaults(run=_demo)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (BuildError, ControlPlaneError, CommandError, StackError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; what was started has been stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
