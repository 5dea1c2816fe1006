"""`neutron-cni leases` and `neutron-cni gc`: what differs is shown, what nobody uses goes."""

from __future__ import annotations

import json
from typing import Any

from neutron_cni_lab import Lab, Node
from tests.openstack.leases_and_gc.networks import FIXED, NOTHING, PAIRS, PORT
from tests.openstack.modes import (
    LONG,
    Container,
    addresses,
    age,
    check,
    cli,
    configure,
    containers,
    end_rests,
    reserving,
    take_off,
)
from tests.openstack.plugin import config
from tests.openstack.state import leases, snapshot, wait_for

POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=1234"


def in_neutron(lab: Lab) -> set[str]:
    """Every address that some port of the network has, or lets pass."""
    return {
        item["ip_address"]
        for port in lab.connection().network.ports(network_id=lab.facts["networks"]["tenant"])
        for item in (*port.fixed_ips, *port.allowed_address_pairs)
    }


def listed(node: Node) -> dict[str, Any]:
    """What `neutron-cni leases --json` says."""
    found: dict[str, Any] = json.loads(cli(node, "leases", "--json").stdout)
    return found


def test_leases_shows_what_is_held_and_ends_with_0_if_neutron_agrees(lab: Lab, node: Node) -> None:
    assert "holds no addresses" in cli(node, "leases").stdout
    container = Container(node, "shown", {**config("1.1.0", quarantine=LONG), "name": "fixed"})
    container.add(ARGS=POD)
    shown = cli(node, "leases")
    assert shown.returncode == 0
    for part in (container.pod.address, "held", "shop/cart", "eth0", "fixed", "Neutron agrees"):
        assert part in shown.stdout
    document = listed(node)
    assert document["differences"] == document["problems"] == []
    (lease,) = document["leases"]
    assert lease["addresses"] == [container.pod.address]
    assert (lease["state"], lease["pod"], lease["podUid"]) == ("held", "shop/cart", "1234")
    assert (lease["containerId"], lease["ifname"]) == (container.name, "eth0")
    assert (lease["mode"], lease["ports"]) == ("fixed-ips", [node.port_id])
    room = {item["network"]: item for item in document["capacity"]}
    (subnet,) = room["fixed"]["subnets"]
    assert (room["fixed"]["full"], subnet["cidr"]) == (False, "10.10.0.0/20")
    assert f"fixed: {subnet['free']} free in {subnet['name']} (10.10.0.0/20)" in shown.stdout

    container.delete()
    rests = cli(node, "leases")
    assert (rests.returncode, "cooling" in rests.stdout) == (0, True)
    end_rests(lab, node)


def test_leases_names_differences_and_ends_with_1(lab: Lab, node: Node) -> None:
    calls = lab.connection().network
    foreign = f"/ports/{node.port_id}/tags/ncni:10.10.15.9:abcdef:01234567"
    with (
        containers(node, "missing", FIXED) as (missing,),
        containers(node, "unreserved", PORT) as (unreserved,),
    ):
        take_off(lab, node, missing.pod.address)
        calls.delete_port(reserving(lab, unreserved))
        calls.put(foreign)
        found = cli(node, "leases")
        assert found.returncode == 1
        differ = [
            f"missing {missing.pod.address}",
            f"missing {unreserved.pod.address}",
            "foreign 10.10.15.9",
        ]
        for line in differ:
            assert line in found.stdout
        told = [f"{item['kind']} {item['address']}" for item in listed(node)["differences"]]
        assert sorted(told) == sorted(differ)
        calls.delete(foreign)

        offline = cli(node, "leases", "--offline")
        assert (offline.returncode, missing.pod.address in offline.stdout) == (0, True)


def test_leases_and_gc_say_why_they_could_not_compare(node: Node) -> None:
    configure(node, config("1.1.0", cloud="nosuch"))
    found = cli(node, "leases")
    assert found.returncode == 1
    assert "could not compare" in found.stdout
    assert "nosuch" in found.stdout
    looked = cli(node, "gc")
    assert looked.returncode == 1
    assert "could not look" in looked.stderr
    assert "nosuch" in looked.stderr


def test_gc_releases_the_leases_of_namespaces_that_are_gone(lab: Lab, node: Node) -> None:
    gone = [Container(node, f"gone{n}", doc) for n, doc in enumerate((FIXED, PAIRS, PORT))]
    with (
        containers(node, "fixed", FIXED) as (fixed,),
        containers(node, "pair", PAIRS) as (pair,),
        containers(node, "port", PORT) as (port,),
    ):
        theirs = [addresses(container.add())[0] for container in gone]
        ours = [container.pod.address for container in (fixed, pair, port)]
        for container in gone:
            node.exec(["ip", "netns", "del", container.name])
        assert cli(node, "gc").stdout == NOTHING  # Their ADD may be still at work.

        age(lab, node)
        before = snapshot(lab, node)
        looked = cli(node, "gc")
        assert looked.returncode == 0
        for address in theirs:
            assert f"would release {address}:" in looked.stdout
        assert "3 to do; nothing was changed" in looked.stdout
        for address in ours:
            assert f"release {address}:" not in looked.stdout
            assert f"doubtful {address}:" in looked.stdout  # As no process is in these pods.
        assert snapshot(lab, node) == before

        done = cli(node, "gc", "--apply")
        assert done.returncode == 0, done
        for address in theirs:
            assert f"release {address}:" in done.stdout
        wait_for(lambda: not in_neutron(lab) & set(theirs), "the addresses to be given back")
        assert in_neutron(lab) >= set(ours)
        assert cli(node, "gc").stdout.endswith(NOTHING)


def test_a_sandbox_that_the_runtime_forgot_is_freed_once_the_operator_names_it(
    lab: Lab, node: Node
) -> None:
    """It has a namespace, a link and an address, and nothing runs in it."""
    forgotten = Container(node, "forgotten", FIXED)
    with containers(node, "other", FIXED) as (other,):
        (address,) = addresses(forgotten.add())
        age(lab, node)
        assert f"doubtful {address}:" in cli(node, "gc", "--apply").stdout
        done = cli(node, "gc", "--apply", "--free", address)
        assert done.returncode == 0, done
        assert f"release {address}:" in done.stdout
        wait_for(lambda: address not in in_neutron(lab), "the address to be given back")
        links = node.exec(["ip", "link", "show"]).stdout
        assert f"neutron-cni fixed {forgotten.name} " not in links
        assert f"neutron-cni fixed {other.name} " in links
        assert other.pod.address in in_neutron(lab)
    forgotten.delete()


def test_gc_leaves_an_address_that_a_process_without_a_named_namespace_has(
    lab: Lab, node: Node
) -> None:
    container = Container(node, "unnamed", FIXED)
    (address,) = addresses(container.add())
    with container.pod.popen(["sleep", "600"]) as process:
        pids = ["ip", "netns", "pids", container.name]
        wait_for(lambda: bool(node.exec(pids).stdout), "the process to be there")
        node.exec(["ip", "netns", "del", container.name])
        age(lab, node)
        assert cli(node, "gc").stdout == NOTHING
        process.kill()
    assert f"would release {address}:" in cli(node, "gc").stdout
    container.call("DEL")


def test_gc_takes_over_what_a_lost_store_had_and_releases_what_nobody_has(
    lab: Lab, node: Node
) -> None:
    documents = (FIXED, PAIRS, PORT)
    lives = [Container(node, f"lives{n}", document) for n, document in enumerate(documents)]
    gone = [Container(node, f"gone{n}", document) for n, document in enumerate(documents)]
    try:
        results = [container.add() for container in lives]
        ours = [addresses(result)[0] for result in results]
        theirs = [addresses(container.add())[0] for container in gone]
        for container in gone:
            node.exec(["ip", "netns", "del", container.name])
        node.exec(["sh", "-c", "rm -f /var/lib/neutron-cni/store.db*"])

        found = cli(node, "leases")
        assert found.returncode == 1
        for address in (*ours, *theirs):
            assert f"unknown {address}:" in found.stdout
        looked = cli(node, "gc").stdout
        for address in theirs:
            assert f"would release {address}:" in looked
        for address in ours:
            assert f"would take over {address}:" in looked

        # With the store went what ADD noted; a node of the lab has not the network of process 1.
        refused = cli(node, "gc", "--apply")
        assert (refused.returncode, "nothing was released" in refused.stderr) == (1, True)
        done = cli(node, "gc", "--apply", "--view-is-whole")
        assert done.returncode == 0, done
        wait_for(lambda: not in_neutron(lab) & set(theirs), "the addresses to be given back")
        assert in_neutron(lab) >= set(ours)
        for container, result in zip(lives, results, strict=True):
            assert check(container, result).status == 0
    finally:
        for container in lives:
            container.delete()
    wait_for(lambda: not leases(lab, node), "the store to be empty", 60)
