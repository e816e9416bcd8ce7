"""Probes: healthy, not ready with the reason, a check that breaks, metrics, and nothing else."""

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from mlprivacy.kube.httpserve import ProbeServer


@pytest.fixture
async def ask():
    """A server whose readiness is in the test's hands, and a way to ask it."""
    state: dict[str, str | None] = {"cache": None}
    registry = CollectorRegistry()
    Counter("things_total", "Things.", registry=registry).inc(3)
    server = ProbeServer(
        host="127.0.0.1",
        port=0,
        healthy={"loop": lambda: None},
        ready={"cache": lambda: state["cache"], "policy": lambda: state.get("policy")},
        registry=registry,
    )
    await server.start()
    async with aiohttp.ClientSession() as session:

        async def get(path):
            async with session.get(f"http://127.0.0.1:{server.port}{path}") as response:
                return response.status, await response.text()

        get.state = state
        yield get
    await server.stop()


async def test_all_well(ask):
    assert await ask("/healthz") == (200, "ok\n")
    assert await ask("/readyz") == (200, "ok\n")
    assert await ask("/readyz?verbose") == (200, "cache: ok\npolicy: ok\n")


async def test_not_ready_says_why_and_stays_healthy(ask):
    ask.state["cache"] = "the copy of datasets is not read yet"
    assert await ask("/readyz") == (503, "cache: the copy of datasets is not read yet\n")
    assert (await ask("/healthz"))[0] == 200


async def test_a_check_that_raises_is_not_ready(ask):
    del ask.state["cache"]
    status, text = await ask("/readyz")
    assert status == 503
    assert "KeyError" in text


async def test_metrics(ask):
    status, text = await ask("/metrics")
    assert status == 200
    assert "things_total 3.0" in text


@pytest.mark.parametrize("path", ["/", "/debug", "/metrics/x"])
async def test_nothing_else_is_served(ask, path):
    assert (await ask(path))[0] == 404


async def test_a_taken_port_is_an_error():
    first = ProbeServer(host="127.0.0.1", port=0)
    await first.start()
    try:
        with pytest.raises(OSError, match=str(first.port)):
            await ProbeServer(host="127.0.0.1", port=first.port).start()
    finally:
        await first.stop()
