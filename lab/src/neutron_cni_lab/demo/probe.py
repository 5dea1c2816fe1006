"""Sends and receives what the demo measures. A program of its own, run inside of pods and nodes.

``receive VERSION PORT``           takes one TCP connection to its PORT (0: any) by that version of
                                   IP: prints the port, then what came
``send ADDRESS PORT BYTES``        sends so many bytes there: prints what the receiver saw
``watch LINK TOKEN``               until stdin ends: prints the sources of packets with TOKEN
``forge SOURCE TARGET TOKEN N``    sends N UDP packets as SOURCE, whoever has that address

Answers are lines of JSON on stdout. Imports nothing but the standard library.
"""

import hashlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

PATIENCE = 30
"""Seconds after which any of these ends itself: nobody is left to wait for it then."""

CONNECT_SECONDS = 10.0
"""How long to try to connect: Neutron's answer comes before the switch has a floating IP."""

_BLOCK = 1 << 16
_ETH_P_ALL = 0x0003  # with ETH_P_IP a packet socket is not shown what the host sends


def receive(version: str, port: str) -> None:
    """Take one connection to its end; tell both sides what came."""
    family = socket.AF_INET6 if version == "6" else socket.AF_INET
    with socket.create_server(("", int(port)), family=family) as server:
        _say(port=server.getsockname()[1])
        connection, peer = server.accept()
    with connection:
        digest, size = hashlib.sha256(), 0
        while block := connection.recv(_BLOCK):
            digest.update(block)
            size += len(block)
        seen = {
            "source": peer[0],
            "target": connection.getsockname()[0],
            "bytes": size,
            "sha256": digest.hexdigest(),
        }
        connection.sendall(json.dumps(seen).encode())
    _say(**seen)


def send(address: str, port: str, size: str) -> None:
    """Send random bytes, and have the receiver's digest compared."""
    data = os.urandom(int(size))
    with _connected(address, int(port)) as connection:
        began = time.monotonic()
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(_BLOCK):
            answer += block
        seconds = time.monotonic() - began
    seen = json.loads(answer)
    _say(**seen, seconds=seconds, intact=seen["sha256"] == hashlib.sha256(data).hexdigest())


def watch(link: str, token: str) -> None:
    """Print the source address of each packet with TOKEN, coming or going."""
    wanted = token.encode()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)) as packets:
        packets.bind((link, _ETH_P_ALL))
        _say(ready=True)
        while True:
            ready = select.select([packets, sys.stdin], [], [])[0]
            if packets in ready:
                packet = packets.recv(_BLOCK)
                # Not the ICMP answers to ours, which quote them.
                if wanted in packet and packet[9] == socket.IPPROTO_UDP:
                    _say(source=socket.inet_ntoa(packet[12:16]))
            elif sys.stdin in ready:
                return


def forge(source: str, target: str, token: str, count: str) -> None:
    """Send UDP packets with a source address of our choice; the kernel fills in the checksum."""
    payload = token.encode()
    udp = struct.pack("!HHHH", 9, 9, 8 + len(payload), 0) + payload
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0),
        socket.inet_aton(source),
        socket.inet_aton(target),
    )
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for _ in range(int(count)):
            raw.sendto(header + udp, (target, 0))


def _connected(address: str, port: int) -> socket.socket:
    give_up = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            connection = socket.create_connection((address, port), timeout=1)
        except OSError as error:
            if time.monotonic() > give_up:
                raise SystemExit(f"no connection to {address} port {port}: {error}") from None
            time.sleep(0.05)
            continue
        connection.settimeout(PATIENCE)
        return connection


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


COMMANDS: dict[str, Callable[..., None]] = {
    "receive": receive,
    "send": send,
    "watch": watch,
    "forge": forge,
}

if __name__ == "__main__":
    signal.alarm(PATIENCE)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
