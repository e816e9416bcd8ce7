"""The attackers of threats.md on the whole operator: real users, in a namespace governed at `enforce`.

`mallory` has the stock ClusterRole `edit` and our role for ML engineers there. `heidi` owns the namespace: every verb
on every resource in it, so that what refuses her is a guard or the webhook, never RBAC. The guards alone, with every
process of ours dead, are attacked in ../guards; each test here is named after the rows of threats.md it stands for.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from devstack import DevStack

_HERE: Final = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.append(_HERE)

from theatre import Scene  # noqa: E402 - found through the line above


@pytest.fixture
def scene(stack: DevStack) -> Iterator[Scene]:
    """The operator and its attackers; the namespaces that the test makes are deleted after it."""
    own = Scene(stack)
    yield own
    own.clean()


@pytest.fixture(scope="package")
def ward(stack: DevStack) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """A governed namespace with the running TrainingJob `study` and InferenceJob `triage`, and the pods of both.

    For tests in which every attack is refused: they leave it as it was.
    """
    own = Scene(stack)
    name = own.namespace()
    own.allowed(own.mallory.create(name, own.training_job("study")))
    own.allowed(own.mallory.create(name, own.inference_job("triage")))
    trainer, server = own.running_pod(name, "study"), own.running_pod(name, "triage")
    own.keep_running(name, trainer)
    yield name, trainer, server
    own.clean()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")
