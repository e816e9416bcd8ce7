"""``mlprivacy explain``: the whole decision on a job, from the cluster or from files, and what each rule is for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from mlprivacy.cli.access import Access, access_options
from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from mlprivacy.cli import explanation, policyview
    from mlprivacy.kube.client import KubeClient

JOBS: Final = ("TrainingJob", "InferenceJob")


@click.command()
@click.argument("subject", required=False, metavar="[KIND/NAME|RULE]")
@click.option(
    "-n", "--namespace", metavar="NAME", help="Namespace of the job; that of the kubeconfig's context unless given."
)
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Explain the jobs in files, offline.")
@click.option("--rules", "list_rules", is_flag=True, help="List every rule.")
@click.option("--now", metavar="TIME", help="With -f: judge at this moment instead of the present.")
@click.option("--default-mode", type=click.Choice(["enforce", "warn", "audit"]), help="With -f: as in check.")
@access_options
@click.option("-v", "--verbose", is_flag=True, help="Show findings that are only recorded in full, too.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    subject: str | None,
    namespace: str | None,
    files: tuple[str, ...],
    list_rules: bool,
    now: str | None,
    default_mode: str | None,
    access: Access,
    verbose: bool,
    output: str,
) -> None:
    """Say what was decided on a job and why, what a policy or an exception does, or what a rule is for.

    \b
    mlprivacy explain trainingjob/diagnosis -n research
    mlprivacy explain privacypolicy/clinic
    mlprivacy explain policyexception/diagnosis-epsilon
    mlprivacy explain -f job.yaml -f data/
    mlprivacy explain purpose-limitation

    Of a job in the cluster it shows the operator's decision. Where you may read all that it rests on, it is made anew
    here, and told where it would be another now. `mlprivacy scan` lists the jobs of a namespace, `mlprivacy rules` the
    rules. Explains, does not judge: the exit code is 0 whatever the decision is, 2 when there is nothing to explain.
    """
    if list_rules:
        if subject or files:
            raise CliError("--rules lists every rule; leave the rest out, or name one rule.")
        _rules(output)
    elif files:
        _files(files, subject, namespace or "default", (now, default_mode), (output, verbose))
    elif subject is None:
        raise CliError("Name a job as KIND/NAME, files with -f, a rule, or --rules for the list of rules.")
    elif "/" in subject and not subject.startswith("custom/"):
        _cluster(subject, namespace, access, (output, verbose))
    else:
        _rule(subject, output)


def _rules(output: str) -> None:
    from mlprivacy.cli import ruledocs  # noqa: PLC0415

    if output == "json":
        _json(ruledocs.all_json())
    else:
        for line in ruledocs.table():
            click.echo(line)


def _rule(name: str, output: str) -> None:
    from mlprivacy.cli import ruledocs  # noqa: PLC0415

    if output == "json":
        _json(ruledocs.json_of(name))
    else:
        for line in ruledocs.page_of(name):
            click.echo(line)


def _files(
    files: tuple[str, ...],
    subject: str | None,
    namespace: str,
    how: tuple[str | None, str | None],
    shown: tuple[str, bool],
) -> None:
    from mlprivacy.cli import explanation, objects, offline  # noqa: PLC0415
    from mlprivacy.policy.engine import grounds_of  # noqa: PLC0415
    from mlprivacy.policy.gather import select_facts  # noqa: PLC0415

    found = objects.read(files, default_namespace=namespace)
    if found.bad:
        raise CliError("\n       ".join(str(bad) for bad in found.bad))
    settings = offline.Settings(offline.parse_now(how[0]), {}, how[1])
    lookup = offline.FileLookup((item.raw for item in found.items), settings)
    with offline.custom_rules() as custom:
        judgement = offline.judge(found, settings, custom)
    wanted = subject.partition("/")[2] or subject if subject else None
    explained = [
        explanation.Explanation(
            item.what,
            decision,
            place=str(item.place),
            grounds=grounds_of(item.raw, select_facts(item.raw, lookup, settings.now)),
            packs=lookup.packs().packs,
        )
        for item, decision in ((judged.item, judged.decision) for judged in judgement.judged)
        if wanted in (None, item.name)
    ]
    if not explained:
        raise CliError(f"There is no job{f' {wanted}' if wanted else ''} in {', '.join(files)}.")
    _show(explained, *shown)


def _cluster(subject: str, namespace: str | None, access: Access, shown: tuple[str, bool]) -> None:
    from mlprivacy.cli import cluster, explanation, policyview  # noqa: PLC0415

    word, _, name = subject.partition("/")
    resource = cluster.resource_named(word)
    kind = resource.kind if resource is not None else ""
    if resource is None or kind not in (*JOBS, *policyview.KINDS):
        raise CliError(
            f"{word!r} is no kind of job, and no policy or exception; write trainingjob/{name}, inferencejob/{name}, "
            f"privacypolicy/{name} or policyexception/{name}."
        )

    async def look(client: KubeClient) -> explanation.Explanation | policyview.View:
        if kind in JOBS:
            return await explanation.of_cluster(client, resource, name, namespace or client.namespace or "default")
        return await policyview.of_cluster(client, resource, name)

    _show([cluster.run(access, look)], *shown)


def _show(explained: list[Any], output: str, verbose: bool) -> None:
    if output == "json":
        bodies = [item.as_json() for item in explained]
        _json(bodies[0] if len(bodies) == 1 else bodies)
        return
    for index, item in enumerate(explained):
        if index:
            click.echo()
        for line in item.lines(verbose=verbose):
            click.echo(line)


def _json(body: Any) -> None:
    click.echo(json.dumps(body, indent=2, ensure_ascii=False))
