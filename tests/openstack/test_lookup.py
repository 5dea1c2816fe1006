"""How the VM's own port is found, and that another's never is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from neutron_cni_lab.metadata import ADDRESS as METADATA
from tests.openstack.modes import (
    MARK,
    Container,
    facts,
    forget_looks,
    fresh_nodes,
    remove_network,
)
from tests.openstack.plugin import BIN, Answer, call, config
from tests.openstack.state import wait_for


@pytest.fixture(scope="module")
def module_node(lab: Lab) -> Iterator[None]:
    with fresh_nodes(lab, "mlook"):
        yield


@pytest.fixture
def node(lab: Lab, module_node: None) -> Node:
    """A VM whose port may be replaced: what it has now, without what it remembered."""
    node = lab.node("mlook")
    forget(node)
    wait_for(lambda: documents(node, "meta_data.json") is not None, "the metadata service")
    return node


def forget(node: Node) -> None:
    node.exec(["rm", "-rf", "/var/lib/neutron-cni"])


def documents(node: Node, name: str) -> Any:
    """A document of the metadata service, None while it does not answer."""
    url = f"http://{METADATA}/openstack/latest/{name}"
    done = node.exec(["curl", "-sSf", "-m20", url], check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def network(**ipam: Any) -> dict[str, Any]:
    return config("1.1.0", **ipam)


def status(lab: Lab, node: Node, document: dict[str, Any]) -> Answer:
    """Of what is there now."""
    forget_looks(lab, node)
    return call(node, "STATUS", document=document, IFNAME="")


def error(answer: Answer) -> str:
    """The sentence and the advice of a refused STATUS."""
    assert answer.status == 1, answer
    assert answer.json["code"] == 50
    return f"{answer.json['msg']} ({answer.json.get('details', '')})"


def chosen(lab: Lab, node: Node, document: dict[str, Any]) -> str:
    """The port that a call took for the node's, as its store remembers it."""
    answer = status(lab, node, document)
    assert answer.status == 0, answer
    ((key, value),) = facts(lab, node, "port|").items()
    assert json.loads(value)["mac"] == node.facts["mac"], key
    return str(json.loads(value)["port"])


def test_the_labs_metadata_name_port_and_mac_of_every_link(node: Node) -> None:
    links = documents(node, "network_data.json")["links"]
    known = {(link["vif_id"], link["ethernet_mac_address"]) for link in links}
    assert known == {(node.port_id, node.facts["mac"])}
    assert documents(node, "meta_data.json")["name"] == node.name


@pytest.mark.parametrize("lookup", ["auto", "address", "metadata", "id"])
def test_every_kind_of_lookup_finds_the_nodes_port(lab: Lab, node: Node, lookup: str) -> None:
    named = {"portId": node.port_id} if lookup == "id" else {}
    assert chosen(lab, node, network(portLookup=lookup, **named)) == node.port_id


def test_auto_takes_the_configured_port_if_a_nic_has_its_mac_and_else_looks_further(
    lab: Lab, node: Node, node2: Node
) -> None:
    gone = "00000000-0000-4000-8000-000000000000"
    for configured in (node.port_id, node2.port_id, gone):
        forget(node)
        assert chosen(lab, node, network(portId=configured)) == node.port_id


def test_a_configured_port_that_is_gone_is_named(lab: Lab, node: Node) -> None:
    gone = "00000000-0000-4000-8000-000000000000"
    said = error(status(lab, node, network(portLookup="id", portId=gone, statusPatience=0)))
    assert gone in said
    assert "openstack port list --server" in said


def test_metadata_are_asked_past_a_proxy_in_the_environment(lab: Lab, node: Node) -> None:
    neutron = lab.facts["node_api_url"].removeprefix("http://").partition(":")[0]
    proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": neutron}
    done = node.exec(
        [f"{BIN}/cni-ipam-neutron"],
        input=json.dumps(network(portLookup="metadata")),
        env={"CNI_COMMAND": "STATUS", "CNI_PATH": BIN, **proxy},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def twin(lab: Lab, node: Node) -> Iterator[str]:
    """The name of a second network with the tenant network's CIDR."""
    calls = lab.connection().network
    name = "m-twin"
    remove_network(lab, name)
    made = calls.create_network(name=name, description=MARK)
    calls.create_subnet(
        name=name, network_id=made.id, ip_version=4, cidr="10.10.0.0/20", is_dhcp_enabled=False
    )
    yield name
    remove_network(lab, name)


def twin_port(lab: Lab, twin: str, node: Node, mac: str | None = None) -> str:
    """A port on the twin network with the node's address, and its MAC where it is given."""
    calls = lab.connection().network
    port = calls.create_port(
        network_id=calls.find_network(twin).id,
        fixed_ips=[{"ip_address": node.address}],
        **({"mac_address": mac} if mac else {}),
    )
    return str(port.id)


@pytest.mark.parametrize("lookup", ["auto", "address", "metadata"])
def test_a_port_of_another_network_with_the_same_address_is_not_taken(
    lab: Lab, node: Node, twin: str, lookup: str
) -> None:
    twin_port(lab, twin, node)
    assert chosen(lab, node, network(portLookup=lookup)) == node.port_id


def test_with_address_and_mac_the_same_the_metadata_decide_and_alone_the_address_does_not(
    lab: Lab, node: Node, twin: str
) -> None:
    other = twin_port(lab, twin, node, node.facts["mac"])
    said = error(status(lab, node, network(portLookup="address", statusPatience=0)))
    assert node.port_id in said
    assert other in said
    assert "portId" in said
    assert chosen(lab, node, network(portLookup="auto")) == node.port_id


@pytest.mark.parametrize("same_mac", [False, True], ids=["new MAC", "same MAC"])
def test_a_vm_that_was_made_anew_is_found_with_its_new_port(
    lab: Lab, node: Node, same_mac: bool
) -> None:
    assert chosen(lab, node, network()) == node.port_id
    rebuilt = lab.replace_port(node.name, mac=node.facts["mac"] if same_mac else "")
    assert (rebuilt.facts["mac"] == node.facts["mac"]) == same_mac
    assert rebuilt.port_id != node.port_id
    assert chosen(lab, rebuilt, network()) == rebuilt.port_id


def test_a_new_port_with_the_mac_of_the_old_one_which_lives_on_is_noticed(
    lab: Lab, node: Node
) -> None:
    calls = lab.connection().network
    assert chosen(lab, node, network()) == node.port_id
    try:
        moved = lab.replace_port(node.name, network="dual", mac=node.facts["mac"], keep=True)
        old = calls.get_port(node.port_id)
        assert (old.mac_address, old.device_id) == (moved.facts["mac"], "")
        assert chosen(lab, moved, network()) == moved.port_id
    finally:
        calls.delete_port(node.port_id)
        lab.replace_port(node.name, network="tenant")


def test_pods_of_a_vm_whose_port_was_replaced_get_their_addresses_back(
    lab: Lab, node: Node
) -> None:
    survivor, newcomer = (Container(node, name, network()) for name in ("survivor", "newcomer"))
    previous = {"prevResult": survivor.add()}
    try:
        rebuilt = lab.replace_port(node.name)
        assert rebuilt.port_id in survivor.call("CHECK", previous).json["msg"]

        newcomer.add()
        port = lab.connection().network.get_port(rebuilt.port_id)
        on_port = {fixed["ip_address"] for fixed in port.fixed_ips}
        assert {survivor.pod.address, newcomer.pod.address} < on_port
        far = lab.facts["far_address"]
        # A NIC that went took along what the node answers for; a runtime's STATUS brings it back.
        assert status(lab, rebuilt, network()).status == 0
        wait_for(lambda: traffic.ping(survivor.pod, far).answered == 3, f"{far} to answer")
    finally:
        newcomer.delete()
        survivor.delete()
