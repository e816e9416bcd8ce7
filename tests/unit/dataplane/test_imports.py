"""Every governed pod carries a sidecar: what it imports is memory on every node, and time before each pod starts."""

import json
import signal
import subprocess
import sys
import time

import pytest

HEAVY = {"aiohttp", "orjson", "prometheus_client", "pydantic", "kopf", "kubernetes", "yaml", "click", "argparse"}


def imported(*modules: str) -> set[str]:
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize(
    "module",
    ["accountant", "gateway", "seal"],
)
def test_a_sidecar_imports_nothing_heavy(module: str) -> None:
    assert imported("mlprivacy.dataplane.process", f"mlprivacy.dataplane.{module}") & HEAVY == set()


def test_nothing_slow_is_imported_before_the_signal_handlers_stand() -> None:
    assert imported("mlprivacy.dataplane.main") & {"asyncio", "dataclasses", "typing", "pathlib", "logging"} == set()


# Stands in for the kernel, which ignores a signal that PID 1 has no handler for: SIGTERM is ignored from the start. It
# stops where asyncio would be imported, which takes most of a start.
_SLOW = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "asyncio":
            print("starting", flush=True)
            import time
            time.sleep(60)

sys.meta_path.insert(0, Slow())
from mlprivacy.dataplane.main import main
main([sys.argv[1]])
"""


@pytest.mark.parametrize("command", ["seal", "accountant", "gateway"])
def test_sigterm_ends_a_process_that_is_still_starting_at_once(command: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _SLOW, command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
        assert time.monotonic() - began < 2


def test_the_commands_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.dataplane.main", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("seal", "accountant", "gateway"):
        assert command in done.stdout
