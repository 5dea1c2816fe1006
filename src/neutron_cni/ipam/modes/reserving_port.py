"""Ports that reserve an address: made, found again after a crash, and taken away.

A reserving port carries its lease's nonce as `device_id`, written in the store before the call:
an answer that was lost is resolved by looking for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import product
from typing import Any

from neutron_cni.ipam import node
from neutron_cni.ipam.choose import exhausted, still_resting
from neutron_cni.ipam.modes.context import Context
from neutron_cni.openstack.errors import AddressTaken, AnswerLost, SubnetFull
from neutron_cni.openstack.types import Port, Subnet
from neutron_cni.store import PortAddress, Record, State
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

DEVICE_OWNER = "neutron-cni:pod"
TAG = "neutron-cni"
_NAME_LENGTH = 50
"""Of 60 characters, what a tag may have in every release, the rest is the key."""


def tags_of(context: Context, record: Record, parent: str) -> list[str]:
    """What lets others judge the port when this node is gone. At most 60 characters each."""
    tags = [TAG, node_tag(node.name(record.config)), f"ncni-install={context.install}"]
    tags.append(f"ncni-token={record.token}")
    if record.config.cluster:
        tags.append(f"ncni-cluster={record.config.cluster}")
    if record.pod.uid:
        tags.append(f"ncni-pod={record.pod.uid}"[:60])
    if parent:
        tags.append(f"ncni-parent={parent}")
    return tags


def node_tag(name: str) -> str:
    """The tag of a node's ports. A name that is too long keeps its difference from others."""
    if len(name) > _NAME_LENGTH:
        name = f"{name[: _NAME_LENGTH - 9]}-{sha256(name.encode()).hexdigest()[:8]}"
    return f"ncni-node={name}"


def tag_value(port: Port, key: str) -> str:
    """The value of our tag `key`, empty when the port has none."""
    prefix = f"ncni-{key}="
    return next((tag.removeprefix(prefix) for tag in port.tags if tag.startswith(prefix)), "")


def parents(port: Port) -> list[str]:
    """The VM's ports that the reserving port has, or had, a pair on."""
    prefix = "ncni-parent="
    return sorted(tag.removeprefix(prefix) for tag in port.tags if tag.startswith(prefix))


def marked_ports(context: Context) -> dict[str, Port]:
    """Every reserving port that carries this installation's mark, by nonce."""
    found = context.neutron.ports(tags=f"{TAG},ncni-install={context.install}")
    return {port.device_id: port for port in found if port.device_owner == DEVICE_OWNER}


def is_lost(context: Context, port: Port, known: Collection[str]) -> bool:
    """Whether a port of `ours` is one that this store should know and does not.

    By its node's name too: the mark's six digits are too few to tell a cloud's nodes apart, and
    what is lost is given back.
    """
    names = {node_tag(node.name(config)) for config in context.configs}
    return port.device_id not in known and not names.isdisjoint(port.tags)


def config_of(context: Context, port: Port) -> IpamConfig:
    """The configuration that the port was probably made under: the newest with its tags."""
    return next(
        (
            config
            for config in reversed(context.configs)
            if node_tag(node.name(config)) in port.tags
            and tag_value(port, "cluster") == config.cluster
        ),
        context.config,
    )


def create_or_find(
    context: Context,
    record: Record,
    network_id: str,
    subnets: Sequence[Subnet],
    parent: str = "",
    more: Mapping[str, Any] | None = None,
) -> Port:
    """The lease's port: the one that an interrupted call made, or a new one.

    Tries the subnets of a family in turn while they are full. `more`: attributes of the API
    beyond those that every reserving port has. Raises CniError: AnswerLost where the port may be
    there all the same, any other kind where it is not.
    """
    port = find(context, record)
    if port is not None:
        return _tagged(context, record, port, parent)
    attributes: dict[str, Any] = {
        "name": _name(record),
        "network_id": network_id,
        "device_id": record.nonce,
        "device_owner": DEVICE_OWNER,
        "description": f"neutron-cni: {record} on node {node.name(record.config)}"[:255],
        **(more or {}),
    }
    for fixed_ips in _placements(record, subnets):
        try:
            attributes["fixed_ips"] = fixed_ips
            return context.neutron.create_port(attributes, tags_of(context, record, parent))
        except SubnetFull:
            continue
        except AddressTaken as error:
            if not record.wish.requested:
                raise
            raise _why_taken(context, record, error) from error
        except AnswerLost as error:
            with suppress(CniError):
                port = find(context, record)
            if port is None:
                raise
            return _tagged(context, record, port, parent, error)
    if subnets:
        raise exhausted(subnets)
    raise CniError(
        Code.NOT_FOUND, f"network {network_id} has no subnet to take an address from", ""
    )


def _why_taken(context: Context, record: Record, error: AddressTaken) -> CniError:
    """A requested address is another's, or rests: its port of before is still there."""
    resting = {
        item.address
        for other in context.store.all()
        if other.state in (State.COOLING, State.RELEASED)
        for item in other.addresses
    }
    for address in record.wish.requested:
        if address in resting:
            return still_resting(address)
    return CniError(Code.CONFLICT, error.message, "ask for another address")


def _tagged(
    context: Context, record: Record, port: Port, parent: str, why: AnswerLost | None = None
) -> Port:
    """The port with all of its tags, by which a lost store finds it. Raises AnswerLost."""
    tags = tags_of(context, record, parent)
    if set(tags) <= port.tags:
        return port
    try:
        context.neutron.add_tags(port.id, tags)
    except CniError as error:
        raise why or AnswerLost(error.code, error.message, error.details) from error
    return port


def find(context: Context, record: Record) -> Port | None:
    """The lease's port, if Neutron has it. A second one (a call that came late) is removed."""
    found = context.neutron.ports(device_id=record.nonce)
    recorded = {item.port_id for item in record.addresses}
    found.sort(key=lambda port: (port.id not in recorded, port.id))
    for extra in found[1:]:
        context.neutron.delete_port(extra.id)
    return found[0] if found else None


def addresses_of(port: Port) -> tuple[PortAddress, ...]:
    """The port's addresses as a lease holds them, IPv4 first."""
    items = sorted(port.fixed_ips, key=lambda item: item.address.version)
    return tuple(PortAddress(item.address, item.subnet_id, port.id) for item in items)


def _placements(record: Record, subnets: Sequence[Subnet]) -> list[list[dict[str, str]]]:
    """`fixed_ips` to try in turn: every combination of one subnet per family, in order."""
    requested = record.wish.requested
    if requested:
        return [[_requested(item, subnets) for item in requested]]
    families = [[s for s in subnets if s.version == version] for version in (4, 6)]
    combinations = product(*(family for family in families if family))
    return [[{"subnet_id": item.id} for item in chosen] for chosen in combinations if chosen]


def _requested(address: Any, subnets: Sequence[Subnet]) -> dict[str, str]:
    for subnet in subnets:
        if address in subnet.cidr:
            return {"subnet_id": subnet.id, "ip_address": str(address)}
    cidrs = ", ".join(str(item.cidr) for item in subnets)
    raise CniError(
        Code.INVALID_CONFIG,
        f"the requested address {address} is in none of the subnets {cidrs}",
        "ask for another address, or add its subnet to `subnets`",
    )


def _name(record: Record) -> str:
    pod = str(record.pod).replace("/", "-")
    return f"pod-{pod or record.attachment.container_id[:12]}"[:255]
