"""Which address a pod gets: subnets in turn, addresses asked for by name, both IP versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from tests.openstack.modes import (
    LONG,
    MARK,
    Container,
    addresses,
    containers,
    end_rests,
    forget_looks,
    fresh_nodes,
    remove_network,
)
from tests.openstack.plugin import Answer, call, config
from tests.openstack.state import wait_for, wait_until_settled

MODES = ["fixed-ips", "address-pairs", "port"]
NETWORK = "m-small"


class Small(NamedTuple):
    """A network whose subnets `m-first` (.2 to .5) and `m-second` (.10, .11) are soon full."""

    node: Node
    """A VM with an address of `m-first`."""
    id: str
    subnets: tuple[str, str]
    """Ids."""


@pytest.fixture(scope="module")
def small(lab: Lab) -> Iterator[Small]:
    calls = lab.connection().network
    lab.remove_node("msmall")
    remove_network(lab, NETWORK)
    made = calls.create_network(name=NETWORK, description=MARK)
    common = {"network_id": made.id, "ip_version": 4, "is_dhcp_enabled": False}
    first = calls.create_subnet(
        name="m-first",
        cidr="10.60.0.0/29",
        allocation_pools=[{"start": "10.60.0.2", "end": "10.60.0.5"}],
        **common,
    )
    try:
        calls.add_interface_to_router(lab.facts["router_id"], subnet=first.id)
        with fresh_nodes(lab, "msmall", network=NETWORK) as (node,):
            second = calls.create_subnet(
                name="m-second",
                cidr="10.60.0.8/29",
                allocation_pools=[{"start": "10.60.0.10", "end": "10.60.0.11"}],
                **common,
            )
            calls.add_interface_to_router(lab.facts["router_id"], subnet=second.id)
            yield Small(node, made.id, (first.id, second.id))
    finally:
        remove_network(lab, NETWORK)


def network(mode: str, **ipam: Any) -> dict[str, Any]:
    """Pods on the small network; only mode `port` has to be told which that is."""
    where = {"network": NETWORK} if mode == "port" else {}
    return config("1.1.0", mode=mode, **{"subnets": ["m-first", "m-second"], **where, **ipam})


def status(lab: Lab, small: Small, document: dict[str, Any]) -> Answer:
    """STATUS of what is there now."""
    forget_looks(lab, small.node)
    return call(small.node, "STATUS", document=document, IFNAME="")


def fill(lab: Lab, small: Small, subnet: int, leave: int = 0) -> None:
    """Take all but `leave` addresses of a subnet; `empty` gives them back."""
    calls = lab.connection().network
    ports = calls.ports(network_id=small.id)
    used = {fixed["ip_address"] for port in ports for fixed in port.fixed_ips}
    pool = [f"10.60.0.{last}" for last in ((2, 3, 4, 5), (10, 11))[subnet]]
    for address in [item for item in pool if item not in used][leave:]:
        take(lab, small, address)


def take(lab: Lab, small: Small, address: str) -> None:
    """Have a port of somebody else's with the address."""
    lab.connection().network.create_port(
        name="m-filler", network_id=small.id, fixed_ips=[{"ip_address": address}]
    )


@pytest.fixture(autouse=True)
def empty(lab: Lab, small: Small) -> Iterator[None]:
    """The subnets are as empty at the end as at the beginning."""
    yield
    wait_until_settled(lab, small.node)
    for port in list(lab.connection().network.ports(network_id=small.id, name="m-filler")):
        lab.connection().network.delete_port(port)


@pytest.mark.parametrize("mode", MODES)
def test_pods_get_the_next_subnet_when_one_is_full_and_a_clear_error_when_all_are(
    lab: Lab, small: Small, mode: str
) -> None:
    document = network(mode)
    fill(lab, small, 0, leave=1)
    with containers(small.node, "a b", document) as (a, b):
        assert a.pod.address in [f"10.60.0.{last}" for last in (2, 3, 4, 5)]
        assert b.pod.address in ("10.60.0.10", "10.60.0.11")
        if mode != "port":  # whose address the port security of this node's VM knows nothing of
            assert traffic.ping(b.pod, lab.facts["far_address"]).answered == 3
        assert status(lab, small, document).status == 0

        fill(lab, small, 1)
        refused = Container(small.node, "c", document).call("ADD").json
        assert refused["code"] == 102
        noted = status(lab, small, document)
        assert (noted.status, "no room for another pod" in noted.stderr) == (0, True)
        strict = network(mode, capacityInStatus=True)
        unavailable = status(lab, small, strict).json
        assert unavailable["code"] == 50
        for answer in (refused, unavailable):
            for subnet in ("m-first (10.60.0.0/29)", "m-second (10.60.0.8/29)"):
                assert subnet in answer["msg"]
            assert "add a subnet" in answer["details"]


@pytest.fixture
def for_floating_ips(lab: Lab, small: Small) -> Iterator[str]:
    """The name of a subnet of the network, for nobody but floating IPs."""
    name = "m-floating"
    made = lab.connection().network.create_subnet(
        name=name,
        network_id=small.id,
        ip_version=4,
        cidr="10.60.1.0/24",
        is_dhcp_enabled=False,
        service_types=["network:floatingip"],
    )
    yield name
    lab.connection().network.delete_subnet(made)


@pytest.mark.parametrize("mode", MODES)
def test_a_subnet_for_floating_ips_only_is_left_out(
    lab: Lab, small: Small, mode: str, for_floating_ips: str
) -> None:
    named = network(mode, subnets=[for_floating_ips, "m-first"])
    with containers(small.node, "named", named) as (pod,):
        assert pod.pod.address.startswith("10.60.0.")
    if mode == "port":
        with containers(small.node, "unnamed", network(mode, subnets=[])) as (pod,):
            assert pod.pod.address.startswith("10.60.0.")
    only = network(mode, subnets=[for_floating_ips], statusPatience=0)
    refused = Container(small.node, "only", only).call("ADD").json
    unavailable = call(small.node, "STATUS", document=only, IFNAME="").json
    assert (refused["code"], unavailable["code"]) == (7, 50)
    for answer in (refused, unavailable):
        assert "m-floating (10.60.1.0/24) serves network:floatingip only" in answer["msg"]


def test_without_subnets_pods_are_on_the_subnet_of_the_vm(lab: Lab, small: Small) -> None:
    document = network("fixed-ips", subnets=[])
    fill(lab, small, 0, leave=1)
    with containers(small.node, "home", document) as (home,):
        assert home.pod.address in [f"10.60.0.{last}" for last in (2, 3, 4, 5)]
        refused = Container(small.node, "homeless", document).call("ADD").json
        assert (refused["code"], "m-second" in refused["msg"]) == (102, False)


def test_addresses_that_rest_are_told_from_those_that_are_taken(lab: Lab, small: Small) -> None:
    document = network("fixed-ips", subnets=["m-second"], quarantine=LONG)
    fill(lab, small, 1, leave=1)
    with containers(small.node, "rests", document) as (first,):
        address = first.pod.address
    late = Container(small.node, "late", document)
    refused = late.call("ADD").json
    assert (refused["code"], "1 of this node's rest" in refused["msg"]) == (102, True)
    asked = late.call("ADD", **by_cni_args(address)).json
    assert (asked["code"], "rests after its last use" in asked["msg"]) == (11, True)
    end_rests(lab, small.node)
    wait_for(lambda: late.call("ADD").status == 0, "the rest to be over")
    assert late.pod.address == address
    late.delete()
    end_rests(lab, small.node)


def by_cni_args(address: str) -> dict[str, Any]:
    return {"ARGS": f"IgnoreUnknown=1;IP={address}"}


def by_runtime_config(address: str) -> dict[str, Any]:
    return {"more": {"runtimeConfig": {"ips": [f"{address}/29"]}}}


def by_args(address: str) -> dict[str, Any]:
    return {"more": {"args": {"cni": {"ips": [address]}}}}


@pytest.mark.parametrize(
    ("mode", "ask"),
    [
        ("fixed-ips", by_runtime_config),
        ("address-pairs", by_cni_args),
        ("port", by_args),
    ],
)
def test_a_pod_gets_the_address_that_it_asks_for(
    small: Small, mode: str, ask: Callable[[str], dict[str, Any]]
) -> None:
    container = Container(small.node, "asks", network(mode))
    try:
        assert addresses(container.add(**ask("10.60.0.11"))) == ["10.60.0.11"]
        assert container.pod.address == "10.60.0.11"
    finally:
        container.delete()


@pytest.mark.parametrize("mode", MODES)
def test_an_address_that_is_taken_or_of_no_subnet_is_refused_by_name(
    lab: Lab, small: Small, mode: str
) -> None:
    take(lab, small, "10.60.0.11")
    container = Container(small.node, "asks", network(mode))
    taken = container.call("ADD", **by_cni_args("10.60.0.11")).json
    assert taken["code"] == 103
    assert "10.60.0.11" in taken["msg"]
    gateway = container.call("ADD", **by_cni_args("10.60.0.1")).json
    assert (gateway["code"], "is the gateway of subnet m-first" in gateway["msg"]) == (103, True)
    broadcast = container.call("ADD", **by_cni_args("10.60.0.7")).json
    assert (broadcast["code"], "is the broadcast address" in broadcast["msg"]) == (7, True)
    nowhere = container.call("ADD", **by_cni_args("10.61.0.1")).json
    assert nowhere["code"] == 7
    assert "10.61.0.1" in nowhere["msg"]
    assert "10.60.0.0/29, 10.60.0.8/29" in nowhere["msg"]


@pytest.mark.parametrize("mode", ["address-pairs", "port"])
def test_an_address_that_rests_can_be_asked_for_again_later(
    lab: Lab, small: Small, mode: str
) -> None:
    document = network(mode, quarantine=LONG)
    ask = by_cni_args("10.60.0.11")
    container = Container(small.node, "same", document)
    container.add(**ask)
    container.call("DEL")
    refused = container.call("ADD", **ask).json
    assert (refused["code"], "rests" in refused["msg"]) == (11, True)
    end_rests(lab, small.node)
    wait_for(lambda: container.call("ADD", **ask).status == 0, "the rest to be over")
    container.delete()
    end_rests(lab, small.node)
