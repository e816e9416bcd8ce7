"""What `mlprivacy explain` says where there is nothing to explain."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mlprivacy.cli.errors import CliError
from mlprivacy.cli.explanation import of_cluster
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import from_response
from mlprivacy.kube.resources import TRAININGJOBS

NO_SUCH_JOB = b'{"kind": "Status", "reason": "NotFound", "message": "not found", "details": {"name": "x"}}'


class Answering:
    """A client whose API server has nothing."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def get(self, *_: Any) -> Any:
        raise from_response(404, self.body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"404 page not found\n", "does not know trainingjobs.mlprivacy.dev: our definitions are not installed"),
        (NO_SUCH_JOB, "There is no TrainingJob x in the namespace research; give another with -n"),
    ],
)
async def test_a_kind_that_is_not_installed_is_told_from_a_job_that_is_not_there(body: bytes, said: str) -> None:
    with pytest.raises(CliError, match=said):
        await of_cluster(cast(KubeClient, Answering(body)), TRAININGJOBS, "x", "research")
