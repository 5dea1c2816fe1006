"""The lab's networks, subnets, router and security group, made through Neutron's API."""

from typing import Any

from neutron_cni_lab.switch import INTERNET_ADDRESS, PHYSICAL_NETWORK

EXTERNAL_CIDR = "172.24.4.0/24"
# Addresses below the pool are the internet host's (.1), the API's (.2) and bare nodes' (.10-.99).
EXTERNAL_POOL = ("172.24.4.100", "172.24.4.250")

_SUBNETS: dict[str, dict[str, Any]] = {
    "tenant": {"network": "tenant", "cidr": "10.10.0.0/20", "gateway_ip": "10.10.0.1"},
    "dual-v4": {"network": "dual", "cidr": "10.20.0.0/24", "gateway_ip": "10.20.0.1"},
    "dual-v6": {"network": "dual", "cidr": "fd20::/64", "gateway_ip": "fd20::1"},
}


def ensure(cloud: Any) -> dict[str, Any]:
    """Make what is missing; returns the ids, by kind and name."""
    networks = {name: _network(cloud, name) for name in ("tenant", "dual")}
    networks["external"] = _network(
        cloud,
        "external",
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network=PHYSICAL_NETWORK,
    )
    subnets = {
        "external": _subnet(
            cloud,
            "external",
            network_id=networks["external"],
            cidr=EXTERNAL_CIDR,
            gateway_ip=INTERNET_ADDRESS,
            is_dhcp_enabled=False,
            allocation_pools=[{"start": EXTERNAL_POOL[0], "end": EXTERNAL_POOL[1]}],
        )
    }
    for name, wanted in _SUBNETS.items():
        rest = {key: value for key, value in wanted.items() if key != "network"}
        subnets[name] = _subnet(cloud, name, network_id=networks[wanted["network"]], **rest)
    router = _router(cloud, networks["external"], [subnets[name] for name in _SUBNETS])
    return {
        "networks": networks,
        "subnets": subnets,
        "router_id": router,
        "security_group_id": _security_group(cloud),
    }


def _network(cloud: Any, name: str, **wanted: Any) -> str:
    found = next(cloud.network.networks(name=name), None)
    return str((found or cloud.network.create_network(name=name, **wanted)).id)


def _subnet(cloud: Any, name: str, cidr: str, **wanted: Any) -> str:
    found = next(cloud.network.subnets(name=name), None)
    if not found:
        version = 6 if ":" in cidr else 4
        found = cloud.network.create_subnet(name=name, ip_version=version, cidr=cidr, **wanted)
    return str(found.id)


def _router(cloud: Any, external: str, subnets: list[str]) -> str:
    router = next(cloud.network.routers(name="router"), None)
    router = router or cloud.network.create_router(
        name="router", external_gateway_info={"network_id": external}
    )
    ports = cloud.network.ports(device_id=router.id)
    attached = {ip["subnet_id"] for port in ports for ip in port.fixed_ips}
    for subnet in subnets:
        if subnet not in attached:
            cloud.network.add_interface_to_router(router, subnet=subnet)
    return str(router.id)


def _security_group(cloud: Any) -> str:
    """A group that lets everything in; a new group lets everything out by itself."""
    group = next(cloud.network.security_groups(name="nodes"), None)
    group = group or cloud.network.create_security_group(
        name="nodes", description="Everything in, everything out"
    )
    rules = cloud.network.security_group_rules(security_group_id=group.id, direction="ingress")
    present = {rule.ether_type for rule in rules if rule.remote_group_id is None}
    for family in ("IPv4", "IPv6"):
        if family not in present:
            cloud.network.create_security_group_rule(
                security_group_id=group.id, direction="ingress", ether_type=family
            )
    return str(group.id)
