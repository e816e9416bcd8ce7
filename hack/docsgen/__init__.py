"""The reference under docs/reference and the picture under docs/images, made from the code."""

from docsgen.pages import DocsError, generated

__all__ = ["DocsError", "generated"]
