"""Networks, subnets, security groups and quotas."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from tests.fakes import addresses
from tests.fakes.attributes import unwrapped
from tests.fakes.cloud import PORT_QUOTA, Cloud, Json, security_group
from tests.fakes.refusals import Refusal, bad_request, invalid_input


def create_network(cloud: Cloud, body: Any) -> Json:
    """POST /networks."""
    wanted = unwrapped(body, "network")
    with cloud.lock:
        item: Json = {
            "name": "",
            "admin_state_up": True,
            "mtu": 1442,
            "status": "ACTIVE",
            "subnets": [],
            "shared": False,
            "description": "",
            "port_security_enabled": True,
            "router:external": False,
            "provider:network_type": "geneve",
        }
        return {"network": dict(cloud.add("networks", item | wanted, revision=1))}


def delete_network(cloud: Cloud, name: str) -> None:
    """DELETE /networks/{id} with its subnets; 409 while it has ports."""
    with cloud.lock:
        cloud.find("networks", name)
        ports = [port["id"] for port in cloud.ports.values() if port["network_id"] == name]
        if ports:
            raise Refusal(
                409,
                "NetworkInUse",
                f"Unable to complete operation on network {name}. There are one or more ports "
                f"still in use on the network, id for these ports is: {','.join(ports)}.",
            )
        for subnet in addresses.subnets_of(cloud, name):
            cloud.remove("subnets", subnet["id"])
        cloud.remove("networks", name)


def create_subnet(cloud: Cloud, body: Any) -> Json:
    """POST /subnets: gateway and allocation pools as Neutron fills them in."""
    wanted = unwrapped(body, "subnet")
    with cloud.lock:
        network = cloud.find("networks", wanted["network_id"])
        cidr = ip_network(wanted["cidr"], strict=False)
        if wanted.get("enable_dhcp", True) and cidr.version == 4 and cidr.prefixlen > 30:
            raise invalid_input(
                "Subnet has a prefix length that is incompatible with DHCP service enabled"
            )
        for other in addresses.subnets_of(cloud, network["id"]):
            if cidr.overlaps(ip_network(other["cidr"])):
                raise invalid_input(
                    f"Requested subnet with cidr: {cidr} for network: {network['id']} overlaps "
                    "with another subnet"
                )
        first = cidr[0] if cidr.version == 6 else cidr[0] + 1
        gateway = wanted.get("gateway_ip", str(first))
        pools = wanted.get("allocation_pools")
        _check_pools(pools or [], str(cidr), gateway)
        item: Json = {
            "name": "",
            "ip_version": cidr.version,
            "enable_dhcp": True,
            "dns_nameservers": [],
            "host_routes": [],
            "description": "",
            "ipv6_address_mode": None,
            "ipv6_ra_mode": None,
            "service_types": [],
        }
        item |= wanted | {"cidr": str(cidr), "gateway_ip": gateway}
        item["allocation_pools"] = pools or addresses.default_pools(str(cidr), gateway)
        subnet = cloud.add("subnets", item)
        cloud.in_use[subnet["id"]] = {}
        network["subnets"].append(subnet["id"])
        cloud.bump(network)
        return {"subnet": dict(subnet)}


def delete_subnet(cloud: Cloud, name: str) -> None:
    """DELETE /subnets/{id}; 409 while a port has one of its addresses."""
    with cloud.lock:
        subnet = cloud.find("subnets", name)
        if cloud.in_use[name]:
            raise Refusal(
                409,
                "SubnetInUse",
                f"Unable to complete operation on subnet {name}: One or more ports have an IP "
                "allocation from this subnet.",
            )
        network = cloud.find("networks", subnet["network_id"])
        network["subnets"].remove(name)
        cloud.bump(network)
        cloud.remove("subnets", name)


def create_security_group(cloud: Cloud, body: Any) -> Json:
    """POST /security-groups; names need not be unique, but for `default`."""
    wanted = unwrapped(body, "security_group")
    with cloud.lock:
        if wanted.get("name") == "default":
            raise Refusal(
                409, "SecurityGroupDefaultAlreadyExists", "Default security group already exists."
            )
        item = security_group(wanted["name"], wanted.get("project_id", ""))
        return {"security_group": dict(cloud.add("security-groups", item))}


def quota_details(cloud: Cloud, project: str) -> Json:
    """GET /quotas/{project}/details."""
    limit, used = cloud.ports_quota(project)
    return {"quota": {"port": {"limit": limit, "used": used, "reserved": 0}}}


def set_quota(cloud: Cloud, project: str, body: Any) -> Json:
    """PUT /quotas/{project}; 400 below what is used."""
    wanted = unwrapped(body, "quota")
    with cloud.lock:
        used = cloud.ports_quota(project)[1]
        if 0 <= wanted["port"] < used and not cloud.is_old:
            raise bad_request(
                f"Quota limit {wanted['port']} for port must be greater than or equal to already "
                f"used {used}"
            )
        cloud.port_quota[project] = wanted["port"]
        return {"quota": {"port": wanted["port"]}}


def reset_quota(cloud: Cloud, project: str) -> None:
    """DELETE /quotas/{project}: back to the default."""
    with cloud.lock:
        if cloud.port_quota.pop(project, PORT_QUOTA) == PORT_QUOTA:
            raise Refusal(
                404, "TenantQuotaNotFound", f"Quota for project {project} could not be found."
            )


def _check_pools(pools: list[Json], cidr: str, gateway: str | None) -> None:
    for pool in pools:
        start, end = ip_address(pool["start"]), ip_address(pool["end"])
        if start not in ip_network(cidr) or end not in ip_network(cidr):
            raise Refusal(
                400,
                "OutOfBoundsAllocationPool",
                f"The allocation pool {start}-{end} spans beyond the subnet cidr {cidr}.",
            )
        if gateway is not None and int(start) <= int(ip_address(gateway)) <= int(end):
            raise Refusal(
                409,
                "GatewayConflictWithAllocationPools",
                f"Gateway ip {gateway} conflicts with allocation pool {start}-{end}.",
            )
