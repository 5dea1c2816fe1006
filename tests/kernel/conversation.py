"""TCP between namespaces: servers that say whom they see, and clients that ask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kernel.world import World

SERVER = """
import socket, sys
family = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET
server = socket.socket(family)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if family == socket.AF_INET6:
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.bind(("::" if sys.argv[1] == "6" else "0.0.0.0", int(sys.argv[2])))
server.listen(50)
print("ready", flush=True)
while True:
    connection, peer = server.accept()
    got = b""
    while not got.endswith(b"\\n"):
        more = connection.recv(65536)
        if not more:
            break
        got += more
    connection.sendall(f"{peer[0]} {len(got)}\\n".encode())
    connection.close()
"""

CLIENT = """
import socket, sys
try:
    connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))
    connection.sendall(b"x" * (int(sys.argv[4]) - 1) + b"\\n")
    print(connection.makefile().readline().strip())
except OSError as error:
    print(error.strerror or "timed out", file=sys.stderr)
    sys.exit(1)
"""


@contextmanager
def serving(world: World, name: str, port: int = 8080, version: int = 4) -> Iterator[None]:
    """A server in a namespace, on all of its addresses of an IP version."""
    words = ["ip", "netns", "exec", world.full(name), sys.executable, "-I", "-S", "-c", SERVER]
    with subprocess.Popen([*words, str(version), str(port)], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()


def seen_by(
    world: World, name: str, target: str, port: int = 8080, seconds: float = 20, size: int = 4000
) -> str:
    """Which address a server sees of a client in the namespace, that sends it `size` bytes.

    Empty if there is no answer in time; who expects none gives it few seconds.
    """
    words = ["ip", "netns", "exec", world.full(name), sys.executable, "-I", "-S", "-c", CLIENT]
    done = subprocess.run(
        [*words, target, str(port), str(seconds), str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    address, _, count = done.stdout.strip().partition(" ")
    assert not address or count == str(size)
    return address
