"""``mlprivacy budget``: the budgets of a cluster and what people do with them; workloads, simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from mlprivacy.cli.budget_commands import approve, ledger, retire, status

if TYPE_CHECKING:
    from mlprivacy.budget.schedulers.shares import Share
    from mlprivacy.budget.simulate.runner import PolicyName, WorkloadName

WORKLOADS = ("single-block", "multi-block", "multi-block-renyi", "dpack-mix")
POLICIES = ("fcfs", "rr", "dpf", "dpack")

EPILOG = """\b
Workloads, with the settings that their papers publish:
  single-block       one block, basic composition (PrivateKube, figure 6)
  multi-block        a block every ten seconds, basic composition (figure 8)
  multi-block-renyi  the same with Rényi curves, 234 jobs a second
  dpack-mix          2,000 jobs with the curves of DPack's microbenchmark, decided on at once (N plays no part)

\b
Policies: fcfs (first come, first served), rr (round-robin, without Rényi curves), dpf (DPF-N), dpack. The last two
unlock an N-th of a block for each job that asks for it."""


class StatusOrCommand(click.Group):
    """A group that takes ``status`` for granted: `mlprivacy budget`, `mlprivacy budget NAME`, `mlprivacy budget -A`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts ``status`` before what is neither a command nor a request for help. A shell that completes sees all."""
        if not ctx.resilient_parsing and (
            not args or (args[0] not in ("-h", "--help") and args[0] not in self.commands)
        ):
            args = ["status", *args]
        return super().parse_args(ctx, args)


@click.group(cls=StatusOrCommand, context_settings={"ignore_unknown_options": True})
def command() -> None:
    """Privacy budgets: what is promised, used and left; who waits; what a scheduling policy makes of a workload.

    `mlprivacy budget [NAME]` is short for `mlprivacy budget status [NAME]`.
    """


for _one in (status, ledger, approve, retire):
    command.add_command(_one)


@command.command(epilog=EPILOG)
@click.option("--workload", type=click.Choice(WORKLOADS), required=True)
@click.option("--policy", type=click.Choice(POLICIES), required=True)
@click.option("--n", type=click.FloatRange(1), default=175, show_default=True, help="Jobs over which a block unlocks.")
@click.option("--mice", type=click.FloatRange(0, 1), default=0.75, show_default=True, help="Part of small demands.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the first run.")
@click.option("--repeat", type=click.IntRange(1, 10_000), help="Runs.  [default: 20; 1 of multi-block-renyi]")
@click.option(
    "--share",
    type=click.Choice(["dominant", "cheapest"]),
    default="dominant",
    show_default=True,
    help="By which DPF orders: the published share, or the one at the cheapest usable order.",
)
@click.option(
    "--orders",
    type=click.Choice(["privatekube", "default"]),
    default="privatekube",
    show_default=True,
    help="Rényi orders: PrivateKube's 12, or the 28 of a PrivacyBudget.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json", "csv"]), default="text", show_default=True)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the grants (.svg or .png).")
def simulate(
    workload: WorkloadName,
    policy: PolicyName,
    n: float,
    mice: float,
    seed: int,
    repeat: int | None,
    share: Share,
    orders: str,
    output: str,
    plot: Path | None,
) -> None:
    """Run a published workload through a scheduling policy and count the jobs that are granted.

    The schedulers are the controller's own. The same seed gives the same runs.
    """
    from mlprivacy.budget.orders import DEFAULT_ORDERS, PRIVATEKUBE_ORDERS  # noqa: PLC0415
    from mlprivacy.budget.simulate import runner  # noqa: PLC0415
    from mlprivacy.cli import budget_plots  # noqa: PLC0415

    if plot is not None:
        budget_plots.check(plot)
    asked = runner.Asked(
        workload=workload,
        policy=policy,
        n=n,
        mice=mice,
        seed=seed,
        repeat=repeat or (1 if workload == "multi-block-renyi" else 20),
        share=share,
        orders=DEFAULT_ORDERS if orders == "default" else PRIVATEKUBE_ORDERS,
    )
    result = runner.simulate(asked)
    if output == "json":
        body = {
            "granted": result.granted,
            "granted_all": list(result.granted_all),
            "arrived_all": list(result.arrived_all),
            "seconds": round(result.seconds, 3),
        }
        click.echo(json.dumps(body))
    elif output == "csv":
        click.echo("workload,policy,n,seed,granted,arrived")
        for run, (granted, arrived) in enumerate(zip(result.granted_all, result.arrived_all, strict=True)):
            click.echo(f"{workload},{policy},{n:g},{seed + run},{granted},{arrived}")
    else:
        arrived_mean = sum(result.arrived_all) / asked.repeat
        low, high = min(result.granted_all), max(result.granted_all)
        click.echo(f"{'workload':<18} {'policy':<7} {'N':>7} {'runs':>5} {'arrived':>9} {'granted':>9} {'range':>13}")
        click.echo(
            f"{workload:<18} {policy:<7} {n:>7g} {asked.repeat:>5} {arrived_mean:>9.1f} {result.granted:>9.1f} "
            f"{f'{low}-{high}':>13}   in {result.seconds:.1f} s"
        )
    if plot is not None:
        budget_plots.draw_runs(plot, f"{workload}, {policy}", result)


@command.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder; made when missing."
)
@click.option("--processes", type=click.IntRange(1, 64), help="How many at once.  [default: one for each core]")
@click.option("--plots/--no-plots", default=True, show_default=True, help="Draw each figure as SVG.")
def figures(out: Path, processes: int | None, plots: bool) -> None:
    """Reproduce the published figures: a CSV and a plot of each, and a table next to what the papers show."""
    from mlprivacy.cli import budget_figures  # noqa: PLC0415

    for line in budget_figures.make(out, processes, plots):
        click.echo(line)


def names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Workloads and policies as the simulator has them, for the test that this module's lists are the same."""
    from mlprivacy.budget.simulate.runner import PolicyName, WorkloadName  # noqa: PLC0415

    return get_args(WorkloadName), get_args(PolicyName)
