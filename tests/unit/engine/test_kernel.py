"""CHECK on a node where the attachment could not be made any longer; what STATUS looks at."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import pytest

from neutron_cni.cni.environment import Command
from neutron_cni.cni.request import Invocation, Request
from neutron_cni.engine.kernel import Kernel
from neutron_cni.netlink import observe
from neutron_cni.netlink.facts import HostFacts, Uplink
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.plan import Announcement, IpvlanMode, ProxyNeighbour, Side
from neutron_cni.plugins import RECIPES
from neutron_cni.plugins.ipvlan import Config
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from tests.support.cni_doubles import LEASE

UPLINK = Uplink("eth0", "fa:16:3e:00:00:01", 1442, up=False)


def kernel(
    monkeypatch: pytest.MonkeyPatch,
    facts: HostFacts | CniError,
    note: Callable[[str], None] = lambda note: None,
    mode: IpvlanMode = IpvlanMode.L2,
) -> Kernel:
    """neutron-ipvlan's link alone, on a node with these facts, or where they can't be had."""

    def observed(*arguments: object, **options: object) -> HostFacts:
        if isinstance(facts, CniError):
            raise facts
        return facts

    monkeypatch.setattr(observe, "host_facts", observed)
    request = Request(
        plugin="neutron-ipvlan",
        command=Command.CHECK,
        version="1.1.0",
        network="net1",
        attachment=Attachment("pod1", "eth0", "/run/netns/pod1"),
        configs=(Config(master="eth0", mode=mode),),
        ipam=None,
        invocation=Invocation({}, b""),
    )
    return Kernel(request, RECIPES["neutron-ipvlan"].pages()[:1], note)


def test_a_nic_that_is_down_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    found = kernel(monkeypatch, HostFacts(UPLINK, ipvlan=True)).differences(LEASE)
    assert found == ["master eth0 is down"]


def test_an_address_that_the_node_has_itself_is_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = tuple(item.address for item in LEASE.addresses)
    uplink = replace(UPLINK, up=True, addresses=own)
    found = kernel(monkeypatch, HostFacts(uplink, ipvlan=True)).differences(LEASE)
    assert found == [f"the node itself holds the pod's address {own[0].ip}"]


def test_a_nic_that_is_gone_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = CniError(Code.INVALID_CONFIG, "the node has no interface 'eth0'")
    assert kernel(monkeypatch, gone).differences(LEASE) == ["the node has no interface 'eth0'"]


def test_a_kernel_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CniError, match="says no"):
        kernel(monkeypatch, CniError(Code.KERNEL, "it says no")).differences(LEASE)


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (True, []),
        (
            False,
            [
                "waitForNetwork: the gateway 10.10.0.1 did not answer 10.10.0.19 in 2.0 s; new "
                "pods do not wait for it for the next minutes"
            ],
        ),
        (CniError(Code.KERNEL, "no such link"), ["waitForNetwork: no such link"]),
    ],
)
def test_a_gateway_that_does_not_answer_is_a_note(
    monkeypatch: pytest.MonkeyPatch, outcome: bool | CniError, said: list[str]
) -> None:
    asked: list[tuple[object, ...]] = []

    def answers(source: Announcement, *more: object) -> bool:
        asked.append((source, *more[:2]))
        if isinstance(outcome, CniError):
            raise outcome
        return outcome

    monkeypatch.setattr("neutron_cni.netlink.probe.gateway_answers", answers)
    notes: list[str] = []
    plane = kernel(monkeypatch, HostFacts(UPLINK, ipvlan=True), notes.append)
    assert plane.await_network(LEASE, Deadline.after(2))
    assert asked == []  # Nothing was attached, and no link is known.

    first, second = (item.address.ip for item in LEASE.addresses)
    sources = [Announcement(Side.POD, "eth0", address) for address in (first, second)]
    plane.announced = tuple(sources)
    assert plane.await_network(LEASE, Deadline.after(2)) is (outcome is not False)
    assert asked == [(sources[0], LEASE.addresses[0].gateway, "/run/netns/pod1")]
    assert notes == said


def test_status_brings_back_what_answers_for_pods_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted: list[ProxyNeighbour] = []

    def restore(entries: Collection[ProxyNeighbour]) -> list[IPAddress]:
        wanted.extend(entries)
        return [item.address for item in entries][:1]

    monkeypatch.setattr("neutron_cni.engine.upkeep.restore_proxies", restore)
    notes: list[str] = []
    asked = kernel(monkeypatch, HostFacts(UPLINK, ipvlan=True), notes.append, IpvlanMode.L3S)
    asked.bring_back([LEASE])
    assert wanted == [
        ProxyNeighbour(Side.HOST, "eth0", item.address.ip) for item in LEASE.addresses
    ]
    assert notes == [
        "the node no longer answered for 1 of its pods' addresses, and does again: 10.10.0.19"
    ]


def test_status_of_a_type_without_shared_rules_goes_through_no_links(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A runtime asks every few seconds, and a node may have many."""
    looked: list[str] = []

    def look(prefix: str) -> list[Link]:
        looked.append(prefix)
        return []

    monkeypatch.setattr(observe, "links_with_alias", look)
    asked = kernel(monkeypatch, HostFacts(replace(UPLINK, up=True), ipvlan=True))
    asked.ready()
    asked.bring_back([LEASE])
    assert looked == []
