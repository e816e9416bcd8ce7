"""One control plane for the tests of this folder, with the chart and an admission process."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from controlplane import ControlPlane


def _lab_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("admission_lab", Path(__file__).with_name("lab.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["admission_lab"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def labs() -> ModuleType:
    """The module `lab.py`."""
    return _lab_module()


@pytest.fixture(scope="module")
def lab(private_cluster: ControlPlane, labs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The chart, the objects of the clinic, and an admission process under mutual TLS."""
    made = labs.Lab(private_cluster, tmp_path_factory.mktemp("admission"))
    try:
        made.install()
        made.start()
        made.load()
        yield made
    finally:
        made.stack.stop()
