"""What must be true: while containers live, and when nothing is left of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neutron_cni.values.address import IPAddress
from neutron_cni.values.ipam_config import Mode
from tests.reliability.namespaces import addresses_of
from tests.reliability.scene import Host, Rival, Scene, addresses_on, pairs_on

Live = Mapping[tuple[str, str], Sequence[IPAddress]]
"""Addresses by (node's name, container), of containers whose ADD succeeded and whose DEL did not
begin."""


def broken(scene: Scene, hosts: Iterable[Host], mode: Mode, live: Live) -> list[str]:
    """Sentences about live containers that share an address, lack one, or are forgotten."""
    found = []
    holders = Counter(address for addresses in live.values() for address in addresses)
    found += [f"{address} is in {n} live containers" for address, n in holders.items() if n > 1]
    reserved = {a for port in scene.reserves() for a in addresses_on(port)}
    for host in hosts:
        port = scene.port(host.port_id)
        passing = reserved_by = set(addresses_on(port))
        if mode is not Mode.FIXED_IPS:
            reserved_by = reserved
            passing = {*map(_address, pairs_on(port))} if mode is Mode.ADDRESS_PAIRS else reserved
        for (name, container), addresses in live.items():
            if name != host.name:
                continue
            found += [
                f"{address} of live {container} is {what}"
                for address in addresses
                for what, there in (
                    ("not reserved in Neutron", reserved_by),
                    ("not let through", passing),
                    ("not in its namespace", addresses_of(host.namespaces.path(container))),
                )
                if address not in there
            ]
            if mode is Mode.NOVA_INTERFACE:
                attached = nics_of(scene, host)
                found += [
                    f"the NIC of live {container} is not attached"
                    for address in addresses
                    if address not in attached
                ]
    return found


def nics_of(scene: Scene, host: Host) -> set[IPAddress]:
    """The addresses of the NICs that the node's VM has."""
    ports = [port for port in scene.reserves() if port["device_id"] == host.server.id]
    return {address for port in ports for address in addresses_on(port)}


def reserved(scene: Scene, hosts: Iterable[Host]) -> set[IPAddress]:
    """What Neutron gives to nobody else, the VMs' own addresses too."""
    ports = [scene.port(host.port_id) for host in hosts] + scene.reserves()
    return {address for port in ports for address in addresses_on(port)}


def trespasses(scene: Scene, rivals: Iterable[Rival], live: Live) -> list[str]:
    """Sentences about what rivals had and now miss or share."""
    found = []
    held = {address for addresses in live.values() for address in addresses}
    for rival in rivals:
        port = scene.port(rival.port_id)
        found += [f"the rival's address {a} was taken" for a in rival.addresses & held]
        for what, his, there in (
            ("address", set(map(str, rival.addresses)), set(map(str, addresses_on(port)))),
            ("pair", rival.pairs, set(pairs_on(port))),
            ("tag", rival.tags, set(port["tags"])),
        ):
            found += [f"the rival's {what} {item} was lost" for item in his - there]
    return found


def leaks(scene: Scene, hosts: Sequence[Host], rivals: Sequence[Rival]) -> list[str]:
    """What is left in Neutron and in the stores when nobody lives: sentences, none is right."""
    found = []
    for host in hosts:
        port = scene.port(host.port_id)
        theirs = [rival for rival in rivals if rival.port_id == host.port_id]
        known = host.own.union(*(rival.addresses for rival in theirs))
        pairs = set().union(*(rival.pairs for rival in theirs))
        tags = set().union(*(rival.tags for rival in theirs))
        found += [f"address {a} on {host.name}" for a in addresses_on(port) if a not in known]
        found += [f"pair {item} on {host.name}" for item in pairs_on(port) if item not in pairs]
        found += [f"tag {tag} on {host.name}" for tag in port["tags"] if tag not in tags]
        found += [f"row {_shown(row)} on {host.name}" for row in host.records()]
    found += [f"port {p['id']} with {addresses_on(p)} {p['tags']}" for p in scene.reserves()]
    return found


def _address(text: str) -> Any:
    from ipaddress import ip_network

    return ip_network(text, strict=False).network_address


def _shown(record: Any) -> str:
    addresses = [str(item.address) for item in record.addresses]
    return f"{record.attachment.container_id or record.token} {record.state} {addresses}"
