"""``mlprivacy version``: this program's version, the API version it speaks, the Python it runs on."""

from __future__ import annotations

import json
import platform

import click

from mlprivacy import __version__
from mlprivacy.api.names import API_VERSION


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(output: str) -> None:
    """Print the version."""
    if output == "json":
        body = {"version": __version__, "apiVersion": API_VERSION, "python": platform.python_version()}
        click.echo(json.dumps(body))
    else:
        click.echo(f"mlprivacy {__version__} ({API_VERSION}, Python {platform.python_version()})")
