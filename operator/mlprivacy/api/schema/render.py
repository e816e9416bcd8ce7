"""Writes CRDs as YAML, always the same bytes for the same models."""

from __future__ import annotations

from typing import Any

import yaml

from mlprivacy.api.base import KindInfo
from mlprivacy.api.kinds import all_kinds
from mlprivacy.api.schema.crd import crd, file_name

HEADER = (
    "# Generated from operator/mlprivacy/api by `python -m mlprivacy.api.schema`. Change the models, not this file.\n"
)


class _PlainDumper(yaml.SafeDumper):
    """No anchors: kubectl would expand them, a person would have to."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never refer to an equal value written before."""
        return True


def render(kind: KindInfo[Any]) -> str:
    """The file of one kind, header included. Raises SchemaError as :func:`crd` does."""
    body = yaml.dump(crd(kind), Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)
    return f"{HEADER}---\n{body}"


def rendered_files() -> dict[str, str]:
    """Every file of crds/ by its name."""
    return {file_name(kind): render(kind) for kind in all_kinds()}
