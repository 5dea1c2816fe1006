"""Keys `gateway` and `routes` of the ipam section: what pods get by them, and what can't be."""

from __future__ import annotations

import re
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest

from neutron_cni.cni.document import convert
from neutron_cni.ipam.choose import Want, choose
from neutron_cni.ipam.modes.subnets import Holder, PodNetwork
from neutron_cni.openstack.types import Network, Subnet
from neutron_cni.store import PortAddress
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.unit.conftest import LifeMaker

NOVAS = Holder("compute:nova")


def subnet(cidr: str, **more: Any) -> Subnet:
    named = re.sub(r"[^0-9a-f]", "-", cidr)
    raw = {"id": named, "network_id": "n", "cidr": cidr, "name": "storage", **more}
    return Subnet.from_json(raw)


FOUR = subnet(
    "10.0.0.0/24",
    gateway_ip="10.0.0.1",
    host_routes=[{"destination": "10.99.0.0/16", "nexthop": "10.0.0.254"}],
)
SIX = subnet("fd00::/64", gateway_ip="fd00::1")
NO_GATEWAY = subnet("10.7.0.0/24", gateway_ip=None)


def config(**keys: Any) -> IpamConfig:
    return convert({"type": "cni-ipam-neutron", **keys}, IpamConfig, "ipam")


def routes(of: IpamConfig, *subnets: Subnet) -> list[tuple[str, str]]:
    """Destination and gateway of every route of a pod with an address of each of these."""
    held = [PortAddress(item.cidr[5], item.id, "port") for item in subnets]
    lease = network(*subnets).lease(of, held, "port")
    return [(str(route.destination), str(route.gateway)) for route in lease.routes]


def network(*subnets: Subnet) -> PodNetwork:
    return PodNetwork(Network("n", "net", 1500), subnets)


def test_routes_come_besides_those_of_the_subnet_and_by_its_gateway() -> None:
    wanted = config(routes=[{"dst": "10.30.0.0/16"}, {"dst": "10.31.0.0/16", "gw": "10.0.0.3"}])
    assert routes(wanted, FOUR) == [
        ("0.0.0.0/0", "10.0.0.1"),
        ("10.30.0.0/16", "10.0.0.1"),
        ("10.31.0.0/16", "10.0.0.3"),
        ("10.99.0.0/16", "10.0.0.254"),
    ]


def test_of_two_routes_to_one_destination_the_configured_one_counts() -> None:
    wanted = config(routes=[{"dst": "10.99.0.0/16", "gw": "10.0.0.3"}])
    assert routes(wanted, FOUR)[1:] == [("10.99.0.0/16", "10.0.0.3")]


def test_the_gateway_is_that_of_the_default_route_and_of_routes_without_one() -> None:
    wanted = config(gateway="10.0.0.2", routes=[{"dst": "10.30.0.0/16"}])
    assert routes(wanted, FOUR, SIX) == [
        ("0.0.0.0/0", "10.0.0.2"),
        ("10.30.0.0/16", "10.0.0.2"),
        ("10.99.0.0/16", "10.0.0.254"),
        ("::/0", "fd00::1"),
    ]


def test_it_gives_a_default_route_where_the_subnet_has_none() -> None:
    assert routes(config(), NO_GATEWAY) == []
    assert routes(config(gateway="10.7.0.9"), NO_GATEWAY) == [("0.0.0.0/0", "10.7.0.9")]


def test_a_host_route_to_everywhere_is_a_gateway_too() -> None:
    anywhere = [{"destination": "0.0.0.0/0", "nexthop": "10.7.0.9"}]
    wanted = config(routes=[{"dst": "10.30.0.0/16"}])
    found = subnet("10.7.0.0/24", gateway_ip=None, host_routes=anywhere)
    assert routes(wanted, found) == [("0.0.0.0/0", "10.7.0.9"), ("10.30.0.0/16", "10.7.0.9")]


def test_of_two_subnets_each_has_the_routes_whose_router_it_has() -> None:
    wanted = config(gateway="10.7.0.9", routes=[{"dst": "10.30.0.0/16", "gw": "10.7.0.8"}])
    assert routes(wanted, FOUR) == routes(config(), FOUR)
    assert routes(wanted, NO_GATEWAY) == [("0.0.0.0/0", "10.7.0.9"), ("10.30.0.0/16", "10.7.0.8")]


def test_a_link_local_router_is_in_every_subnet_of_ipv6() -> None:
    wanted = config(routes=[{"dst": "fd30::/64", "gw": "fe80::1"}])
    network(SIX).offered(wanted, [SIX.id], NOVAS)
    assert routes(wanted, SIX)[1:] == [("fd30::/64", "fe80::1")]


@pytest.mark.parametrize("router", ["10.0.0.1", "10.0.0.2", "10.0.0.3"])
def test_no_pod_gets_the_address_of_a_configured_router(router: str) -> None:
    wanted = config(gateway="10.0.0.2", routes=[{"dst": "10.31.0.0/16", "gw": "10.0.0.3"}])
    pool = {"allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.5"}]}
    storage = subnet("10.0.0.0/24", gateway_ip="10.0.0.1", **pool)
    offer = network(storage).offered(wanted, [storage.id], NOVAS)
    free = {
        str(item.address)
        for number in range(50)
        for item in choose([Want(1)], offer, (), (), Random(number)).picks[1]
    }
    assert free == {"10.0.0.4", "10.0.0.5"}
    asked = choose([Want(1, (ip_address(router),))], offer, (), (), Random(1))
    assert asked.failures[1].code == Code.CONFLICT


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"gateway": "10.9.9.9"}, "gateway 10.9.9.9 is in none of the pods' subnets: storage"),
        ({"gateway": "fd01::1"}, "gateway fd01::1 is in none"),
        ({"routes": [{"dst": "10.3.0.0/16", "gw": "10.9.9.9"}]}, "gw 10.9.9.9 is in none"),
        ({"routes": [{"dst": "10.3.0.0/16", "gw": "169.254.1.1"}]}, "gw 169.254.1.1 is in none"),
        ({"routes": [{"dst": "fd30::/64"}]}, "no IPv6 subnet of the pods has a gateway"),
    ],
)
def test_a_router_that_no_pod_reaches_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(CniError, match=said) as caught:
        network(FOUR).offered(config(**keys), [FOUR.id], NOVAS)
    assert caught.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"gateway": "router"}, "gateway must be a router's address"),
        ({"gateway": "0.0.0.0"}, "gateway must be a router's address"),
        ({"gateway": "fe80::1%eth0"}, "gateway must be a router's address"),
        ({"routes": [{"dst": "10.8.0.1"}]}, "dst must be a network"),
        ({"routes": [{"dst": "10.8.0.1/16"}]}, "host bits"),
        ({"routes": [{"dst": "fd00::%1/64"}]}, "dst must be a network"),
        ({"routes": [{"dst": "::/0"}]}, "dst must not be everything"),
        ({"routes": [{"dst": "10.8.0.0/16", "gw": "fd00::1"}]}, "same IP version as dst"),
        ({"routes": [{"dst": "10.8.0.0/16", "gw": "224.0.0.1"}]}, "gw must be a router's"),
        ({"routes": [{"dst": "10.8.0.0/16"}, {"dst": "10.8.0.0/16"}]}, "each destination once"),
        ({"routes": [{"gw": "10.0.0.1"}]}, r"ipam\.routes\[0\]\.dst"),
    ],
)
def test_what_can_t_be_a_route_is_refused_in_words(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(CniError, match=said) as caught:
        config(**keys)
    assert caught.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize("mode", list(Mode))
def test_in_each_mode_a_wrong_router_takes_no_address_and_a_right_one_is_in_the_lease(
    new_life: LifeMaker, mode: Mode
) -> None:
    life = new_life(mode, "10.9.0.0/26")
    life.config["gateway"] = "10.8.0.1"
    before = life.scene.free()
    outcome = life.add()
    assert outcome.code == Code.INVALID_CONFIG
    assert "gateway 10.8.0.1 is in none of the pods' subnets" in outcome.error
    assert life.scene.free() == before
    life.config["gateway"] = "10.9.0.40"
    life.config["routes"] = [{"dst": "10.30.0.0/16"}]
    outcome = life.add()
    assert outcome.ok
    assert life.end() == []
