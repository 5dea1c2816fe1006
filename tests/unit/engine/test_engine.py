"""ADD, DEL, CHECK, STATUS and GC: order, idempotence, and what is undone after which failure."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from neutron_cni.cni.request import parse
from neutron_cni.netlink.plan import Announcement, Side
from neutron_cni.plugins import RECIPES
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.lease import Lease, LeasedAddress
from neutron_cni.values.result import Result, Route
from tests.support.cni_doubles import LEASE, FakeDataPlane, World, environment, stdin

KEEP = "cni.dev/valid-attachments"
NONE_VALID: dict[str, Any] = {KEEP: []}
REFUSED = CniError(Code.KERNEL, "the kernel says no")
UNREACHABLE = CniError(Code.TRY_AGAIN, "Neutron can't be reached")


class Interrupted(BaseException):
    """As a signal handler would raise it."""


@pytest.fixture
def world() -> World:
    return World()


def call(
    world: World,
    command: str = "ADD",
    plugin: str = "veth-route",
    env: dict[str, str] | None = None,
    waited: float = 0.0,
    **changes: Any,
) -> Result | None:
    variables = environment(command, **(env or {}))
    request = parse(plugin, variables, stdin(**changes), RECIPES[plugin].schemas())
    return world.engine.handle(request, waited)


def failure(world: World, command: str = "ADD", **more: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        call(world, command, **more)
    return caught.value


def previous(world: World) -> dict[str, Any]:
    """The result of ADD as the runtime keeps it."""
    from neutron_cni.cni.codec import result_to_document

    result = call(world)
    assert result is not None
    return result_to_document(result, "1.1.0")


def test_add_gives_addresses_and_interfaces(world: World) -> None:
    result = call(world)
    assert result is not None
    assert [str(ip.address) for ip in result.ips] == ["10.10.0.19/20", "fd00::19/64"]
    assert [item.name for item in result.interfaces] == ["vethabcd", "eth0"]


def test_a_repeated_add_gives_the_same_and_changes_nothing(world: World) -> None:
    first = call(world)
    before = list(world.changes)
    assert call(world) == first
    assert world.changes == before


@pytest.mark.parametrize(
    "env", [{"CNI_NETNS": "/run/netns/gone"}, {"CNI_IFNAME": "taken"}, {"CNI_IFNAME": "net1"}]
)
def test_what_needs_no_cloud_is_refused_before_an_address_is_taken(
    world: World, env: dict[str, str]
) -> None:
    world.kernel.links = {"taken": "another", "net1": "another"}
    assert failure(world, env=env).code in (Code.INVALID_ENVIRONMENT, Code.CONFLICT)
    assert world.changes == []


def test_add_in_the_middle_of_a_chain_is_refused(world: World) -> None:
    assert "prevResult" in failure(world, prevResult={}).message
    assert world.changes == []


def test_a_failed_acquire_leaves_nothing(world: World) -> None:
    world.ipam.fail["acquire"] = UNREACHABLE
    assert failure(world) is UNREACHABLE
    assert world.changes == []


@pytest.mark.parametrize("reason", [REFUSED, RuntimeError("a defect"), Interrupted()])
def test_a_failed_attach_is_undone_and_the_address_given_back(
    world: World, reason: BaseException
) -> None:
    world.kernel.fail["attach"] = reason
    with pytest.raises(type(reason)) as caught:
        call(world)
    assert caught.value is reason
    assert world.state == ({}, {})


@pytest.mark.parametrize(("step", "release"), [("plan", "release unused"), ("attach", "release")])
def test_an_address_rests_only_if_its_interface_came_up(
    world: World, step: str, release: str
) -> None:
    world.kernel.fail[step] = REFUSED
    failure(world)
    assert world.ipam.changes == ["acquire", release]


@pytest.mark.parametrize("broken", ["detach", "release"])
def test_a_failed_undo_does_not_hide_the_first_error_nor_stop_the_rest(
    world: World, broken: str
) -> None:
    world.kernel.fail = {"attach": REFUSED, "detach": CniError(Code.KERNEL, "stuck")}
    if broken == "release":
        del world.kernel.fail["detach"]
        world.ipam.fail["release"] = CniError(Code.STORE, "stuck")
    assert failure(world) is REFUSED
    leases, links = world.state
    assert (leases == {}) == (broken == "detach")
    assert (links == {}) == (broken == "release")
    assert "stuck" in world.notes[0]


def test_add_gives_up_when_the_address_came_too_late(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = world.ipam.acquire

    def slow(request: Any) -> Any:
        monkeypatch.setattr(
            "neutron_cni.values.deadline.time.monotonic", lambda: request.deadline.at + 1
        )
        return acquire(request)

    monkeypatch.setattr(world.ipam, "acquire", slow)
    assert failure(world).code == Code.TRY_AGAIN
    assert world.state == ({}, {})


@pytest.mark.parametrize(
    ("timeout", "waited", "left"), [(60, 0.0, 60), (60, 20.0, 40), (60, 200.0, 10), (5, 200.0, 5)]
)
def test_a_call_has_the_time_that_is_left_of_its_own_and_enough_for_one_that_works(
    world: World, monkeypatch: pytest.MonkeyPatch, timeout: int, waited: float, left: float
) -> None:
    acquire, seen = world.ipam.acquire, []
    monkeypatch.setattr("neutron_cni.values.deadline.time.monotonic", lambda: 1000.0)

    def noted(request: Any) -> Any:
        seen.append(request.deadline.left)
        return acquire(request)

    monkeypatch.setattr(world.ipam, "acquire", noted)
    call(world, waited=waited, ipam={"timeout": timeout})
    assert seen == [left]


def test_del_takes_all_back_and_may_be_repeated(world: World) -> None:
    call(world)
    for _ in range(3):
        assert call(world, "DEL") is None
        assert world.state == ({}, {})


def test_del_of_the_unknown_succeeds(world: World) -> None:
    call(world, "DEL")
    call(world, "DEL", env={"CNI_NETNS": ""})
    call(world, "DEL", env={"CNI_NETNS": "/run/netns/gone"})
    assert world.changes == []


def test_del_does_each_half_even_if_the_other_fails(world: World) -> None:
    call(world)
    world.kernel.fail["detach"] = REFUSED
    assert failure(world, "DEL") is REFUSED
    assert world.ipam.leases == {}
    world.kernel.fail = {}
    call(world)
    world.ipam.fail["release"] = CniError(Code.STORE, "disk full")
    assert failure(world, "DEL").code == Code.STORE
    assert world.kernel.links == {}


def test_del_reports_both_failures_together(world: World) -> None:
    world.kernel.fail["detach"] = REFUSED
    world.ipam.fail["release"] = CniError(Code.STORE, "disk full")
    error = failure(world, "DEL")
    assert error.code == Code.KERNEL
    assert "the kernel says no; disk full" in error.message


def test_del_takes_the_interface_down_without_a_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(world)

    def damaged(request: Any) -> None:
        raise CniError(Code.STORE, "damaged")

    monkeypatch.setattr(world.ipam, "lookup", damaged)
    call(world, "DEL")
    assert world.kernel.links == {}
    assert "damaged" in world.notes[0]


def test_check_of_what_add_made_is_silent(world: World) -> None:
    assert call(world, "CHECK", prevResult=previous(world)) is None


def test_check_allows_for_what_later_plugins_added(world: World) -> None:
    document = previous(world)
    document["interfaces"].append({"name": "net1", "sandbox": "/run/netns/pod"})
    document["ips"].append({"address": "192.168.0.1/24", "interface": 2})
    document["ips"].append({"address": "203.0.113.5/32"})
    assert call(world, "CHECK", prevResult=document) is None


def test_check_names_every_difference(world: World) -> None:
    document = previous(world)
    document["ips"][0]["address"] = "10.10.0.20/20"
    world.ipam.differences = ["Neutron's port lacks 10.10.0.19"]
    world.kernel.broken = ["the pod's default route is gone"]
    error = failure(world, "CHECK", prevResult=document)
    assert error.code == Code.CHECK_FAILED
    for part in (
        "Neutron's port lacks 10.10.0.19",
        "prevResult has 10.10.0.20",
        "IPAM holds 10.10.0.19",
        "default route is gone",
    ):
        assert part in error.message


def test_check_misses_the_interface_in_the_previous_result(world: World) -> None:
    document = previous(world)
    document["interfaces"][1]["name"] = "net1"
    error = failure(world, "CHECK", prevResult=document)
    assert "prevResult has no interface eth0" in error.message


@pytest.mark.parametrize("code", [Code.TRY_AGAIN, Code.CREDENTIALS])
def test_check_does_not_fail_because_neutron_can_not_be_asked(world: World, code: Code) -> None:
    document = previous(world)
    world.ipam.fail["verify"] = CniError(code, "Neutron can't be reached")
    assert call(world, "CHECK", prevResult=document) is None
    assert "Neutron can't be reached" in world.notes[-1]
    world.kernel.broken = ["the pod's default route is gone"]
    assert failure(world, "CHECK", prevResult=document).code == Code.CHECK_FAILED


def test_an_add_whose_container_is_deleted_meanwhile_leaves_no_interface(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runtime has died, the next one says DEL, and the ADD lives on."""
    attach = FakeDataPlane.attach

    def released_first(self: FakeDataPlane, lease: Lease, deadline: Deadline) -> Result:
        world.ipam.leases.clear()
        return attach(self, lease, deadline)

    monkeypatch.setattr(FakeDataPlane, "attach", released_first)
    assert failure(world).code == Code.TRY_AGAIN
    assert world.kernel.links == {}


def test_an_add_that_was_given_up_leaves_its_successor_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime sent DEL and another ADD for the container while the first was attaching."""
    other = Lease((LeasedAddress(ip_interface("10.0.0.99/24")),))
    held = world.ipam.lookup
    monkeypatch.setattr(world.ipam, "lookup", lambda request: held(request) and other)
    error = failure(world)
    assert error.code == Code.TRY_AGAIN
    assert world.changes == ["acquire", "attach"]


def test_a_del_takes_down_what_an_add_attached_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(world)
    release = world.ipam.release

    def attached_first(request: Any, used: bool) -> None:
        world.kernel.links["eth0"] = "0123456789abcdef"
        release(request, used)

    monkeypatch.setattr(world.ipam, "release", attached_first)
    call(world, "DEL")
    assert world.state == ({}, {})


def test_status_is_that_of_the_data_plane_too(world: World) -> None:
    world.kernel.fail["ready"] = CniError(Code.PLUGIN_NOT_AVAILABLE, "no interface ens9")
    assert "ens9" in failure(world, "STATUS").message


def test_check_of_the_unknown_fails(world: World) -> None:
    document = previous(world)
    call(world, "DEL")
    assert failure(world, "CHECK", prevResult=document).code == Code.CHECK_FAILED


def test_status_is_that_of_ipam(world: World) -> None:
    assert call(world, "STATUS") is None
    world.ipam.fail["status"] = CniError(Code.PLUGIN_NOT_AVAILABLE, "the subnet is full")
    assert failure(world, "STATUS").code == Code.PLUGIN_NOT_AVAILABLE


def test_what_add_announced_is_announced_again(world: World) -> None:
    call(world)
    addresses = [item.address.ip for item in LEASE.addresses]
    assert world.ipam.announced == [Announcement(Side.HOST, "ens3", ip) for ip in addresses]


def test_the_link_of_anothers_main_plugin_is_announced_too(world: World) -> None:
    """By the pod itself: whether others can hear it is that plugin's matter."""
    call(world, plugin="cni-ipam-neutron")
    addresses = [item.address.ip for item in LEASE.addresses]
    assert world.ipam.announced == [Announcement(Side.POD, "eth0", ip) for ip in addresses]


def test_add_waits_for_the_network_when_the_interface_is_there(world: World) -> None:
    call(world)
    assert world.kernel.awaited == [LEASE]


@pytest.mark.parametrize("value", [0, -1, 61, "on", True])
def test_what_waitfornetwork_can_not_be_is_refused(world: World, value: object) -> None:
    error = failure(world, ipam={"waitForNetwork": value})
    assert error.code == Code.INVALID_CONFIG
    assert "waitForNetwork" in str(error)


def test_what_failed_is_not_announced(world: World) -> None:
    world.kernel.fail["attach"] = REFUSED
    failure(world)
    assert world.ipam.announced == []


def test_status_looks_after_what_the_node_does_for_the_pods_of_its_network(world: World) -> None:
    call(world)
    call(world, env={"CNI_CONTAINERID": "other", "CNI_IFNAME": "net1"})
    call(world, env={"CNI_CONTAINERID": "more", "CNI_IFNAME": "net2"}, name="elsewhere")
    world.kernel.brought_back = []
    assert call(world, "STATUS") is None
    assert world.kernel.brought_back == [LEASE, LEASE]


@pytest.mark.parametrize("part", ["ipam", "kernel"])
def test_status_does_not_fail_because_that_can_not_be_done(world: World, part: str) -> None:
    world.ipam.fail = {"all_held": REFUSED} if part == "ipam" else {}
    world.kernel.fail = {"bring_back": REFUSED} if part == "kernel" else {}
    assert call(world, "STATUS") is None
    assert "the kernel says no" in world.notes[0]


def test_what_status_of_ipam_notes_is_told_to_the_operator(world: World) -> None:
    world.ipam.notes = ["no room for another pod"]
    assert call(world, "STATUS") is None
    assert world.notes == ["no room for another pod"]


def test_gc_keeps_what_is_valid(world: World) -> None:
    call(world)
    call(world, env={"CNI_CONTAINERID": "stale", "CNI_IFNAME": "net1"})
    valid: dict[str, Any] = {KEEP: [{"containerID": "0123456789abcdef", "ifname": "eth0"}]}
    call(world, "GC", **valid)
    leases, links = world.state
    assert list(leases) == [("pods", "0123456789abcdef", "eth0")]
    assert list(links) == ["eth0"]


def test_gc_goes_on_past_errors_and_reports_all(world: World) -> None:
    call(world)
    world.kernel.fail["collect"] = REFUSED
    assert failure(world, "GC", **NONE_VALID) is REFUSED
    assert world.ipam.leases == {}
    world.ipam.fail["collect"] = UNREACHABLE
    assert "Neutron can't be reached" in failure(world, "GC", **NONE_VALID).message


def test_a_defect_in_one_step_still_lets_the_other_happen(world: World) -> None:
    call(world)
    world.kernel.fail["detach"] = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        call(world, "DEL")
    assert world.ipam.leases == {}
    world.ipam.fail["release"] = REFUSED
    with pytest.raises(ExceptionGroup):
        call(world, "DEL")


def test_as_ipam_plugin_it_answers_without_interfaces(world: World) -> None:
    result = call(world, plugin="cni-ipam-neutron", type="bridge")
    assert result == LEASE.to_result()
    assert world.kernel.changes == []
    document = {"ips": [{"address": str(item.address)} for item in result.ips]}
    call(world, "CHECK", plugin="cni-ipam-neutron", prevResult=document)
    call(world, "STATUS", plugin="cni-ipam-neutron")
    call(world, "DEL", plugin="cni-ipam-neutron")
    assert world.ipam.leases == {}
    call(world, plugin="cni-ipam-neutron")
    call(world, "GC", plugin="cni-ipam-neutron", **NONE_VALID)
    assert world.ipam.leases == {}


def test_as_ipam_plugin_check_looks_at_the_previous_result(world: World) -> None:
    call(world, plugin="cni-ipam-neutron")
    error = failure(world, "CHECK", plugin="cni-ipam-neutron", prevResult={})
    assert "IPAM holds 10.10.0.19" in error.message


@pytest.mark.parametrize("plugin", ["veth-route", "cni-ipam-neutron"])
def test_a_plugin_that_would_start_itself_is_refused(world: World, plugin: str) -> None:
    error = failure(world, plugin=plugin, ipam={"type": "veth-route"})
    assert error.code == Code.INVALID_CONFIG
    assert "ipam.type" in error.message
    assert json.loads(stdin())["ipam"]["type"] in error.details


# Our IPAM under another's main plugin, which makes every route of the result


def defaults(result: Result | None) -> set[int]:
    """The IP versions of which the result has a default route."""
    assert result is not None
    return {item.destination.version for item in result.routes if not item.destination.prefixlen}


@pytest.fixture
def routed(world: World) -> World:
    """Its IPAM gives default routes of both IP versions, and one route more."""
    to = ("0.0.0.0/0", "::/0", "10.99.0.0/16")
    world.ipam.lease = replace(LEASE, routes=tuple(Route(ip_network(item)) for item in to))
    return world


@pytest.mark.parametrize("taken", [set(), {4}, {4, 6}])
def test_a_pod_gets_no_second_default_route_under_another_s_plugin(
    routed: World, taken: set[int]
) -> None:
    routed.kernel.defaults = frozenset(taken)
    result = call(routed, plugin="cni-ipam-neutron", type="ptp")
    assert defaults(result) == {4, 6} - taken
    assert result is not None
    assert len(result.routes) == 3 - len(taken)


def test_the_plugin_object_says_whether_there_is_a_default_route(routed: World) -> None:
    for said, versions in ((False, set()), (True, {4, 6})):
        result = call(routed, plugin="cni-ipam-neutron", type="ptp", defaultRoute=said)
        assert defaults(result) == versions


def test_a_second_default_route_that_is_asked_for_gives_the_address_back(world: World) -> None:
    world.kernel.defaults = frozenset({4, 6})
    world.ipam.lease = replace(LEASE, routes=(Route(ip_network("0.0.0.0/0")),))
    error = failure(world, plugin="cni-ipam-neutron", type="ptp", defaultRoute=True)
    assert error.code == Code.CONFLICT
    assert world.changes == ["acquire", "release unused"]
