"""The project's own client (`neutron_cni.openstack.neutron`): each call, each kind of refusal."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest

from neutron_cni.openstack.errors import (
    AddressTaken,
    CloudError,
    NotFound,
    ObjectInUse,
    OverQuota,
    PairLimit,
    Refused,
    StaleRevision,
    SubnetFull,
)
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.openstack.types import AddressPair, FixedIp, Port
from neutron_cni.values.errors import CniError
from tests.contract.backend import CIDR, NOWHERE, Backend, pairs


def made(backend: Backend, network: str, *fixed: str, **attributes: object) -> Port:
    """A new port, as the client shows it."""
    return Port.from_json(backend.make_port(network, *fixed, **attributes))


def fixed_ips(subnet: str, *addresses: str) -> list[FixedIp]:
    """Addresses of one subnet."""
    return [FixedIp(subnet, ip_address(address)) for address in addresses]


class Calls:
    """What the calls return."""

    @pytest.fixture
    def neutron(self, backend: Backend) -> Neutron:
        return backend.neutron()

    def test_a_port(self, backend: Backend, neutron: Neutron) -> None:
        network, subnet = backend.home()
        raw = backend.make_port(network, "10.60.0.5", allowed_address_pairs=pairs("10.60.0.9"))
        backend.tag(raw["id"], ["a"])
        port = neutron.port(raw["id"])
        assert port == Port.from_json(backend.read(raw["id"]).port)
        assert port.fixed_ips == (FixedIp(subnet, ip_address("10.60.0.5")),)
        assert port.address_pairs == (AddressPair("10.60.0.9", raw["mac_address"]),)
        assert port.tags == {"a"}
        assert port.created_at is not None

    def test_ports_by_filters(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        port = made(backend, network, "10.60.0.5", name="contract a", device_id="contract uid")
        other = made(backend, network, "10.60.0.6", name="contract b")
        assert [p.id for p in neutron.ports(device_id="contract uid")] == [port.id]
        assert [p.id for p in neutron.ports(network_id=network, mac_address=port.mac)] == [port.id]
        both = neutron.ports(network_id=network, name=["contract a", "contract b"])
        assert {p.id for p in both} == {port.id, other.id}
        found = neutron.ports_with_address(ip_address("10.60.0.5"))
        assert port.id in [p.id for p in found]

    def test_ports_on_several_pages(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        wanted = {made(backend, network, name="contract page").id for _ in range(3)}
        found = neutron.ports(network_id=network, name="contract page", limit=1)
        assert sorted(p.id for p in found) == sorted(wanted)

    def test_addresses_in_use(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        backend.make_subnet(network, "fd60::/64")
        made(backend, network, "10.60.0.5", "fd60::5")
        made(backend, network, "10.60.0.6")
        found = neutron.addresses_in_use(network)
        assert found == {ip_address(text) for text in ("10.60.0.5", "10.60.0.6", "fd60::5")}

    def test_create_and_delete_a_port(self, backend: Backend, neutron: Neutron) -> None:
        network, subnet = backend.home()
        port = neutron.create_port(
            {
                "network_id": network,
                "project_id": backend.project_id,
                "name": "pod",
                "device_id": "uid",
                "fixed_ips": [{"subnet_id": subnet}],
            },
            ["b", "a"],
        )
        assert port.device_id == "uid"
        assert neutron.port(port.id).tags == {"a", "b"}
        neutron.delete_port(port.id)
        neutron.delete_port(port.id)
        with pytest.raises(NotFound):
            neutron.port(port.id)

    def test_set_fixed_ips(self, backend: Backend, neutron: Neutron) -> None:
        network, subnet = backend.home()
        port = made(backend, network, "10.60.0.5")
        after = neutron.set_fixed_ips(port, fixed_ips(subnet, "10.60.0.5", "10.60.0.6"))
        assert after.addresses == {ip_address("10.60.0.5"), ip_address("10.60.0.6")}
        assert after.revision == port.revision + 1
        assert neutron.set_fixed_ips(after, []).addresses == frozenset()

    def test_set_address_pairs(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        port = made(backend, network)
        after = neutron.set_address_pairs(port, [AddressPair("10.60.0.9")])
        assert after.address_pairs == (AddressPair("10.60.0.9", port.mac),)
        assert neutron.set_address_pairs(after, []).address_pairs == ()

    def test_tags(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        port = made(backend, network)
        neutron.add_tags(port.id, ["a", "b c"])
        neutron.add_tags(port.id, ["a"])
        assert neutron.port(port.id).tags == {"a", "b c"}
        neutron.remove_tag(port.id, "b c")
        neutron.remove_tag(port.id, "b c")
        assert neutron.port(port.id).tags == {"a"}

    def test_more_tags_than_one_request_takes(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        port = made(backend, network)
        many = [f"t{number}" for number in range(120)]
        neutron.add_tags(port.id, many)
        assert neutron.port(port.id).tags == set(many)

    def test_tags_of_a_port_that_is_gone(self, neutron: Neutron) -> None:
        with pytest.raises(NotFound):
            neutron.add_tags(NOWHERE, ["a"])
        neutron.remove_tag(NOWHERE, "a")

    def test_network_and_subnets(self, backend: Backend, neutron: Neutron) -> None:
        network = backend.make_network(name="contract calls")
        one = backend.make_subnet(
            network,
            CIDR,
            name="contract four",
            dns_nameservers=["10.60.0.2"],
            host_routes=[{"destination": "10.9.0.0/16", "nexthop": "10.60.0.3"}],
        )
        six = backend.make_subnet(network, "fd60::/64", gateway_ip=None)
        for name in (network, "contract calls"):
            assert neutron.network(name).id == network
            assert neutron.network(name).mtu == backend.mtu(network)
        subnet = neutron.subnet("contract four", network)
        assert subnet == neutron.subnet(one)
        assert (subnet.cidr, subnet.gateway) == (ip_network(CIDR), ip_address("10.60.0.1"))
        assert subnet.pools == ((ip_address("10.60.0.2"), ip_address("10.60.0.14")),)
        assert subnet.dns_servers == ("10.60.0.2",)
        assert subnet.host_routes == ((ip_network("10.9.0.0/16"), ip_address("10.60.0.3")),)
        assert neutron.subnet(six).gateway is None
        assert {item.id for item in neutron.subnets(network)} == {one, six}

    def test_security_group(self, backend: Backend, neutron: Neutron) -> None:
        group = backend.make_group("contract calls")
        assert neutron.security_group_id("contract calls") == group
        assert neutron.security_group_id(group) == group

    def test_the_project_that_we_are_taken_for(self, neutron: Neutron) -> None:
        """Of a cloud without Keystone; with one it is in the token."""
        assert re.fullmatch("[0-9a-f]{32}", neutron.project_id())

    def test_port_quota(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        before = neutron.port_quota(backend.project_id)
        made(backend, network)
        after = neutron.port_quota(backend.project_id)
        assert before is not None
        assert after is not None
        assert (after.limit, after.used) == (before.limit, before.used + 1)
        assert not after.full


class Failures:
    """What the calls raise."""

    @pytest.fixture
    def neutron(self, backend: Backend) -> Neutron:
        return backend.neutron()

    def test_what_is_not_there(self, backend: Backend, neutron: Neutron) -> None:
        for call in (
            lambda: neutron.port(NOWHERE),
            lambda: neutron.network(NOWHERE),
            lambda: neutron.network("no such network"),
            lambda: neutron.subnet(NOWHERE),
            lambda: neutron.security_group_id("no such group"),
        ):
            with pytest.raises(NotFound):
                call()

    def test_a_name_that_several_have(self, backend: Backend, neutron: Neutron) -> None:
        ids = [backend.make_network(name="contract twins") for _ in range(2)]
        with pytest.raises(Refused) as caught:
            neutron.network("contract twins")
        assert all(id_ in str(caught.value) for id_ in ids)

    def test_an_address_of_another_port(self, backend: Backend, neutron: Neutron) -> None:
        network, subnet = backend.home()
        made(backend, network, "10.60.0.5")
        port = made(backend, network, "10.60.0.6")
        with pytest.raises(AddressTaken):
            neutron.set_fixed_ips(port, fixed_ips(subnet, "10.60.0.5", "10.60.0.6"))

    def test_a_full_subnet(self, backend: Backend, neutron: Neutron) -> None:
        network = backend.make_network()
        pools = [{"start": "10.60.0.4", "end": "10.60.0.4"}]
        backend.make_subnet(network, CIDR, allocation_pools=pools)
        made(backend, network)
        with pytest.raises(SubnetFull):
            neutron.create_port({"network_id": network, "project_id": backend.project_id}, [])

    def test_an_address_of_no_subnet(self, backend: Backend, neutron: Neutron) -> None:
        network, subnet = backend.home()
        port = made(backend, network, "10.60.0.5")
        with pytest.raises(Refused):
            neutron.set_fixed_ips(port, fixed_ips(subnet, "10.61.0.5"))

    def test_a_stale_revision(self, backend: Backend, neutron: Neutron) -> None:
        network, subnet = backend.home()
        port = made(backend, network, "10.60.0.5")
        backend.put(port.id, name="x")
        with pytest.raises(StaleRevision):
            neutron.set_fixed_ips(port, fixed_ips(subnet, "10.60.0.6"))
        with pytest.raises(StaleRevision):
            neutron.set_address_pairs(port, [AddressPair("10.60.0.9")])

    def test_too_many_pairs(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        port = made(backend, network)
        with pytest.raises(PairLimit) as caught:
            neutron.set_address_pairs(port, [AddressPair(f"10.60.0.{n}") for n in range(2, 13)])
        assert caught.value.limit == 10

    def test_a_pair_that_a_rival_added_meanwhile(self, backend: Backend, neutron: Neutron) -> None:
        """One of two is refused as a duplicate, which means: read again, as with a revision."""
        network, _ = backend.home()
        for _ in range(20):
            port = made(backend, network)
            errors = self._both_set_pair(backend, neutron, port)
            if [type(error) for error in errors] == [StaleRevision]:
                assert neutron.port(port.id).address_pairs == (AddressPair("10.60.0.9", port.mac),)
                return
            neutron.delete_port(port.id)
        raise AssertionError(f"last: {errors}")

    def _both_set_pair(self, backend: Backend, neutron: Neutron, port: Port) -> list[CloudError]:
        def one() -> CloudError | None:
            try:
                neutron.set_address_pairs(port, [AddressPair("10.60.0.9")])
            except CloudError as error:
                return error
            return None

        return [error for error in backend.at_once([one, one]) if error]

    def test_the_floating_ips_of_a_port(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        external = backend.outside()
        port = backend.make_port(network, "10.60.0.5", "10.60.0.6", "10.60.0.7")
        made = {
            ip_address(address): backend.make_floating_ip(external, port["id"], address)
            for address in ("10.60.0.5", "10.60.0.6")
        }
        other = backend.make_port(network, "10.60.0.9")
        backend.make_floating_ip(external, other["id"], "10.60.0.9")
        expected = {address: item["floating_ip_address"] for address, item in made.items()}
        assert neutron.floating_ips(port["id"]) == expected

    def test_an_address_with_a_floating_ip(self, backend: Backend, neutron: Neutron) -> None:
        network, subnet = backend.home()
        external = backend.outside()
        port = made(backend, network, "10.60.0.5", "10.60.0.6")
        backend.make_floating_ip(external, port.id, "10.60.0.5")
        with pytest.raises(ObjectInUse):
            neutron.set_fixed_ips(port, fixed_ips(subnet, "10.60.0.6"))

    def test_over_quota(self, backend: Backend, neutron: Neutron) -> None:
        network, _ = backend.home()
        quota = neutron.port_quota(backend.project_id)
        assert quota is not None
        path = f"/quotas/{backend.project_id}"
        assert backend.call("PUT", path, {"quota": {"port": quota.used}}).status == 200
        try:
            full = neutron.port_quota(backend.project_id)
            assert full is not None
            assert full.full
            with pytest.raises(OverQuota):
                neutron.create_port({"network_id": network, "project_id": backend.project_id}, [])
        finally:
            backend.call("DELETE", path)

    def test_every_refusal_says_what_was_done_and_to_what(
        self, backend: Backend, neutron: Neutron
    ) -> None:
        with pytest.raises(CniError) as caught:
            neutron.port(NOWHERE)
        assert f"reading port {NOWHERE}" in caught.value.message
