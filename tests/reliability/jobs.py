"""One thing that a process of a node does, from a runtime's ADD to a sweep, and how it ended."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import typer

from neutron_cni.cli import gc as gc_command
from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam import node, pauses, settling, sweeper
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.modes import claim_tags
from neutron_cni.netlink import undo
from neutron_cni.store import store as store_module
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig
from tests.reliability.namespaces import Namespaces, configure

INTERFACE = "eth0"
HASTE = 25.0
"""Pauses are so many times shorter than in life."""

really_sleep = time.sleep


class Job(msgspec.Struct, kw_only=True):
    """What to do, on which node, and when to die. Times in seconds."""

    kind: str
    """add, del, check, gc, sweep or reconcile (`neutron-cni gc --apply --view-is-whole`)."""
    config: dict[str, Any]
    """The ipam section."""
    namespaces: str
    boot_id: str
    conf_dir: str
    network: str = "net"
    container: str = ""
    keep: list[str] = []
    """Containers that gc shall leave alone."""
    requested: list[str] = []
    kernel_first: bool = True
    """On DEL: whether the main plugin takes the interface away before it calls IPAM."""
    clock: float
    """What this process's clock says, from its beginning to its end: no rest is over because the
    machine was busy."""
    seed: int = 0
    delay: float = 0.0
    timeout: float = 100.0
    """By the real clock: more than a busy machine takes, less than `zygote.PATIENCE`."""
    kill_at: int = 0
    """Die before this line; 0: never."""
    kill_when: str = ""
    """Be killed from outside when this file is there; "": never."""
    measure: bool = False
    """Count lines, and note those where the world changes."""

    def ipam(self) -> IpamConfig:
        """The section, typed."""
        return msgspec.convert(self.config, IpamConfig)


class Outcome(msgspec.Struct, kw_only=True):
    """How a job ended: by itself (with addresses, differences or an error) or killed."""

    addresses: list[str] = []
    differences: list[str] = []
    code: int = 0
    error: str = ""
    killed: bool = False
    lines: int = 0
    marks: list[int] = []

    @property
    def ok(self) -> bool:
        """It came to its end and without an error."""
        return not (self.killed or self.code)


def arrange(job: Job) -> None:
    """Make this process the node's: its clock, its kernel, its boot id; no sweeper of its own."""
    replace(time, "time", lambda: job.clock)
    replace(time, "sleep", lambda seconds: really_sleep(seconds / HASTE))
    replace(node, "namespace_with", Namespaces(Path(job.namespaces)).with_address)
    replace(node, "waiting_nics", lambda: _nics(job))
    replace(store_module, "BOOT_ID", Path(job.boot_id))
    replace(sweeper, "start_sweeper", _nobody)
    replace(undo, "remove_stale_entries", list)
    # Of the processes on a port some find it crowded, and have claims share tags.
    replace(claim_tags, "FEW_TAGS", 2 if job.seed % 3 else claim_tags.FEW_TAGS)
    # What is chosen at random is the same when a job is run again.
    random.seed(job.seed)
    replace(settling, "Random", lambda: random.Random(job.seed))
    replace(pauses, "Random", lambda: random.Random(job.seed))


def replace(module: ModuleType, name: str, value: object) -> None:
    """The module has another value from now on, in this process."""
    setattr(module, name, value)


def _nics(job: Job) -> dict[str, bool]:
    """The MACs of NICs that the node's kernel shows: all that the store knows of are there."""
    with store_module.Store(job.ipam().state_dir) as store:
        return {record.lease.nic_mac: True for record in store.all() if record.lease}


def _nobody(state_dir: str) -> None:
    """In the place of `start_sweeper`: tests say when the sweeper works."""


def perform(job: Job) -> Outcome:
    """Do it in this process. What is neither a result nor a CniError is raised: a defect."""
    try:
        return DOING[job.kind](job)
    except CniError as error:
        return Outcome(code=error.code, error=str(error))


def request(job: Job) -> IpamRequest:
    """The job's attachment, as a main plugin names it to IPAM."""
    netns = str(Path(job.namespaces, job.container))
    return IpamRequest(
        network=job.network,
        attachment=Attachment(job.container, INTERFACE, netns),
        config=job.ipam(),
        deadline=Deadline.after(job.timeout),
        requested=tuple(ip_address(item) for item in job.requested),
    )


def _add(job: Job) -> Outcome:
    about = request(job)
    lease = own_ipam().acquire(about)
    addresses = [item.address.ip for item in lease.addresses]
    configure(about.attachment.netns, addresses)
    return Outcome(addresses=[str(item) for item in addresses])


def _del(job: Job) -> Outcome:
    about = request(job)
    if job.kernel_first:
        configure(about.attachment.netns, ())
    own_ipam().release(about)
    configure(about.attachment.netns, ())
    return Outcome()


def _check(job: Job) -> Outcome:
    return Outcome(differences=own_ipam().verify(request(job)))


def _gc(job: Job) -> Outcome:
    keep = [Attachment(container, INTERFACE) for container in job.keep]
    own_ipam().collect(job.network, job.ipam(), keep, Deadline.after(job.timeout))
    return Outcome()


class Resting(BaseException):
    """The sweeper would sleep now: for the tests that is its end."""


def _sweep(job: Job) -> Outcome:
    config = job.ipam()

    def sleep(seconds: float) -> None:
        if sys._getframe(1).f_code.co_name == "_settle":
            time.sleep(seconds)
            return
        raise Resting

    replace(sweeper, "time", SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=sleep))
    try:
        sweeper.main(config.state_dir)
    except Resting:
        return Outcome()
    finally:
        replace(sweeper, "time", time)
    return Outcome()


def _reconcile(job: Job) -> Outcome:
    """All pods of a test can be seen, also where its store was lost with what ADD noted in it."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            gc_command._this_node(True, [], True, Path(job.config["stateDir"]), Path(job.conf_dir))
        except typer.Exit as end:
            return Outcome(code=end.exit_code, error="neutron-cni gc could not look")
    return Outcome()


DOING: dict[str, Callable[[Job], Outcome]] = {
    "add": _add,
    "del": _del,
    "check": _check,
    "gc": _gc,
    "sweep": _sweep,
    "reconcile": _reconcile,
}
