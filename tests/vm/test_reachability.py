"""Every cell of the table of what pods of neutron-ipvlan reach: on kernels that have ipvlan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from tests.openstack.modes import Container, addresses, containers, fresh_nodes
from tests.openstack.plugin import config
from tests.vm.networks import ipvlan
from tests.vm.reachability import Site, assert_as_written, gateway_of

CONVERGED = ("fixed-ips", "address-pairs")


@contextmanager
def floating_ip(lab: Lab, container: Container) -> Iterator[str]:
    """A floating IP on the container's own address, on whichever port that is."""
    calls = lab.connection().network
    address = next(item for item in addresses(container.add()) if "." in item)
    (port,) = calls.ports(
        network_id=lab.facts["networks"]["dual"], fixed_ips=f"ip_address={address}"
    )
    made = calls.create_ip(
        floating_network_id=lab.facts["networks"]["external"],
        port_id=port.id,
        fixed_ip_address=address,
    )
    try:
        yield str(made.floating_ip_address)
    finally:
        calls.delete_ip(made)


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> Iterator[list[Node]]:
    """Two hosts beside the cloud with kernels of their own."""
    with fresh_nodes(lab, "vbone", "vbtwo", kind="bare", kernel="own") as nodes:
        yield nodes


@pytest.fixture(scope="module")
def routed(lab: Lab) -> Iterator[Container]:
    """A pod in veth-route mode on a VM in another subnet."""
    with containers(lab.node("node1"), "routed", config("1.1.0")) as (container,):
        yield container


@pytest.fixture(scope="module", params=CONVERGED)
def converged(
    lab: Lab, vms: list[Node], routed: Container, request: pytest.FixtureRequest
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The mode, and what a `Site` needs in it."""
    mode = request.param
    with ExitStack() as stack:
        one, beside = stack.enter_context(
            containers(vms[0], "one beside", ipvlan(mode), "neutron-ipvlan")
        )
        (far,) = stack.enter_context(containers(vms[1], "far", ipvlan(mode), "neutron-ipvlan"))
        router = lab.connection().network.get_router(lab.facts["router_id"])
        yield (
            mode,
            {
                "one": one.pod,
                "beside": beside.pod,
                "far": far.pod,
                "vm": lab.node("node2"),
                "routed": routed.pod,
                "outside": lab.node("internet"),
                "outside_address": lab.facts["far_address"],
                "router_address": router.external_gateway_info["external_fixed_ips"][0][
                    "ip_address"
                ],
                "floating": stack.enter_context(floating_ip(lab, one)),
            },
        )


@pytest.mark.parametrize("version", [4, 6])
def test_a_vms_pods_reach_what_the_table_says(
    lab: Lab, converged: tuple[str, dict[str, Any]], version: int
) -> None:
    mode, facts = converged
    if version == 6:
        none: dict[str, Any] = {"vm": None, "routed": None, "outside": None, "floating": ""}
        facts = facts | none
    site = Site(lab, version, gateway=gateway_of(facts["one"], version), **facts)
    assert_as_written(site, f"{mode} IPv{version}")


def test_pods_beside_the_cloud_reach_what_the_table_says(lab: Lab, hosts: list[Node]) -> None:
    wanted = ipvlan("port", network="external")
    with (
        containers(hosts[0], "one beside", wanted, "neutron-ipvlan") as (one, beside),
        containers(hosts[1], "far", wanted, "neutron-ipvlan") as (far,),
    ):
        site = Site(
            lab,
            4,
            one.pod,
            beside.pod,
            far.pod,
            gateway_of(one.pod, 4),
            outside=lab.node("internet"),
            outside_address=lab.facts["far_address"],
            port_security=False,
        )
        assert_as_written(site, "port IPv4")


@pytest.mark.parametrize("layer", ["l2", "l3", "l3s"])
def test_the_modes_of_ipvlan_reach_what_the_table_says(
    lab: Lab, vms: list[Node], layer: str
) -> None:
    wanted = {**ipvlan(), "mode": layer}
    with (
        containers(vms[0], "one beside", wanted, "neutron-ipvlan") as (one, beside),
        containers(vms[1], "far", wanted, "neutron-ipvlan") as (far,),
    ):
        site = Site(lab, 4, one.pod, beside.pod, far.pod, gateway_of(one.pod, 4))
        assert_as_written(site, layer)
