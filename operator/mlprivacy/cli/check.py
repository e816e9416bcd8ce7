"""``mlprivacy check``: the decision on jobs in files, offline, with the exit code that a pipeline needs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from mlprivacy.cli.errors import CliError
from mlprivacy.cli.installation import CHART_RETENTION_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlprivacy.cli.objects import Item
    from mlprivacy.cli.offline import Judged, Judgement
    from mlprivacy.cli.together import Examined
    from mlprivacy.policy.model import Finding

EPILOG = """\b
Exit codes, the worst of all files counts (2, then 1, then 3, then 0):
  0  every job, PrivacyBudget and Dataset is allowed (warnings included)
  1  one is refused
  2  bad input: a file can not be read, an object has unknown or wrong fields
  3  a job is held: something it needs is missing; or a policy names a pack that is not there, which would hold jobs

Only the API server and the operator in the cluster check what changes over time (immutable fields, a larger promise, a
withdrawn scope that returns), which other budgets and data there are and what was spent, who is allowed to write (RBAC,
guard policies), the rendered Job and Pod (quota, Pod Security, unknown classes) and everything that is not in the
files. A dataset that is not in the files is held, not refused."""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|-...")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "sarif"]),
    default="text",
    show_default=True,
    help="How to print: text for people, json for programs, sarif 2.1.0 for code scanning.",
)
@click.option(
    "-n", "--namespace", default="default", show_default=True, help="Namespace of objects that do not name one."
)
@click.option(
    "--namespace-label",
    "namespace_labels",
    multiple=True,
    metavar="NS=MODE",
    help="Judge as if the namespace NS were labelled mlprivacy.dev/enforce=MODE (enforce, warn, audit). Repeatable.",
)
@click.option(
    "--default-mode",
    type=click.Choice(["enforce", "warn", "audit"]),
    help="The mode of namespaces that are not in the files. Without it jobs there are held as not governed.",
)
@click.option(
    "--audit-retention-days",
    type=click.IntRange(0),
    default=CHART_RETENTION_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Judge as if the installation kept its audit log for so long; the default is that of the chart.",
)
@click.option(
    "--requester",
    metavar="USER",
    help="Judge as if USER applied the jobs that carry no mlprivacy.dev/requested-by.",
)
@click.option(
    "--operator-namespace",
    default="mlprivacy-system",
    show_default=True,
    help="Where the operator runs: only there ConfigMaps attest people's training.",
)
@click.option(
    "--exception",
    "exception_from",
    metavar="RULE",
    help="Print the PolicyException to ask for, covering what RULE finds in the jobs that it refuses.",
)
@click.option("--now", metavar="TIME", help="Judge at this moment (RFC 3339, or a day) instead of the present.")
@click.option("-v", "--verbose", is_flag=True, help="Show findings that are only recorded in full, too.")
@click.option("-q", "--quiet", is_flag=True, help="Show only what is refused, held or bad input, and the count.")
def command(
    paths: tuple[str, ...],
    output: str,
    namespace: str,
    namespace_labels: tuple[str, ...],
    default_mode: str | None,
    audit_retention_days: int,
    requester: str | None,
    operator_namespace: str,
    exception_from: str | None,
    now: str | None,
    verbose: bool,
    quiet: bool,
) -> None:
    """Decide on the jobs, privacy budgets and datasets in files, as the operator would.

    Reads YAML and JSON by kubectl's rules, folders with all that is below them but the cases of `mlprivacy test`, and
    `-` for the standard input. Jobs are judged together with the namespaces, classes, datasets, grants, consent scopes,
    policies and exceptions in the same files. Policies are looked at where there is no job, too. PrivacyBudgets and
    Datasets are held against each other, one after the other as `kubectl apply` sends them: one budget for the same
    people's data, which can be kept.
    All kinds of mlprivacy are checked strictly: an unknown field is an error, as it is in `kubectl apply`.
    """
    from mlprivacy.cli import objects, offline  # noqa: PLC0415 - a quick start for the other commands

    settings = offline.Settings(
        offline.parse_now(now),
        offline.parse_modes(namespace_labels),
        default_mode,
        audit_retention_days=audit_retention_days,
        requester=requester or None,
        operator_namespace=operator_namespace,
    )
    found = objects.read(paths, default_namespace=namespace)
    if not found.files and not found.bad:
        raise CliError(
            f"There is no {', '.join(objects.SUFFIXES)} file in {', '.join(paths)}; name the files to check."
        )
    with offline.custom_rules() as custom:
        judgement = offline.judge(found, settings, custom)
    if exception_from is not None:
        from mlprivacy.cli import asking  # noqa: PLC0415

        for line in asking.requests(judgement.judged, exception_from, settings.now):
            click.echo(line)
        return
    if output == "json":
        import json  # noqa: PLC0415

        click.echo(json.dumps(as_json(judgement), indent=2, ensure_ascii=False))
    elif output == "sarif":
        import json  # noqa: PLC0415

        from mlprivacy.cli import sarif  # noqa: PLC0415

        click.echo(json.dumps(sarif.report(judgement), indent=2, ensure_ascii=False))
    else:
        print_text(judgement, verbose=verbose, quiet=quiet)
    click.get_current_context().exit(judgement.exit_code)


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The whole judgement for programs."""
    return {
        "exitCode": judgement.exit_code,
        "jobs": [_job_json(judged) for judged in judgement.judged],
        "data": [_data_json(examined) for examined in judgement.examined],
        "counts": counts(judgement),
        "errors": [
            {
                "file": bad.place.file,
                "line": bad.place.line,
                "column": bad.place.column,
                "object": bad.what,
                "path": bad.path,
                "message": bad.message,
            }
            for bad in judgement.bad
        ],
        "policies": {
            "count": len(judgement.objects.of("PrivacyPolicy")),
            "problems": [
                {"file": p.place.file, "line": p.place.line, "object": p.what, "path": p.path, "message": p.message}
                for p in judgement.policy_problems
            ],
        },
        "otherObjects": judgement.objects.foreign,
        "notes": list(judgement.notes),
    }


def _job_json(judged: Judged) -> dict[str, Any]:
    item, decision = judged.item, judged.decision
    body = decision.as_dict()
    for entry, finding in zip(body["findings"], decision.findings, strict=True):
        place = item.place_of(finding.path)
        entry |= {"line": place.line, "column": place.column}
    return {
        "file": item.file,
        "line": item.node.line,
        "digest": decision.digest,
        **body,
        "validUntil": decision.valid_until.isoformat() if decision.valid_until else None,
    }


def _data_json(examined: Examined) -> dict[str, Any]:
    item = examined.item
    return {
        "file": item.file,
        "line": item.node.line,
        "kind": item.kind,
        **({"namespace": item.namespace} if item.namespace else {}),
        "name": item.name,
        "verdict": examined.verdict.value,
        "findings": [
            {**finding.as_dict(), "line": place.line, "column": place.column}
            for finding in examined.findings
            for place in (item.place_of(finding.path),)
        ],
    }


def print_text(judgement: Judgement, *, verbose: bool = False, quiet: bool = False) -> None:
    """The judgement for people."""
    from mlprivacy.cli import style  # noqa: PLC0415
    from mlprivacy.policy.model import Verdict  # noqa: PLC0415

    for bad in judgement.bad:
        word = style.coloured("BAD     ", "red", bold=True)
        subject = f"  {bad.what}" if bad.what else ""
        path = f"  {bad.path}" if bad.path else ""
        click.echo(f"{word}{style.printable(subject + path)}  {bad.place}")
        for line in style.paragraph(bad.message, "           "):
            click.echo(line)
    for problem in judgement.policy_problems:
        word = style.coloured("HELD    ", "yellow", bold=True)
        click.echo(f"{word}  {style.printable(problem.what)}  {problem.place}")
        for line in style.paragraph(problem.message, "           "):
            click.echo(line)
    for examined in judgement.examined:
        _print_data(examined, quiet=quiet)
    for judged in judgement.judged:
        if quiet and judged.decision.verdict is Verdict.ALLOW:
            continue
        decision, item = judged.decision, judged.item
        mode = f"mode {decision.mode}" if decision.mode else "no mode"
        click.echo(f"{style.heading(decision)}  {item.what}  ({mode})  {item.place}")
        shown = decision.blocking if quiet else decision.findings
        for line in style.findings_lines(
            shown, decision.mode, verbose=verbose, where=functools.partial(_line, item), packs=judgement.packs
        ):
            click.echo(line)
    for note in () if quiet else judgement.notes:
        for line in style.paragraph(f"Note: {note}", ""):
            click.echo(line)
    click.echo(summary(judgement))


def _print_data(examined: Examined, *, quiet: bool) -> None:
    """A PrivacyBudget, and a Dataset where there is something to say of it."""
    from mlprivacy.cli import style  # noqa: PLC0415
    from mlprivacy.policy.model import Verdict  # noqa: PLC0415

    item, findings = examined.item, examined.findings
    if (quiet and examined.verdict is Verdict.ALLOW) or (item.kind == "Dataset" and not findings):
        return
    click.echo(f"{style.heading_of(examined.verdict, findings)}  {style.printable(item.what)}  {item.place}")
    for line in style.findings_lines(findings, None, where=functools.partial(_line, item)):
        click.echo(line)


def _line(item: Item, finding: Finding) -> str:
    where = item.place_of(finding.path)
    return f"line {where.line}" if where.line else ""


def counts(judgement: Judgement) -> dict[str, int]:
    """How many objects of each kind of ours were checked, jobs too; also kinds of which all are bad."""
    from mlprivacy.api.kinds import all_kinds  # noqa: PLC0415

    found = {info.kind: len(judgement.objects.of(info.kind)) for info in all_kinds()}
    return {kind: number for kind, number in found.items() if number}


def summary(judgement: Judgement) -> str:
    """One line that counts everything that was checked, the jobs first where there are any."""
    from mlprivacy.cli.style import verdict_word, word_of  # noqa: PLC0415

    jobs = len(judgement.judged)
    of_jobs = f"{jobs} job{'' if jobs == 1 else 's'}" + _words(verdict_word(j.decision) for j in judgement.judged)
    of_data = []
    for kind, number in counts(judgement).items():
        if kind not in ("TrainingJob", "InferenceJob"):
            said = _words(
                word_of(e.verdict, e.findings) for e in judgement.examined if e.item.kind == kind and e.findings
            )
            of_data.append(f"{number} {_plural(kind) if number > 1 else kind}{said}")
    data = ", ".join(of_data)
    text = "; ".join(part for part in ((of_jobs, data) if jobs else (data, of_jobs)) if part)
    if judgement.policy_problems:
        text += f"; {len(judgement.policy_problems)} of the names in policies would hold jobs"
    if judgement.bad:
        text += f"; {len(judgement.bad)} problem{'' if len(judgement.bad) == 1 else 's'} in the files"
    if judgement.objects.foreign:
        text += f"; {judgement.objects.foreign} objects of other kinds were not looked at"
    return text + "."


def _words(found: Iterable[str]) -> str:
    """``: 3 allowed, 1 refused`` of the verdicts; nothing of none."""
    from collections import Counter  # noqa: PLC0415

    number = Counter(word.lower() for word in found)
    parts = [f"{number[word]} {word}" for word in ("allowed", "warned", "refused", "held") if number[word]]
    return f": {', '.join(parts)}" if parts else ""


def _plural(kind: str) -> str:
    """The kind as several of them are called."""
    if kind.endswith("y"):
        return f"{kind[:-1]}ies"
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"
