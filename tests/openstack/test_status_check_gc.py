"""STATUS, CHECK and GC, through the plugins' executables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from neutron_cni.ipam.lock import FileLock
from neutron_cni_lab import Lab, Node
from neutron_cni_lab.demo import traffic
from tests.openstack.modes import (
    Container,
    addresses,
    check,
    cli,
    configure,
    containers,
    edit_store,
    forget_looks,
    fresh_nodes,
    reserving,
    take_off,
    undone,
)
from tests.openstack.plugin import Answer, call, config
from tests.openstack.state import fixed_ips, leases, wait_for, wait_until_settled

FIXED = config("1.1.0")
PAIRS = config("1.1.0", mode="address-pairs")
PORT = config("1.1.0", mode="port", network="tenant")
DOCUMENTS = pytest.mark.parametrize(
    "document", [FIXED, PAIRS, PORT], ids=["fixed", "pairs", "port"]
)


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Node]:
    """A VM of these tests only."""
    with fresh_nodes(lab, "mstat") as (node,):
        configure(node, FIXED)
        yield node


@pytest.fixture(autouse=True)
def nothing_left(lab: Lab, node: Node) -> Iterator[None]:
    """Each test begins with a store that waits for nothing, and remembers no look at the cloud."""
    yield
    wait_until_settled(lab, node)
    forget_looks(lab, node)


def unavailable(answer: Answer) -> str:
    """The sentence and the advice of a STATUS that says no."""
    assert answer.status == 1, answer
    assert answer.json["code"] == 50
    return f"{answer.json['msg']} ({answer.json.get('details', '')})"


def status(node: Node, document: dict[str, Any], plugin: str = "cni-ipam-neutron") -> Answer:
    return call(node, "STATUS", document=document, plugin=plugin, IFNAME="")


# STATUS


@DOCUMENTS
@pytest.mark.parametrize("plugin", ["cni-ipam-neutron", "veth-route"])
def test_status_is_good_when_an_add_would_succeed(
    node: Node, document: dict[str, Any], plugin: str
) -> None:
    assert status(node, document, plugin) == Answer(0, "", "")


@pytest.fixture
def no_ports_left(lab: Lab) -> Iterator[None]:
    """The project's quota of ports is used up."""
    calls, project = lab.connection().network, lab.facts["project_id"]
    url = f"{lab.facts['api_url']}/v2.0/quotas/{project}"
    with undone("curl", "-sSf", "-m20", "-X", "DELETE", url):
        calls.update_quota(project, ports=len(list(calls.ports(project_id=project))))
        yield


def test_status_names_a_quota_that_is_used_up_where_a_port_is_needed(
    lab: Lab, node: Node, no_ports_left: None
) -> None:
    assert status(node, FIXED) == Answer(0, "", "")
    for mode in ({"mode": "address-pairs"}, {"mode": "port", "network": "tenant"}):
        answer = status(node, config("1.1.0", **mode))
        assert (answer.status, answer.stdout) == (0, "")
        strict = unavailable(status(node, config("1.1.0", **mode, capacityInStatus=True)))
        for said in (answer.stderr, strict):
            assert "quota" in said
            assert "ports is used up" in said
    refused = Container(node, "over", PORT).call("ADD").json
    assert (refused["code"], "uota" in refused["msg"]) == (102, True)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (config("1.1.0", subnets=["nosuch"]), "no subnets named nosuch"),
        (config("1.1.0", mode="port", network="nosuch"), "network nosuch does not exist"),
        (config("1.1.0", mode="port"), "needs `network`"),
        (
            config("1.1.0", mode="port", network="tenant", securityGroups=["nosuch"]),
            "security group nosuch does not exist",
        ),
        (config("1.1.0", hostInterface="nosuch0"), "no interface 'nosuch0'"),
        (config("1.1.0", cloud="nosuch"), "nosuch"),
        (config("1.1.0", cloudsFile="/nosuch/clouds.yaml"), "/nosuch/clouds.yaml"),
        (config("1.1.0", cloudsFile="/run/nobody.yaml"), "127.0.0.1:9"),
        (config("1.1.0", stateDir="/etc/hosts/store"), "/etc/hosts/store"),
        (config("1.1.0", stateDir="/etc/hosts/state"), "/etc/hosts/state"),
    ],
    ids=[
        "subnet",
        "network",
        "no network",
        "security group",
        "interface",
        "cloud",
        "clouds.yaml",
        "nobody answers",
        "store",
        "lock",
    ],
)
def test_status_names_what_is_wrong(node: Node, document: dict[str, Any], reason: str) -> None:
    clouds = "clouds: {lab: {auth_type: none, network_endpoint_override: 'http://127.0.0.1:9'}}"
    node.exec(["sh", "-c", "cat > /run/nobody.yaml"], input=clouds)
    impatient = {**document, "ipam": {**document["ipam"], "statusPatience": 0}}
    assert reason in unavailable(status(node, impatient))


@contextmanager
def lock_held(node: Node, since: float) -> Iterator[int]:
    """A process of the node holds the lock of mode `fixed-ips`, for `since` seconds by now."""
    path = FileLock("/var/lib/neutron-cni", "lab||default-route").path
    code = f"""
import fcntl, os, sys, time
os.makedirs({str(path.parent)!r}, exist_ok=True)
file = open({str(path)!r}, "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(f"{{os.getpid()}} {{time.time() - {since}}}")
file.flush()
print(os.getpid(), flush=True)
sys.stdin.read()
"""
    with node.popen(["python", "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def test_status_names_a_process_that_does_not_let_go_of_the_lock(node: Node) -> None:
    with lock_held(node, since=5):
        assert status(node, FIXED).status == 0
    with lock_held(node, since=1000) as pid:
        said = unavailable(status(node, FIXED))
        assert f"process {pid} has held the lock" in said
    assert status(node, FIXED).status == 0


class TestWhileNeutronIsAway:
    """Its API was stopped, after the node had reached it."""

    @pytest.fixture
    def outage(self, lab: Lab, node: Node) -> Iterator[None]:
        assert status(node, FIXED) == Answer(0, "", "")
        lab.stop_neutron()
        try:
            yield
        finally:
            lab.start_neutron()

    def test_status_is_good_as_long_as_there_is_patience_and_mends_at_once(
        self, lab: Lab, node: Node, outage: None
    ) -> None:
        # What was seen a moment ago holds; then each minute one process sees the trouble.
        assert status(node, FIXED) == Answer(0, "", "")
        for _ in range(3):
            later(lab, node, 100)
            for answer in (status(node, FIXED), status(node, FIXED, "veth-route")):
                assert (answer.status, answer.stdout) == (0, ""), answer
                assert "Neutron is unreachable" in answer.stderr
        later(lab, node, 600)
        said = unavailable(status(node, FIXED))
        assert "Neutron is unreachable" in said
        assert "`statusPatience` is 600" in said
        lab.start_neutron()
        wait_for(lambda: status(node, FIXED) == Answer(0, "", ""), "STATUS to be good", 60)

    def test_a_new_node_is_not_ready(self, lab: Lab, node: Node, outage: None) -> None:
        document = config("1.1.0", stateDir="/var/lib/neutron-cni-new")
        try:
            assert "never had an answer of its cloud" in unavailable(status(node, document))
        finally:
            node.exec(["rm", "-rf", "/var/lib/neutron-cni-new"])


def later(lab: Lab, node: Node, seconds: float) -> None:
    """So much time passes for what the node remembers of its cloud."""
    for key in ("asked", "trouble_since"):
        edit_store(
            lab,
            node,
            f"UPDATE fact SET value = json_set(value, '$.{key}', value ->> '{key}' - ?)"
            f" WHERE key LIKE 'status|%' AND value ->> '{key}' IS NOT NULL",
            seconds,
        )


# CHECK


def differences(container: Container, result: dict[str, Any]) -> str:
    answer = check(container, result)
    assert answer.status == 1, answer
    assert answer.json["code"] == 104
    return str(answer.json["msg"])


def test_check_names_what_differs_in_neutron_on_the_node_and_in_the_pod(
    lab: Lab, node: Node
) -> None:
    with containers(node, "differs", FIXED) as (container,):
        result, address = container.add(), container.pod.address
        assert check(container, result).status == 0

        take_off(lab, node, address)
        said = differences(container, result)
        assert f"{address} is not among the fixed IPs of the VM's port {node.port_id}" in said

        node.exec(["ip", "route", "del", address])
        container.pod.exec(["ip", "route", "del", "default"])
        said = differences(container, result)
        assert f"{address} is not among the fixed IPs" in said
        assert f"route {address}" in said
        assert "route default" in said

        # ADD mends the kernel; Neutron is mended by whoever settles next.
        assert container.add() == result
        assert cli(node, "gc", "--apply").returncode == 0
        assert check(container, result).status == 0


def test_check_names_a_pair_and_a_reserving_port_that_are_gone(lab: Lab, node: Node) -> None:
    calls = lab.connection().network
    with containers(node, "pair", PAIRS) as (container,):
        result, address, port = container.add(), container.pod.address, reserving(lab, container)
        assert check(container, result).status == 0
        calls.update_port(node.port_id, allowed_address_pairs=[])
        assert f"{address} is not among the allowed address pairs" in differences(container, result)
        calls.delete_port(port)
        gone = f"port {port.id}, which reserved {address}, has it no more"
        assert gone in differences(container, result)
        assert addresses(container.add()) == [address], "a repeated ADD has both made again"
        assert check(container, result).status == 0


def test_check_names_a_pods_port_that_is_gone(lab: Lab, node: Node) -> None:
    with containers(node, "port", PORT) as (container,):
        result, port = container.add(), reserving(lab, container)
        assert check(container, result).status == 0
        lab.connection().network.delete_port(port)
        address = container.pod.address
        gone = f"port {port.id}, which reserved {address}, has it no more"
        assert gone in differences(container, result)
        assert addresses(container.add()) == [address], "a repeated ADD has it made again"
        assert check(container, result).status == 0


def test_check_names_what_differs_in_the_store(lab: Lab, node: Node) -> None:
    with containers(node, "store", FIXED) as (container,):
        result, address = container.add(), container.pod.address
        other = str(ip_address(address) + 1)
        swap = "UPDATE lease SET answer = replace(answer, ?, ?)"
        edit_store(lab, node, swap, f"{address}/", f"{other}/")
        said = differences(container, result)
        assert f"prevResult has {address}, which IPAM no longer holds" in said
        assert f"IPAM holds {other}, which prevResult does not have" in said
        edit_store(lab, node, swap, f"{other}/", f"{address}/")
        assert check(container, result).status == 0

        edit_store(lab, node, "DELETE FROM lease")
        assert "the store knows no addresses of this container" in differences(container, result)
    # DEL found nothing in the store: the claim on the port tells whose the address is.
    assert address in fixed_ips(lab, node)
    assert cli(node, "gc", "--apply").returncode == 0
    wait_for(lambda: address not in fixed_ips(lab, node), "the lost address to be given back", 60)


# GC, the verb


@pytest.mark.parametrize("plugin", ["veth-route", "cni-ipam-neutron"])
def test_gc_releases_what_is_not_listed_and_nothing_else(lab: Lab, node: Node, plugin: str) -> None:
    other = {**FIXED, "name": "another"}
    with (
        containers(node, "kept dropped", FIXED, plugin) as (kept, dropped),
        containers(node, "elsewhere", other, plugin) as (elsewhere,),
    ):
        before = fixed_ips(lab, node)
        assert len(before) == 3
        result = kept.add()
        valid = [{"containerID": kept.name, "ifname": "eth0"}]
        collect = {**FIXED, "cni.dev/valid-attachments": valid}
        for _ in range(2):
            answer = call(node, "GC", document=collect, plugin=plugin, IFNAME="")
            assert answer == Answer(0, "", "")
        wait_for(lambda: len(fixed_ips(lab, node)) == 2, "the address to be given back")
        assert {row["container_id"] for row in leases(lab, node) if row["state"] == "held"} == {
            kept.name,
            elsewhere.name,
        }
        assert check(kept, result).status == 0
        if plugin == "veth-route":
            assert traffic.ping(kept.pod, "10.10.0.1").answered == 3
            links = dropped.pod.exec(["ip", "-br", "link"]).stdout
            assert "eth0" not in links
