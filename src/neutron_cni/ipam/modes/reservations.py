"""The life of a reserving port, for every mode in which one keeps a pod's address from others.

The lease says in which state it is: `intended` is written before the port is made, so that after a
crash the port is looked for by the lease's nonce; `released` is written before it is deleted. Ports
whose lease was lost with the store are recognised by their tags and get a lease again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from neutron_cni.ipam import node
from neutron_cni.ipam.modes import marks, reserving_port
from neutron_cni.ipam.modes.context import Context
from neutron_cni.ipam.modes.contract import Finding, ForeignPort, Kind, Known, Seen, Strays
from neutron_cni.ipam.modes.recovery import recovered_lease
from neutron_cni.ipam.modes.reserving_port import PortWanted
from neutron_cni.ipam.modes.subnets import PodNetwork
from neutron_cni.openstack.errors import (
    AnswerLost,
    CloudError,
    NotFound,
    ObjectInUse,
    Unauthorized,
    Unreachable,
)
from neutron_cni.openstack.types import FixedIp, Port
from neutron_cni.store import PortAddress, Record, State, Store
from neutron_cni.store.giving_back import LATE_ANSWER_SECONDS
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError

REFUSED_SECONDS = 60.0
"""A port that could not be made again is not tried again so soon."""

FEW = 3
"""So many ports are read one by one; of more the list of all that carry our mark is asked for."""

# A reservation is made, refused, removed


@dataclass(frozen=True, slots=True)
class Reserved:
    """A lease's reserving port, and the network that it is on."""

    port: Port
    network: PodNetwork

    @property
    def addresses(self) -> tuple[PortAddress, ...]:
        """The lease's addresses, IPv4 first."""
        return reserving_port.addresses_of(self.port)


def acquire(context: Context, record: Record, wanted: Callable[[], PortWanted]) -> Reserved | None:
    """The port that reserves the lease's addresses: a new one, or that of an interrupted call.

    `wanted` says what it must be like. None where the lease can't have one, which is then `failed`
    with the reason, or where a DEL came. Raises CniError where a port may have been made and can't
    be found now: the lease stays `intended`.
    """
    interrupted = record.state is State.INTENDED
    try:
        like = wanted()
    except CniError as error:
        if interrupted:
            raise
        context.store.fail({record.id: error})
        return None
    if not context.store.intend({record.id: record.addresses}):
        return None
    try:
        return Reserved(reserving_port.create_or_find(context, record, like), like.network)
    except CniError as error:
        if interrupted or isinstance(error, AnswerLost):
            raise
        context.store.return_to_wanted([record.id])
        context.store.fail({record.id: error})
        return None


def put_back(context: Context, record: Record, wanted: Callable[[], PortWanted]) -> None:
    """Have a port again that reserves a held lease's addresses: somebody deleted or changed it.

    A refusal is remembered, and fails nobody: another port may have the address by now. Raises
    CniError where Neutron can't be asked.
    """
    key = _not_put_back(record)
    if context.store.fact(key, REFUSED_SECONDS) is not None:
        return
    try:
        port = _with_addresses(context, record, wanted)
    except (AnswerLost, Unreachable, Unauthorized):
        raise
    except CloudError as error:
        context.store.remember(key, str(error))
        return
    if any(item.port_id != port.id for item in record.addresses):
        context.store.relocate(record.id, port.id, nic_mac="")


def _with_addresses(context: Context, record: Record, wanted: Callable[[], PortWanted]) -> Port:
    """The lease's port with its addresses. Only a port that has them keeps others from them, so
    one that a bad answer hides is not made twice."""
    port = reserving_port.find(context, record)
    if port is None:
        like = replace(wanted(), exact=record.addresses)
        context.store.watch(record.id)
        return reserving_port.create_or_find(context, record, like)
    missing = [item for item in record.addresses if item.address not in port.addresses]
    if not missing:
        return port
    added = [FixedIp(item.subnet_id, item.address) for item in missing]
    return context.neutron.set_fixed_ips(port, [*port.fixed_ips, *added])


def why_not_put_back(store: Store, record: Record) -> str:
    """What refused it lately, empty if nothing did."""
    return store.fact(_not_put_back(record), REFUSED_SECONDS) or ""


def _not_put_back(record: Record) -> str:
    return f"not-put-back|{record.nonce}"


def refuse(
    context: Context, record: Record, port_ids: Iterable[str], error: CniError | None
) -> None:
    """Delete the ports of a lease that can't have their addresses.

    It waits for others, or fails with `error`. First it is written that it has none.
    """
    context.store.intend({record.id: ()})
    for port_id in dict.fromkeys(port_ids):
        context.neutron.delete_port(port_id)
    context.store.return_to_wanted([record.id])
    if error is not None:
        context.store.fail({record.id: error})


def remove(
    context: Context,
    record: Record,
    before: Callable[[Port], bool] = lambda port: True,
    may_fail: tuple[type[CloudError], ...] = (ObjectInUse,),
) -> bool:
    """Delete the port of a released lease, after `before` was done to it, and then the lease.

    False where either failed for now (`may_fail`), which is written down for `neutron-cni leases`,
    or `before` says so. The lease stays until no creation of its port whose answer was lost can
    arrive any more, and until a second look, some time later, found no port either. Raises
    CniError.
    """
    if record.absent and record.until > time.time():
        return True
    addresses = [item.address for item in record.addresses]
    port = _there(context, record)
    if port is not None:
        if record.absent:
            context.store.note_present([record.id])
        try:
            if not before(port):
                return False
            context.neutron.delete_port(port.id)
        except may_fail as error:
            context.note_blocked(addresses, str(error))
            return False
    context.note_blocked(addresses, None)
    context.store.forget(context.store.note_absent([record.id]))
    return True


def _there(context: Context, record: Record) -> Port | None:
    """The lease's port, by the list of its nonce or by the ids that the store has."""
    port = reserving_port.find(context, record)
    if port is not None:
        return port
    for port_id in sorted({item.port_id for item in record.addresses} - {""}):
        with suppress(NotFound):
            port = context.neutron.port(port_id)
            if marks.nonce_of(port) == record.nonce:
                return port
    return None


# A crash, or the loss of the store


def read_interrupted(context: Context, parent: str) -> None:
    """Have leases that a dead process left `intended` go on with the ports that they have.

    `parent`: the VM's port (id). Where a lease's port is not to be seen, or was made for another
    port of the VM, the lease begins anew. Its former port, if there is one, the addresses, and what
    may come late stay behind in a released lease: somebody may have deleted the port, or one answer
    may be wrong.
    """
    for record in context.records():
        if record.state is not State.INTENDED or not record.addresses:
            continue
        port = reserving_port.find(context, record)
        recorded = {item.address for item in record.addresses}
        if (
            port is not None
            and port.addresses == recorded
            and reserving_port.parents(port) == [parent]
        ):
            continue
        until = time.time() + LATE_ANSWER_SECONDS
        context.store.return_to_wanted_and_watch([record.id], until)


def lost(ports: Iterable[Port], nonces: Collection[str]) -> list[Port]:
    """Of these ports, which are ours, those that no lease knows. Pure.

    A lease is written before its port is made: `nonces` must be read from the store after the
    ports were read from Neutron, or a port that is just being made would count as lost.
    """
    return [port for port in ports if marks.nonce_of(port) not in nonces]


def recover(
    context: Context, port: Port, network: PodNetwork, carrier_id: str, nic_mac: str = ""
) -> None:
    """Give a lease to a port that was lost. `carrier_id`: the port that carries its traffic;
    `nic_mac`: see `Lease`."""
    config = reserving_port.config_of(context, port)
    record = recovered_lease(
        context,
        reserving_port.token_of(port),
        reserving_port.addresses_of(port),
        network,
        carrier_id,
        nonce=marks.nonce_of(port),
        config=config,
        nic_mac=nic_mac,
    )
    context.store.add_recovered(record)


def of_this_node(context: Context) -> list[Port]:
    """The reserving ports of this installation and node, of all modes, as Neutron lists them."""
    ports = reserving_port.marked_ports(context)
    return [port for port in ports if reserving_port.is_of_node(context, port)]


# What Neutron has, compared with the leases


def look(context: Context, leases: Sequence[Record]) -> dict[str, Port]:
    """The ports that these leases name, by id; those that are gone are not there."""
    ids = {item.port_id for record in leases for item in record.addresses}
    found: dict[str, Port] = {}
    if len(ids) > FEW:
        ports = reserving_port.marked_ports(context)
        found = {port.id: port for port in ports if port.id in ids}
    for port_id in sorted(ids - found.keys()):
        with suppress(NotFound):
            found[port_id] = context.neutron.port(port_id)
    return found


def judge(leases: Sequence[Record], seen: Seen) -> list[Finding]:
    """Each address of a held lease must be on the port that the lease names. Pure."""
    return [
        Finding(
            Kind.MISSING,
            (item.address,),
            f"{record}: no port reserves the address, so it may be given to another",
            f"port {item.port_id}, which reserved {item.address}, has it no more",
            record.id,
            mendable=True,
        )
        for record in leases
        for item in record.addresses
        if (port := seen.reserving.get(item.port_id)) is None or item.address not in port.addresses
    ]


def look_for_strays(context: Context, is_of_mode: Callable[[Port], bool]) -> Strays:
    """This node's reserving ports of a mode, and those of other installations for its name."""
    mine = tuple(port for port in of_this_node(context) if is_of_mode(port))
    return Strays(context.install, reserving=mine, foreign=tuple(_foreign(context)))


def judge_strays(known: Known, strays: Strays) -> list[Finding]:
    """Every port with our mark must belong to a lease; other installations' are named. Pure."""
    found = [
        Finding(
            Kind.FOREIGN,
            _addresses(item.port),
            f"port {item.port.id} ({item.port.name}) was made by installation {item.install} of a "
            f"node of this name; if that is no more: neutron-cni gc --node {item.node} "
            f"--install {item.install} --node-is-gone",
        )
        for item in strays.foreign
    ]
    return found + [
        Finding(Kind.UNKNOWN, _addresses(port), f"port {port.id} ({port.name}) has no lease here")
        for port in lost(strays.reserving, known.nonces)
    ]


def _foreign(context: Context) -> Iterable[ForeignPort]:
    """Ports for a node of this name and cluster whose installation's store is no more."""
    for name, cluster in dict.fromkeys((node.name(c), c.cluster) for c in context.configs):
        for port in reserving_port.ports_of_node(context.neutron, name):
            install = reserving_port.tag_value(port, "install")
            if install != context.install and reserving_port.tag_value(port, "cluster") == cluster:
                yield ForeignPort(port, install, name)


def _addresses(port: Port) -> tuple[IPAddress, ...]:
    return tuple(item.address for item in port.fixed_ips)
