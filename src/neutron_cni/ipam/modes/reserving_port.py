"""Ports that reserve an address: made, found again after a crash, and taken away.

A reserving port carries its lease's nonce (see marks.py), written in the store before the call: an
answer that was lost is resolved by looking for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import product
from typing import Any

from neutron_cni.ipam import node
from neutron_cni.ipam.choose import Offer, exhausted, still_resting, subnet_of_requested
from neutron_cni.ipam.modes import marks
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.errors import AddressTaken, AnswerLost, Refused, SubnetFull
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import FixedIp, Port
from neutron_cni.store import PortAddress, Record, State
from neutron_cni.store.record import WARM
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig

TAG = "neutron-cni"
_NAME_LENGTH = 50
"""Of 60 characters, what a tag may have in every release, the rest is the key."""


def tags_of(context: Context, record: Record, parent: str) -> list[str]:
    """The port's tags, by which others can judge it when this node is gone; 60 characters each."""
    tags = [TAG, node_tag(node.name(record.config)), f"ncni-install={context.install}"]
    tags += [f"ncni-token={record.token}", *marks.tags(record)]
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


def tag_again(context: Context, record: Record, port: Port) -> None:
    """Have a port that was made for another attachment say that it is the lease's.

    The new tags come first: there is no moment without one. Raises CniError.
    """
    tags = tags_of(context, record, "")
    if not set(tags) <= port.tags:
        context.neutron.add_tags(port.id, tags)
    for tag in sorted(port.tags):
        if tag.startswith(("ncni-token=", "ncni-pod=")) and tag not in tags:
            context.neutron.remove_tag(port.id, tag)


def token_of(port: Port) -> str:
    """The token of the attachment that the port was made for; empty if it has none.

    While `tag_again` is at work it has two, and one of a NIC for a pod to come counts less.
    """
    found = [tag.removeprefix("ncni-token=") for tag in port.tags if tag.startswith("ncni-token=")]
    return min(found, key=lambda token: (token.startswith(WARM), token), default="")


def parents(port: Port) -> list[str]:
    """The VM's ports that the reserving port has, or had, a pair on."""
    prefix = "ncni-parent="
    return sorted(tag.removeprefix(prefix) for tag in port.tags if tag.startswith(prefix))


def marked_ports(context: Context) -> list[Port]:
    """Every reserving port that carries this installation's mark."""
    return _reserving(context.neutron, [TAG, f"ncni-install={context.install}"])


def ports_of_node(neutron: Neutron, name: str, cluster: str = "", install: str = "") -> list[Port]:
    """Every reserving port for a node of that name.

    Of one cluster and of one installation (6 hex digits) only, where these are not empty.
    """
    tags = [TAG, node_tag(name)]
    tags += [f"ncni-cluster={cluster}"] if cluster else []
    tags += [f"ncni-install={install}"] if install else []
    return _reserving(neutron, tags)


def nodes_with_ports(neutron: Neutron, cluster: str = "") -> set[str]:
    """What the nodes are called, in tags, that have a reserving port; of one cluster if named."""
    tags = [TAG, *([f"ncni-cluster={cluster}"] if cluster else [])]
    return {tag_value(port, "node") for port in _reserving(neutron, tags)} - {""}


def is_of_node(context: Context, port: Port) -> bool:
    """Whether a port with this installation's mark is for this node, by its tags.

    The mark's six digits are too few to tell a cloud's nodes apart, and what has no lease here is
    given back. A network may have a name of its own for the node.
    """
    return any(node_tag(node.name(config)) in port.tags for config in context.configs)


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


@dataclass(frozen=True, slots=True)
class PortWanted:
    """What a lease's reserving port must be like.

    `offer`: the subnets to try. `parent`: the VM's port whose allowed
    address pair lets the address through, empty where there is none. `attributes`: those of the API
    beyond what every reserving port has. `exact`: these addresses and no others.
    """

    network: PodNetwork
    offer: Offer
    parent: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    exact: tuple[PortAddress, ...] = ()


def create_or_find(context: Context, record: Record, wanted: PortWanted) -> Port:
    """The lease's port: the one that an interrupted call made, or a new one.

    Tries the subnets of a family in turn while they are full, or Neutron refuses them. Raises
    CniError: AnswerLost where the port may be there all the same, any other kind where it is not.
    """
    parent = wanted.parent
    port = find(context, record)
    if port is not None:
        return _tagged(context, record, port, parent)
    attributes: dict[str, Any] = {
        "name": _name(record),
        "network_id": wanted.network.id,
        **marks.attributes(record),
        **wanted.attributes,
    }
    full, refused = False, list[Refused]()
    for fixed_ips in _placements(record, wanted):
        try:
            attributes["fixed_ips"] = fixed_ips
            return context.neutron.create_port(attributes, tags_of(context, record, parent))
        except SubnetFull:
            full = True
        except Refused as error:
            refused.append(error)
        except AddressTaken as error:
            if wanted.exact or not record.wish.requested:
                raise
            raise _why_taken(context, record, error) from error
        except AnswerLost as error:
            with suppress(CniError):
                port = find(context, record)
            if port is None:
                raise
            return _tagged(context, record, port, parent, error)
    if refused and not full:
        raise refused[0]
    more = tuple(error.message for error in refused)
    raise exhausted(replace(wanted.offer, left_out=wanted.offer.left_out + more))


def _why_taken(context: Context, record: Record, error: AddressTaken) -> CniError:
    """The error for a requested address that another port has, perhaps that of a resting lease."""
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
    """The port, with all tags by which a store that was lost finds it again.

    Raises AnswerLost (`why`, where one is given) when it can't be tagged: it exists all the same.
    """
    tags = tags_of(context, record, parent)
    if set(tags) <= port.tags:
        return port
    try:
        context.neutron.add_tags(port.id, tags)
    except CniError as error:
        raise why or AnswerLost(error.code, error.message, error.details) from error
    return port


def find(context: Context, record: Record) -> Port | None:
    """The lease's port, if Neutron has it. A second one (a call that came late) is removed, unless
    a server has its NIC: that one's turn comes when the first is gone."""
    listed = context.neutron.ports(**marks.query(record))
    found = [port for port in listed if marks.nonce_of(port) == record.nonce]
    recorded = {item.port_id for item in record.addresses}
    found.sort(key=lambda port: (port.id not in recorded, port.id))
    for extra in found[1:]:
        if not (marks.is_nic(extra) and extra.device_id):
            context.neutron.delete_port(extra.id)
    return found[0] if found else None


def addresses_of(port: Port) -> tuple[PortAddress, ...]:
    """The port's addresses as a lease holds them, IPv4 first."""
    items = sorted(port.fixed_ips, key=lambda item: item.address.version)
    return tuple(PortAddress(item.address, item.subnet_id, port.id) for item in items)


def _reserving(neutron: Neutron, tags: Sequence[str]) -> list[Port]:
    found = neutron.ports(tags=",".join(tags))
    # Releases before `tag-creation` (21) find those as well whose tags differ in case only.
    return [port for port in found if set(tags) <= port.tags and marks.is_ours(port)]


def _placements(record: Record, wanted: PortWanted) -> list[list[dict[str, str]]]:
    """`fixed_ips` to try in turn: every combination of one subnet per family, in order."""
    if wanted.exact:
        return [[FixedIp(item.subnet_id, item.address).to_json() for item in wanted.exact]]
    subnets = wanted.offer.subnets
    requested = record.wish.requested
    if requested:
        found = [(subnet_of_requested(item, wanted.offer), item) for item in requested]
        return [[FixedIp(subnet.id, item).to_json() for subnet, item in found]]
    families = [[s for s in subnets if s.version == version] for version in (4, 6)]
    combinations = product(*(family for family in families if family))
    return [[{"subnet_id": item.id} for item in chosen] for chosen in combinations if chosen]


def _name(record: Record) -> str:
    pod = str(record.pod).replace("/", "-")
    return f"pod-{pod or record.attachment.container_id[:12]}"[:255]
