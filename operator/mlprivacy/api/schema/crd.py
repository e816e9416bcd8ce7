"""Builds one CustomResourceDefinition from what a kind says about itself."""

from __future__ import annotations

from typing import Any

from mlprivacy.api.base import KindInfo, PrinterColumn
from mlprivacy.api.constraints import VALIDATIONS
from mlprivacy.api.names import CATEGORY, GROUP, VERSION
from mlprivacy.api.schema.lower import Schema, structural


def file_name(kind: KindInfo[Any]) -> str:
    """Name of the file in crds/."""
    return f"{GROUP}_{kind.plural}.yaml"


def crd(kind: KindInfo[Any]) -> dict[str, Any]:
    """The CRD of a kind. Raises SchemaError when its models cannot be expressed, naming the field."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(kind)},
        "subresources": {"status": {}},
    }
    if kind.selectable_fields:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable_fields]
    if kind.printer_columns:
        version["additionalPrinterColumns"] = [_column(column) for column in kind.printer_columns]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
                "categories": [CATEGORY],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }


def _root(kind: KindInfo[Any]) -> Schema:
    spec = structural(kind.spec, f"{kind.kind}.spec")
    status = structural(kind.status, f"{kind.kind}.status")
    root: Schema = {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"apiVersion is {GROUP}/{VERSION}.", "type": "string"},
            "kind": {"description": f"kind is {kind.kind}.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": {**spec, "description": f"spec: {spec['description']}"},
            "status": {**status, "description": "status is written by the operator alone."},
        },
    }
    if kind.name_rules:
        root[VALIDATIONS] = [rule.validation() for rule in kind.name_rules]
    return root


def _column(column: PrinterColumn) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        entry["description"] = column.description
    if column.priority:
        entry["priority"] = column.priority
    return entry
