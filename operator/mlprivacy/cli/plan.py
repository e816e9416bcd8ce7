"""``mlprivacy plan``: what a DP-SGD job costs, or what it may be so that it costs no more; and what is left for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.errors import EXIT_REFUSED, CliError

if TYPE_CHECKING:
    from mlprivacy.budget.planner import Plan
    from mlprivacy.cli.planbudget import Kept


def _records(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A whole number. Whoever gives a name means the namespace, which is -n with most commands."""
    try:
        return None if value is None else int(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no whole number; -n is the number of records here, and --namespace the namespace."
        ) from None


@click.command()
@click.option("--records", "-n", callback=_records, metavar="N", help="A public lower bound on the records.")
@click.option("--batch-size", type=int, metavar="B", help="Expected size of a batch, drawn by Poisson sampling.")
@click.option("--sampling-rate", metavar="Q", help="B/N, instead of --batch-size and --records.")
@click.option("--epochs", metavar="E", help="Passes over the records; may be a fraction.")
@click.option("--steps", type=int, metavar="T", help="Optimiser steps, instead of --epochs.")
@click.option("--noise-multiplier", type=float, metavar="S", help="Noise over the clipping bound.")
@click.option("--epsilon", type=float, metavar="E", help="A ceiling. What else is left out is computed to keep it.")
@click.option(
    "--delta",
    type=float,
    metavar="D",
    help="1/(100 N) unless given, as for a job that says none; without N what the budget promises.",
)
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
@click.option(
    "--namespace",
    metavar="NAME",
    help="With a PrivacyBudget: whose quota counts; that of the kubeconfig's context unless given.",
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
    would be granted; exactly, where you may read ledgerentries.mlprivacy.dev, else from the budget's status. Where the
    budget has quotas, that of --namespace counts, with what its jobs took already.

    --budget FILE is {"orders": […], "epsilon": …, "delta": …, "blocks": [{"name": …, "consumed": […]}]}: what is spent
    of each block at each order; a block may also say "unlocked" (a share) and "unlock_seconds" (for a whole block).

    --utility SCRIPT runs the script for each value of the grid, with the job's numbers as JSON on its standard input,
    and takes the last line that it prints as a number. Results are kept, so that a stopped run goes on where it was.

    Exit codes: 0 the plan, 1 all was given and ε is above the ceiling, or a budget or a quota has no room, 2 bad input.
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
    from mlprivacy.cli import planplot, planutility, planview  # noqa: PLC0415

    for path in options["plots"]:
        planplot.check(path)
    if options["grid"] and options["utility"] is None:
        raise CliError("--grid says what to measure, and no script was given to measure with; add --utility SCRIPT.")
    if options["budget"] == "":
        raise CliError("--budget is empty; name a PrivacyBudget of the cluster, or a file.")
    if options["blocks"] and not options["budget"]:
        raise CliError("--blocks says of which blocks what is left; add --budget NAME.")
    if options["namespace"] and not options["budget"]:
        raise CliError("--namespace says whose quota of a budget counts; add --budget NAME. Records are --records, -n.")
    plan, kept = _solved(options, access)
    pld, missing = planview.pld_of(plan, options["pld_seconds"]) if options["pld"] else (None, None)
    body = planview.body(plan, pld) | {"delta_from": _delta_from(options)}
    if missing:
        body["warnings"].append(missing)
    code = 0 if plan.within else EXIT_REFUSED
    if kept is not None:
        found = body["budget"] = {**kept.answer(plan), "delta": kept.delta}
        code = EXIT_REFUSED if found["never"] or (found.get("quota") or {}).get("reached") else code
        if refused := _too_loose(plan, found):
            found["sentence"], code = f"{refused} Else: {found['sentence']}", EXIT_REFUSED
    if options["utility"]:
        grid = planutility.points(plan, planutility.read_grid(options["grid"]))
        cache = options["utility_cache"] or options["utility"].with_suffix(".results.jsonl")
        body["utility"] = planutility.measure(options["utility"], grid, cache, options["utility_seconds"])
    if options["plots"]:
        planplot.draw(options["plots"], plan, body.get("utility", []))
    return body, code


def _solved(options: dict[str, Any], access: Access) -> tuple[Plan, Kept | None]:
    """The plan and the budget that it is held against. No cluster is asked for numbers that make no plan."""
    from mlprivacy.budget.planner import solve  # noqa: PLC0415
    from mlprivacy.cli import planbudget  # noqa: PLC0415

    def found() -> Kept | None:
        what = options["budget"]
        return planbudget.find(what, access, options["blocks"], options["namespace"]) if what else None

    question = _question(options)
    if options["budget"] and _delta_from(options) == "budget":
        kept = found()
        return solve(replace(question, delta=kept.delta if kept is not None else None)), kept
    return solve(question), found()


def _delta_from(options: dict[str, Any]) -> str:
    """Where δ comes from: it is ``given``, follows from the ``records``, or is what the ``budget`` promises.

    A job that says none is charged at 1/(100 N), whatever its budget promises (`policy.charging.delta_of`).
    """
    if options["delta"] is not None:
        return "given"
    return "records" if options["records"] is not None else "budget"


def _too_loose(plan: Any, found: dict[str, Any]) -> str | None:
    """What the controller says of a delta beyond 1/(100 N) where there is a budget; None for one that it takes."""
    from mlprivacy.policy.charging import UNITS_PER_DELTA  # noqa: PLC0415

    most = 1 / (UNITS_PER_DELTA * plan.records) if plan.records is not None else None
    if "budget" not in found or most is None or plan.delta <= most * (1 + 1e-9):
        return None
    return f"It would be refused: with a budget, delta is at most 1/({UNITS_PER_DELTA} N), here {most:.2g}."


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
