"""Neutron 21: what it does instead of what the newest does, one by one, and pods on it.

In a lab of its own. `./test full` holds it to all of the contract as well (`test_contract_old`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from tests.clouds import OLD
from tests.contract.backend import NOWHERE, Backend, entries, real_backend
from tests.openstack.conftest import write_conflist
from tests.openstack.modes import Container, containers
from tests.openstack.plugin import collect, config
from tests.openstack.state import fixed_ips, leases, wait_for
from tests.support.labs import old_lab

pytestmark = [pytest.mark.driver("ovn"), pytest.mark.cloud(OLD)]

GATEWAY = "10.10.0.1"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with old_lab("old", "node1", "node2") as lab:
        yield lab


@pytest.fixture(scope="module")
def node1(lab: Lab) -> Node:
    return ready(lab, "node1")


@pytest.fixture(scope="module")
def node2(lab: Lab) -> Node:
    return ready(lab, "node2")


def ready(lab: Lab, name: str) -> Node:
    """A node with the tests' network."""
    node = lab.node(name)
    write_conflist(node)
    return node


@pytest.fixture(scope="module")
def lasting(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with real_backend(lab.facts["api_url"], tmp_path_factory.mktemp("contract")) as backend:
        yield backend


@pytest.fixture
def backend(lasting: Backend) -> Iterator[Backend]:
    yield lasting
    lasting.clean_up()


@pytest.fixture
def port(backend: Backend) -> dict[str, Any]:
    """A port with two addresses."""
    network, _ = backend.home()
    return backend.make_port(network, "10.60.0.5", "10.60.0.6")


class TestDifferences:
    """Those of `tests.contract.differences.NEUTRON_21`."""

    def test_a_tag_is_a_request(self, backend: Backend, port: dict[str, Any]) -> None:
        reply = backend.post_tags(port["id"], ["a", "b"])
        assert (reply.status, reply.kind) == (404, "HTTPNotFound")
        assert [backend.one_tag("PUT", port["id"], tag).status for tag in "ab"] == [201, 201]
        assert backend.read(port["id"]).port["tags"] == ["a", "b"]

    def test_tags_do_not_mind_case(self, backend: Backend, port: dict[str, Any]) -> None:
        assert [backend.one_tag("PUT", port["id"], tag).status for tag in "aA"] == [201, 201]
        assert backend.read(port["id"]).port["tags"] == ["a"]
        assert len(backend.get("ports", id=port["id"], tags="A").body["ports"]) == 1

    def test_a_tag_beyond_ascii_is_taken_off(self, backend: Backend, port: dict[str, Any]) -> None:
        assert backend.one_tag("PUT", port["id"], "ä").status == 201
        assert backend.one_tag("DELETE", port["id"], "ä").status == 204

    def test_tags_of_a_port_that_is_gone(self, backend: Backend) -> None:
        for method in ("PUT", "DELETE"):
            reply = backend.one_tag(method, NOWHERE, "a")
            assert (reply.status, reply.kind) == (404, "TagResourceNotFound")

    def test_a_floating_ip_does_not_hold_its_address(
        self, backend: Backend, port: dict[str, Any]
    ) -> None:
        external = backend.outside()
        made = backend.make_floating_ip(external, port["id"], "10.60.0.5")
        wanted = entries(backend.home()[1], "10.60.0.6")
        assert backend.put(port["id"], fixed_ips=wanted).addresses == ["10.60.0.6"]
        left = backend.call("GET", f"/floatingips/{made['id']}").body["floatingip"]
        assert (left["port_id"], left["fixed_ip_address"]) == (port["id"], "10.60.0.5")

    def test_a_mac_is_kept_as_it_was_written(self, backend: Backend) -> None:
        network, _ = backend.home()
        made = backend.make_port(network, mac_address="FA:16:3E:00:00:0A")
        assert made["mac_address"] == "FA:16:3E:00:00:0A"

    def test_each_put_is_a_revision(self, backend: Backend, port: dict[str, Any]) -> None:
        after = backend.put(port["id"], name=port["name"]).port
        assert after["revision_number"] == port["revision_number"] + 1

    def test_a_quota_may_be_below_what_is_used(
        self, backend: Backend, port: dict[str, Any]
    ) -> None:
        path = f"/quotas/{backend.project_id}"
        try:
            assert backend.call("PUT", path, {"quota": {"port": 0}}).status == 200
            known = backend.neutron().port_quota(backend.project_id)
            assert known is not None
            assert known.full
        finally:
            backend.call("DELETE", path)

    def test_the_31st_route(self, backend: Backend, lab: Lab) -> None:
        routes = [{"destination": f"10.99.0.{n}/32", "nexthop": "10.10.0.9"} for n in range(31)]
        path = f"/routers/{lab.facts['router_id']}/add_extraroutes"
        reply = backend.call("PUT", path, {"router": {"routes": routes}})
        assert (reply.status, reply.kind) == (400, "RoutesExhausted")


@pytest.mark.parametrize("mode", ["fixed-ips", "address-pairs"])
def test_pods_come_reach_each_other_and_go(lab: Lab, node1: Node, node2: Node, mode: str) -> None:
    document = config("1.1.0", mode=mode)
    with containers(node1, "one", document) as (one,), containers(node2, "two", document) as (two,):
        for target in (GATEWAY, two.pod.address, lab.facts["far_address"]):
            assert traffic.ping(one.pod, target).answered == 3
        assert one.call("CHECK", {"prevResult": one.add()}).status == 0
    wait_for(lambda: not leases(lab, node1) + leases(lab, node2), "addresses to go back")
    assert fixed_ips(lab, node1) == set()


def test_an_address_stays_while_a_floating_ip_points_at_it(lab: Lab, node1: Node) -> None:
    network = lab.connection().network
    pod = Container(node1, "pointed", config("1.1.0"))
    address = pod.add()["ips"][0]["address"].partition("/")[0]
    pointing = network.create_ip(
        floating_network_id=lab.facts["networks"]["external"],
        port_id=node1.port_id,
        fixed_ip_address=address,
    )
    pod.delete()
    collect(node1)
    assert fixed_ips(lab, node1) == {address}
    network.delete_ip(pointing)
    collect(node1)
    wait_for(lambda: not fixed_ips(lab, node1), "the address to go back")
