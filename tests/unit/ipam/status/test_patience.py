"""STATUS while the cloud is away: a note, until it outlasts the patience."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from neutron_cni.hosts.in_process import own_ipam
from neutron_cni.ipam.api import IpamRequest
from neutron_cni.ipam.modes import fixed_ips
from neutron_cni.values.attachment import Attachment
from neutron_cni.values.deadline import Deadline
from tests.fakes.keystone import SECRET
from tests.unit.ipam.status.place import (
    TROUBLES,
    Place,
    away,
)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_of_the_cloud_is_a_note_until_it_outlasts_the_patience(
    place: Place, trouble: Callable[[Place], None]
) -> None:
    assert place.ask() == []
    place.clock.now += 61
    trouble(place)
    began = place.clock.now
    while place.clock.now < began + 600:
        (note,) = place.ask()
        assert "the cloud can't be asked" in note
        place.clock.now += 60
    said = place.refused()
    assert "`statusPatience` is 600" in said


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_node_that_never_reached_its_cloud_says_so_at_once(
    place: Place, trouble: Callable[[Place], None]
) -> None:
    trouble(place)
    assert "this node has never had an answer of its cloud" in place.refused()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_without_patience_trouble_is_an_error_at_once(
    place: Place, trouble: Callable[[Place], None]
) -> None:
    impatient = place.config(statusPatience=0)
    assert place.ask(impatient) == []
    place.clock.now += 61
    trouble(place)
    place.refused(impatient)


def test_a_cloud_that_is_back_is_seen_within_seconds(place: Place) -> None:
    place.ask()
    place.clock.now += 61
    away(place)
    place.ask()
    place.clock.now += 601
    place.refused()
    place.scene.neutron.resume()
    before = place.calls()
    place.clock.now += 9
    place.refused()  # not asked again yet: others wait for this cloud, too
    assert place.calls() == before
    place.clock.now += 2
    assert place.ask() == []


def test_a_node_with_pods_is_patient_although_status_was_never_asked(place: Place) -> None:
    """Its plugin was just replaced by this version, while the cloud is away."""
    attachment = Attachment("container", "eth0", "/run/netns/none")
    own_ipam().acquire(IpamRequest("net", attachment, place.config(), Deadline.after(20)))
    away(place)
    (note,) = place.ask()
    assert "Neutron is unreachable" in note


def test_a_new_configuration_does_not_make_a_node_a_new_one(place: Place) -> None:
    place.ask()
    away(place)
    (note,) = place.ask(place.config(hostInterface="eth0"))
    assert "Neutron is unreachable" in note


def test_after_a_boot_patience_begins_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ask()
    away(place)
    place.clock.now += 61
    place.ask()
    boot = place.host.boot_id
    monkeypatch.setattr("neutron_cni.store.store.BOOT_ID", boot)
    place.clock.now = 30.0
    (note,) = place.ask()
    assert "an error in 600 s" in note


def test_a_defect_of_ours_evicts_no_pod(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.ask()
    place.clock.now += 61

    def broken(context: object) -> None:
        raise TypeError(SECRET)

    monkeypatch.setattr(fixed_ips, "capacity", broken)
    (note,) = place.ask()
    assert "unexpected TypeError in broken, line" in note
    assert SECRET not in note
