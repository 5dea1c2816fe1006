"""What a machine may be unable to show: one list, which pytest prints the used part of at the end.

Only what no package can bring is on it. A test that needs such a thing says
`@needs("ipvlan")`; where the thing is missing the test counts as skipped, and the run says
"not possible here: ipvlan: the kernel has no such link kind (1 test)". Anything else that skips
fails. The probes know nothing of the product's code: they are what that is compared with.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

IN_VM = ("dummy", "ipvlan")
"""What a kernel may lack that the lab's virtual machines have: `tests/vm` runs the tests of
`tests/kernel` that need it there, so they are left out where it is missing."""

KEY = "not possible here"
"""Name of the property that carries a thing's name from a worker to the summary."""


@dataclass(frozen=True)
class Thing:
    """`missing`: what it means that `probe` found it missing."""

    missing: str
    probe: Callable[[], bool]


def _link_kind(kind: str) -> Callable[[], bool]:
    """Whether a link of that kind can be made, in a namespace that goes with the process."""
    script = (
        "ip link add parent0 type veth peer name parent1 && "
        f"ip link add probe0 {'link parent0' if kind == 'ipvlan' else ''} type {kind}"
    )
    return lambda: _succeeds("unshare", "--net", "sh", "-c", script)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _nftables() -> bool:
    """Whether rules can be made, in a namespace that goes with the process: to list them works on
    every kernel."""
    rule = "tables-nft -t nat -A OUTPUT -j ACCEPT"
    return _succeeds("unshare", "--net", "sh", "-c", f"ip{rule} && ip6{rule}")


def _private_mounts() -> bool:
    """As root or as the root of a user namespace."""
    return os.geteuid() == 0 or _succeeds("unshare", "--user", "--map-root-user", "--mount", "true")


THINGS = {
    "dummy": Thing("the kernel has no such link kind", _link_kind("dummy")),
    "ipvlan": Thing("the kernel has no such link kind", _link_kind("ipvlan")),
    "a kernel without ipvlan": Thing(
        "the kernel has this link kind", lambda: not _link_kind("ipvlan")()
    ),
    "IPv6 forwarding of single links": Thing(
        "the kernel forwards IPv6 for the whole node or not at all (Linux before 6.17)",
        Path("/proc/sys/net/ipv6/conf/all/force_forwarding").exists,
    ),
    "nftables": Thing("the kernel has no nf_tables for IPv4 and IPv6", _nftables),
    "iptables-legacy": Thing(
        "the kernel has no ip_tables",
        lambda: _succeeds(
            *("unshare", "--net", "sh", "-c"),
            "iptables-legacy -t mangle -L && ip6tables-legacy -t nat -L",
        ),
    ),
    "mounts of one process": Thing(
        "neither root nor user namespaces (kernel.unprivileged_userns_clone)", _private_mounts
    ),
}


@cache
def possible(name: str) -> bool:
    """Whether this machine has the thing of that name."""
    return THINGS[name].probe()


def needs(name: str) -> pytest.MarkDecorator:
    """Marks a test that can't be done without the thing of that name."""
    assert name in THINGS
    return pytest.mark.needs(name)


def left_to_vm(item: pytest.Item) -> bool:
    """Whether the test needs what this kernel lacks and that of the virtual machines has."""
    needed = [mark.args[0] for mark in item.iter_markers("needs")]
    return any(name in IN_VM and not possible(name) for name in needed)


def before(item: pytest.Item) -> None:
    """Skip the test if it needs what is missing, and say so."""
    for mark in item.iter_markers("needs"):
        (name,) = mark.args
        if not possible(name):
            item.user_properties.append((KEY, name))
            pytest.skip(f"{KEY}: {name}: {THINGS[name].missing}")


def judge(report: pytest.TestReport) -> None:
    """A skip for any other reason is a failure."""
    listed = any(key == KEY for key, _ in report.user_properties)
    if report.skipped and not listed and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped by itself: put the reason on the list in {__file__}"


def summary(skipped: Iterable[pytest.TestReport]) -> list[str]:
    """A line for each thing that tests missed."""
    missed = Counter(
        str(value) for report in skipped for key, value in report.user_properties if key == KEY
    )
    return [
        f"{KEY}: {name}: {THINGS[name].missing} ({count} test{'s' * (count > 1)})"
        for name, count in sorted(missed.items())
    ]
