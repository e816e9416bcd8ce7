"""``mlprivacy rules``: every rule, or all about one, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.argument("rule", required=False, metavar="[ID]")
@click.option("--pack", metavar="NAME", help="Only the rules that this pack asks for, each with the pack's action.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
def command(rule: str | None, pack: str | None, output: str) -> None:
    """List the rules, or say all about one: why it exists, its sources, its parameters, who asks for it.

    Rules that are planned and not built yet are listed behind the others, with what each waits for.
    """
    from mlprivacy.cli import ruledocs  # noqa: PLC0415

    if rule is not None:
        if output == "text":
            click.echo("\n".join(ruledocs.page_of(rule)))
        else:
            _print(ruledocs.json_of(rule), output)
    elif output == "text":
        click.echo("\n".join(ruledocs.table(pack)))
        if pack is None:
            click.echo("\n".join(("", *ruledocs.waiting_table())))
    else:
        _print({"rules": ruledocs.all_json(pack), "waiting": [] if pack else ruledocs.waiting_json()}, output)


def _print(body: Any, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        import yaml  # noqa: PLC0415

        click.echo(yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=100), nl=False)
