"""Chains in the kernel's older packet filter, by iptables-legacy: for kernels without nf_tables.

It takes a program, as the kernel replaces a whole table at once, in an encoding of many
kinds of structures. Imported where it is needed only.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from neutron_cni.netlink.filters.chains import (
    Chain,
    Connection,
    HasMark,
    Link,
    Marked,
    Packet,
    Rule,
    SetMark,
    Verdict,
)
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

_PREFIX = {4: "ip", 6: "ip6"}
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin")
_ENVIRONMENT = {"PATH": ":".join(_FOLDERS), "LC_ALL": "C"}
_LOCKED = 4
"""The programs' exit status if others keep the lock of all of iptables for too long."""
_PAUSE_SECONDS = 0.02
_AT_MOST_SECONDS = 30.0


def read(version: int, chains: Sequence[Chain], deadline: Deadline) -> Mapping[str, bool]:
    """Which of `chains` are in the calling thread's namespace, and whether just as wanted.

    No table is made: the kernel makes one when it is asked for its rules. Raises CniError.
    """
    found: dict[str, bool] = {}
    for table, ours in _by_table(chains).items():
        lines = _saved(version, table, deadline)
        for chain in ours:
            rules = [line for line in lines if line.startswith(f"-A {chain.name} ")]
            if _is_among(chain, lines):
                found[chain.name] = rules == _rules(chain) and _jump(chain) in lines
    return found


def write(version: int, chains: Sequence[Chain], deadline: Deadline) -> None:
    """Make `chains` and lead to them, or make anew those that are there. May be repeated.

    Each table is changed as a whole. Raises CniError: KERNEL (the kernel or the program lacks
    something), TRY_AGAIN (`deadline` passed).
    """
    with _turn(deadline):
        sections = [
            _section(table, ours, _saved(version, table, deadline))
            for table, ours in _by_table(chains).items()
        ]
        _run(version, "restore", ["--noflush"], deadline, "".join(sections))


def remove(version: int, chains: Sequence[Chain], deadline: Deadline) -> None:
    """Remove those of `chains` that are there, and what leads to them. Raises CniError."""
    with _turn(deadline):
        sections = []
        for table, ours in _by_table(chains).items():
            lines = _saved(version, table, deadline)
            there = [chain for chain in ours if _is_among(chain, lines)]
            changes = [
                line.replace("-A ", "-D ", 1)
                for chain in there
                for line in lines
                if line == _jump(chain)
            ]
            changes += [f"-F {chain.name}" for chain in there]
            changes += [f"-X {chain.name}" for chain in there]
            if changes:
                sections.append("\n".join([f"*{table}", *changes, "COMMIT\n"]))
        if sections:
            _run(version, "restore", ["--noflush"], deadline, "".join(sections))


def _by_table(chains: Sequence[Chain]) -> Mapping[str, list[Chain]]:
    found: dict[str, list[Chain]] = {}
    for chain in chains:
        found.setdefault(chain.hook.table, []).append(chain)
    return found


def _section(table: str, chains: Sequence[Chain], lines: Sequence[str]) -> str:
    """What `iptables-restore` reads for one table; a chain that is there is emptied by its line.

    Ours are led to first: rules of others may end the walk through the kernel's chain.
    """
    heads = [f":{chain.name} - [0:0]" for chain in chains]
    jumps = [_jump(chain).replace("-A ", "-I ", 1) for chain in chains if _jump(chain) not in lines]
    rules = [line for chain in chains for line in _rules(chain)]
    return "\n".join([f"*{table}", *heads, *rules, *jumps, "COMMIT\n"])


def _jump(chain: Chain) -> str:
    return f"-A {chain.hook.chain} -j {chain.name}"


def _rules(chain: Chain) -> list[str]:
    """The rules in the words in which `iptables-save` prints them."""
    return [f"-A {chain.name} {' '.join(words(rule))}" for rule in chain.rules]


def words(rule: Rule) -> Iterator[str]:
    """A rule as arguments of iptables, in the order in which it prints them itself."""
    if Packet.TO_LINK_LOCAL in rule.matches:
        yield "-d 169.254.0.0/16"
    for match in rule.matches:
        if isinstance(match, Link):
            negation = "! " if match.other else ""
            option = "-i" if match.incoming else "-o"
            yield f"{negation}{option} {match.name}{'+' if match.prefix else ''}"
        elif match is Connection.NEW:
            yield "-m conntrack --ctstate NEW"
        elif match is Connection.REPLY:
            yield "-m conntrack --ctdir REPLY"
        elif match is Connection.TRANSLATED:
            yield "-m conntrack --ctstate DNAT"
        elif match is Packet.NO_WAY_BACK:
            yield "-m rpfilter --invert"
        elif isinstance(match, HasMark):
            kind = "mark" if match.who is Marked.PACKET else "connmark"
            yield f"-m {kind} --mark {match.mark:#x}/{match.mark:#x}"
    if isinstance(rule.action, SetMark):
        target = "MARK" if rule.action.who is Marked.PACKET else "CONNMARK"
        yield f"-j {target} --set-xmark {rule.action.mark:#x}/{rule.action.mark:#x}"
    elif isinstance(rule.action, Verdict):
        yield f"-j {rule.action.name}"
    else:
        yield "-j MASQUERADE --random-fully"


def _saved(version: int, table: str, deadline: Deadline) -> list[str]:
    """The lines of `iptables-save` for one table; none if the namespace does not have it yet."""
    try:
        names = Path(f"/proc/thread-self/net/{_PREFIX[version]}_tables_names").read_text()
    except OSError:
        return []
    if table not in names.split():
        return []
    return _run(version, "save", ["-t", table], deadline).splitlines()


def _is_among(chain: Chain, lines: Sequence[str]) -> bool:
    return any(line.startswith(f":{chain.name} ") for line in lines)


def _run(
    version: int, verb: str, options: Sequence[str], deadline: Deadline, stdin: str = ""
) -> str:
    """The output of a program of iptables-legacy; it works in the calling thread's namespace."""
    program = f"{_PREFIX[version]}tables-legacy-{verb}"
    left = deadline.at_most(_AT_MOST_SECONDS).require("making packet rules")
    wait = ["-w", str(max(1, int(left)))] if verb == "restore" else []
    try:
        done = subprocess.run(
            [_find(program), *options, *wait],
            input=stdin,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            timeout=left,
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess([], _LOCKED, "", f"no answer in {left:.1f} s")
    if done.returncode == 0:
        return done.stdout
    said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
    if done.returncode == _LOCKED:
        raise CniError(Code.TRY_AGAIN, f"{program}: {said}", "the runtime will try again")
    raise CniError(Code.KERNEL, f"{program}: {said}")


def _find(program: str) -> str:
    """The program's path. $PATH counts for nothing: it is the runtime's."""
    for folder in _FOLDERS:
        path = Path(folder, program)
        if os.access(path, os.X_OK):
            return str(path)
    raise CniError(Code.KERNEL, f"there is no {program} in {', '.join(_FOLDERS)}")


@contextmanager
def _turn(deadline: Deadline) -> Iterator[None]:
    """Be the only one of ours who looks and then changes in this namespace, in any process.

    The lock is on the namespace itself, so no file is left. That of iptables is free between
    two of its programs: two processes could each find no jump to a chain, and make one.
    """
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while not _taken(descriptor):
            deadline.require("waiting for other packet rules to be made")
            time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
