"""Addresses that a pod asks for by name: which of a subnet it may have, in every mode."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest

from neutron_cni.ipam.choose import Offer, Want, choose, free_count, subnet_of_requested
from neutron_cni.openstack.types import Subnet
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import Mode
from tests.unit.conftest import LifeMaker

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))
GATEWAY, NETWORK, BROADCAST = "10.9.0.1", "10.9.0.0", "10.9.0.63"


def subnet(cidr: str, gateway: str = "", **more: object) -> Subnet:
    """As Neutron's API gives it."""
    raw = {"id": "s", "network_id": "n", "cidr": cidr, "gateway_ip": gateway, **more}
    return Subnet.from_json(raw)


@pytest.mark.parametrize(
    ("address", "code", "what"),
    [
        ("10.0.0.1", Code.CONFLICT, "is the gateway of subnet s (10.0.0.0/24)"),
        ("10.0.0.254", Code.CONFLICT, "is the next hop of the route to 10.99.0.0/16"),
        ("10.0.0.0", Code.INVALID_CONFIG, "is the network address"),
        ("10.0.0.255", Code.INVALID_CONFIG, "is the broadcast address"),
        ("fd00::", Code.INVALID_CONFIG, "is the routers' anycast address"),
        ("fd00::1", Code.CONFLICT, "is the gateway"),
        ("10.1.0.5", Code.INVALID_CONFIG, "is in none of the subnets 10.0.0.0/24, fd00::/64"),
    ],
)
def test_what_no_pod_may_have_is_refused_in_words(address: str, code: Code, what: str) -> None:
    routes = [{"destination": "10.99.0.0/16", "nexthop": "10.0.0.254"}]
    subnets = [
        subnet("10.0.0.0/24", "10.0.0.1", host_routes=routes),
        subnet("fd00::/64", "fd00::1"),
    ]
    with pytest.raises(CniError) as caught:
        subnet_of_requested(ip_address(address), Offer(tuple(subnets)))
    assert caught.value.code == code
    assert address in caught.value.message
    assert what in caught.value.message


@pytest.mark.parametrize("address", ["10.0.0.9", "10.0.0.200"])
def test_inside_and_outside_of_the_pools_is_fine(address: str) -> None:
    pools = [{"start": "10.0.0.2", "end": "10.0.0.99"}]
    offered = subnet("10.0.0.0/24", "10.0.0.1", allocation_pools=pools)
    assert subnet_of_requested(ip_address(address), Offer((offered,))) == offered


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.1"])
def test_both_addresses_of_a_wire_are_hosts(address: str) -> None:
    assert subnet_of_requested(ip_address(address), Offer((subnet("10.0.0.0/31"),))).id == "s"


def test_an_address_that_the_subnet_routes_to_is_chosen_for_nobody() -> None:
    """A router that Neutron does not know may have one of a pool."""
    offered = subnet(
        "10.0.0.0/29",
        allocation_pools=[{"start": "10.0.0.2", "end": "10.0.0.3"}],
        host_routes=[{"destination": "10.99.0.0/16", "nexthop": "10.0.0.2"}],
    )
    assert free_count(offered, ()) == 1
    wants = [Want(1), Want(2)]
    choice = choose(wants, Offer((offered,)), used=set(), resting=set(), random=Random(1))
    ((picked,),) = choice.picks.values()
    assert str(picked.address) == "10.0.0.3"
    assert [error.code for error in choice.failures.values()] == [Code.EXHAUSTED]


@ALL_MODES
@pytest.mark.parametrize(
    ("address", "code"),
    [
        (GATEWAY, Code.CONFLICT),
        (NETWORK, Code.INVALID_CONFIG),
        (BROADCAST, Code.INVALID_CONFIG),
    ],
)
def test_in_every_mode_and_nothing_is_left_of_the_request(
    new_life: LifeMaker, mode: Mode, address: str, code: Code
) -> None:
    life = new_life(mode)
    outcome = life.add(requested=[address])
    assert outcome.code == code
    assert address in outcome.error
    assert life.scene.reserves() == []
    assert life.end() == []


@ALL_MODES
def test_an_address_that_a_port_of_the_network_itself_has_is_in_use(
    new_life: LifeMaker, mode: Mode
) -> None:
    life = new_life(mode)
    taken = str(life.scene.free()[3])
    life.scene.new_port(fixed_ips=[{"ip_address": taken}], device_owner="network:distributed")
    outcome = life.add(requested=[taken])
    assert outcome.code == Code.CONFLICT
    assert taken in outcome.error
