"""host-device: the pod's interface is a NIC of the node's, which the node does without meanwhile.

In the pod it is on its network as it was on the node: the subnet's prefix on the link, and the
default route by the subnet's gateway. The NIC keeps its MAC, since its Neutron port lets no other
pass. What a Kubernetes pod needs of its node goes by a second interface, which is `veth_host`'s
part, chained behind. Everything here is pure.
"""

from __future__ import annotations

from dataclasses import replace

from neutron_cni.netlink.facts import HostFacts
from neutron_cni.netlink.nics import Nic, Place, Selector
from neutron_cni.netlink.plan import (
    Announcement,
    MovedLink,
    PacketRules,
    Plan,
    ProxyNeighbour,
    Side,
)
from neutron_cni.plugins import ownership
from neutron_cni.plugins.contract import Asks, Call, Leftover
from neutron_cni.plugins.host_device_config import Config as Config
from neutron_cni.plugins.nic_choice import choose
from neutron_cni.plugins.own_link import answer, in_pod, rules_left
from neutron_cni.plugins.refusals import require_usable
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

PART = "host-device"


def asks(config: Config) -> Asks:
    """See `Page.asks`."""
    return Asks(addresses=True, moves_nic=True, nic=config.selector())


def refuse(config: Config, facts: HostFacts) -> None:
    """See `Page.refuse`. Raises CniError as `nic_choice.choose`, and INVALID_CONFIG if no NIC is
    named, or the one by which the node itself is reached, or one although IPAM gets one."""
    if facts.nic_by_lease:
        _refuse_own_choice(config)
        return
    nic = choose(_selector(config), facts.nics)
    uplink = facts.uplink
    if nic.place is Place.NODE and uplink is not None and nic.name == uplink.name:
        raise CniError(
            Code.INVALID_CONFIG,
            f"the NIC {nic.name} is the node's own, and can't be given to a pod",
            "hostInterface names it; name another NIC",
        )
    _mtu(config, None, nic)


def remarks(config: Config, facts: HostFacts) -> list[str]:
    """See `Page.remarks`. There are none."""
    return []


def shared(config: Config) -> tuple[PacketRules, ...]:
    """See `Page.shared`. There are none."""
    return ()


def answers(config: Config, lease: Lease, facts: HostFacts) -> tuple[ProxyNeighbour, ...]:
    """See `Page.answers`. There are none: the pod answers itself."""
    return ()


def plan(call: Call[Config]) -> Plan:
    """See `Page.plan`. Raises CniError as `refuse`, and CONFLICT if the pod could not work.

    At CHECK the answer of ADD tells which NIC it is, as the node has it no more.
    """
    config, name = call.config, call.attachment.ifname
    alias = ownership.alias(call.network, call.attachment, PART)
    own = in_pod(call, config.default_route)
    announcements = tuple(
        Announcement(Side.POD, name, item.address.ip) for item in call.lease.addresses
    )
    if call.inside.answered:
        return replace(own, links=(MovedLink(name, alias),), announcements=announcements)
    nic = _nic(call)
    if call.mac and call.mac != nic.mac:
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f"the requested MAC {call.mac}: the NIC {nic.before.name} has {nic.mac}, and its "
            "port lets no other pass",
            "ask for none (capability `mac`, MAC in CNI_ARGS), or set the MAC of the Neutron port",
        )
    mtu = _mtu(config, call.lease.mtu, nic)
    require_usable(call.lease, _without(nic, call.facts), mtu)
    return replace(
        own,
        links=(MovedLink(name, alias, nic, mtu),),
        announcements=announcements,
        notes=tuple(_notes(call, nic, mtu)),
    )


def leftovers(gone: Leftover) -> Plan:
    """See `Page.leftovers`. The NIC is known by its alias, wherever it is."""
    alias = ownership.alias(gone.network, gone.attachment, PART)
    return Plan(links=(MovedLink(gone.attachment.ifname, alias),), rules=rules_left(gone))


def result(call: Call[Config]) -> Result:
    """See `Page.result`: the NIC, its addresses with the subnet's prefix, and the pod's routes."""
    nic = _nic(call)
    mtu = _mtu(call.config, call.lease.mtu, nic)
    return answer(call, call.config.default_route, nic.mac, mtu)


def _refuse_own_choice(config: Config) -> None:
    if config.selector() is not None:
        raise CniError(
            Code.INVALID_CONFIG,
            "a NIC is named, and ipam.mode nova-interface gets one for each pod",
            "leave out device, mac, pciBusID and netVFs, or use another mode",
        )


def _selector(config: Config, lease: Lease | None = None) -> Selector:
    if lease is not None and lease.nic_mac and config.selector() is None:
        return Selector(mac=lease.nic_mac)
    selector = config.selector()
    if selector is None:
        raise CniError(
            Code.INVALID_CONFIG,
            "device is missing: host-device-plus does not know which NIC the pod gets",
            "name it by one of device, mac, pciBusID and netVFs, or use ipam.mode nova-interface",
        )
    return selector


def _nic(call: Call[Config]) -> Nic:
    chance = int(call.attachment.token(call.network), 16)
    lease = call.lease if call.facts.nic_by_lease else None
    return choose(_selector(call.config, lease), call.facts.nics, chance)


def _mtu(config: Config, network: int | None, nic: Nic) -> int:
    """The MTU of the pod's interface, in bytes. `network` is that of the Neutron network."""
    if config.mtu and nic.max_mtu and config.mtu > nic.max_mtu:
        raise CniError(
            Code.INVALID_CONFIG,
            f"mtu {config.mtu} is above what the NIC {nic.before.name} can do, {nic.max_mtu} bytes",
            "leave mtu out, or take a smaller one",
        )
    wanted = config.mtu or network or nic.before.mtu
    return min(wanted, nic.max_mtu or wanted)


def _without(nic: Nic, facts: HostFacts) -> HostFacts:
    """The node as it is without the NIC: an address that the NIC had goes with it."""
    gone = {item.ip for item in nic.addresses}
    own = facts.uplink
    return replace(
        facts,
        uplink=None if own is not None and own.mac == nic.mac else own,
        addresses=tuple(item for item in facts.addresses if item not in gone),
    )


def _notes(call: Call[Config], nic: Nic, mtu: int) -> list[str]:
    notes = []
    if call.lease.mtu is not None and mtu < call.lease.mtu and not call.config.mtu:
        notes.append(
            f"the Neutron network's MTU is {call.lease.mtu} bytes, and the NIC {nic.before.name} "
            f"can do {mtu} only: the pod has the smaller one"
        )
    if nic.before.addresses:
        notes.append(
            f"the NIC {nic.before.name} had {', '.join(map(str, nic.before.addresses))} on the "
            "node, which has them again when the pod goes"
        )
    return notes
