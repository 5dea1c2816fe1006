"""Rows of the store as values: a lease from the first wish to its last trace.

States (ARCHITECTURE.md has the diagram):
wanted    a request; nothing was done anywhere
intended  the exact change was recorded and may have been made in Neutron
held      Neutron confirmed it; ADD may answer; a pod may be using it
cooling   DEL came; the address rests, still reserved in Neutron, until `until`
released  to be taken out of Neutron; once it was seen to be absent there twice, the row goes
ready     a NIC that was attached for a pod to come; row and port have no container's name
failed    could not be had, nothing was done; the waiting ADD takes the error and the row goes
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from neutron_cni.store.lease_json import lease_from_json, lease_to_json
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.lease import Lease
from neutron_cni.values.typed import convert

WARM = "warm-"
"""What the tokens of NICs begin with that wait for a pod; those of attachments are hexadecimal."""


class State(StrEnum):
    """Where a lease is in its life."""

    WANTED = "wanted"
    INTENDED = "intended"
    HELD = "held"
    COOLING = "cooling"
    RELEASED = "released"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asked for: addresses by name, or any of the configured subnets."""

    requested: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class PortAddress:
    """One address of a lease, its subnet, and the Neutron port that has it as a fixed IP."""

    address: IPAddress
    subnet_id: str
    port_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One address of a lease: the lease's row, attachment (`token`) and state."""

    record_id: int
    token: str
    state: State
    subnet_id: str
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Failure:
    """An error kept for the process that waits for the lease."""

    code: int
    message: str
    details: str

    def to_error(self) -> CniError:
        """As an exception again."""
        return CniError(self.code, self.message, self.details)


@dataclass(frozen=True, slots=True)
class Record:
    """One lease. `anchor` names the queue (and lock) it is served in; times are Unix seconds.

    `nonce` is unique to this lease, also among leases of the same attachment: what it makes in
    Neutron carries it. `owner` is the process whose call waits ("pid:start"), empty where none
    does. `absent`: when Neutron was first seen without what a released lease stands for, else 0.
    """

    network: str
    attachment: Attachment
    token: str
    nonce: str
    pod: PodRef
    config: IpamConfig
    anchor: str
    state: State
    wish: Wish
    owner: str
    netns_inode: int = 0
    created: float = 0.0
    changed: float = 0.0
    until: float = 0.0
    absent: float = 0.0
    addresses: tuple[PortAddress, ...] = ()
    lease: Lease | None = None
    failure: Failure | None = None
    id: int = 0

    @property
    def is_warm(self) -> bool:
        """Whether it stands for a NIC that waits for a pod, or is to."""
        return self.token.startswith(WARM)

    @property
    def owner_alive(self) -> bool:
        """Whether the process whose call waits is still there to take the answer."""
        return bool(self.owner) and self.owner == process_identity(int(self.owner.split(":")[0]))

    @property
    def abandoned_or_held(self) -> bool:
        """Whether GC may judge it: no ADD is at work on it."""
        if self.state in (State.WANTED, State.INTENDED, State.FAILED):
            return not self.owner_alive
        return self.state is State.HELD

    def may_be_of(self, network: str, attachment: Attachment) -> bool:
        """Whether the lease is this attachment's. Of a recovered one only the token is known."""
        if not self.attachment.container_id:
            return True
        ours = (self.network, self.attachment.container_id, self.attachment.ifname)
        return ours == (network, attachment.container_id, attachment.ifname)

    def __str__(self) -> str:
        if self.is_warm:
            return f"the NIC for a pod to come on {self.network}"
        who = str(self.pod) or self.attachment.container_id[:12] or f"token {self.token}"
        return f"{who} {self.attachment.ifname} on {self.network}"


def process_identity(pid: int) -> str:
    """ "pid:start time" of a process, empty when it is gone: a pid alone may be used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    # The command name may hold anything, so count fields from behind its closing bracket.
    fields = stat.rpartition(b")")[2].split()
    return "" if fields[0] in (b"Z", b"X") else f"{pid}:{fields[19].decode()}"


def to_row(record: Record) -> dict[str, Any]:
    """Columns of table `lease` for a new row."""
    return {
        "nonce": record.nonce,
        "token": record.token,
        "network": record.network,
        "container_id": record.attachment.container_id,
        "ifname": record.attachment.ifname,
        "netns": record.attachment.netns,
        "netns_inode": record.netns_inode,
        "pod_namespace": record.pod.namespace,
        "pod_name": record.pod.name,
        "pod_uid": record.pod.uid,
        "mode": record.config.mode.value,
        "anchor": record.anchor,
        "state": record.state.value,
        "config": msgspec.json.encode(record.config).decode(),
        "wish": msgspec.json.encode([str(item) for item in record.wish.requested]).decode(),
        "answer": lease_to_json(record.lease) if record.lease else "",
        "owner": record.owner,
        "created": record.created,
        "changed": record.changed,
        "until": record.until,
        "absent": record.absent,
    }


def from_row(row: sqlite3.Row, addresses: tuple[PortAddress, ...]) -> Record:
    """The record in a row of table `lease`. Raises sqlite3.DatabaseError where it can't be one."""
    try:
        return _from_row(row, addresses)
    except sqlite3.Error:
        raise
    except Exception as error:  # whatever a value of the wrong kind leads to
        raise sqlite3.DatabaseError(f"row {row['id']} is not a lease: {error}") from error


def _from_row(row: sqlite3.Row, addresses: tuple[PortAddress, ...]) -> Record:
    failure = None
    if row["error_code"]:
        failure = Failure(row["error_code"], row["error"], row["error_details"])
    return Record(
        id=row["id"],
        network=row["network"],
        attachment=Attachment(row["container_id"], row["ifname"], row["netns"]),
        token=row["token"],
        nonce=row["nonce"],
        pod=PodRef(row["pod_namespace"], row["pod_name"], row["pod_uid"]),
        config=convert(msgspec.json.decode(row["config"]), IpamConfig),
        anchor=row["anchor"],
        state=State(row["state"]),
        wish=Wish(tuple(ip_address(item) for item in msgspec.json.decode(row["wish"]))),
        owner=row["owner"],
        netns_inode=row["netns_inode"],
        created=row["created"],
        changed=row["changed"],
        until=row["until"],
        absent=row["absent"],
        addresses=addresses,
        lease=lease_from_json(row["answer"]) if row["answer"] else None,
        failure=failure,
    )
