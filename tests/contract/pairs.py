"""Allowed address pairs."""

from __future__ import annotations

from tests.contract.backend import Backend, pairs


class Pairs:
    """`allowed_address_pairs` of POST and PUT."""

    def test_a_pair_without_mac_gets_the_ports(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)
        after = backend.put(port["id"], allowed_address_pairs=pairs("10.60.0.9")).port
        assert after["allowed_address_pairs"] == [
            {"ip_address": "10.60.0.9", "mac_address": port["mac_address"]}
        ]

    def test_put_replaces_the_whole_list(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, allowed_address_pairs=pairs("10.60.0.9", "10.60.0.10"))
        wanted = pairs("10.60.0.10", "10.60.0.11")
        assert backend.put(port["id"], allowed_address_pairs=wanted).pairs == [
            "10.60.0.10",
            "10.60.0.11",
        ]
        assert backend.read(port["id"]).pairs == ["10.60.0.10", "10.60.0.11"]

    def test_an_address_and_its_host_cidr_are_two_pairs(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)
        wanted = pairs("10.60.0.9", "10.60.0.9/32", "10.60.0.0/24", "fd60::0:1")
        after = backend.put(port["id"], allowed_address_pairs=wanted).pairs
        assert sorted(after) == sorted(item["ip_address"] for item in wanted)

    def test_ten_fit_and_eleven_do_not(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)
        eleven = pairs(*(f"10.{number}.0.0/16" for number in range(11)))
        assert len(backend.put(port["id"], allowed_address_pairs=eleven[:10]).pairs) == 10
        for reply in (
            backend.put(port["id"], allowed_address_pairs=eleven),
            backend.post_port(network, allowed_address_pairs=eleven),
        ):
            assert (reply.status, reply.kind) == (400, "AllowedAddressPairExhausted")
            assert "maximum 10" in reply.message
        assert len(backend.read(port["id"]).pairs) == 10

    def test_what_is_refused(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)
        own = {"ip_address": "10.60.0.9", "mac_address": port["mac_address"]}
        for wanted, kind in (
            (pairs("10.60.0.9", "10.60.0.9"), "DuplicateAddressPairInRequest"),
            ([*pairs("10.60.0.9"), own], "DuplicateAddressPairInRequest"),
            (pairs("10.60.0.300"), "HTTPBadRequest"),
            ([{"mac_address": port["mac_address"]}], "AllowedAddressPairsMissingIP"),
            ([{"ip_address": "10.60.0.9", "foo": 1}], "HTTPBadRequest"),
            ("text", "HTTPBadRequest"),
        ):
            reply = backend.put(port["id"], allowed_address_pairs=wanted)
            assert (reply.status, reply.kind) == (400, kind)
        assert backend.read(port["id"]).pairs == []

    def test_none_without_port_security(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, port_security_enabled=False)
        assert port["security_groups"] == []
        reply = backend.put(port["id"], allowed_address_pairs=pairs("10.60.0.9"))
        assert (reply.status, reply.kind) == (409, "AddressPairAndPortSecurityRequired")
