"""The real Neutron at its worst: slow, silent, without its database, with rivals at the port."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from neutron_cni_lab import Lab, Node
from tests.openstack.conftest import new_name, new_node
from tests.openstack.plugin import Answer, call, config
from tests.openstack.state import fixed_ips, wait_for

PROXY_PORT = 19701
IPAM = "cni-ipam-neutron"


@pytest.fixture(scope="module")
def node(lab: Lab) -> Iterator[Node]:
    """A node of these tests' own."""
    yield new_node(lab, "tfault")
    lab.remove_node("tfault")


@pytest.fixture
def pods(lab: Lab, node: Node) -> Iterator[Callable[[int], list[str]]]:
    """Makes empty namespaces; all that was given to them has gone back after the test."""
    names: list[str] = []

    def make(count: int) -> list[str]:
        fresh = [new_name() for _ in range(count)]
        for name in fresh:
            node.exec(["ip", "netns", "add", name])
        names.extend(fresh)
        return fresh

    yield make
    for name in names:
        call(node, "DEL", name, plugin=IPAM)
        node.exec(["ip", "netns", "del", name])
    # Not until the store is empty: a change whose answer was lost is watched for two minutes.
    wait_for(lambda: not fixed_ips(lab, node), "every address to go back", 60)


def add(node: Node, name: str, **ipam: Any) -> Answer:
    """ADD by the IPAM executable alone: these tests are not about links."""
    return call(node, "ADD", name, config(**ipam), plugin=IPAM)


def at_once(work: Callable[[str], Answer], names: list[str]) -> list[Answer]:
    """All of it in parallel."""
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(work, names))


def give_back(lab: Lab, node: Node, name: str) -> None:
    """DEL, and wait until Neutron has the address back."""
    assert call(node, "DEL", name, plugin=IPAM).status == 0
    wait_for(lambda: not fixed_ips(lab, node), "the address to go back", 60)


@contextmanager
def proxy(lab: Lab, node: Node, seconds: float, lose: int = 0) -> Iterator[dict[str, Any]]:
    """A proxy in front of Neutron; the ipam options that make the plugin use it."""
    program = Path(__file__).with_name("slow_proxy.py")
    arguments = [str(PROXY_PORT), lab.facts["node_api_url"], str(seconds), str(lose)]
    clouds = {
        "clouds": {"lab": {"auth_type": "none", "auth": {"endpoint": _proxy_url()}}},
    }
    clouds["clouds"]["lab"]["network_endpoint_override"] = _proxy_url()
    node.exec(["sh", "-c", "cat > /run/slow-clouds.yaml"], input=json.dumps(clouds))
    words: list[str | Path] = ["python", "-IS", program, *arguments]
    with node.popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield {"cloudsFile": "/run/slow-clouds.yaml"}
        finally:
            process.kill()


def _proxy_url() -> str:
    return f"http://127.0.0.1:{PROXY_PORT}"


def test_an_add_waits_for_a_slow_neutron(
    lab: Lab, node: Node, pods: Callable[[int], list[str]]
) -> None:
    (name,) = pods(1)
    with proxy(lab, node, seconds=0.7) as slow:
        address = add(node, name, **slow).address
        assert address in fixed_ips(lab, node)
        # A lease is given back through the cloud that it was had from: the proxy, while it is up.
        give_back(lab, node, name)


def test_an_add_past_its_deadline_fails_and_leaves_nothing(
    lab: Lab, node: Node, pods: Callable[[int], list[str]]
) -> None:
    (name,) = pods(1)
    before = fixed_ips(lab, node)
    with proxy(lab, node, seconds=1.5) as slow:
        add(node, name, timeout=4, **slow).refusal(11)
        assert call(node, "DEL", name, plugin=IPAM).status == 0
        wait_for(lambda: fixed_ips(lab, node) == before, "the address to go back", 60)


def test_an_answer_that_is_lost_is_found_by_reading(
    lab: Lab, node: Node, pods: Callable[[int], list[str]]
) -> None:
    (name,) = pods(1)
    before = fixed_ips(lab, node)
    with proxy(lab, node, seconds=0, lose=1) as losing:
        address = add(node, name, **losing).address
        assert fixed_ips(lab, node) == before | {address}
        give_back(lab, node, name)


def test_without_the_database_add_fails_del_succeeds_and_all_goes_back_later(
    lab: Lab, node: Node, pods: Callable[[int], list[str]]
) -> None:
    living, late = pods(2)
    address = add(node, living).address
    lab.stop_database()
    try:
        add(node, late, timeout=3).refusal(11)
        assert call(node, "DEL", living, plugin=IPAM).status == 0
        assert call(node, "DEL", late, plugin=IPAM).status == 0
    finally:
        lab.start_database()
    wait_for(lambda: not fixed_ips(lab, node), f"{address} to go back", 180)


def test_adds_succeed_while_a_rival_changes_the_port_all_the_time(
    lab: Lab, node: Node, pods: Callable[[int], list[str]]
) -> None:
    names = pods(5)
    over = threading.Event()

    def storm() -> int:
        url = f"{lab.facts['api_url']}/v2.0/ports/{node.port_id}"
        changes = 0
        while not over.wait(0.02):
            body = {"port": {"description": f"storm {changes}"}}
            assert requests.put(url, json=body, timeout=60).status_code == 200
            changes += 1
        return changes

    with ThreadPoolExecutor(1) as pool:
        rival = pool.submit(storm)
        try:
            answers = at_once(lambda name: add(node, name), names)
        finally:
            over.set()
        assert rival.result() > 0
    addresses = {answer.address for answer in answers}
    assert len(addresses) == len(names)
    assert addresses <= fixed_ips(lab, node)


@pytest.mark.parametrize("careful", [True, False], ids=["with If-Match", "without"])
def test_overlapping_rivals_lose_nothing_and_share_nothing(
    lab: Lab, node: Node, pods: Callable[[int], list[str]], careful: bool
) -> None:
    """Two installations of ours, and a tool that adds addresses of its own choice."""
    ours, others, last = pods(6), pods(6), pods(1)
    other = {"stateDir": "/var/lib/other-neutron-cni"}
    foreign = [f"10.10.15.{number}" for number in range(201, 207)]

    def work(name: str) -> Answer:
        return add(node, name, **(other if name in others else {}))

    try:
        with ThreadPoolExecutor(1) as pool:
            rival = pool.submit(_foreign_writer, lab, node, foreign, careful)
            answers = at_once(work, ours + others)
            rival.result()
        addresses = {answer.address for answer in answers}
        assert len(addresses) == len(ours) + len(others)
        # A writer that sends an old list back takes away what came since; the next call mends it.
        repair = add(node, last[0]).address
        add(node, last[0], **other)
        if lab.driver.name == "ovs":
            # There Neutron repeats more updates by itself, and a repeated one it holds against no
            # revision any more: it may take away what the rival wrote meanwhile, who has to look.
            _edit(lab, node, True, _adding(foreign))
        expected = addresses | {repair} | set(foreign)
        assert expected <= fixed_ips(lab, node)
    finally:
        for name in others + last:
            call(node, "DEL", name, config(**other), plugin=IPAM)
        _remove(lab, node, foreign)
        for name in ours + last:
            call(node, "DEL", name, plugin=IPAM)


def _foreign_writer(lab: Lab, node: Node, addresses: list[str], careful: bool) -> None:
    """Adds one address after another: reads the list, and sends it back with one more."""
    for address in addresses:
        _edit(lab, node, careful, _adding([address]))
    if not careful:
        # What it overwrote of its own with a list from before, it writes again.
        _edit(lab, node, True, _adding(addresses))


FixedIps = list[dict[str, str]]


def _adding(addresses: list[str]) -> Callable[[FixedIps], FixedIps]:
    def change(present: FixedIps) -> FixedIps:
        have = {item["ip_address"] for item in present}
        return [*present, *({"ip_address": item} for item in addresses if item not in have)]

    return change


def _remove(lab: Lab, node: Node, addresses: list[str]) -> None:
    _edit(lab, node, True, lambda list_: [i for i in list_ if i["ip_address"] not in addresses])


def _edit(
    lab: Lab,
    node: Node,
    careful: bool,
    change: Callable[[FixedIps], FixedIps],
) -> None:
    url = f"{lab.facts['api_url']}/v2.0/ports/{node.port_id}"
    for _ in range(50):
        port = requests.get(url, timeout=60).json()["port"]
        headers = {"If-Match": f"revision_number={port['revision_number']}"} if careful else {}
        body = {"port": {"fixed_ips": change(port["fixed_ips"])}}
        answer = requests.put(url, json=body, headers=headers, timeout=60)
        if answer.status_code == 200:
            return
        assert answer.status_code in (409, 412), answer.text
    raise AssertionError("the rival never got through")
