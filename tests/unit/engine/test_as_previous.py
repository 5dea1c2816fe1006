"""CHECK: what later plugins of the chain changed is as it should be."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from neutron_cni.engine.as_previous import as_answered, as_previous
from neutron_cni.netlink.plan import Dummy, MovedLink, Neighbour, Plan, Side, VethPair
from neutron_cni.values.result import Interface, Result, Route

OURS, THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:99"
PAIR = VethPair("veth1", "eth0", "ee:ee:ee:ee:ee:ee", OURS, "an alias", 1442)
OF_POD = Neighbour(Side.POD, "eth0", ip_address("169.254.1.1"), "ee:ee:ee:ee:ee:ee")
OF_NODE = Neighbour(Side.HOST, "veth1", ip_address("10.0.0.5"), OURS, permanent=False)
PLAN = Plan(links=(PAIR, Dummy("dummy0")), neighbours=(OF_NODE, OF_POD))


def result(mac: str, mtu: int | None) -> Result:
    return Result(interfaces=(Interface("eth0", mac, mtu, "/run/netns/pod"),))


def pair(plan: Plan) -> VethPair:
    (found,) = (link for link in plan.links if isinstance(link, VethPair))
    return found


def test_nothing_changed() -> None:
    assert as_previous(PLAN, result(OURS.upper(), 1442)) == PLAN


def test_another_mac_goes_with_the_loss_of_the_permanent_neighbours() -> None:
    found = as_previous(PLAN, result(THEIRS, 1442))
    assert pair(found).pod_mac == THEIRS
    assert found.neighbours == (OF_NODE,)


def test_a_result_without_mtu_allows_any() -> None:
    assert pair(as_previous(PLAN, result(OURS, None))).mtu is None
    assert pair(as_previous(PLAN, None)).mtu is None


def test_an_interface_of_the_node_of_the_same_name_says_nothing() -> None:
    of_node = Result(interfaces=(Interface("eth0", THEIRS, 9000),))
    assert pair(as_previous(PLAN, of_node)).pod_mac == OURS


def test_the_answer_of_add_tells_which_nic_was_moved() -> None:
    nic = MovedLink("eth0", "an alias")
    (found,) = as_previous(Plan(links=(nic,)), result(OURS.upper(), 1442)).links
    assert found == MovedLink("eth0", "an alias", mtu=1442, mac=OURS)
    assert as_previous(Plan(links=(nic,)), None).links == (nic,)


def test_whether_add_brought_a_default_route_is_in_its_answer() -> None:
    """Not what the pod has now: Multus may have moved the route to another link."""
    v4 = Result(routes=(Route(ip_network("0.0.0.0/0")), Route(ip_network("10.0.0.0/8"))))
    assert as_answered(v4).defaults == {6}
    assert as_answered(None).defaults == {4, 6}
