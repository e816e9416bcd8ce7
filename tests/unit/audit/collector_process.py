"""A collector as a process of its own, for tests that kill it: arguments are directory, cert, key, ca, port."""

import asyncio
import sys
from pathlib import Path

from mlprivacy.audit.collector import CollectorConfig, run_collector
from mlprivacy.audit.tls import FileTLS


async def main() -> None:
    directory, cert, key, ca, port = sys.argv[1:]
    config = CollectorConfig(
        directory=Path(directory),
        tls=FileTLS(Path(cert), Path(key), Path(ca)),
        host="127.0.0.1",
        port=int(port),
        health_host="127.0.0.1",
        health_port=0,
        segment_bytes=20_000,
    )
    await run_collector(config, asyncio.Event())


asyncio.run(main())
