"""Generates the CustomResourceDefinitions of crds/ from the pydantic models; pure, the same bytes each time."""

from mlprivacy.api.schema.crd import crd, file_name
from mlprivacy.api.schema.lower import SchemaError
from mlprivacy.api.schema.render import render, rendered_files

__all__ = ["SchemaError", "crd", "file_name", "render", "rendered_files"]
