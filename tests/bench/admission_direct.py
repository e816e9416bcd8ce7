"""The admission server against a bare aiohttp handler that parses and answers the same review, each on one core.

    python tests/bench/admission_direct.py            all rounds; writes build/bench/admission_direct.json
    python tests/bench/admission_direct.py profile    where the server's time goes, by cProfile

Both servers run over mutual TLS on HTTP/1.1, pinned to one core where the system allows it; the load comes from
another. The ratio compares requests per second of the server's CPU: what a saturated core answers. It is taken in
interleaved rounds, so that a busy neighbour hits both alike.
"""

import asyncio
import contextlib
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

import orjson
from admission_load import Prepared, connect, paced, prepare, saturate
from admission_samples import SETTINGS, digest, governed_pod, objects, pod, review, training_job
from aiohttp import web
from processes import cpu_seconds
from results import Target, table, target, write

from mlprivacy.kube.certificates import LeafSpec, new_ca, new_leaf

ROUNDS: Final = 5
SECONDS: Final = 1.5  # of each measurement
CONNECTIONS: Final = 8
WANTED: Final = {"nothing": 0.8, "pod": 0.5, "job": 0.25}
TITLES: Final = {
    "nothing": "a pod that matches nothing",
    "pod": "a governed pod",
    "job": "a TrainingJob with three datasets under all rules",
}


def requests() -> dict[str, Prepared]:
    """The three reviews."""
    job = training_job()
    plain = pod({"app": "sample"}, {"note": "x" * 64})
    bodies = {
        "nothing": ("/validate/pods", plain),
        "pod": ("/validate/pods", governed_pod(job, digest(job))),
        "job": ("/validate/kinds", job),
    }
    return {name: prepare(path, orjson.dumps(review(obj)), b'"allowed":true') for name, (path, obj) in bodies.items()}


# --- servers --------------------------------------------------------------------------------------------------------


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS with a client certificate demanded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def bare(context: ssl.SSLContext, port: int) -> None:
    """A plain aiohttp application: reads, parses, allows."""

    async def allow(request: web.Request) -> web.Response:
        whole = orjson.loads(await request.read())
        answer = {"uid": whole["request"]["uid"], "allowed": True}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    app = web.Application(client_max_size=8 << 20)
    app.router.add_post("/validate/{what}", allow)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


async def ours(context: ssl.SSLContext, port: int) -> None:
    """The admission server with its real stores, whose copies are filled by hand: there is no API server here."""
    from mlprivacy.admission.server import AdmissionServer  # noqa: PLC0415

    async with handler() as made:
        server = AdmissionServer(made, context, client_name="kube-apiserver", limiter=None)
        await server.start("127.0.0.1", port)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def handler() -> AsyncIterator[Any]:
    """The handler as `run_admission` builds it."""
    from mlprivacy.admission.handler import Handler  # noqa: PLC0415
    from mlprivacy.admission.jobs import JobStore  # noqa: PLC0415
    from mlprivacy.admission.logs import DecisionLog, log_as_json  # noqa: PLC0415
    from mlprivacy.admission.main import Freshness, settle_memory  # noqa: PLC0415
    from mlprivacy.admission.pods import PodJudge  # noqa: PLC0415
    from mlprivacy.kube.client import KubeClient  # noqa: PLC0415
    from mlprivacy.kube.credentials import Credentials  # noqa: PLC0415
    from mlprivacy.kube.facts import FactStore  # noqa: PLC0415

    log_as_json()
    async with KubeClient(Credentials("http://127.0.0.1:1", token="none")) as client:  # noqa: S106 - never used
        facts, jobs = FactStore(client), JobStore(client)
        informers = [*facts.informers.values(), *jobs._informers.values()]
        for informer in informers:
            for obj in objects():
                if obj["kind"] == informer.resource.kind:
                    informer._store(obj)
            informer._synced.set()
        settle_memory()
        pods = PodJudge(facts, jobs, lambda _: (SETTINGS,))
        jobs.on_change(pods.forget)
        # An hour: nothing is heard from an API server that is not there.
        yield Handler(
            facts,
            pods,
            namespace="mlprivacy-system",
            fresh=Freshness(facts, jobs, 3600.0).problem,
            log=DecisionLog(sys.stderr.buffer),
        )


def serve(kind: str, folder: Path, port: int) -> None:
    """Run one server in this process, on the first core it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    context = server_context(folder)
    asyncio.run(bare(context, port) if kind == "bare" else ours(context, port))


# --- measuring ------------------------------------------------------------------------------------------------------


def certificates(folder: Path) -> ssl.SSLContext:
    """Files for the servers, and the context of the client."""
    now = datetime.now(UTC)
    ca = new_ca(now, timedelta(days=1))
    server = new_leaf(ca, LeafSpec("server", ip_addresses=("127.0.0.1",)), now, timedelta(days=1))
    client = new_leaf(ca, LeafSpec("kube-apiserver", server=False, client=True), now, timedelta(days=1))
    for name, content in (
        ("ca", ca.certificate),
        ("server", server.certificate + server.key),
        ("client", client.certificate + client.key),
    ):
        (folder / f"{name}.pem").write_bytes(content)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "client.pem")
    return context


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, tuple[int, int]]]:
    """Both servers as processes: (pid, port) by name."""
    started: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    with (folder / "log").open("wb") as log:
        try:
            for offset, kind in enumerate(("bare", "ours")):
                port = 18443 + offset
                argv = [sys.executable, __file__, "serve", kind, str(folder), str(port)]
                started[kind] = (subprocess.Popen(argv, stdout=log, stderr=log), port)
            yield {kind: (process.pid, port) for kind, (process, port) in started.items()}
        finally:
            for process, _ in started.values():
                process.terminate()
                process.wait(10)


async def measure(folder: Path, context: ssl.SSLContext) -> tuple[list[Target], dict[str, Any]]:
    """All rounds."""
    sent = requests()
    per_cpu: dict[str, dict[str, list[float]]] = {name: {"bare": [], "ours": []} for name in sent}
    per_second: dict[str, dict[str, list[float]]] = {name: {"bare": [], "ours": []} for name in sent}
    p99: list[float] = []
    with servers(folder) as running:
        connections = {}
        for kind, (_, port) in running.items():
            for _ in range(200):
                with contextlib.suppress(OSError):
                    connections[kind] = await connect(port, context, CONNECTIONS)
                    break
                await asyncio.sleep(0.1)
        for request in sent.values():  # warm up
            for kind in running:
                await saturate(connections[kind], request, 0.5)
        for number in range(ROUNDS):
            for name, request in sent.items():
                for kind in ("bare", "ours") if number % 2 == 0 else ("ours", "bare"):
                    pid = running[kind][0]
                    cpu, begun = cpu_seconds(pid), time.perf_counter()
                    count = await saturate(connections[kind], request, SECONDS)
                    per_second[name][kind].append(count / (time.perf_counter() - begun))
                    per_cpu[name][kind].append(count / max(cpu_seconds(pid) - cpu, 0.01))
            latencies = sorted(await paced(connections["ours"], list(sent.values()), 50.0, 4.0))
            p99.append(latencies[int(len(latencies) * 0.99)])
            print(f"round {number + 1} of {ROUNDS}", flush=True)
        for kept in connections.values():
            for connection in kept:
                connection.close()
    targets = [
        target(
            f"admission, {TITLES[name]}: requests per CPU second, of a bare handler's",
            "×",
            WANTED[name],
            "higher",
            [a / b for a, b in zip(by["ours"], by["bare"], strict=True)],
        )
        for name, by in per_cpu.items()
    ]
    targets.append(target("admission, p99 at 50 requests a second", "ms", 10.0, "lower", p99))
    details = {
        "requests_per_cpu_second": {
            n: {k: round(statistics.median(v)) for k, v in by.items()} for n, by in per_cpu.items()
        },
        "requests_per_second": {
            n: {k: round(statistics.median(v)) for k, v in by.items()} for n, by in per_second.items()
        },
        "connections": CONNECTIONS,
        "seconds": SECONDS,
    }
    return targets, details


def profile() -> None:
    """Where the time of the handler goes, without HTTP and TLS."""
    import cProfile  # noqa: PLC0415
    import pstats  # noqa: PLC0415

    async def run() -> None:
        async with handler() as made:
            for name, request in requests().items():
                head, _, body = request.raw.partition(b"\r\n\r\n")
                path = head.split()[1].decode()
                begun = time.perf_counter()
                for _ in range(1000):
                    await made.handle(path, "application/json", body, trusted=True)
                print(f"\n{TITLES[name]}: {(time.perf_counter() - begun):.3f} ms a request in the handler")
                profiler = cProfile.Profile()
                profiler.enable()
                for _ in range(1000):
                    await made.handle(path, "application/json", body, trusted=True)
                profiler.disable()
                pstats.Stats(profiler).sort_stats("cumulative").print_stats(25)

    asyncio.run(run())


def main() -> None:
    """Measure, write and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = certificates(folder)
        if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        targets, details = asyncio.run(measure(folder, context))
    write("admission_direct", targets, details)
    print(table([vars(t) | {"met": t.met} for t in targets]))
    print(details)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1:] == ["profile"]:
        profile()
    else:
        main()
