"""One Neutron, fake or real, over plain HTTP: what the behaviours are tried on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from neutron_cni.openstack.neutron import Neutron
from neutron_cni.values.deadline import Deadline

Json = dict[str, Any]
T = TypeVar("T")
CIDR = "10.60.0.0/28"
"""14 addresses, .1 is the gateway's: 13 to give away."""
NOWHERE = "00000000-0000-4000-8000-000000000000"
"""An id that no object has."""


PROJECT = "c0" * 16
"""Nobody else's on a real Neutron, so that its quota can be set."""

_Removal = tuple[str, str, Json | None]
"""Method, path and body of the call that removes something."""


@dataclass(frozen=True)
class Reply:
    """An answer: status and decoded body, which is text where a proxy answered."""

    status: int
    body: Any

    @property
    def kind(self) -> str:
        """The `type` of a refusal, empty for another answer."""
        error = self.body.get("NeutronError") if isinstance(self.body, dict) else None
        return error["type"] if error else ""

    @property
    def message(self) -> str:
        """What a refusal says."""
        return str(self.body["NeutronError"]["message"])

    @property
    def port(self) -> Json:
        """The port in the answer to a call that must have succeeded."""
        assert self.status < 300, self
        found: Json = self.body["port"]
        return found

    @property
    def addresses(self) -> list[str]:
        """The port's addresses, in Neutron's order."""
        return [item["ip_address"] for item in self.port["fixed_ips"]]

    @property
    def pairs(self) -> list[str]:
        """The port's allowed address pairs without their MACs."""
        return [item["ip_address"] for item in self.port["allowed_address_pairs"]]


class Backend:
    """Makes things in a Neutron and removes them again: `clean_up` after a test, `close` at last.

    `expect_overlap(n)` is called before n PUTs that are to overlap; a real Neutron has no such
    switch, there they are only sent at the same moment.
    """

    def __init__(
        self, url: str, project_id: str, folder: Path, expect_overlap: Callable[[int], None]
    ) -> None:
        self.url = url
        self.project_id = project_id
        self._expect_overlap = expect_overlap
        self._made: list[_Removal] = []
        self._lasting: list[_Removal] = []
        self._clients: list[Neutron] = []
        self._home: tuple[str, str] | None = None
        self._outside = ""
        self.clouds_yaml = folder / "clouds.yaml"
        self.clouds_yaml.write_text(
            f"clouds:\n  contract:\n    auth_type: none\n    auth: {{endpoint: '{url}'}}\n"
        )

    def neutron(self, seconds: float = 60.0) -> Neutron:
        """The project's own client of it; `clean_up` closes it."""
        made = Neutron.connect("contract", str(self.clouds_yaml), Deadline.after(seconds))
        self._clients.append(made)
        return made

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        revision: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; `path` without `/v2.0`."""
        more = dict(headers or {})
        if revision is not None:
            more["If-Match"] = f"revision_number={revision}"
        where = urlsplit(self.url)
        connection = HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(
                method, f"/v2.0{path}", data, {"Content-Type": "application/json"} | more
            )
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        if answer.headers.get_content_maintype() == "text":
            return Reply(answer.status, raw.decode())
        return Reply(answer.status, json.loads(raw) if raw else None)

    def get(self, collection: str, **query: Any) -> Reply:
        """A list, by filters; a `_` in a name stands for itself, a list is repeated."""
        return self.call("GET", f"/{collection}?{urlencode(query, doseq=True)}")

    def read(self, port_id: str) -> Reply:
        """The port as it is now."""
        return self.call("GET", f"/ports/{port_id}")

    def put(self, port_id: str, revision: int | None = None, **attributes: Any) -> Reply:
        """Change a port."""
        return self.call("PUT", f"/ports/{port_id}", {"port": attributes}, revision)

    def post_port(self, network_id: str, **attributes: Any) -> Reply:
        """Try to make a port; removed at the end if it was made."""
        body = {"network_id": network_id, "project_id": self.project_id} | attributes
        reply = self.call("POST", "/ports", {"port": body})
        if reply.status == 201:
            self._made.append(("DELETE", f"/ports/{reply.port['id']}", None))
        return reply

    def tag(self, port_id: str, tags: Iterable[str]) -> Reply:
        """Add tags to a port: by one call, or by one each where Neutron takes no more; then it is
        the worst answer that is returned."""
        if self._takes_several_tags:
            return self.post_tags(port_id, tags)
        replies = [self.one_tag("PUT", port_id, tag) for tag in tags]
        return max(replies, key=lambda reply: reply.status)

    def post_tags(self, port_id: str, tags: Iterable[str]) -> Reply:
        """Add tags to a port by one call."""
        return self.call("POST", f"/ports/{port_id}/tags", {"tags": list(tags)})

    @cached_property
    def _takes_several_tags(self) -> bool:
        return self.call("GET", "/extensions/tag-creation").status == 200

    def one_tag(self, method: str, port_id: str, tag: str) -> Reply:
        """PUT, GET or DELETE of one tag."""
        return self.call(method, f"/ports/{port_id}/tags/{quote(tag, safe='')}")

    def home(self) -> tuple[str, str]:
        """Ids of a network and its only subnet, `CIDR`: the same in all tests, empty in each."""
        if self._home is None:
            with self._lasting_ones():
                network = self.make_network()
                self._home = network, self.make_subnet(network, CIDR)
        return self._home

    def outside(self) -> str:
        """Id of an external network that `home` is routed to; the same in all tests."""
        if not self._outside:
            _, subnet = self.home()
            with self._lasting_ones():
                self._outside = self.make_network(**{"router:external": True})
                self.make_subnet(self._outside, "203.0.113.0/24")
                self.make_router(self._outside, subnet)
        return self._outside

    def make_network(self, **attributes: Any) -> str:
        """Id of a new network."""
        return str(self._make("networks", "network", attributes)["id"])

    def mtu(self, network_id: str) -> int:
        """What a network says of itself: 1442 with geneve, 1450 with vxlan."""
        found = int(self.call("GET", f"/networks/{network_id}").body["network"]["mtu"])
        assert 1280 <= found < 1500
        return found

    def make_subnet(self, network_id: str, cidr: str, **attributes: Any) -> str:
        """Id of a new subnet, without DHCP: where there is, OVN takes an address for itself."""
        version = 6 if ":" in cidr else 4
        body = {"network_id": network_id, "cidr": cidr, "ip_version": version, "enable_dhcp": False}
        return str(self._make("subnets", "subnet", body | attributes)["id"])

    def make_port(self, network_id: str, *fixed: str, **attributes: Any) -> Json:
        """A new port with these addresses, or with what Neutron chooses."""
        if fixed:
            attributes["fixed_ips"] = [{"ip_address": address} for address in fixed]
        return self.post_port(network_id, **attributes).port

    def make_group(self, name: str) -> str:
        """Id of a new security group."""
        return str(self._make("security-groups", "security_group", {"name": name})["id"])

    def make_floating_ip(self, external_id: str, port_id: str, address: str) -> Json:
        """A floating IP that points at `address` of the port."""
        body = {"floating_network_id": external_id, "port_id": port_id, "fixed_ip_address": address}
        return self._make("floatingips", "floatingip", body)

    def make_router(self, external_id: str, subnet_id: str) -> None:
        """A router between an external network and a subnet."""
        gateway = {"external_gateway_info": {"network_id": external_id}}
        router = self._make("routers", "router", gateway)["id"]
        body = {"subnet_id": subnet_id}
        assert self.call("PUT", f"/routers/{router}/add_router_interface", body).status == 200
        self._made.append(("PUT", f"/routers/{router}/remove_router_interface", body))

    def at_once(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """The answers to PUTs of ports that overlap, in the order of `calls`."""
        self._expect_overlap(len(calls))
        return self.together(calls)

    @staticmethod
    def together(calls: Sequence[Callable[[], T]]) -> list[T]:
        """What calls made at the same moment return, in the order of `calls`."""
        barrier = Barrier(len(calls))

        def one(call: Callable[[], T]) -> T:
            barrier.wait()
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(one, calls))

    def clean_up(self) -> None:
        """Remove what was made, last first; what is gone already is fine."""
        while self._clients:
            self._clients.pop().close()
        while self._made:
            reply = self.call(*self._made.pop())
            assert reply.status in (200, 204, 404), reply

    def close(self) -> None:
        """Remove what lasted over the tests."""
        self._made = [*self._lasting, *self._made]
        self.clean_up()

    @contextmanager
    def _lasting_ones(self) -> Iterator[None]:
        of_this_test, self._made = self._made, []
        try:
            yield
        finally:
            self._lasting += self._made
            self._made = of_this_test

    def _make(self, collection: str, member: str, attributes: Json) -> Json:
        body = {member: {"project_id": self.project_id} | attributes}
        reply = self.call("POST", f"/{collection}", body)
        assert reply.status == 201, reply
        item: Json = reply.body[member]
        self._made.append(("DELETE", f"/{collection}/{item['id']}", None))
        return item


@contextmanager
def real_backend(url: str, folder: Path) -> Iterator[Backend]:
    """A real Neutron. That requests overlap can't be arranged there: they are sent until they
    have."""
    backend = Backend(url, PROJECT, folder, lambda number: None)
    try:
        yield backend
    finally:
        backend.close()


def entries(subnet_id: str, *addresses: str) -> list[Json]:
    """Fixed IPs of one subnet, as they are sent."""
    return [{"subnet_id": subnet_id, "ip_address": address} for address in addresses]


def pairs(*addresses: str) -> list[Json]:
    """Allowed address pairs without MAC, as they are sent."""
    return [{"ip_address": address} for address in addresses]
