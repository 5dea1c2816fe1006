"""ipvlan: the pod's interface is a child of the node's NIC, on the Neutron network itself.

In the pod: the subnet's prefix on the link, and the default route by the subnet's gateway. What the
pod sends leaves by the NIC with the NIC's MAC, and passes the node's routing and netfilter by; and
the child can never reach its parent. So what a Kubernetes pod needs of its node goes by a second
interface, which is `veth_host`'s part. Everything here is pure.
"""

from __future__ import annotations

from neutron_cni.netlink.facts import HostFacts, Uplink
from neutron_cni.netlink.plan import (
    Announcement,
    Ipvlan,
    IpvlanMode,
    PacketRules,
    Plan,
    ProxyNeighbour,
    Side,
)
from neutron_cni.plugins import forwarding, ownership
from neutron_cni.plugins.contract import Asks, Call, Leftover
from neutron_cni.plugins.ipvlan_config import Config as Config
from neutron_cni.plugins.own_link import answer, in_pod, rules_left
from neutron_cni.plugins.refusals import require_usable
from neutron_cni.plugins.second_leg import is_further
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease
from neutron_cni.values.result import Result

PART = "ipvlan"

_WARNINGS = {
    IpvlanMode.L3: (
        "mode l3: nobody answers ARP for the pod, as the kernel hands the question to the child, "
        "which does not speak ARP: who has not learnt the MAC from the cloud (ML2/OVN knows it) or "
        "from an announcement does not reach the pod"
    ),
    IpvlanMode.L3S: (
        "mode l3s: what comes in for pods and goes out passes the node's netfilter, too: rules and "
        "connection tracking of the node see it twice where client and backend are on one node"
    ),
}


def asks(config: Config) -> Asks:
    """See `Page.asks`."""
    key = "master" if config.master else "hostInterface"
    return Asks(config.master or config.host_interface, key=key, ipvlan=True)


def refuse(config: Config, facts: HostFacts) -> None:
    """See `Page.refuse`. Raises CniError INVALID_CONFIG, or KERNEL if the kernel has no ipvlan.

    Where no NIC is named, `plan` judges it: whose port has the address is known with the lease.
    """
    if not facts.ipvlan:
        raise CniError(
            Code.KERNEL,
            "this kernel has no ipvlan links",
            "load or install the module ipvlan, or use veth-route, which needs none",
        )
    if config.master or config.host_interface:
        _parent(config, facts)


def remarks(config: Config, facts: HostFacts) -> list[str]:
    """See `Page.remarks`."""
    return [_WARNINGS[config.mode]] if config.mode in _WARNINGS else []


def shared(config: Config) -> tuple[PacketRules, ...]:
    """See `Page.shared`. There are none."""
    return ()


def answers(config: Config, lease: Lease, facts: HostFacts) -> tuple[ProxyNeighbour, ...]:
    """See `Page.answers`. Only in the layer 3 modes the pod does not answer itself."""
    return forwarding.proxies(lease, facts.uplink) if _asked_on_node(config) else ()


def plan(call: Call[Config]) -> Plan:
    """See `Page.plan`. Raises CniError CONFLICT or INVALID_CONFIG if the pod could not work."""
    attachment, lease, config = call.attachment, call.lease, call.config
    name = attachment.ifname
    parent, mtu = _parent(config, call.facts), _mtu(call)
    if call.mac:
        raise CniError(
            Code.UNSUPPORTED_FIELD,
            f"the requested MAC {call.mac}: an ipvlan link has the MAC of its parent",
            "ask for none (capability `mac`, MAC in CNI_ARGS), or use another plugin",
        )
    require_usable(lease, call.facts, mtu)
    versions: set[int] = {item.address.version for item in lease.addresses}
    asked_on_node, proxies = _asked_on_node(config), answers(config, lease, call.facts)
    side, link = (Side.HOST, parent.name) if asked_on_node else (Side.POD, name)
    if asked_on_node and not call.inside.answered and is_further(attachment, call.inside, versions):
        raise CniError(
            Code.INVALID_CONFIG,
            f"mode {config.mode}: the pod has another network already, and in this mode the node "
            "answers for a pod only by the first one",
            "take mode l2 for further networks",
        )
    own = in_pod(call, config.default_route)
    return Plan(
        links=(
            Ipvlan(
                parent.name,
                name,
                ownership.alias(call.network, attachment, PART),
                config.mode,
                mtu,
            ),
        ),
        addresses=own.addresses,
        routes=own.routes,
        rules=own.rules,
        proxies=proxies,
        sysctls=(
            *own.sysctls,
            *(
                forwarding.uplink_sysctls(call.facts, versions, proxies, host_forwarding=False)
                if asked_on_node
                else ()
            ),
        ),
        announcements=tuple(Announcement(side, link, item.address.ip) for item in lease.addresses),
        notes=(*remarks(config, call.facts), *_mtu_notes(call, parent)),
    )


def leftovers(gone: Leftover) -> Plan:
    """See `Page.leftovers`. The parent's name does not matter to find the link."""
    alias = ownership.alias(gone.network, gone.attachment, PART)
    uplink = gone.facts.uplink if gone.facts else None
    return Plan(
        links=(Ipvlan("", gone.attachment.ifname, alias),),
        rules=rules_left(gone),
        proxies=forwarding.proxies(gone.lease, uplink) if gone.lease else (),
    )


def result(call: Call[Config]) -> Result:
    """See `Page.result`: the link, its addresses with the subnet's prefix, and the pod's routes."""
    parent = _parent(call.config, call.facts)
    return answer(call, call.config.default_route, parent.mac, _mtu(call))


def _asked_on_node(config: Config) -> bool:
    """Whether a question for the pod's MAC comes to the node instead of the pod."""
    return config.mode is not IpvlanMode.L2


def _parent(config: Config, facts: HostFacts) -> Uplink:
    """The NIC that the link is a child of. Raises CniError INVALID_CONFIG if it can't have any."""
    parent = facts.uplink
    if parent is None:
        raise CniError(
            Code.INVALID_CONFIG,
            "the node has no default route, and master is not set",
            "name the NIC of the Neutron network as master",
        )
    key = "master" if config.master else "hostInterface" if config.host_interface else "the NIC"
    if not parent.up:
        raise CniError(
            Code.INVALID_CONFIG, f"{key} {parent.name} is down", f"ip link set {parent.name} up"
        )
    if parent.master:
        raise CniError(
            Code.INVALID_CONFIG,
            f"{key} {parent.name} is a port of {parent.master}, and can't have ipvlan children",
            f"name {parent.master} as master",
        )
    if parent.macvlans:
        raise CniError(
            Code.INVALID_CONFIG,
            f"{key} {parent.name} has macvlan children ({', '.join(parent.macvlans)}), and can't "
            "have ipvlan children besides",
            "use another NIC as master, or one kind of links for all pods",
        )
    if config.mtu and config.mtu > parent.mtu:
        raise CniError(
            Code.INVALID_CONFIG,
            f"mtu {config.mtu} is above that of {parent.name}, {parent.mtu} bytes",
            "leave mtu out, or make the NIC's larger",
        )
    return parent


def _mtu(call: Call[Config]) -> int:
    parent = _parent(call.config, call.facts)
    return call.config.mtu or min(call.lease.mtu or parent.mtu, parent.mtu)


def _mtu_notes(call: Call[Config], parent: Uplink) -> list[str]:
    wanted = call.lease.mtu
    if wanted is None or wanted <= parent.mtu:
        return []
    return [
        f"the Neutron network's MTU is {wanted} bytes, that of {parent.name} only {parent.mtu}: "
        "the pod has the smaller one"
    ]
