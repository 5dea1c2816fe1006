"""Conversations between namespaces: servers that say whom they see, and clients that ask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kernel.world import World

PORT = 8080
PROTOCOLS = ("tcp", "udp")
_SIZES = {"tcp": 4000, "udp": 100}
"""Bytes of a question: by TCP more than one packet, by UDP one."""

_SERVER = """
import socket, sys, threading
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
at = (sys.argv[3], int(sys.argv[2]))
tcp = socket.create_server(at, family=family, backlog=50)
udp = socket.socket(family, socket.SOCK_DGRAM)
if family == socket.AF_INET6:
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
udp.bind(at)
def said(peer, size):
    return f"{peer[0]} {size}\\n".encode()
def serve_udp():
    while True:
        got, peer = udp.recvfrom(65535)
        udp.sendto(said(peer, len(got)), peer)
threading.Thread(target=serve_udp, daemon=True).start()
print("ready", flush=True)
while True:
    connection, peer = tcp.accept()
    with connection:
        got = b""
        while not got.endswith(b"\\n"):
            more = connection.recv(65536)
            if not more:
                break
            got += more
        connection.sendall(said(peer, len(got)))
"""
"""Tells each client, by TCP and UDP, from which address it comes, and how much it sent."""

_CLIENT = """
import socket, sys, time
protocol, source, target, port, size, seconds = sys.argv[1:]
family = socket.AF_INET6 if ":" in target else socket.AF_INET
end = time.monotonic() + float(seconds)
def ask():
    with socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM) as s:
        s.settimeout(float(seconds) if protocol == "tcp" else 0.5)
        if source:
            s.bind((source, 0))
        s.connect((target, int(port)))
        s.sendall(b"x" * (int(size) - 1) + b"\\n")
        return s.recv(100).decode()
while time.monotonic() < end:
    try:
        print(ask(), end="")
        break
    except OSError:
        time.sleep(0.05)
"""


@contextmanager
def serving(
    world: World, name: str, version: int = 4, port: int = PORT, at: str = ""
) -> Iterator[None]:
    """A server in a namespace, by TCP and UDP; see `seen_by`.

    `at`: the address to listen at. Without one, UDP is answered from the address of the link.
    """
    words = ["ip", "netns", "exec", world.full(name), sys.executable, "-I", "-S", "-c", _SERVER]
    with subprocess.Popen([*words, str(version), str(port), at], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()


def seen_by(
    world: World,
    name: str,
    protocol: str,
    target: str,
    *,
    source: str = "",
    port: int = PORT,
    seconds: float = 30,
) -> str:
    """Which address a server sees of a client in the namespace.

    Empty if there is no answer in time; who expects none gives it few seconds.
    """
    client = (sys.executable, "-I", "-S", "-c", _CLIENT)
    size = str(_SIZES[protocol])
    answer = world.do(name, *client, protocol, source, target, str(port), size, str(seconds))
    address, _, count = answer.strip().partition(" ")
    assert not address or count == size
    return address
