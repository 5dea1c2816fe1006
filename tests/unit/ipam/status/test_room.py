"""What STATUS and `neutron-cni leases` say of the room that a cloud has left for pods."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from neutron_cni.ipam import node
from neutron_cni.ipam.audit.capacity import Left, left
from neutron_cni.ipam.audit.foreseen import foreseen
from neutron_cni.ipam.status import last_look
from neutron_cni.store import Store
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.ipam_config import Mode
from tests.unit.ipam.status.place import ALL_MODES, Place, away


@ALL_MODES
def test_no_room_is_said_and_an_error_only_where_that_is_wanted(place: Place, mode: Mode) -> None:
    for address in place.scene.free():
        place.scene.new_port(fixed_ips=[{"ip_address": str(address)}])
    config = place.config(mode)
    (note,) = place.ask(config)
    assert "no room for another pod: no free address in subnet" in note
    assert "no free address" in place.refused(place.config(mode, capacityInStatus=True))


def test_free_addresses_are_counted_and_recorded(place: Place) -> None:
    place.ask()
    with Store(place.config().state_dir) as store:
        look = last_look(store, place.config())
    assert look is not None
    assert look.capacity is not None
    (subnet,) = look.capacity.subnets
    assert subnet.free == len(place.scene.free())


def room(place: Place, offline: bool = False) -> list[Left]:
    """What `neutron-cni leases` shows."""
    with Store(place.config().state_dir) as store:
        return left(store, place.host.conf_dir, offline)


def test_leases_shows_what_status_counted_lately(place: Place) -> None:
    place.host.install(place.section(), "pods")
    place.ask()
    before = place.calls()
    place.clock.now += 60
    (shown,) = room(place)
    free = len(place.scene.free())
    assert shown.in_words == f"{free} free in 10.9.0.0/26 (10.9.0.0/26) (60 s ago)"
    assert (shown.network, shown.is_full) == ("pods", False)
    assert place.calls() == before


def test_leases_counts_anew_where_nobody_did_lately(place: Place) -> None:
    """Runtimes before CNI 1.1 never ask for STATUS."""
    place.host.install(place.section(), "pods")
    assert room(place, offline=True) == []
    (shown,) = room(place)
    assert "(0 s ago)" in shown.in_words
    for address in place.scene.free():
        place.scene.new_port(fixed_ips=[{"ip_address": str(address)}])
    place.clock.now += 121
    (old,) = room(place, offline=True)
    assert not old.is_full
    (shown,) = room(place)
    assert shown.is_full
    assert shown.for_programs["subnets"][0]["free"] == 0
    # Status is spared this look.
    before = place.calls()
    place.ask()
    assert place.calls() == before


def test_leases_shows_the_last_count_while_the_cloud_is_away(place: Place) -> None:
    place.host.install(place.section(), "pods")
    place.ask()
    place.clock.now += 500
    away(place)
    (shown,) = room(place)
    assert "(500 s ago)" in shown.in_words


def test_leases_shows_nics_and_status_says_that_there_is_no_more(place: Place) -> None:
    section = place.section(Mode.NOVA_INTERFACE, maxNICs=1)
    place.host.install(section, "pods")
    (shown,) = room(place)
    assert "1 of 1 NICs of the VM" in shown.in_words
    assert shown.is_full
    assert shown.for_programs["nics"] == {"used": 1, "limit": 1}
    (note,) = place.ask(place.config(Mode.NOVA_INTERFACE, maxNICs=1))
    assert "has 1 NICs, its own included, and may have 1" in note


def test_leases_shows_pairs_and_ports_where_they_matter(place: Place) -> None:
    place.host.install(place.section(Mode.ADDRESS_PAIRS, maxAddressPairs=10), "pods")
    (shown,) = room(place)
    assert "0 of 10 address pairs of the VM's port" in shown.in_words
    assert "ports of the project" in shown.in_words
    assert shown.for_programs["addressPairs"] == {"used": 0, "limit": 10}


@pytest.fixture
def with_dhcp(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """DHCP serves the pods' subnet, and the node has its own address from it."""
    monkeypatch.setattr(node, "has_static_address", lambda host_interface: False)
    for subnet in place.scene.neutron.cloud.tables["subnets"].values():
        subnet["enable_dhcp"] = True
    return place


WORDS = (
    "subnet 10.9.0.0/26 (10.9.0.0/26) has DHCP",
    "ML2/OVN the first in the order of strings",
    "ML2/OVS the last",
    "a subnet without DHCP",
    "a static address",
    "mode address-pairs",
)
"""What is said: which subnet, what DHCP does with each driver, and the ways out."""


@ALL_MODES
def test_dhcp_that_may_give_the_node_a_pods_address_is_noted(with_dhcp: Place, mode: Mode) -> None:
    """Before it happens, and of the mode only that has pods' addresses on the node's own port."""
    notes = with_dhcp.ask(with_dhcp.config(mode))
    assert len(notes) == (1 if mode is Mode.FIXED_IPS else 0)
    assert all(word in note for note in notes for word in WORDS)
    assert with_dhcp.ask(with_dhcp.config(mode)) == notes


def test_a_node_whose_address_is_static_is_in_no_danger(
    with_dhcp: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "has_static_address", lambda host_interface: True)
    assert with_dhcp.ask() == []


def test_dhcp_is_noted_besides_a_lack_of_room(with_dhcp: Place) -> None:
    for address in with_dhcp.scene.free():
        with_dhcp.scene.new_port(fixed_ips=[{"ip_address": str(address)}])
    danger, lack = with_dhcp.ask()
    assert "no room" in lack
    assert "has DHCP" in danger


def test_install_can_say_so_before_there_is_a_store(with_dhcp: Place) -> None:
    config = with_dhcp.config()
    (said,) = foreseen(config, Deadline.after(10))
    assert all(word in said for word in WORDS)
    assert foreseen(with_dhcp.config(Mode.PORT), Deadline.after(10)) == []
    assert not Path(config.state_dir, "store.db").exists()


def test_install_says_nothing_where_no_cloud_answers(with_dhcp: Place) -> None:
    away(with_dhcp)
    assert foreseen(with_dhcp.config(), Deadline.after(1)) == []


def test_install_says_nothing_where_no_folder_can_be_made(
    with_dhcp: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose root is read-only."""
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    assert foreseen(with_dhcp.config(), Deadline.after(10)) == []
