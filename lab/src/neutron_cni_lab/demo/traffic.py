"""What packets really do: pings, TCP connections, forged sources. Each returns what was measured.

A `Place` is where a packet starts or ends: a pod, a node, or the host on the internet.
"""

import json
import re
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from neutron_cni_lab.errors import LabError

PROBE = Path(__file__).with_name("probe.py")
_IP_AND_ICMP_HEADERS = 28


class Place(Protocol):
    """`Node` and `Pod`."""

    @property
    def name(self) -> str:
        """What it is called."""

    def exec(
        self, words: Sequence[str | Path], *, check: bool = ..., timeout: float | None = ...
    ) -> subprocess.CompletedProcess[str]:
        """Run `words` there."""

    def popen(
        self, words: Sequence[str | Path], *, env: Mapping[str, str] | None = ..., **options: Any
    ) -> subprocess.Popen[Any]:
        """Start `words` there."""


@dataclass(frozen=True)
class Ping:
    """`milliseconds`: the average of the answers. `said`: what ping had to say on errors."""

    sent: int
    answered: int
    milliseconds: float
    said: str

    def __str__(self) -> str:
        time = f", {self.milliseconds:.2f} ms" if self.answered else ""
        return f"{self.answered} of {self.sent} pings answered{time}"


def ping(source: Place, target: str, *, count: int = 3, size: int | None = None) -> Ping:
    """Ping `target`. With `size` (bytes of the IP packet) it must not be cut into fragments."""
    whole = [] if size is None else ["-M", "do", "-s", str(size - _IP_AND_ICMP_HEADERS)]
    words = ["ping", "-n", "-c", str(count), "-i", "0.1", "-W", "1", *whole, target]
    done = source.exec(words, check=False)
    text = done.stdout + done.stderr
    numbers = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    average = re.search(r"rtt min/avg/max/mdev = [\d.]+/([\d.]+)/", text)
    if numbers is None:
        raise LabError(f"on {source.name}: `{' '.join(words)}` said {text.strip()[-500:]!r}")
    said = [line for line in text.splitlines() if "rror" in line or "too long" in line]
    return Ping(
        sent=int(numbers[1]),
        answered=int(numbers[2]),
        milliseconds=float(average[1]) if average else 0.0,
        said="; ".join(dict.fromkeys(said)),
    )


@dataclass(frozen=True)
class Transfer:
    """One TCP connection, as its receiver saw it: `source` connected to `target`, and all had come
    `seconds` after that.

    `damaged`: the kilobytes that came as others than were sent, or not at all, each with the one
    that came in its place, None if that is none of those sent.
    """

    source: str
    target: str
    size: int
    damaged: list[tuple[int, int | None]]
    seconds: float

    @property
    def intact(self) -> bool:
        """Whether all that came is what was sent."""
        return not self.damaged

    @property
    def megabits(self) -> float:
        """Megabits in a second."""
        return self.size * 8e-6 / self.seconds


def transfer(
    source: Place,
    receiver: Place,
    address: str,
    size: int = 64,
    *,
    port: int = 0,
    listen: int = 0,
) -> Transfer:
    """Send `size` random bytes from `source` to `address`, where `receiver` should get them.

    `listen` is the receiver's TCP port, a free one if 0; `port` the one to connect to, if it is
    another. `LabError` if no connection comes about, or not all of the bytes are answered.
    """
    version = "6" if ":" in address else "4"
    with _running(receiver, "receive", version, str(listen)) as server:
        own = _line(server)["port"]  # It is told when somebody listens.
        words = _probe("send", address, str(port or own), str(size))
        done = source.exec(words, check=False)
        if done.returncode:
            raise LabError(f"from {source.name}: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    return Transfer(
        source=seen["source"],
        target=seen["target"],
        size=seen["bytes"],
        damaged=[(place, came) for place, came in seen["damaged"]],
        seconds=seen["seconds"],
    )


@dataclass(frozen=True)
class Forgery:
    """Packets by source address: how many were seen to leave, and to arrive."""

    left: Counter[str]
    arrived: Counter[str]


def forge(
    sender: Place,
    target: str,
    sources: Sequence[str],
    *,
    leaving: Place,
    arriving: Place,
    count: int = 3,
) -> Forgery:
    """Send `count` UDP packets to `target` as each of `sources` in turn, otherwise all alike.

    They are watched on eth0 of `leaving` and of `arriving`, in front of all that could drop them
    there. Packets of the last source are behind all others on their way: put one that passes last,
    and what has not arrived with it was dropped.
    """
    token = uuid.uuid4().hex
    with _watch(leaving, token) as left, _watch(arriving, token) as arrived:
        for source in sources:
            sender.exec([*_probe("forge"), source, target, token, str(count)])
        time.sleep(0.3)
        return Forgery(_sources(left), _sources(arrived))


@contextmanager
def _watch(place: Place, token: str) -> Iterator[subprocess.Popen[str]]:
    with _running(place, "watch", "eth0", token) as watcher:
        if not _line(watcher).get("ready"):
            raise LabError(f"eth0 of {place.name} can't be watched")
        yield watcher


def _sources(watcher: subprocess.Popen[str]) -> Counter[str]:
    """End the watcher; what it has seen."""
    assert watcher.stdin is not None
    assert watcher.stdout is not None
    watcher.stdin.close()
    return Counter(json.loads(line)["source"] for line in watcher.stdout)


@contextmanager
def _running(place: Place, *words: str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with place.popen(_probe(*words), stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise LabError(f"a probe ended at once, with status {process.wait()}")
    facts: dict[str, Any] = json.loads(line)
    return facts


def _probe(*words: str) -> list[str | Path]:
    # -IS: nothing of the surroundings is imported, which is also quicker.
    return ["python", "-IS", PROBE, *words]
