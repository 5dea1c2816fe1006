"""Sends and receives what the demo measures. A program of its own, run inside of pods and nodes.

``receive VERSION PORT``           takes one TCP connection to its PORT (0: any) by that version of
                                   IP, and answers what came: prints the port
``send ADDRESS PORT BYTES``        sends so many bytes there: prints what the receiver saw
``watch LINK TOKEN``               until stdin ends: prints the sources of packets with TOKEN
``forge SOURCE TARGET TOKEN N``    sends N UDP packets as SOURCE, whoever has that address

Answers are lines of JSON on stdout. Imports nothing but the standard library.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable
from itertools import zip_longest

PATIENCE = 30
"""Seconds after which any of these ends itself: nobody is left to wait for it then."""

CONNECT_SECONDS = 10.0
"""How long to try to connect: Neutron's answer comes before the switch has a floating IP."""

_BLOCK = 1 << 16
_PART = 1000
"""Bytes that have a checksum of their own, so that damage is told with its place."""

_ETH_P_ALL = 0x0003  # with ETH_P_IP a packet socket is not shown what the host sends


def receive(version: str, port: str) -> None:
    """Take one connection to its end; tell its other side what came."""
    family = socket.AF_INET6 if version == "6" else socket.AF_INET
    with socket.create_server(("", int(port)), family=family) as server:
        _say(port=server.getsockname()[1])
        connection, peer = server.accept()
    with connection:
        began = time.monotonic()
        data = _all_of(connection)
        seen = {
            "source": peer[0],
            "target": connection.getsockname()[0],
            "bytes": len(data),
            "seconds": time.monotonic() - began,
            "parts": _checksums(data),
        }
        connection.sendall(json.dumps(seen).encode())


def send(address: str, port: str, size: str) -> None:
    """Send random bytes, and compare the receiver's checksums: see `damage`."""
    data = os.urandom(int(size))
    with _connected(address, int(port)) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = _all_of(connection)
    seen = json.loads(answer)
    damaged = damage(_checksums(data), seen.pop("parts"))
    _say(**seen, damaged=damaged)


def damage(sent: list[int], came: list[int]) -> list[tuple[int, int | None]]:
    """By their checksums, the parts that came as others than were sent, or not at all: the number
    of each, and that of the part that came in its place, None if it is none of those sent."""
    return [
        (place, sent.index(part) if part in sent else None)
        for place, (wanted, part) in enumerate(zip_longest(sent, came))
        if part != wanted
    ]


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


def _all_of(connection: socket.socket) -> bytes:
    data = bytearray()
    while block := connection.recv(_BLOCK):
        data += block
    return bytes(data)


def _checksums(data: bytes) -> list[int]:
    return [zlib.crc32(data[start : start + _PART]) for start in range(0, len(data), _PART)]


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
