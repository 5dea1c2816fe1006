"""Lists: filters, fields, pages."""

from __future__ import annotations

import pytest

from tests.contract.backend import NOWHERE, Backend, Json

QUERIES = {
    "": "ab",
    "fixed_ips=ip_address=10.60.0.10": "a",
    "fixed_ips=ip_address%3D10.60.0.10": "a",
    "fixed_ips=ip_address=10.60.0.99": "",
    "fixed_ips=ip_address=10.60.0.10&fixed_ips=ip_address=10.60.0.11": "ab",
    "fixed_ips=subnet_id={other}": "a",
    "fixed_ips=subnet_id={one}": "ab",
    "fixed_ips=subnet_id={other}&fixed_ips=ip_address=10.60.0.10": "a",
    "fixed_ips=subnet_id={other}&fixed_ips=ip_address=10.60.0.11": "",
    "name=a": "a",
    "name=A": "a",
    "name=a&name=b": "ab",
    "device_id=d1": "a",
    "device_owner=o": "a",
    "tags=x": "ab",
    "tags=x,y": "a",
    "tags=x&tags=y": "a",
    "tags=X": "",
    "tags-any=y,z": "a",
    "not-tags=y": "b",
    "not-tags-any=x": "",
    "id={a}": "a",
    "id={a}&id={b}": "ab",
    "id=no-uuid": "",
    "mac_address={mac}": "a",
    "status=DOWN": "ab",
    "project_id=nobody": "",
}
"""Filters, and the names of the ports that fit."""


class Listing:
    """GET of ports, networks, subnets and security groups by filters."""

    @pytest.fixture
    def two(self, backend: Backend) -> Json:
        """Two ports: a with two addresses and tags x and y, b with one address and tag x."""
        network = backend.make_network(name="contract net")
        one = backend.make_subnet(network, "10.60.0.0/28", name="contract one")
        other = backend.make_subnet(network, "10.61.0.0/28", name="contract other")
        a = backend.make_port(
            network, "10.60.0.10", "10.61.0.5", name="a", device_id="d1", device_owner="o"
        )
        b = backend.make_port(network, "10.60.0.11", name="b", device_id="d2")
        backend.tag(a["id"], ["x", "y"])
        backend.tag(b["id"], ["x"])
        return {"network": network, "one": one, "other": other, "a": a, "b": b}

    def test_ports_by_filters(self, backend: Backend, two: Json) -> None:
        words = two | {"a": two["a"]["id"], "b": two["b"]["id"]}
        mac = two["a"]["mac_address"].upper()
        found = {}
        for query in QUERIES:
            filters = query.format(**words, mac=mac)
            reply = backend.call("GET", f"/ports?network_id={two['network']}&{filters}")
            found[query] = "".join(sorted(port["name"] for port in reply.body["ports"]))
        assert found == QUERIES

    def test_filters_that_are_refused(self, backend: Backend, two: Json) -> None:
        reply = backend.get("ports", foo="bar")
        assert (reply.status, reply.kind) == (400, "HTTPBadRequest")
        reply = backend.get("ports", fixed_ips="10.60.0.10")
        assert (reply.status, reply.kind) == (400, "InvalidInput")
        reply = backend.get("ports", limit="x")
        assert (reply.status, reply.kind) == (400, "BadRequest")

    def test_fields(self, backend: Backend, two: Json) -> None:
        found = backend.get("ports", name="b", network_id=two["network"], fields=["id", "tags"])
        assert found.body["ports"] == [{"id": two["b"]["id"], "tags": ["x"]}]
        one = backend.call("GET", f"/ports/{two['b']['id']}?fields=name")
        assert one.body == {"port": {"name": "b"}}

    def test_pages_follow_ids(self, backend: Backend, two: Json) -> None:
        ids = sorted([two["a"]["id"], two["b"]["id"]])
        names = ["a", "b"]  # OVN may have a port of its own on the network
        first = backend.get("ports", network_id=two["network"], name=names, limit=1).body
        assert [port["id"] for port in first["ports"]] == ids[:1]
        links = {link["rel"]: link["href"] for link in first["ports_links"]}
        path = links["next"].partition("/v2.0")[2]
        second = backend.call("GET", path).body
        assert [port["id"] for port in second["ports"]] == ids[1:]
        links = {link["rel"]: link["href"] for link in second["ports_links"]}
        path = links["next"].partition("/v2.0")[2]
        last = backend.call("GET", path).body
        assert last["ports"] == []
        assert "next" not in {link["rel"] for link in last.get("ports_links", ())}

    def test_a_page_after_a_port_that_is_gone_is_404(self, backend: Backend, two: Json) -> None:
        reply = backend.get("ports", limit=1, marker=NOWHERE)
        assert (reply.status, reply.kind) == (404, "PortNotFound")

    def test_networks_and_subnets(self, backend: Backend, two: Json) -> None:
        found = backend.get("networks", name="contract net").body["networks"]
        assert [(item["id"], item["mtu"]) for item in found] == [
            (two["network"], backend.mtu(two["network"]))
        ]
        assert sorted(found[0]["subnets"]) == sorted([two["one"], two["other"]])
        found = backend.get("subnets", network_id=two["network"]).body["subnets"]
        assert {item["id"] for item in found} == {two["one"], two["other"]}
        found = backend.get("subnets", name="contract one").body["subnets"]
        assert found[0]["gateway_ip"] == "10.60.0.1"
        assert found[0]["allocation_pools"] == [{"start": "10.60.0.2", "end": "10.60.0.14"}]

    def test_security_groups(self, backend: Backend) -> None:
        group = backend.make_group("contract web")
        found = backend.get("security-groups", name="contract web").body["security_groups"]
        assert [item["id"] for item in found] == [group]

    def test_extensions(self, backend: Backend) -> None:
        found = backend.call("GET", "/extensions?fields=alias").body["extensions"]
        aliases = {item["alias"] for item in found}
        assert {"revision-if-match", "standard-attr-tag", "tag-creation", "net-mtu"} < aliases
        assert "tag-ports-during-bulk-creation" not in aliases
