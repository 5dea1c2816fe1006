"""How Neutron gives addresses out: its reference IPAM driver (neutrondb_ipam), condensed.

Follows `neutron/db/ipam_pluggable_backend.py` and `ipam_backend_mixin.py` of Neutron 29.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Any

from tests.fakes.cloud import Cloud, Json
from tests.fakes.refusals import (
    Refusal,
    address_taken,
    internal_error,
    invalid_input,
    not_found,
    subnet_full,
)

WINDOW = 1000
"""Neutron picks at random among this many of the lowest free addresses (`MAX_WIN`)."""
AUTO_MODES = ("slaac", "dhcpv6-stateless")


@dataclass
class Delta:
    """What a new list of fixed IPs means for a port: entries to add, to keep and to take off."""

    add: list[Json] = field(default_factory=list)
    keep: list[Json] = field(default_factory=list)
    remove: list[Json] = field(default_factory=list)


def default_pools(cidr: str, gateway: str | None) -> list[Json]:
    """All usable addresses but the gateway's, as one or two ranges."""
    network = ip_network(cidr)
    first, last = int(network[0]), int(network[-1])
    if network.version == 6:
        first += 1
    elif network.prefixlen <= 30:
        first, last = first + 1, last - 1
    ranges = [(first, last)]
    if gateway is not None:
        at = int(ip_address(gateway))
        if first <= at <= last:
            ranges = [(first, at - 1), (at + 1, last)]
    kind = type(network[0])
    return [{"start": str(kind(a)), "end": str(kind(b))} for a, b in ranges if a <= b]


def is_usable(subnet: Json, address: str) -> bool:
    """Whether a port may have the address; IPv4's network and broadcast addresses it may not."""
    network = ip_network(subnet["cidr"])
    wanted = ip_address(address)
    if wanted.version != network.version or wanted not in network:
        return False
    return wanted.version == 6 or network.prefixlen > 30 or wanted not in (network[0], network[-1])


def is_automatic(subnet: Json) -> bool:
    """Whether addresses follow from the MAC (SLAAC)."""
    return subnet.get("ipv6_address_mode") in AUTO_MODES


def eui64(subnet: Json, mac: str) -> str:
    """The address that SLAAC gives this MAC."""
    parts = [int(part, 16) for part in mac.split(":")]
    parts[0] ^= 2
    host = int.from_bytes(bytes([*parts[:3], 0xFF, 0xFE, *parts[3:]]), "big")
    return str(ip_network(subnet["cidr"])[0] + host)


def subnets_of(cloud: Cloud, network_id: str) -> list[Json]:
    """In the order in which Neutron tries them, which is that of their ids."""
    found = [s for s in cloud.tables["subnets"].values() if s["network_id"] == network_id]
    return sorted(found, key=lambda subnet: str(subnet["id"]))


def delta(cloud: Cloud, port: Json, wanted: list[Json]) -> Delta:
    """`_get_changed_ips_for_port`: exact addresses first, then an entry with a subnet only takes
    whatever address of that subnet the port already has."""
    result = Delta()
    left = {item["ip_address"]: item for item in port["fixed_ips"]}
    for entry in wanted:
        if "ip_address" in entry:
            kept = left.pop(entry["ip_address"], None)
            (result.add if kept is None else result.keep).append(kept or entry)
    for entry in wanted:
        if "ip_address" in entry:
            continue
        if "subnet_id" not in entry:
            raise internal_error()  # a KeyError in Neutron
        reusable = [a for a, item in left.items() if item["subnet_id"] == entry["subnet_id"]]
        if reusable:
            result.keep.append(left.pop(reusable[-1]))
        else:
            result.add.append(entry)
    for item in left.values():
        automatic = is_automatic(cloud.tables["subnets"][item["subnet_id"]])
        (result.keep if automatic else result.remove).append(item)
    return result


def completed(cloud: Cloud, port: Json, entries: list[Json]) -> list[Json]:
    """Entries with their subnet found and checked, exact addresses first."""
    done = []
    for entry in entries:
        subnet = _subnet_for(cloud, port, entry)
        if is_automatic(subnet):
            _require_automatic(subnet, port["mac_address"], entry)
            continue
        address = {"ip_address": entry["ip_address"]} if "ip_address" in entry else {}
        done.append({"subnet_id": subnet["id"]} | address)
    return sorted(done, key=lambda entry: "ip_address" not in entry)


def automatic(cloud: Cloud, port: Json, have: list[Json]) -> list[Json]:
    """SLAAC addresses that the port has not got yet; a port gets them unasked."""
    subnet_ids = {item["subnet_id"] for item in have}
    return [
        {"subnet_id": subnet["id"], "ip_address": eui64(subnet, port["mac_address"])}
        for subnet in subnets_of(cloud, port["network_id"])
        if is_automatic(subnet) and subnet["id"] not in subnet_ids
    ]


def unasked(cloud: Cloud, network_id: str, owner: str) -> list[list[Json]]:
    """For a port that names no address: one of the IPv4 subnets, one of the IPv6 ones."""
    found = [s for s in subnets_of(cloud, network_id) if serves(s, owner)]
    managed = [s for s in found if not is_automatic(s)]
    groups = [[s for s in managed if s["ip_version"] == version] for version in (4, 6)]
    return [[{"subnet_id": s["id"]} for s in group] for group in groups if group]


class OwnRace(Exception):
    """The address is on this very port already: a rival PUT that overlapped added it."""


def allocate(cloud: Cloud, port: Json, choices: list[Json]) -> Json:
    """One address, recorded as the port's, from the first of `choices` that has one.

    Raises Refusal (address taken, subnet full) or OwnRace.
    """
    for choice in choices:
        subnet = cloud.tables["subnets"][choice["subnet_id"]]
        holders = cloud.in_use[subnet["id"]]
        address = choice.get("ip_address") or _pick(cloud, subnet, set(holders))
        if address is None:
            continue
        if address in holders:
            if holders[address] == port["id"]:
                raise OwnRace
            raise address_taken(address, subnet["id"])
        holders[address] = port["id"]
        return {"subnet_id": subnet["id"], "ip_address": address}
    raise subnet_full(port["network_id"])


def release(cloud: Cloud, fixed_ips: list[Json]) -> None:
    """The addresses are free again; of one that is free already: nothing."""
    for item in fixed_ips:
        cloud.in_use.get(item["subnet_id"], {}).pop(item["ip_address"], None)


@contextmanager
def transaction(cloud: Cloud) -> Iterator[None]:
    """Nothing stays allocated or released when the call fails, as after a database rollback."""
    before = {subnet: dict(holders) for subnet, holders in cloud.in_use.items()}
    try:
        yield
    except BaseException:
        cloud.in_use = before
        raise


def in_order(fixed_ips: list[Json]) -> list[Json]:
    """As Neutron returns them: sorted as strings, so that .10 comes before .2."""
    return sorted(fixed_ips, key=lambda item: (item["ip_address"], item["subnet_id"]))


def _pick(cloud: Cloud, subnet: Json, taken: set[str]) -> str | None:
    for pool in subnet["allocation_pools"]:
        free = list(islice(_free(pool, taken), WINDOW))
        if free:
            return cloud.random.choice(free)
    return None


def _free(pool: Json, taken: set[str]) -> Iterator[str]:
    start, end = ip_address(pool["start"]), ip_address(pool["end"])
    for number in range(int(start), int(end) + 1):
        address = str(type(start)(number))
        if address not in taken:
            yield address


def serves(subnet: Json, owner: str) -> bool:
    """Whether a port with this `device_owner` may have addresses of it, by its service types."""
    return not subnet["service_types"] or owner in subnet["service_types"]


def _subnet_for(cloud: Cloud, port: Json, entry: Json) -> Any:
    network_id = port["network_id"]
    subnets = [s for s in subnets_of(cloud, network_id) if serves(s, port["device_owner"])]
    if not subnets:
        raise invalid_input("IP allocation requires subnets for network")
    if "subnet_id" not in entry:
        for subnet in subnets:
            if is_usable(subnet, entry["ip_address"]):
                return subnet
        raise Refusal(
            400,
            "InvalidIpForNetwork",
            f"IP address {entry['ip_address']} is not a valid IP for any of the subnets on the "
            "specified network.",
        )
    if entry["subnet_id"] not in cloud.tables["subnets"]:
        raise not_found("Subnet", entry["subnet_id"])
    subnet = cloud.tables["subnets"][entry["subnet_id"]]
    if subnet not in subnets:
        raise invalid_input(
            f"Failed to create port on network {network_id}, because fixed_ips included invalid "
            f"subnet {subnet['id']}"
        )
    if "ip_address" in entry and not is_usable(subnet, entry["ip_address"]):
        raise Refusal(
            400,
            "InvalidIpForSubnet",
            f"IP address {entry['ip_address']} is not a valid IP for the specified subnet.",
        )
    return subnet


def _require_automatic(subnet: Json, mac: str, entry: Json) -> None:
    if "ip_address" in entry and entry["ip_address"] != eui64(subnet, mac):
        raise Refusal(
            400,
            "AllocationOnAutoAddressSubnet",
            f"IPv6 address {entry['ip_address']} cannot be directly assigned to a port on subnet "
            f"{subnet['id']} as the subnet is configured for automatic addresses",
        )
