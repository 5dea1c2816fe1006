"""Which Neutron port is this VM's: by id, by the NIC's address and MAC, or by metadata.

What was found is remembered in the store and checked at every use: a VM that was rebuilt has a
port with another id, MAC or device, and then the search starts anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from neutron_cni.ipam import absence
from neutron_cni.netlink.facts import Uplink
from neutron_cni.openstack.errors import NotFound
from neutron_cni.openstack.metadata import NoMetadata, links_of_this_vm
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import Port
from neutron_cni.store import Store
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, PortLookup

LINKS = Path("/sys/class/net")
"""The node's links with their MACs, without netlink, whose import costs more than the look-up."""

UplinkFacts = Callable[[str | None], Uplink]
"""Reads the NIC named, or that of the default route; raises CniError."""


def vm_port(config: IpamConfig, store: Store, neutron: Neutron, uplink: UplinkFacts) -> Port:
    """The VM's port as it is now. Raises CniError PORT_NOT_FOUND with what was tried."""
    key = _remembered_as(config)
    remembered = store.fact(key)
    if remembered:
        port = _still_ours(json.loads(remembered), store, neutron)
        if port is not None:
            return port
    link, port = _find(config, neutron, uplink)
    known = {"port": port.id, "link": link, "mac": port.mac, "device": port.device_id}
    store.remember(key, json.dumps(known))
    return port


def _remembered_as(config: IpamConfig) -> str:
    """The key of the fact: all options that decide which port is found."""
    where = f"{config.cloud}|{config.clouds_file}|{config.port_lookup.value}"
    return f"port|{where}|{config.port_id}|{config.host_interface}"


def _still_ours(known: dict[str, str], store: Store, neutron: Neutron) -> Port | None:
    """The remembered port; None if it is gone, has another device or MAC, or the NIC another MAC.

    Of a port that is gone only for a moment's answer the pods would move to another for nothing.

    A port that was detached may live on, with the MAC that the VM's new port has on its network:
    only the device tells.
    """
    if known["link"] and _mac_of(known["link"]) != known["mac"]:
        return None
    port: Port | None
    try:
        port = neutron.port(known["port"])
    except NotFound:
        port, gone = absence.look(store, neutron, known["port"], patiently=True)
        if port is None and not gone:
            raise CniError(
                Code.TRY_AGAIN,
                f"Neutron does not show port {known['port']}, which was this VM's, and there is no "
                "time for a second look",
                "the next call takes it",
            ) from None
        if port is None:
            return None
    same = (port.mac, port.device_id) == (known["mac"], known.get("device"))
    return port if same else None


def _find(config: IpamConfig, neutron: Neutron, uplink: UplinkFacts) -> tuple[str, Port]:
    """The NIC's name (empty where none was looked at) and its port."""
    if config.port_lookup is PortLookup.ID:
        return "", _by_id(config, neutron)
    if config.port_lookup is PortLookup.AUTO:
        return _by_any(config, neutron, uplink)
    nic = uplink(config.host_interface)
    if config.port_lookup is PortLookup.METADATA:
        return nic.name, _by_metadata(config, neutron, nic)
    return nic.name, _by_address(neutron, nic)


def _by_any(config: IpamConfig, neutron: Neutron, uplink: UplinkFacts) -> tuple[str, Port]:
    """The port by the first way that finds it: the configured id, the address, the metadata."""
    tried: list[CniError] = []
    if config.port_id:
        try:
            port = _by_id(config, neutron)
            return _link_with(port), port
        except CniError as error:
            tried.append(_passed_over(error))
    nic = uplink(config.host_interface)
    ways: list[Callable[[], Port]] = [
        partial(_by_address, neutron, nic),
        partial(_by_metadata, config, neutron, nic),
    ]
    for find in ways:
        try:
            return nic.name, find()
        except CniError as error:
            tried.append(_passed_over(error))
    raise CniError(
        tried[-2].code,
        f"{'; '.join(error.message for error in tried[:-1])}; and by metadata: {tried[-1].message}",
        tried[-2].details,
    ) from tried[-1]


def _passed_over(error: CniError) -> CniError:
    """The error, if the next way may still find the port; raises any other."""
    if error.code in (Code.PORT_NOT_FOUND, Code.CONFLICT) or isinstance(error, NoMetadata):
        return error
    raise error


def _link_with(port: Port) -> str:
    """The node's link with the port's MAC. Raises CniError PORT_NOT_FOUND.

    Asked of `auto` only: of a port that is named by `id` an operator may know better, as a bond
    shows one MAC for the NICs of several ports.
    """
    for link in sorted(LINKS.iterdir()):
        if _mac_of(link.name) == port.mac:
            return link.name
    raise CniError(
        Code.PORT_NOT_FOUND,
        f"the configured port {port.id} has MAC {port.mac}, which no NIC of this node has",
        "correct `portId`; with `portLookup` `id` the MAC does not matter",
    )


def _by_id(config: IpamConfig, neutron: Neutron) -> Port:
    if not config.port_id:
        raise CniError(
            Code.INVALID_CONFIG, "portLookup `id` needs `portId`", "add it to the ipam section"
        )
    try:
        return neutron.port(config.port_id)
    except NotFound as error:
        raise CniError(
            Code.PORT_NOT_FOUND,
            f"the configured port {config.port_id} does not exist",
            "`openstack port list --server NAME` shows the VM's ports",
        ) from error


def _by_address(neutron: Neutron, nic: Uplink) -> Port:
    """The port with an address and the MAC of the NIC; networks may have the same addresses."""
    for interface in nic.addresses:
        if interface.ip.is_link_local:
            continue
        found = neutron.ports_with_address(interface.ip)
        fitting = [port for port in found if port.mac == nic.mac]
        if len(fitting) == 1:
            return fitting[0]
        if len(fitting) > 1:
            raise CniError(
                Code.CONFLICT,
                f"{len(fitting)} Neutron ports have address {interface.ip} and MAC {nic.mac}: "
                + ", ".join(sorted(port.id for port in fitting)),
                "set `portId` in the ipam section to the VM's own",
            )
    tried = ", ".join(str(item.ip) for item in nic.addresses) or "no address"
    raise CniError(
        Code.PORT_NOT_FOUND,
        f"no Neutron port has an address of {nic.name} ({tried}) and its MAC {nic.mac}",
        "is this node a VM of that cloud and project? set `hostInterface` or `portId`",
    )


def _by_metadata(config: IpamConfig, neutron: Neutron, nic: Uplink) -> Port:
    """The port that the metadata service names for the NIC with this MAC."""
    links = links_of_this_vm(config.metadata_url, neutron.deadline)
    ids = [link.port_id for link in links if link.mac == nic.mac]
    if len(ids) != 1:
        raise CniError(
            Code.PORT_NOT_FOUND,
            f"{len(ids)} links in the VM's metadata have the MAC {nic.mac} of {nic.name}",
            "set `hostInterface` or `portId`",
        )
    try:
        port = neutron.port(ids[0])
    except NotFound as error:
        raise CniError(
            Code.PORT_NOT_FOUND,
            f"the metadata names port {ids[0]}, which Neutron does not have",
            "was the VM rebuilt, or is clouds.yaml for another cloud?",
        ) from error
    if port.mac != nic.mac:
        raise CniError(
            Code.PORT_NOT_FOUND,
            f"port {port.id} from the metadata has MAC {port.mac}, but {nic.name} has {nic.mac}",
            "the metadata are of another VM or out of date: set `portId`",
        )
    return port


def _mac_of(link: str) -> str:
    """The link's MAC, empty when there is no such link."""
    try:
        return (LINKS / link / "address").read_text().strip().lower()
    except OSError:
        return ""
