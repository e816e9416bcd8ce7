"""``mlprivacy strip-finalizers``: takes our finalizer off all our objects, for an uninstall with a dead controller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlprivacy.cli.access import Access
from mlprivacy.cli.errors import CliError

if TYPE_CHECKING:
    from mlprivacy.kube.client import KubeClient
    from mlprivacy.kube.resources import Resource

_TRIES = 5


@click.command()
@click.option("--kubeconfig", envvar="MLPRIVACY_KUBECONFIG", help="Path of the kubeconfig.")
@click.option("--yes", is_flag=True, help="Do it; without this only what would be done is said.")
def command(kubeconfig: str | None, yes: bool) -> None:
    """Take the finalizer mlprivacy.dev/teardown off all our objects.

    For an uninstall when no controller runs any more: objects under deletion then go away at once, and their pods are
    left to the garbage collector. The chart's pre-delete hook runs it. The objects themselves are not deleted.
    """
    from mlprivacy.cli import cluster  # noqa: PLC0415

    count, problems = cluster.run(Access(kubeconfig), lambda client: strip(client, yes=yes))
    if problems:
        raise CliError(f"{len(problems)} objects keep the finalizer: " + "; ".join(problems[:5]))
    verb = "was taken off" if yes else "would be taken off"
    click.echo(f"The finalizer {verb} {count} object{'' if count == 1 else 's'}.")
    if count and not yes:
        click.echo("Run it again with --yes to do it.")


async def strip(client: KubeClient, *, yes: bool) -> tuple[int, list[str]]:
    """How many objects had the finalizer, and what went wrong, one sentence each."""
    from mlprivacy.api.names import FINALIZER  # noqa: PLC0415
    from mlprivacy.kube.errors import ApiError, NotFound  # noqa: PLC0415
    from mlprivacy.kube.resources import LEDGERENTRIES, OURS  # noqa: PLC0415

    count = 0
    problems: list[str] = []
    for resource in OURS:
        if resource is LEDGERENTRIES:  # they have none, and nobody changes them
            continue
        try:
            found = await client.list(resource)
        except NotFound:
            continue  # the definition is gone, and its objects with it
        for obj in found:
            if FINALIZER not in (obj["metadata"].get("finalizers") or []):
                continue
            count += 1
            metadata = obj["metadata"]
            place = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
            click.echo(f"{resource} {place}")
            if yes:
                try:
                    await _strip_one(client, resource, obj, FINALIZER)
                except ApiError as error:
                    problems.append(f"{resource} {place}: {error.message}")
    return count, problems


async def _strip_one(client: KubeClient, resource: Resource, obj: dict[str, Any], finalizer: str) -> None:
    from mlprivacy.kube.errors import Conflict, NotFound  # noqa: PLC0415

    metadata = obj["metadata"]
    for attempt in range(1, _TRIES + 1):
        kept = [name for name in metadata.get("finalizers") or [] if name != finalizer]
        patch = {"metadata": {"finalizers": kept, "resourceVersion": metadata["resourceVersion"]}}
        try:
            await client.merge_patch(resource, metadata["name"], patch, metadata.get("namespace"))
        except NotFound:
            return
        except Conflict:
            if attempt == _TRIES:
                raise
            try:
                metadata = (await client.get(resource, metadata["name"], metadata.get("namespace")))["metadata"]
            except NotFound:
                return
        else:
            return
