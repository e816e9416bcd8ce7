"""``mlprivacy explain``: the whole decision on a job, from the cluster or from files, and what each rule is for."""

from __future__ import annotations

import json
from typing import Any

import click

from mlprivacy.cli.errors import CliError


@click.command()
@click.argument("subject", required=False, metavar="[KIND/NAME|RULE]")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the job.")
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Explain the jobs in files, offline.")
@click.option("--rules", "list_rules", is_flag=True, help="List every rule.")
@click.option("--now", metavar="TIME", help="With -f: judge at this moment instead of the present.")
@click.option("--default-mode", type=click.Choice(["enforce", "warn", "audit"]), help="With -f: as in check.")
@click.option("--kubeconfig", envvar="MLPRIVACY_KUBECONFIG", help="Path of the kubeconfig.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    subject: str | None,
    namespace: str,
    files: tuple[str, ...],
    list_rules: bool,
    now: str | None,
    default_mode: str | None,
    kubeconfig: str | None,
    output: str,
) -> None:
    """Say what was decided on a job and why, or what a rule is for.

    \b
    mlprivacy explain trainingjob/diagnosis -n research
    mlprivacy explain -f job.yaml -f data/
    mlprivacy explain --rules
    mlprivacy explain purpose-limitation

    `mlprivacy rules` lists and describes the rules, too. Explains; does not judge: the exit code is 0 whatever the
    decision is, and 2 when there is nothing to explain.
    """
    if list_rules:
        if subject or files:
            raise CliError("--rules lists every rule; leave the rest out, or name one rule.")
        _rules(output)
    elif files:
        _files(files, subject, namespace, (now, default_mode), output)
    elif subject is None:
        raise CliError("Name a job as KIND/NAME, files with -f, a rule, or --rules for the list of rules.")
    elif "/" in subject and not subject.startswith("custom/"):
        _cluster(subject, namespace, kubeconfig, output)
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
    files: tuple[str, ...], subject: str | None, namespace: str, how: tuple[str | None, str | None], output: str
) -> None:
    from mlprivacy.cli import check, explanation, objects, offline  # noqa: PLC0415
    from mlprivacy.policy.engine import grounds_of  # noqa: PLC0415
    from mlprivacy.policy.gather import select_facts  # noqa: PLC0415

    found = objects.read(files, default_namespace=namespace)
    if found.bad:
        raise CliError("\n       ".join(str(bad) for bad in found.bad))
    settings = offline.Settings(offline.parse_now(how[0]), {}, how[1], audit_retention_days=check.CHART_RETENTION_DAYS)
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
        )
        for item, decision in ((judged.item, judged.decision) for judged in judgement.judged)
        if wanted in (None, item.name)
    ]
    if not explained:
        raise CliError(f"There is no job{f' {wanted}' if wanted else ''} in {', '.join(files)}.")
    _show(explained, output)


def _cluster(subject: str, namespace: str, kubeconfig: str | None, output: str) -> None:
    from mlprivacy.cli import cluster, explanation  # noqa: PLC0415

    word, _, name = subject.partition("/")
    resource = cluster.resource_named(word)
    if resource is None or resource.kind not in ("TrainingJob", "InferenceJob"):
        raise CliError(f"{word!r} is no kind of job; write trainingjob/{name} or inferencejob/{name}.")
    _show([cluster.run(kubeconfig, lambda client: explanation.of_cluster(client, resource, name, namespace))], output)


def _show(explained: list[Any], output: str) -> None:
    if output == "json":
        bodies = [item.as_json() for item in explained]
        _json(bodies[0] if len(bodies) == 1 else bodies)
        return
    for index, item in enumerate(explained):
        if index:
            click.echo()
        for line in item.lines():
            click.echo(line)


def _json(body: Any) -> None:
    click.echo(json.dumps(body, indent=2, ensure_ascii=False))
