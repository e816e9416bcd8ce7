"""Programs of a hostile trainer or model server, run in its own container of a real pod."""

from typing import Final

# Holds 600 connections to each port of the sidecar's, half a request on each, and takes any such port that is free.
TAKE: Final = """
import asyncio, json, os, socket, threading, time

PORTS = %r

def take(port):
    wanted = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    while wanted:
        for family, host in list(wanted):
            try:
                sock = socket.socket(family)
            except OSError:
                wanted.remove((family, host))
                continue
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind((host, port))
                sock.listen(512)
            except OSError:
                sock.close()
                continue
            wanted.remove((family, host))
            print("TAKEN", host, port, flush=True)
            threading.Thread(target=serve, args=(sock,), daemon=True).start()
        time.sleep(0.002)

def serve(sock):
    while True:
        client, peer = sock.accept()
        try:
            client.settimeout(2)
            asked = client.recv(2000).split(b"\\r\\n")[0]
            print("ASKED", peer[0], asked.decode("latin-1"), flush=True)
            beat = {"attempt": os.environ.get("ATTEMPT", ""), "role": "accountant", "uptimeSeconds": time.monotonic(),
                    "seq": 1, "hash": "0" * 64}
            body = json.dumps(beat).encode() if b"/heartbeat" in asked else b"PATIENT RECORDS\\n"
            head = "HTTP/1.1 200 OK\\r\\nContent-Length: %%d\\r\\nConnection: close\\r\\n\\r\\n" %% len(body)
            client.sendall(head.encode() + body)
        except OSError:
            pass
        client.close()

async def hold(port):
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"G" * 9000)
            await asyncio.wait_for(reader.read(1), 10)
            writer.close()
        except (OSError, TimeoutError):
            await asyncio.sleep(0.01)

async def main():
    for port in PORTS:
        threading.Thread(target=take, args=(port,), daemon=True).start()
    print("began", flush=True)
    await asyncio.gather(*(hold(port) for port in PORTS for _ in range(%d)))
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def takes(*ports: int, flood: int = 600) -> str:
    """A program that takes ports of the sidecar's as soon as they are free, and floods them until then."""
    return TAKE % (ports, flood)


# Asks for a page once a moment; prints what it got whenever that changes.
CLIENT: Final = """
import socket, time

last = b""
while True:
    try:
        connection = socket.create_connection((%r, %d), 3)
        connection.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        connection.settimeout(3)
        got = connection.recv(2000)
        connection.close()
    except OSError as error:
        got = str(error).encode()
    if got != last:
        print(time.time(), got, flush=True)
        last = got
    time.sleep(0.2)
"""


def client(address: str, port: int) -> str:
    """A program that asks an address again and again."""
    return CLIENT % (address, port)
