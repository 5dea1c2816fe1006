"""The `ipam` section of a network configuration for `cni-ipam-neutron`."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

import msgspec

from neutron_cni.values.address import IPAddress, IPNetwork

DEFAULT_STATE_DIR = "/var/lib/neutron-cni"
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Mode(StrEnum):
    """How a pod's address is reserved in Neutron; docs/how-to has a page for each mode."""

    PORT = "port"
    FIXED_IPS = "fixed-ips"
    ADDRESS_PAIRS = "address-pairs"
    NOVA_INTERFACE = "nova-interface"


class PortLookup(StrEnum):
    """How the Neutron port of the VM's NIC is found.

    By its id, by an address of the NIC, or by the VM's metadata; AUTO tries them in this order.
    """

    AUTO = "auto"
    ID = "id"
    ADDRESS = "address"
    METADATA = "metadata"


class ExtraRoute(msgspec.Struct, frozen=True):
    """A route that pods get besides those of their subnet, as {"dst": "10.8.0.0/16"}.

    `gw`: its next hop, in the pods' subnet or an IPv6 link-local one; default: the gateway.
    """

    dst: str
    gw: str | None = None

    def __post_init__(self) -> None:
        try:
            to = _network(self.dst)
        except ValueError as error:
            raise ValueError(f"dst must be a network such as 10.8.0.0/16: {error}") from None
        if not to.prefixlen:
            raise ValueError(
                "dst must not be everything: whether a pod's default route goes by its interface "
                "says defaultRoute, and by which router says gateway"
            )
        if self.gw is not None and _router("gw", self.gw).version != to.version:
            raise ValueError(f"gw must be of the same IP version as dst, not {self.gw}")

    @property
    def destination(self) -> IPNetwork:
        """`dst` as a value."""
        return _network(self.dst)

    @property
    def next_hop(self) -> IPAddress | None:
        """`gw` as a value."""
        return None if self.gw is None else ip_address(self.gw)


def _network(text: str) -> IPNetwork:
    """Raises ValueError."""
    if "%" in text or "/" not in text:
        raise ValueError(f"{text!r:.80} has no prefix length, or a scope")
    return ip_network(text)


def _router(key: str, text: str) -> IPAddress:
    """The address of a router; raises ValueError, naming `key`."""
    problem = f"{key} must be a router's address such as 10.0.0.1, not {text!r:.80}"
    if "%" in text:
        raise ValueError(problem)
    try:
        found = ip_address(text)
    except ValueError:
        raise ValueError(problem) from None
    if found.is_multicast or found.is_unspecified or found.is_loopback:
        raise ValueError(problem)
    return found


class IpamConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Options of `cni-ipam-neutron`. In JSON the keys are in camelCase (`hostInterface`)."""

    type: str
    mode: Mode = Mode.FIXED_IPS
    cloud: Name | None = None
    """Name of the cloud in clouds.yaml; default: OS_CLOUD, else the only cloud of the file."""
    clouds_file: Name | None = None
    """Path of clouds.yaml; default: openstacksdk's search path (/etc/openstack, ...)."""
    port_lookup: PortLookup = PortLookup.AUTO
    port_id: Name | None = None
    """Id of the VM's Neutron port, for lookup `id` (lookup `auto` uses it first)."""
    host_interface: Annotated[str, msgspec.Meta(min_length=1, max_length=15)] | None = None
    """The VM's NIC whose Neutron port carries the addresses; default: that of the default route."""
    metadata_url: Name = "http://169.254.169.254"
    network: Name | None = None
    """Neutron network, id or name, for modes `port` and `nova-interface`; the others use that of
    the VM's port."""
    subnets: tuple[Name, ...] = ()
    """Subnets, ids or names, in the order to try them; default: those of the VM's port, in modes
    `port` and `nova-interface` all of `network`."""
    security_groups: tuple[Name, ...] | None = None
    """Security groups of the pod's Neutron port, ids or names (modes `port`, `nova-interface`)."""
    vnic_type: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")] | None = None
    """`binding:vnic_type` of the pod's Neutron port, such as "direct" (mode `nova-interface`);
    default: Neutron's, "normal"."""
    port_security: bool | None = None
    """Whether the pod's Neutron port has port security (mode `nova-interface`); default: as its
    network says. Without, it has no security groups, either."""
    max_nics: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = msgspec.field(
        name="maxNICs", default=None
    )
    """How many NICs the VM may have in all, its own included (mode `nova-interface`); default: the
    flavor's extra spec `neutron-cni:max_nics`, else until Nova refuses one."""
    warm_nics: Annotated[int, msgspec.Meta(ge=0, le=100)] = msgspec.field(
        name="warmNICs", default=0
    )
    """How many NICs are kept attached for pods to come (mode `nova-interface`), so that their ADD
    asks no cloud."""
    gateway: str | None = None
    """The router that the pods' default route goes by, in a subnet of theirs; default: the gateway
    of their subnet. The other IP version's stays."""
    routes: tuple[ExtraRoute, ...] = ()
    """Routes that pods get besides those of their subnet. `gw` is in a subnet of theirs, or
    a link-local address of IPv6; default: the gateway."""
    quarantine: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 30.0
    """Seconds that a released address stays reserved in Neutron before it is given back. In mode
    `nova-interface` a NIC goes at once, unless it is kept for another pod (`warmNICs`), which gets
    it after so long."""
    timeout: Annotated[float, msgspec.Meta(gt=0, le=600)] = 60.0
    """Seconds that a call such as ADD may take in all; CHECK and STATUS have lower limits too."""
    wait_for_network: Literal["off"] | Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    """Seconds that ADD waits at most until the pods' gateway answers the new address, so that the
    pod's first packets pass; off: not at all. A gateway that did not answer is not waited for again
    for ten minutes. For our own main plugins."""
    max_address_pairs: Annotated[int, msgspec.Meta(ge=1, le=100000)] | None = None
    """The value of Neutron's option max_allowed_address_pair, for STATUS: the API tells it only
    when it refuses a pair."""
    capacity_in_status: bool = False
    """Whether STATUS fails with 50 also when addresses, ports or pairs are used up. Runtimes take a
    node whose STATUS fails for not ready, and Kubernetes evicts the pods of such a node."""
    status_patience: Annotated[float, msgspec.Meta(ge=0, le=604800)] = 600.0
    """Seconds that the cloud may be away before STATUS fails with 50, on a node that has reached it
    before. 0: at once."""
    cluster: Annotated[str, msgspec.Meta(max_length=40, pattern="^[A-Za-z0-9._-]*$")] = ""
    """Name of the Kubernetes cluster, for the tags of what neutron-cni makes in Neutron."""
    node: Annotated[str, msgspec.Meta(max_length=50, pattern="^[A-Za-z0-9._-]*$")] = ""
    """Name of this node, for the tags of what neutron-cni makes in Neutron; default: the host
    name."""
    state_dir: Annotated[str, msgspec.Meta(pattern="^/")] = DEFAULT_STATE_DIR
    """Folder of the store and its locks. It must survive a reboot."""

    def __post_init__(self) -> None:
        if self.gateway is not None:
            _router("gateway", self.gateway)
        twice = _twice([item.destination for item in self.routes])
        if twice is not None:
            raise ValueError(f"routes must name each destination once, not {twice} twice")

    @property
    def router(self) -> IPAddress | None:
        """`gateway` as a value."""
        return None if self.gateway is None else ip_address(self.gateway)

    def has_nics_of(self, other: IpamConfig) -> bool:
        """Whether a NIC that was attached under the other configuration serves this one as well."""
        return self._nic == other._nic

    @property
    def _nic(self) -> tuple[object, ...]:
        """What decides what a pod's NIC is like, and the answer that goes with it."""
        where = (self.mode, self.cloud, self.clouds_file, self.cluster, self.node)
        port = (self.network, self.subnets, self.security_groups, self.vnic_type)
        return (*where, *port, self.port_security, self.gateway, self.routes)

    @property
    def rest(self) -> float:
        """Seconds that a released address stays reserved: a NIC would take one of the VM's few
        places meanwhile, so it goes at once."""
        return 0.0 if self.mode is Mode.NOVA_INTERFACE else self.quarantine


def _twice(networks: list[IPNetwork]) -> IPNetwork | None:
    return next((item for n, item in enumerate(networks) if item in networks[:n]), None)
