"""A node, a router and pods, each a network namespace of its own; nothing touches the machine's.

The node's `up0` leads to the router's `r0`, on 10.10.10.0/24 and fd00:10::/64. Beyond the router
(on its lo) are 192.0.2.1 and 2001:db8::1, which know no route back but by the node's answers.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_PREFIX = "nct"
_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)

NODE_ADDRESS, ROUTER_ADDRESS, OUTSIDE = "10.10.10.8", "10.10.10.1", "192.0.2.1"
NODE_ADDRESS_6, ROUTER_ADDRESS_6, OUTSIDE_6 = "fd00:10::8", "fd00:10::1", "2001:db8::1"
NODE = {4: NODE_ADDRESS, 6: NODE_ADDRESS_6}
ROUTER = {4: ROUTER_ADDRESS, 6: ROUTER_ADDRESS_6}
FAR = {4: OUTSIDE, 6: OUTSIDE_6}
"""These three by IP version."""


class ChildDied(Exception):
    """The forked child ended without an answer."""


def run(*argv: str, stdin: str = "") -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, input=stdin)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done.stdout


def inside(netns: str, function: Callable[[], T]) -> T:
    """What `function` returns in a thread whose network namespace is the one at `netns`.

    /sys of the thread is that namespace's too.
    """

    def work() -> T:
        enter(netns)
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def inside_child(netns: str, function: Callable[[], object]) -> None:
    """The same in a forked child, all of which is there, and which `function` may end.

    Raises ChildDied if it did, and AssertionError with the trace of what it raised.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            enter(netns)
            function()
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if ended and os.waitstatus_to_exitcode(ended) != 1:
        raise ChildDied
    assert not ended, "the child's trace is above"


def enter(netns: str) -> None:
    """Move this thread into `netns`, with a /sys that shows its links."""
    descriptor = os.open(netns, os.O_RDONLY)
    _check(_libc.setns(descriptor, _CLONE_NEWNET))
    os.close(descriptor)
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    _check(_libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None))


def _check(answer: int) -> None:
    if answer != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _end(link: str, address: str) -> list[str]:
    """What `ip` is told of the link's end where the node's or the router's `address` is."""
    v6 = {NODE_ADDRESS: NODE_ADDRESS_6, ROUTER_ADDRESS: ROUTER_ADDRESS_6}[address]
    return [
        "link set lo up",
        f"addr add {address}/24 dev {link}",
        f"addr add {v6}/64 dev {link} nodad",
        f"link set {link} up",
    ]


@dataclass
class World:
    """The namespaces of one test, by short names: "node", "router", "pod1", ..."""

    number: int
    names: list[str] = field(default_factory=list)

    def build(self) -> None:
        """The node and the router, and the wire between them.

        In few processes, as each costs a VM a tenth of a second.
        """
        for name in ("node", "router"):
            self.add(name)
        # Else link-local addresses are tentative for a second, and without one a node can't ask
        # for neighbours on behalf of packets from elsewhere. Only of these links, not of pods'.
        self._expect_duplicates("router", "0")
        peer = f"peer name r0 netns {self.full('router')}"
        self._expect_duplicates("node", "0")
        self.batch("node", f"link add up0 type veth {peer}", *_end("up0", NODE_ADDRESS))
        beyond = [f"addr add {address} dev lo" for address in (f"{OUTSIDE}/32", f"{OUTSIDE_6}/128")]
        self.batch("router", *_end("r0", ROUTER_ADDRESS), *beyond)
        for name in ("node", "router"):
            self._expect_duplicates(name, "1")
        for name, link in (("node", "up0"), ("router", "r0")):
            self.await_link_local(name, link)
        routes = (f"route add default via {via}" for via in (ROUTER_ADDRESS, ROUTER_ADDRESS_6))
        self.batch("node", *routes)

    def _expect_duplicates(self, name: str, value: str) -> None:
        """Whether new links look for duplicate addresses first."""
        key = Path("/proc/sys/net/ipv6/conf/default/accept_dad")
        inside(self.path(name), lambda: key.write_text(value))

    def batch(self, name: str, *lines: str) -> None:
        """Run `ip` once in a namespace, for all of these lines."""
        run("ip", "-n", self.full(name), "-batch", "-", stdin="\n".join(lines))

    def await_link_local(self, name: str, link: str) -> None:
        """Wait (a minute at most) until the link has a usable link-local address."""
        end = time.monotonic() + 60
        show = ("-6", "addr", "show", "dev", link, "scope", "link")
        while not self.text(name, *show, "-tentative") or self.text(name, *show, "tentative"):
            assert time.monotonic() < end, f"{link} of the {name} got no link-local address"
            time.sleep(0.01)

    def add(self, name: str) -> str:
        """A new, empty namespace; its path."""
        run("ip", "netns", "add", self.full(name))
        self.names.append(name)
        return self.path(name)

    def remove(self, name: str) -> None:
        """Destroy a namespace, as a runtime does with a sandbox."""
        run("ip", "netns", "del", self.full(name))
        self.names.remove(name)

    def full(self, name: str) -> str:
        """The name below /run/netns."""
        return f"{_PREFIX}-{os.getpid()}-{self.number}-{name}"

    def path(self, name: str) -> str:
        """The path of a namespace, as in CNI_NETNS."""
        return f"/run/netns/{self.full(name)}"

    def ip(self, name: str, *argv: str) -> Any:
        """The parsed answer of `ip -j -d ...` in a namespace."""
        return json.loads(run("ip", "-n", self.full(name), "-j", "-d", *argv) or "[]")

    def text(self, name: str, *argv: str) -> list[str]:
        """The lines of `ip ...` in a namespace, with single blanks."""
        lines = run("ip", "-n", self.full(name), *argv).splitlines()
        return [" ".join(line.split()) for line in lines if line.strip()]

    def do(self, name: str, *argv: str) -> str:
        """The output of a command in a namespace."""
        return run("ip", "netns", "exec", self.full(name), *argv)

    def sysctl(self, name: str, key: str) -> str:
        """A setting below /proc/sys of a namespace."""
        return inside(self.path(name), lambda: Path("/proc/sys", key).read_text().strip())

    def pings(self, name: str, target: str, *options: str, seconds: int = 30) -> bool:
        """Whether three echo requests are answered; who expects no answer gives it few seconds."""
        enter = ("ip", "netns", "exec", self.full(name))
        done = subprocess.run(
            [*enter, *("ping", "-n", "-c", "3", "-i", "0.2", "-w", str(seconds)), *options, target],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def snapshot(self, name: str) -> dict[str, list[str]]:
        """All links, addresses, routes, neighbours and proxies, in comparable text.

        Left out: neighbours learned by traffic, which come and go by themselves, anycast addresses,
        which the kernel adds where IPv6 forwarding is on (that setting stays), and whether a link's
        state is known yet, which the kernel looks after once a second.
        """
        show = {
            "links": ("-d", "link", "show"),
            "addresses": ("addr", "show"),
            "routes": ("route", "show", "table", "all"),
            "routes6": ("-6", "route", "show", "table", "all"),
            "neighbours": ("neigh", "show", "nud", "permanent"),
            "neighbours6": ("-6", "neigh", "show", "nud", "permanent"),
            "proxies": ("neigh", "show", "proxy"),
            "proxies6": ("-6", "neigh", "show", "proxy"),
            "rules": ("rule", "show"),
        }
        return {
            key: [
                line.replace(" state UNKNOWN ", " state UP ")
                for line in self.text(name, *argv)
                if not line.startswith("anycast ")
            ]
            for key, argv in show.items()
        }

    def destroy(self) -> None:
        """Remove every namespace of the test."""
        for name in list(self.names):
            self.remove(name)


def remove_leftovers() -> None:
    """Namespaces of test runs that were killed: those whose process is no more."""
    folder = Path("/run/netns")
    for path in folder.iterdir() if folder.is_dir() else ():
        match = re.match(rf"{_PREFIX}-(\d+)-", path.name)
        if match and not Path("/proc", match[1]).exists():
            # Another worker may be at it too.
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True, check=False)
