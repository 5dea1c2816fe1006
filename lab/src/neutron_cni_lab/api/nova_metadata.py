"""A small stand-in for Nova's metadata service, behind Neutron's metadata agents.

An agent finds out who asks, and tells Nova which instance that is; what is answered here is what
Nova would make of the instance's Neutron ports.
"""

import hmac
import json
import os
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

ADDRESS = ("127.0.0.1", 8775)


def start() -> None:
    """Serve in a thread of this process until it ends."""
    service = ThreadingHTTPServer(ADDRESS, Nova)
    threading.Thread(target=service.serve_forever, daemon=True).start()


class Nova(BaseHTTPRequestHandler):
    """The two documents of an instance that cloud-init reads first.

    Formats: Nova's user guide, "Metadata"; nova/virt/netutils.py, get_network_metadata.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer 403 to who is not the agent, 404 for all other documents."""
        instance = self.headers.get("X-Instance-ID", "")
        secret = os.environ["LAB_METADATA_SECRET"].encode()
        signature = hmac.new(secret, instance.encode(), sha256).hexdigest()
        if not hmac.compare_digest(signature, self.headers.get("X-Instance-ID-Signature", "")):
            return self._answer(403, {})
        documents: dict[str, Callable[[], Any]] = {
            "/openstack/latest/network_data.json": partial(network_data, instance),
            "/openstack/latest/meta_data.json": partial(meta_data, instance),
        }
        make = documents.get(self.path)
        return self._answer(404, {}) if make is None else self._answer(200, make())

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the agent has a log."""

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        # Without a character set the agent can't encode its own answer (Neutron 29).
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def meta_data(instance: str) -> dict[str, Any]:
    """meta_data.json; the lab's instances are named as their ports are."""
    ports = _neutron("ports", device_id=instance)
    name = ports[0]["name"] if ports else ""
    project = ports[0]["project_id"] if ports else ""
    return {
        "uuid": instance,
        "name": name,
        "hostname": name,
        "project_id": project,
        "availability_zone": "nova",
        "launch_index": 0,
        "keys": [],
        "devices": [],
    }


def network_data(instance: str) -> dict[str, Any]:
    """network_data.json: a link for each port, a network for each IP version that it has."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    servers: dict[str, None] = {}
    for port in _neutron("ports", device_id=instance):
        link = f"tap{port['id'][:11]}"
        (network,) = _neutron("networks", id=port["network_id"])
        links.append(
            {
                "id": link,
                "vif_id": port["id"],
                "type": "ovs",
                "mtu": network["mtu"],
                "ethernet_mac_address": port["mac_address"],
            }
        )
        for subnet, address in _first_of_each_version(port):
            networks.append(
                {
                    "id": f"network{len(networks)}",
                    "type": f"ipv{subnet['ip_version']}",
                    "link": link,
                    "ip_address": address,
                    "netmask": str(ip_network(subnet["cidr"]).netmask),
                    "routes": list(_routes(subnet)),
                    "network_id": network["id"],
                }
            )
            servers.update(dict.fromkeys(subnet["dns_nameservers"]))
    services = [{"type": "dns", "address": address} for address in servers]
    return {"links": links, "networks": networks, "services": services}


def _first_of_each_version(port: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Nova tells one address of each IP version, the first in Neutron's list."""
    seen = set()
    for fixed in port["fixed_ips"]:
        (subnet,) = _neutron("subnets", id=fixed["subnet_id"])
        if subnet["ip_version"] not in seen:
            seen.add(subnet["ip_version"])
            yield subnet, fixed["ip_address"]


def _routes(subnet: dict[str, Any]) -> Iterator[dict[str, str]]:
    anywhere = "0.0.0.0" if subnet["ip_version"] == 4 else "::"
    if subnet["gateway_ip"]:
        yield {"network": anywhere, "netmask": anywhere, "gateway": subnet["gateway_ip"]}
    for route in subnet["host_routes"]:
        network = ip_network(route["destination"])
        target, mask = str(network.network_address), str(network.netmask)
        yield {"network": target, "netmask": mask, "gateway": route["nexthop"]}


def _neutron(collection: str, **query: str) -> list[dict[str, Any]]:
    url = f"{os.environ['LAB_NEUTRON_URL']}/v2.0/{collection}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        found: list[dict[str, Any]] = json.load(answer)[collection]
    return found
