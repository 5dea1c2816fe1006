"""Which subnets a pod's addresses come from, and that one which can't serve stands in no way."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from neutron_cni.ipam.modes.subnets import Holder, PodNetwork
from neutron_cni.openstack.types import FixedIp, Network, Subnet
from neutron_cni.store import PortAddress
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig, Mode
from tests.reliability.life import Life
from tests.unit.conftest import LifeMaker

ALL_MODES = pytest.mark.parametrize("mode", list(Mode))
NOVAS = Holder("compute:nova")
RESERVING = Holder("neutron-cni:pod", named=False)
FLOATING: dict[str, Any] = {"service_types": ["network:floatingip"]}
"""What an operator writes on subnets whose addresses are for floating IPs only."""


def subnet(name: str, cidr: str, mode: str | None = None, **more: object) -> Subnet:
    """As Neutron's API gives it."""
    raw = {"id": name, "network_id": "n", "cidr": cidr, "ipv6_address_mode": mode, **more}
    return Subnet.from_json(raw)


def network(*subnets: Subnet) -> PodNetwork:
    return PodNetwork(Network("n", "net", 1500), subnets)


def config(*subnets: str) -> IpamConfig:
    return IpamConfig(type="cni-ipam-neutron", subnets=subnets)


FOUR, SIX = subnet("v4", "10.0.0.0/24"), subnet("v6", "fd00::/64")
SLAAC = subnet("slaac", "fd01::/64", "slaac")
STATELESS = subnet("stateless", "fd02::/64", "dhcpv6-stateless")


def test_a_slaac_subnet_is_not_asked_for_addresses() -> None:
    assert ip_network("fd01::/64") == SLAAC.cidr
    offer = network(FOUR, SLAAC).offered(config(), ["v4", "slaac"], NOVAS)
    assert offer.subnets == (FOUR,)
    assert offer.left_out == ("slaac (fd01::/64) makes addresses of MACs (SLAAC)",)


def test_an_ordinary_ipv6_subnet_is_asked() -> None:
    assert network(SIX).offered(config(), ["v6"], NOVAS).subnets == (SIX,)


@pytest.mark.parametrize("automatic", [SLAAC, STATELESS])
def test_a_slaac_subnet_that_is_asked_for_serves_a_port_of_its_own_only(automatic: Subnet) -> None:
    """Its MAC makes the address; that of the VM's port makes one, which is the VM's."""
    found = network(FOUR, automatic)
    named = config("v4", automatic.name or automatic.id)
    assert found.offered(named, (), RESERVING).subnets == (FOUR, automatic)
    with pytest.raises(CniError, match="makes addresses of MACs") as caught:
        found.offered(named, (), NOVAS)
    assert caught.value.code == Code.INVALID_CONFIG
    assert "v4" not in caught.value.message


def test_no_pod_lacks_an_ip_version_that_the_configuration_names(new_life: LifeMaker) -> None:
    """Rather than start pods without IPv6 it says which subnet can't serve; another of it can."""
    theirs = subnet("fips6", "fd03::/64", **FLOATING)
    found = network(FOUR, theirs, SIX)
    with pytest.raises(CniError, match=r"fips6 .* serves network:floatingip only"):
        found.offered(config("v4", "fips6"), (), NOVAS)
    assert found.offered(config("v4", "fips6", "v6"), (), NOVAS).subnets == (FOUR, SIX)
    # One that Neutron refuses for a reason that it does not show.
    life = new_life(Mode.FIXED_IPS, "10.9.0.0/26")
    six = {"network_id": life.scene.network_id, "cidr": "fd09::/64", "ip_version": 6, "name": "six"}
    life.scene.call("POST", "/subnets", {"subnet": {**six, **FLOATING}})
    life.scene.neutron.cloud.unshown.add("service_types")
    life.config["subnets"] = ["10.9.0.0/26", "six"]
    outcome = life.add()
    assert (outcome.code, "six (fd09::/64)" in outcome.error) == (Code.INVALID_CONFIG, True)
    assert life.end() == []


@pytest.mark.parametrize("services", [["network:floatingip"], ["network:router_gateway", "x:y"]])
def test_a_subnet_for_other_services_is_left_out_with_the_reason(services: list[str]) -> None:
    theirs = subnet("fips", "10.1.0.0/24", service_types=services)
    offer = network(theirs, FOUR).offered(config(), ["fips", "v4"], RESERVING)
    assert offer.subnets == (FOUR,)
    assert offer.left_out == (f"fips (10.1.0.0/24) serves {' and '.join(services)} only",)


def test_a_subnet_for_the_vms_owner_serves_its_port() -> None:
    ours = subnet("vms", "10.1.0.0/24", service_types=["compute:nova"])
    assert network(ours).offered(config("vms"), (), NOVAS).subnets == (ours,)


def test_a_subnet_of_another_segment_is_left_out() -> None:
    here = subnet("here", "10.1.0.0/24", segment_id="rack-1")
    there = subnet("there", "10.2.0.0/24", segment_id="rack-2")
    found = network(here, there)
    assert found.segments_of([FixedIp("here", here.cidr[5])]) == {"rack-1"}
    offer = found.offered(config("there", "here"), (), Holder("x", frozenset({"rack-1"})))
    assert offer.subnets == (here,)
    assert offer.left_out == ("there (10.2.0.0/24) is on segment rack-2, and the VM's port is not",)
    assert found.offered(config("there"), (), RESERVING).subnets == (there,), "no host, no segment"


@pytest.mark.parametrize(
    ("subnets", "code", "what"),
    [
        ((), Code.NOT_FOUND, "network net has no subnet to take an address from"),
        ((SLAAC,), Code.INVALID_CONFIG, "slaac (fd01::/64) makes addresses of MACs"),
        (
            (subnet("fips", "10.1.0.0/24", **FLOATING),),
            Code.INVALID_CONFIG,
            "fips (10.1.0.0/24) serves network:floatingip only",
        ),
    ],
)
def test_where_none_can_serve_the_error_says_why(
    subnets: tuple[Subnet, ...], code: Code, what: str
) -> None:
    with pytest.raises(CniError) as caught:
        network(*subnets).offered(config(), [item.id for item in subnets], NOVAS)
    assert caught.value.code == code
    assert what in caught.value.message


def add_subnet(life: Life, cidr: str, **more: object) -> str:
    """One more subnet of the life's network."""
    body = {"network_id": life.scene.network_id, "cidr": cidr, "ip_version": 4, "name": cidr}
    made: str = life.scene.call("POST", "/subnets", {"subnet": {**body, **more}})["subnet"]["id"]
    return made


@ALL_MODES
def test_pods_get_addresses_of_another_where_one_serves_floating_ips_only(
    new_life: LifeMaker, mode: Mode
) -> None:
    life = new_life(mode)
    add_subnet(life, "10.8.0.0/26", **FLOATING)
    if mode is not Mode.PORT:
        life.config["subnets"] = ["10.8.0.0/26", "10.9.0.0/26"]
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(3)))
    assert [outcome.error for outcome in outcomes if not outcome.ok] == []
    assert {item.rpartition(".")[0] for o in outcomes for item in o.addresses} == {"10.9.0"}
    assert life.end() == []


@ALL_MODES
def test_pods_get_addresses_of_another_where_neutron_refuses_one(
    new_life: LifeMaker, mode: Mode
) -> None:
    """For a reason that its API does not show us: the policy, or the release, hides it."""
    life = new_life(mode)
    add_subnet(life, "10.8.0.0/26", **FLOATING)
    life.scene.neutron.cloud.unshown.add("service_types")
    life.config["subnets"] = ["10.8.0.0/26", "10.9.0.0/26"]
    outcomes = life.run(*(life.job("add", life.new_container()) for _ in range(4)))
    assert [outcome.error for outcome in outcomes if not outcome.ok] == []
    assert {item.rpartition(".")[0] for o in outcomes for item in o.addresses} == {"10.9.0"}
    life.config["subnets"] = ["10.8.0.0/26"]
    outcome = life.add()
    assert outcome.code == Code.INVALID_CONFIG
    assert "fixed_ips included invalid subnet" in outcome.error
    life.config["subnets"] = []
    assert life.end() == []


@ALL_MODES
def test_a_subnet_without_pools_serves_who_asks_and_nobody_else(
    new_life: LifeMaker, mode: Mode
) -> None:
    life = new_life(mode)
    made = add_subnet(life, "10.8.0.0/26")
    life.scene.neutron.cloud.tables["subnets"][made]["allocation_pools"] = []
    life.config["subnets"] = ["10.8.0.0/26", "10.9.0.0/26"]
    assert life.add().addresses[0].startswith("10.9.0.")
    assert life.add(requested=["10.8.0.9"]).addresses == ["10.8.0.9"]
    assert life.end() == []


@ALL_MODES
def test_what_was_left_out_is_said_when_the_others_are_full(
    new_life: LifeMaker, mode: Mode
) -> None:
    life = new_life(mode, "10.9.0.0/29")
    add_subnet(life, "10.8.0.0/26", **FLOATING)
    life.config["subnets"] = ["10.8.0.0/26", "10.9.0.0/29"]
    for _ in life.scene.free():
        outcome = life.add()
        if not outcome.ok:
            break
    assert outcome.code == Code.EXHAUSTED
    assert "left out: 10.8.0.0/26 (10.8.0.0/26) serves network:floatingip only" in outcome.error
    assert life.end() == []


def routes_of(*subnets: Subnet) -> list[tuple[str, str]]:
    """Destination and gateway of every route of a pod with an address of each of these."""
    held = [PortAddress(item.cidr[5], item.id, "port") for item in subnets]
    lease = network(*subnets).lease(config(), held, "port")
    return [(str(route.destination), str(route.gateway)) for route in lease.routes]


ANYWHERE = {"destination": "0.0.0.0/0", "nexthop": "10.0.0.254"}
ELSEWHERE = {"destination": "10.99.0.0/16", "nexthop": "10.0.0.254"}


def test_a_host_route_to_everywhere_is_no_second_default_route() -> None:
    """As in Neutron's DHCP agent the gateway is the one that counts."""
    routed = subnet("s", "10.0.0.0/24", gateway_ip="10.0.0.1", host_routes=[ANYWHERE, ELSEWHERE])
    assert routes_of(routed) == [("0.0.0.0/0", "10.0.0.1"), ("10.99.0.0/16", "10.0.0.254")]


def test_without_a_gateway_it_is_the_default_route() -> None:
    routed = subnet("s", "10.0.0.0/24", host_routes=[ELSEWHERE, ANYWHERE])
    assert routes_of(routed) == [("0.0.0.0/0", "10.0.0.254"), ("10.99.0.0/16", "10.0.0.254")]
    held = [PortAddress(routed.cidr[5], "s", "port")]
    (leased,) = network(routed).lease(config(), held, "port").addresses
    assert str(leased.gateway) == "10.0.0.254", "as main plugins make their default route of it"


def test_so_it_is_with_ipv6() -> None:
    anywhere = {"destination": "::/0", "nexthop": "fd00::ffff"}
    routed = subnet("s", "fd00::/64", gateway_ip="fd00::1", host_routes=[anywhere])
    assert routes_of(routed) == [("::/0", "fd00::1")]
    assert routes_of(subnet("s", "fd00::/64", host_routes=[anywhere])) == [("::/0", "fd00::ffff")]


def test_a_pod_with_addresses_of_two_subnets_has_one_default_route_per_family() -> None:
    one = subnet("a", "10.0.0.0/24", gateway_ip="10.0.0.1", host_routes=[ELSEWHERE])
    two = subnet("b", "10.1.0.0/24", gateway_ip="10.1.0.1", host_routes=[ELSEWHERE])
    six = subnet("c", "fd00::/64", gateway_ip="fd00::1")
    assert routes_of(one, two, six) == [
        ("0.0.0.0/0", "10.0.0.1"),
        ("10.99.0.0/16", "10.0.0.254"),
        ("::/0", "fd00::1"),
    ]
