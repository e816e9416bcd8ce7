"""What the tests build of kind: the program itself, at the version that they read kind-config.yaml with."""

from pathlib import Path
from typing import Final

from controlplane.components import Component

KIND_VERSION: Final = "0.33.0"
KIND: Final = Component(
    name="kind",
    version=KIND_VERSION,
    module="kind",
    package="sigs.k8s.io/kind",
    root=Path(__file__).parent / "go",
)
