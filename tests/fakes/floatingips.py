"""Floating IPs and as much of routers as they need."""

from __future__ import annotations

from typing import Any

from tests.fakes import addresses
from tests.fakes.attributes import unwrapped
from tests.fakes.cloud import Cloud, Json
from tests.fakes.refusals import Refusal


def create(cloud: Cloud, body: Any) -> Json:
    """POST /floatingips; with `port_id` it points there at once."""
    wanted = unwrapped(body, "floatingip")
    with cloud.lock, addresses.transaction(cloud):
        network_id = cloud.find("networks", wanted["floating_network_id"])["id"]
        holder = {"id": "", "network_id": network_id}
        given = addresses.allocate(
            cloud, holder, addresses.unasked(cloud, network_id, "network:floatingip")[0]
        )
        item: Json = {
            "floating_network_id": network_id,
            "floating_ip_address": given["ip_address"],
            "description": wanted.get("description", ""),
            "project_id": wanted.get("project_id"),
            "status": "DOWN",
        }
        item |= _target(cloud, item, wanted)
        return {"floatingip": dict(cloud.add("floatingips", item))}


def update(cloud: Cloud, name: str, body: Any) -> Json:
    """PUT /floatingips/{id}: point it at another address, or (`port_id` null) at none."""
    wanted = unwrapped(body, "floatingip")
    with cloud.lock:
        item = cloud.find("floatingips", name)
        item |= _target(cloud, item, wanted)
        cloud.bump(item)
        return {"floatingip": dict(item)}


def delete(cloud: Cloud, name: str) -> None:
    """DELETE /floatingips/{id}."""
    with cloud.lock:
        address = cloud.find("floatingips", name)["floating_ip_address"]
        for holders in cloud.in_use.values():
            if holders.get(address) == "":
                del holders[address]
        cloud.remove("floatingips", name)


def forget_port(cloud: Cloud, port_id: str) -> None:
    """The port is deleted: what pointed at it points nowhere."""
    for item in cloud.tables["floatingips"].values():
        if item["port_id"] == port_id:
            item |= {"port_id": None, "fixed_ip_address": None, "router_id": None}
            cloud.bump(item)


def require_unmoved(cloud: Cloud, port_id: str, fixed_ips: list[Json]) -> None:
    """400 when the new list lacks the address that a floating IP points at.

    Neutron looks at one of the port's floating IPs only (`fips[0]`, the one with the smallest
    id): of a port with several, the addresses of the others can be taken off, and those floating
    IPs go on pointing at them.
    """
    pointing = [i for i in cloud.tables["floatingips"].values() if i["port_id"] == port_id]
    if not pointing or not cloud.guards_floating_ips:
        return
    first = min(pointing, key=lambda item: str(item["id"]))
    if first["fixed_ip_address"] not in [entry.get("ip_address") for entry in fixed_ips]:
        raise Refusal(
            400,
            "BadRequest",
            f"Bad port request: Cannot update the fixed_ips of the port {port_id}, because its "
            "original fixed_ip has been associated to a floating ip.",
        )


def create_router(cloud: Cloud, body: Any) -> Json:
    """POST /routers, with its gateway's network if it has one."""
    wanted = unwrapped(body, "router")
    with cloud.lock:
        gateway = wanted.get("external_gateway_info")
        if gateway:
            cloud.find("networks", gateway["network_id"])
        item = {"name": "", "admin_state_up": True, "status": "ACTIVE", "routes": []}
        item |= wanted | {"external_gateway_info": gateway}
        return {"router": dict(cloud.add("routers", item))}


def delete_router(cloud: Cloud, name: str) -> None:
    """DELETE /routers/{id}; 409 while it has interfaces."""
    with cloud.lock:
        cloud.find("routers", name)
        if any(port["device_id"] == name for port in cloud.ports.values()):
            raise Refusal(409, "RouterInUse", f"Router {name} still has ports")
        cloud.remove("routers", name)


def add_interface(cloud: Cloud, name: str, body: Any) -> Json:
    """PUT /routers/{id}/add_router_interface with `subnet_id`: a port with the gateway address."""
    with cloud.lock, addresses.transaction(cloud):
        cloud.find("routers", name)
        subnet = cloud.find("subnets", body["subnet_id"])
        port: Json = {
            "name": "",
            "network_id": subnet["network_id"],
            "device_id": name,
            "device_owner": "network:router_interface",
            "mac_address": "fa:16:3e:ff:ff:ff",
            "status": "ACTIVE",
            "security_groups": [],
            "allowed_address_pairs": [],
            "port_security_enabled": False,
        }
        port = cloud.add("ports", port, revision=1)
        entry = {"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}
        port["fixed_ips"] = [addresses.allocate(cloud, port, [entry])]
        return {"id": name, "subnet_id": subnet["id"], "port_id": port["id"]}


def remove_interface(cloud: Cloud, name: str, body: Any) -> Json:
    """PUT /routers/{id}/remove_router_interface with `subnet_id`."""
    with cloud.lock:
        for port in list(cloud.ports.values()):
            here = [item["subnet_id"] for item in port["fixed_ips"]]
            if port["device_id"] == name and body["subnet_id"] in here:
                addresses.release(cloud, port["fixed_ips"])
                cloud.remove("ports", port["id"])
        return {"id": name, "subnet_id": body["subnet_id"]}


def _target(cloud: Cloud, item: Json, wanted: Json) -> Json:
    """Where it points: `port_id`, `fixed_ip_address`, `router_id`."""
    port_id = wanted.get("port_id")
    if port_id is None:
        return {"port_id": None, "fixed_ip_address": None, "router_id": None}
    port = cloud.find("ports", port_id)
    version_4 = [entry for entry in port["fixed_ips"] if ":" not in entry["ip_address"]]
    address = wanted.get("fixed_ip_address")
    if address is None and len(version_4) > 1:
        raise _bad(
            f"Port {port_id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 "
            "address when assigning a floating IP"
        )
    fitting = [entry for entry in version_4 if address in (None, entry["ip_address"])]
    if not fitting:
        raise _bad(f"Port {port_id} does not have fixed ip {address}")
    entry = fitting[0]
    return {
        "port_id": port_id,
        "fixed_ip_address": entry["ip_address"],
        "router_id": _router(cloud, item["floating_network_id"], entry["subnet_id"], port_id),
    }


def _router(cloud: Cloud, external: str, subnet_id: str, port_id: str) -> str:
    for router in cloud.tables["routers"].values():
        gateway = router["external_gateway_info"] or {}
        inside = [
            entry["subnet_id"]
            for port in cloud.ports.values()
            if port["device_id"] == router["id"]
            for entry in port["fixed_ips"]
        ]
        if gateway.get("network_id") == external and subnet_id in inside:
            return str(router["id"])
    raise Refusal(
        404,
        "ExternalGatewayForFloatingIPNotFound",
        f"External network {external} is not reachable from subnet {subnet_id}.  Therefore, "
        f"cannot associate Port {port_id} with a Floating IP.",
    )


def _bad(message: str) -> Refusal:
    return Refusal(400, "BadRequest", f"Bad floatingip request: {message}.")
