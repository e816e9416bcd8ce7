"""``mlprivacy plan``: what a DP-SGD job costs, or what it may be so that it costs no more; and what is left for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.errors import EXIT_REFUSED, CliError


@click.command()
@click.option("--records", "-n", type=int, metavar="N", help="A public lower bound on the records.")
@click.option("--batch-size", type=int, metavar="B", help="Expected size of a batch, drawn by Poisson sampling.")
@click.option("--sampling-rate", metavar="Q", help="B/N, instead of --batch-size and --records.")
@click.option("--epochs", metavar="E", help="Passes over the records; may be a fraction.")
@click.option("--steps", type=int, metavar="T", help="Optimiser steps, instead of --epochs.")
@click.option("--noise-multiplier", type=float, metavar="S", help="Noise over the clipping bound.")
@click.option("--epsilon", type=float, metavar="E", help="A ceiling. What else is left out is computed to keep it.")
@click.option("--delta", type=float, metavar="D", help="1/(100 N) unless given.")
@click.option("--rows-per-unit", type=int, default=1, show_default=True, metavar="K", help="The most rows of a person.")
@click.option("--stability", type=int, default=1, show_default=True, metavar="C", help="Of the pre-processing.")
@click.option("--trials", type=int, default=1, show_default=True, metavar="R", help="Runs, of which the best is kept.")
@click.option(
    "--trials-drawn",
    type=click.Choice(["geometric", "logarithmic", "poisson", "fixed"]),
    default="geometric",
    show_default=True,
    help="How the number of runs is drawn; fixed composes them one by one.",
)
@click.option("--pld/--no-pld", default=True, help="Also by privacy loss distributions (slower, tighter).")
@click.option("--pld-seconds", type=float, default=60.0, show_default=True, help="The longest that may take.")
@click.option(
    "--budget",
    metavar="NAME|FILE",
    help="What is left: of a PrivacyBudget of the cluster, or of blocks in a JSON file.",
)
@click.option(
    "--blocks", metavar="FROM..TO", help="With a PrivacyBudget: these blocks alone.  [default: all open ones]"
)
@access_options
@click.option(
    "--plot",
    "plots",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="Draw it: FILE.png or FILE.svg. Repeat for both.",
)
@click.option("--utility", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A script to measure.")
@click.option("--grid", multiple=True, metavar="NAME=V,V,…", help="Values for --utility, e.g. noise_multiplier=1,2.")
@click.option("--utility-seconds", type=float, default=600.0, show_default=True, help="The longest for one value.")
@click.option("--utility-cache", type=click.Path(dir_okay=False, path_type=Path), help="Where results are kept.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def command(ctx: click.Context, /, access: Access, **options: Any) -> None:
    """Say what a DP-SGD job costs, or find the number that was left out so that it keeps --epsilon.

    \b
    ε of a job:            mlprivacy plan -n 60000 --batch-size 256 --epochs 60 --noise-multiplier 1.1 --delta 1e-5
    noise for an ε:        mlprivacy plan -n 60000 --batch-size 256 --epochs 60 --epsilon 3
    epochs for an ε:       mlprivacy plan -n 60000 --batch-size 256 --noise-multiplier 1.1 --epsilon 3
    batch size for an ε:   mlprivacy plan -n 60000 --epochs 60 --noise-multiplier 1.1 --epsilon 3

    --budget NAME asks the cluster for a PrivacyBudget (or its subject domain): what is left of it and when the job
    would be granted; exactly, where you may read ledgerentries.mlprivacy.dev, else from the budget's status.

    --budget FILE is {"orders": […], "epsilon": …, "delta": …, "blocks": [{"name": …, "consumed": […]}]}: what is spent
    of each block at each order; a block may also say "unlocked" (a share) and "unlock_seconds" (for a whole block).

    --utility SCRIPT runs the script for each value of the grid, with the job's numbers as JSON on its standard input,
    and takes the last line that it prints as a number. Results are kept, so that a stopped run goes on where it was.

    Exit codes: 0 the plan, 1 all was given and ε is above the ceiling, or a budget has no room, 2 bad input.
    """
    from mlprivacy.budget.accounting.events import Refused  # noqa: PLC0415
    from mlprivacy.cli import planview  # noqa: PLC0415

    try:
        body, code = _answer(options, access)
    except Refused as error:
        raise CliError(f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.") from None
    if options["output"] == "json":
        click.echo(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(planview.table(body)))
    for warning in body["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    ctx.exit(code)


def _answer(options: dict[str, Any], access: Access) -> tuple[dict[str, Any], int]:
    """What is printed, as JSON, and the exit code. Raises Refused and CliError."""
    from mlprivacy.budget import planner  # noqa: PLC0415
    from mlprivacy.cli import planbudget, planplot, planutility, planview  # noqa: PLC0415

    for path in options["plots"]:
        planplot.check(path)
    if options["grid"] and options["utility"] is None:
        raise CliError("--grid says what to measure, and no script was given to measure with; add --utility SCRIPT.")
    if options["blocks"] and not options["budget"]:
        raise CliError("--blocks says of which blocks what is left; add --budget NAME.")
    plan = planner.solve(_question(options))
    pld, missing = planview.pld_of(plan, options["pld_seconds"]) if options["pld"] else (None, None)
    body = planview.body(plan, pld)
    if missing:
        body["warnings"].append(missing)
    code = 0 if plan.within else EXIT_REFUSED
    if options["budget"]:
        body["budget"] = planbudget.answer(options["budget"], plan, access, options["blocks"])
        code = EXIT_REFUSED if body["budget"]["never"] else code
    if options["utility"]:
        grid = planutility.points(plan, planutility.read_grid(options["grid"]))
        cache = options["utility_cache"] or options["utility"].with_suffix(".results.jsonl")
        body["utility"] = planutility.measure(options["utility"], grid, cache, options["utility_seconds"])
    if options["plots"]:
        planplot.draw(options["plots"], plan, body.get("utility", []))
    return body, code


def _question(options: dict[str, Any]) -> Any:
    from mlprivacy.budget.planner import Question, exact  # noqa: PLC0415

    return Question(
        records=options["records"],
        batch_size=options["batch_size"],
        sampling_rate=None if options["sampling_rate"] is None else exact(options["sampling_rate"]),
        epochs=None if options["epochs"] is None else exact(options["epochs"]),
        steps=options["steps"],
        noise_multiplier=options["noise_multiplier"],
        epsilon=options["epsilon"],
        delta=options["delta"],
        rows_per_unit=options["rows_per_unit"],
        stability=options["stability"],
        trials=options["trials"],
        drawn=options["trials_drawn"],
    )
