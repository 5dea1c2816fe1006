"""Floating IPs that point at addresses of a port."""

from __future__ import annotations

import pytest

from tests.contract.backend import Backend, Json, entries


class FloatingIps:
    """An address that a floating IP points at."""

    @pytest.fixture
    def routed(self, backend: Backend) -> Json:
        """An external network and a subnet behind a router."""
        network, subnet = backend.home()
        return {"network": network, "subnet": subnet, "external": backend.outside()}

    def test_it_can_not_be_taken_off(self, backend: Backend, routed: Json) -> None:
        port = backend.make_port(routed["network"], "10.60.0.5", "10.60.0.6")
        backend.make_floating_ip(routed["external"], port["id"], "10.60.0.5")
        wanted = entries(routed["subnet"], "10.60.0.6")
        for revision in (None, port["revision_number"], 0):
            reply = backend.put(port["id"], revision, fixed_ips=wanted)
            assert (reply.status, reply.kind) == (400, "BadRequest")
            assert "floating" in reply.message
        assert backend.read(port["id"]).addresses == ["10.60.0.5", "10.60.0.6"]

    def test_others_can(self, backend: Backend, routed: Json) -> None:
        port = backend.make_port(routed["network"], "10.60.0.5", "10.60.0.6")
        backend.make_floating_ip(routed["external"], port["id"], "10.60.0.5")
        wanted = entries(routed["subnet"], "10.60.0.5", "10.60.0.7")
        assert backend.put(port["id"], fixed_ips=wanted).addresses == ["10.60.0.5", "10.60.0.7"]

    def test_it_must_be_named_to_stay(self, backend: Backend, routed: Json) -> None:
        port = backend.make_port(routed["network"], "10.60.0.5")
        backend.make_floating_ip(routed["external"], port["id"], "10.60.0.5")
        reply = backend.put(port["id"], fixed_ips=[{"subnet_id": routed["subnet"]}])
        assert reply.status == 400

    def test_of_several_only_the_one_with_the_smallest_id_is_minded(
        self, backend: Backend, routed: Json
    ) -> None:
        """The other goes on pointing at an address that the port no longer has."""
        port = backend.make_port(routed["network"], "10.60.0.5", "10.60.0.6")
        made = [
            backend.make_floating_ip(routed["external"], port["id"], address)
            for address in ("10.60.0.5", "10.60.0.6")
        ]
        minded, other = sorted(made, key=lambda item: str(item["id"]))
        keep = entries(routed["subnet"], other["fixed_ip_address"])
        assert backend.put(port["id"], fixed_ips=keep).status == 400
        keep = entries(routed["subnet"], minded["fixed_ip_address"])
        assert backend.put(port["id"], fixed_ips=keep).status == 200
        left = backend.call("GET", f"/floatingips/{other['id']}").body["floatingip"]
        assert left["port_id"] == port["id"]
        assert left["fixed_ip_address"] == other["fixed_ip_address"]

    def test_pointing_it_is_no_revision_of_the_port(self, backend: Backend, routed: Json) -> None:
        port = backend.make_port(routed["network"], "10.60.0.5")
        backend.make_floating_ip(routed["external"], port["id"], "10.60.0.5")
        assert backend.read(port["id"]).port["revision_number"] == port["revision_number"]

    def test_it_outlives_the_port(self, backend: Backend, routed: Json) -> None:
        port = backend.make_port(routed["network"], "10.60.0.5")
        made = backend.make_floating_ip(routed["external"], port["id"], "10.60.0.5")
        assert backend.call("DELETE", f"/ports/{port['id']}").status == 204
        left = backend.call("GET", f"/floatingips/{made['id']}").body["floatingip"]
        assert (left["port_id"], left["fixed_ip_address"]) == (None, None)
