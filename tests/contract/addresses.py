"""Fixed IPs: what a port gets, what a PUT means, what is refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.contract.backend import CIDR, NOWHERE, Backend, entries


class Addresses:
    """`fixed_ips` of POST and PUT."""

    def test_a_port_that_asks_for_nothing_gets_one_address_per_family(
        self, backend: Backend
    ) -> None:
        network = backend.make_network()
        backend.make_subnet(network, "10.60.0.0/28")
        backend.make_subnet(network, "10.61.0.0/28")
        backend.make_subnet(network, "fd60::/64")
        given = [ip_address(i["ip_address"]) for i in backend.make_port(network)["fixed_ips"]]
        assert sorted(address.version for address in given) == [4, 6]

    def test_neutron_chooses_within_the_allocation_pools(self, backend: Backend) -> None:
        network = backend.make_network()
        pools = [{"start": "10.60.0.4", "end": "10.60.0.5"}]
        subnet = backend.make_subnet(network, CIDR, allocation_pools=pools)
        given = backend.make_port(network, fixed_ips=[{"subnet_id": subnet}] * 2)["fixed_ips"]
        assert [item["ip_address"] for item in given] == ["10.60.0.4", "10.60.0.5"]

    def test_an_address_outside_the_pools_may_be_asked_for(self, backend: Backend) -> None:
        network = backend.make_network()
        pools = [{"start": "10.60.0.4", "end": "10.60.0.5"}]
        backend.make_subnet(network, CIDR, allocation_pools=pools)
        assert backend.make_port(network, "10.60.0.9")["fixed_ips"][0]["ip_address"] == "10.60.0.9"

    def test_the_gateways_address_is_given_to_whoever_asks(self, backend: Backend) -> None:
        network, _ = backend.home()
        assert backend.make_port(network, "10.60.0.1")["fixed_ips"][0]["ip_address"] == "10.60.0.1"

    def test_put_replaces_the_whole_list(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5", "10.60.0.6")
        assert backend.put(port["id"], fixed_ips=entries(subnet, "10.60.0.7")).addresses == [
            "10.60.0.7"
        ]
        assert backend.read(port["id"]).addresses == ["10.60.0.7"]

    def test_an_empty_list_takes_all_off(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, "10.60.0.5", "10.60.0.6")
        assert backend.put(port["id"], fixed_ips=[]).addresses == []

    def test_an_entry_with_a_subnet_only_keeps_an_address_that_is_there(
        self, backend: Backend
    ) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        assert backend.put(port["id"], fixed_ips=[{"subnet_id": subnet}]).addresses == ["10.60.0.5"]

    def test_it_keeps_the_last_in_neutrons_order(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.10", "10.60.0.5")
        assert backend.put(port["id"], fixed_ips=[{"subnet_id": subnet}]).addresses == ["10.60.0.5"]

    def test_n_entries_with_a_subnet_only_mean_n_addresses_in_all(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5", "10.60.0.6")
        after = backend.put(port["id"], fixed_ips=[{"subnet_id": subnet}] * 3).addresses
        assert {"10.60.0.5", "10.60.0.6"} < set(after)
        assert len(after) == 3

    def test_exact_entries_come_before_those_with_a_subnet_only(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        wanted = [{"subnet_id": subnet}, *entries(subnet, "10.60.0.5")]
        after = backend.put(port["id"], fixed_ips=wanted).addresses
        assert "10.60.0.5" in after
        assert len(after) == 2

    def test_none_of_them_is_given_an_address_that_another_entry_names(
        self, backend: Backend
    ) -> None:
        network = backend.make_network()
        pools = [{"start": "10.60.0.4", "end": "10.60.0.4"}]
        subnet = backend.make_subnet(network, CIDR, allocation_pools=pools)
        wanted = [{"subnet_id": subnet}, *entries(subnet, "10.60.0.4")]
        assert backend.post_port(network, fixed_ips=wanted).kind == "IpAddressGenerationFailure"

    def test_an_entry_with_an_address_only_is_completed(self, backend: Backend) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        wanted = [{"ip_address": "10.60.0.6"}]
        assert backend.put(port["id"], fixed_ips=wanted).port["fixed_ips"] == entries(
            subnet, "10.60.0.6"
        )

    def test_the_list_comes_back_sorted_as_strings(self, backend: Backend) -> None:
        network, subnet = backend.home()
        asked = ["10.60.0.9", "10.60.0.10", "10.60.0.2", "10.60.0.11"]
        port = backend.make_port(network, *asked)
        assert backend.read(port["id"]).addresses == sorted(asked)
        wanted = entries(subnet, *reversed(asked), "10.60.0.3")
        assert backend.put(port["id"], fixed_ips=wanted).addresses == sorted([*asked, "10.60.0.3"])

    def test_ipv6_is_returned_in_its_shortest_form(self, backend: Backend) -> None:
        network = backend.make_network()
        subnet = backend.make_subnet(network, "fd60::/64")
        port = backend.make_port(network, "fd60::5")
        wanted = entries(subnet, "fd60:0:0:0:0:0:AB:0")
        assert backend.put(port["id"], fixed_ips=wanted).addresses == ["fd60::ab:0"]

    def test_an_address_that_the_same_put_takes_off_can_be_given_again(
        self, backend: Backend
    ) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.2")
        others = [f"10.60.0.{number}" for number in range(3, 15)]
        backend.make_port(network, *others)
        wanted = [*entries(subnet, "10.60.0.1"), {"subnet_id": subnet}]
        assert backend.put(port["id"], fixed_ips=wanted).addresses == ["10.60.0.1", "10.60.0.2"]

    def test_deleting_a_port_frees_its_addresses(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        assert backend.call("DELETE", f"/ports/{port['id']}").status == 204
        backend.make_port(network, "10.60.0.5")

    def test_a_slaac_address_comes_and_stays_unasked(self, backend: Backend) -> None:
        network = backend.make_network()
        modes = {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac", "enable_dhcp": True}
        four = backend.make_subnet(network, CIDR)
        six = backend.make_subnet(network, "fd60::/64", **modes)
        port = backend.make_port(network, "10.60.0.5")
        parts = [int(part, 16) for part in port["mac_address"].split(":")]
        host = bytes([parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]])
        automatic = str(ip_network("fd60::/64")[int.from_bytes(host, "big")])
        assert automatic in [item["ip_address"] for item in port["fixed_ips"]]
        wanted = entries(four, "10.60.0.6")
        assert backend.put(port["id"], fixed_ips=wanted).addresses == ["10.60.0.6", automatic]
        refused = backend.put(port["id"], fixed_ips=entries(six, "fd60::5"))
        assert (refused.status, refused.kind) == (400, "AllocationOnAutoAddressSubnet")


class AddressRefusals:
    """What is refused, and that a refused call changes nothing."""

    def test_an_address_of_another_port(self, backend: Backend) -> None:
        network, subnet = backend.home()
        backend.make_port(network, "10.60.0.5")
        port = backend.make_port(network, "10.60.0.6")
        wanted = entries(subnet, "10.60.0.7", "10.60.0.5")
        for reply in (
            backend.put(port["id"], fixed_ips=wanted),
            backend.post_port(network, fixed_ips=wanted),
        ):
            assert (reply.status, reply.kind) == (409, "IpAddressAlreadyAllocated")
            assert "10.60.0.5" in reply.message
        after = backend.read(port["id"])
        assert after.addresses == ["10.60.0.6"]
        assert after.port["revision_number"] == port["revision_number"]
        backend.make_port(network, "10.60.0.7")

    def test_a_full_subnet(self, backend: Backend) -> None:
        network = backend.make_network()
        pools = [{"start": "10.60.0.4", "end": "10.60.0.5"}]
        subnet = backend.make_subnet(network, CIDR, allocation_pools=pools)
        port = backend.make_port(network, "10.60.0.4")
        backend.make_port(network, "10.60.0.5")
        for reply in (
            backend.post_port(network),
            backend.put(port["id"], fixed_ips=[{"subnet_id": subnet}] * 2),
        ):
            assert (reply.status, reply.kind) == (409, "IpAddressGenerationFailure")
        assert backend.read(port["id"]).addresses == ["10.60.0.4"]

    @pytest.mark.parametrize("address", ["10.60.0.0", "10.60.0.15", "10.99.0.5", "fd00::5"])
    def test_an_address_that_the_subnet_does_not_have(self, backend: Backend, address: str) -> None:
        network, subnet = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        reply = backend.put(port["id"], fixed_ips=entries(subnet, address))
        assert (reply.status, reply.kind) == (400, "InvalidIpForSubnet")
        reply = backend.put(port["id"], fixed_ips=[{"ip_address": address}])
        assert (reply.status, reply.kind) == (400, "InvalidIpForNetwork")
        assert backend.read(port["id"]).addresses == ["10.60.0.5"]

    def test_subnets_that_do_not_fit(self, backend: Backend) -> None:
        network, _ = backend.home()
        elsewhere = backend.make_subnet(backend.make_network(), CIDR)
        port = backend.make_port(network, "10.60.0.5")
        reply = backend.put(port["id"], fixed_ips=entries(elsewhere, "10.60.0.6"))
        assert (reply.status, reply.kind) == (400, "InvalidInput")
        reply = backend.put(port["id"], fixed_ips=entries(NOWHERE, "10.60.0.6"))
        assert (reply.status, reply.kind) == (404, "SubnetNotFound")

    def test_a_subnet_for_certain_services_serves_no_other_port(self, backend: Backend) -> None:
        network = backend.make_network()
        ours = backend.make_subnet(network, CIDR, service_types=["compute:nova"])
        other = backend.make_subnet(network, "10.61.0.0/28")
        nova = backend.make_port(network, device_owner="compute:nova")
        wanted = [*entries(ours, "10.60.0.9"), *entries(other, "10.61.0.9")]
        assert backend.put(nova["id"], fixed_ips=wanted).addresses == ["10.60.0.9", "10.61.0.9"]
        plain = backend.make_port(network, "10.61.0.5")
        for reply in (
            backend.put(plain["id"], fixed_ips=entries(ours, "10.60.0.8")),
            backend.post_port(network, fixed_ips=[{"subnet_id": ours}]),
        ):
            assert (reply.status, reply.kind) == (400, "InvalidInput")
            assert f"fixed_ips included invalid subnet {ours}" in reply.message

    @pytest.mark.parametrize(
        "wanted",
        [
            "text",
            ["text"],
            [{"ip_address": "10.60.0.300"}],
            [{"ip_address": "10.60.0.7"}, {"ip_address": "10.60.0.7"}],
            [{"subnet_id": "not-a-uuid"}],
        ],
    )
    def test_lists_that_make_no_sense(self, backend: Backend, wanted: Any) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        reply = backend.put(port["id"], fixed_ips=wanted)
        assert (reply.status, reply.kind) == (400, "HTTPBadRequest")

    def test_an_empty_entry_is_a_defect_of_neutron(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network, "10.60.0.5")
        assert backend.put(port["id"], fixed_ips=[{}]).status == 500

    def test_a_network_without_subnets_gives_none(self, backend: Backend) -> None:
        network = backend.make_network()
        assert backend.make_port(network)["fixed_ips"] == []
        reply = backend.post_port(network, fixed_ips=[{"ip_address": "10.60.0.5"}])
        assert (reply.status, reply.kind) == (400, "InvalidInput")
