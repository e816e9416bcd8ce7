"""Every governed pod carries a sidecar: what it imports is memory on every node."""

import json
import subprocess
import sys

import pytest

HEAVY = {"aiohttp", "orjson", "prometheus_client", "pydantic", "kopf", "kubernetes", "yaml", "click"}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [("accountant", HEAVY | {"cryptography"}), ("gateway", HEAVY | {"cryptography"}), ("seal", HEAVY)],
)
def test_a_sidecar_imports_nothing_heavy(module: str, unwanted: set[str]) -> None:
    code = (
        f"import mlprivacy.dataplane.main, mlprivacy.dataplane.{module}, json, sys; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded & unwanted == set()


def test_the_commands_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.dataplane.main", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("seal", "accountant", "gateway"):
        assert command in done.stdout
