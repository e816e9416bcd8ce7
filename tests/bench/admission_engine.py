"""The handler of admission under another HTTP engine, for the comparison in docs/decisions/admission-engine.md.

    admission_engine.py aiohttp|aiohttp-uvloop|granian-h2 KUBECONFIG PORT HEALTH-PORT CLIENT-CA

granian serves HTTP/2 (and HTTP/1.1 where the client asks for it) from Rust threads and calls the same handler through
ASGI. Its certificate is read from files once, at the start.
"""

import asyncio
import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlprivacy.admission.config import AdmissionConfig
from mlprivacy.admission.handler import Handler
from mlprivacy.admission.installation import Installation
from mlprivacy.admission.jobs import JobStore
from mlprivacy.admission.logs import DecisionLog, log_as_json
from mlprivacy.admission.main import Freshness, run_admission, settle_memory
from mlprivacy.admission.pods import PodJudge
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.httpserve import ProbeServer
from mlprivacy.kube.resources import SECRETS


async def aiohttp_server(kubeconfig: str, port: int, health: int, client_ca: Path) -> None:
    """The product as it is."""
    config = AdmissionConfig(
        listen=f"127.0.0.1:{port}", health=f"127.0.0.1:{health}", kubeconfig=kubeconfig, client_ca=client_ca
    )
    await run_admission(config, asyncio.Event())


async def granian_server(kubeconfig: str, port: int, health: int, client_ca: Path) -> None:
    """The same handler behind granian."""
    from granian.constants import HTTPModes, Interfaces, SSLProtocols  # noqa: PLC0415
    from granian.server.embed import Server  # noqa: PLC0415

    log_as_json()
    async with KubeClient(await _credentials(kubeconfig)) as client:
        facts, jobs, installation = FactStore(client), JobStore(client), Installation(client, "mlprivacy-system")
        facts.start(), jobs.start(), installation.start()
        await facts.wait_synced()
        pods = PodJudge(facts, jobs, installation.settings)
        jobs.on_change(pods.forget)
        fresh = Freshness(facts, jobs, 300.0).problem
        handler = Handler(facts, pods, namespace="mlprivacy-system", fresh=fresh, log=DecisionLog(sys.stderr.buffer))

        async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            body, more = b"", True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
            kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode()
            reply = await handler.handle(scope["path"], kind, body, trusted=True)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply.body)).encode())]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": reply.body})

        with tempfile.TemporaryDirectory() as name:
            files = await _files(client, Path(name))
            probes = ProbeServer(host="127.0.0.1", port=health, ready={"facts": fresh})
            await probes.start()
            settle_memory()
            server = Server(
                app,
                address="127.0.0.1",
                port=port,
                interface=Interfaces.ASGINL,
                http=HTTPModes.auto,
                ssl_cert=files["tls.crt"],
                ssl_key=files["tls.key"],
                ssl_ca=client_ca,
                ssl_client_verify=True,
                ssl_protocol_min=SSLProtocols.tls13,
                websockets=False,
            )
            await server.serve()


async def _files(client: KubeClient, folder: Path) -> dict[str, Path]:
    secret = await client.get(SECRETS, "mlprivacy-admission-tls", "mlprivacy-system")
    found = {}
    for name in ("tls.crt", "tls.key"):
        found[name] = folder / name
        found[name].write_bytes(base64.b64decode(secret["data"][name]))
    return found


async def _credentials(kubeconfig: str) -> Any:
    from mlprivacy.kube import credentials  # noqa: PLC0415

    return await credentials.load(kubeconfig)


def run(engine: str, kubeconfig: str, port: str, health: str, client_ca: str) -> None:
    """Serve until the process is ended."""
    os.environ.pop("KUBECONFIG", None)
    serve = granian_server if engine == "granian-h2" else aiohttp_server
    factory = None
    if engine != "aiohttp":
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(kubeconfig, int(port), int(health), Path(client_ca)))


if __name__ == "__main__":
    run(*sys.argv[1:])
