"""Which mechanism driver and Neutron a lab has, and that tests of another's ways are left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from neutron_cni_lab import Lab, LabError
from neutron_cni_lab.driver import DriverName
from neutron_cni_lab.facts import write_facts
from neutron_cni_lab.ovn import Ovn
from neutron_cni_lab.ovs import Ovs
from neutron_cni_lab.paths import Places
from neutron_cni_lab.release import ReleaseName
from tests.support import labs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labs are; none yet."""
    monkeypatch.setenv("NEUTRON_CNI_LAB_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, name: str, **facts: str) -> None:
    write_facts(Places(home, name).facts, {"name": name, **facts})


def test_a_lab_has_the_driver_that_its_facts_name(home: Path) -> None:
    write(home, "one", driver="ovs")
    write(home, "older")
    assert isinstance(Lab("one").driver, Ovs)
    assert isinstance(Lab("older").driver, Ovn)
    assert isinstance(Lab("new").driver, Ovn)


@pytest.mark.parametrize(("has", "asked"), [("ovn", "ovs"), ("ovs", "ovn")])
def test_a_lab_that_is_there_gets_no_other_one(
    home: Path, has: DriverName, asked: DriverName
) -> None:
    write(home, "one", driver=has)
    with pytest.raises(LabError, match=f"has the driver {has}, not {asked}") as caught:
        Lab("one").up(driver=asked)
    assert "lab down --name one" in caught.value.hint


def test_the_release_is_that_of_the_facts(home: Path) -> None:
    write(home, "one", release="21")
    write(home, "older")
    assert Lab("one").environment.name.startswith("neutron21-")
    assert Lab("older").environment.name.startswith("neutron-")
    assert Lab("new").environment == Lab("older").environment


@pytest.mark.parametrize(("has", "asked"), [("29", "21"), ("21", "29")])
def test_a_lab_that_is_there_gets_no_other_release(
    home: Path, has: ReleaseName, asked: ReleaseName
) -> None:
    write(home, "one", release=has)
    with pytest.raises(LabError, match=f"has Neutron {has}, not {asked}") as caught:
        Lab("one").up(release=asked)
    assert "lab down --name one" in caught.value.hint


def test_an_old_release_has_ovn_only(home: Path) -> None:
    with pytest.raises(LabError, match="a lab with Neutron 21 has ML2/OVN only"):
        Lab("one").up(driver="ovs", release="21")


def test_only_routers_of_agents_are_places_to_run_a_command(home: Path) -> None:
    with pytest.raises(LabError, match="no namespaces, but flows of OVN's"):
        Lab("one").node("router")
    write(home, "two", driver="ovs", router_id="r")
    with pytest.raises(LabError, match="the agents' namespaces are gone"):
        Lab("two").node("router")


def test_programs_of_the_other_driver_need_not_be_installed() -> None:
    assert not set(Ovn.programs) & set(Ovs.programs)


def test_tests_know_the_driver_of_the_lab_that_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("NEUTRON_CNI_LAB_NAME", "one")
    write(home, "one", driver="ovs")
    assert labs.driver() == "ovs"


@pytest.mark.parametrize(("asked", "driver"), [("", "ovn"), ("ovs", "ovs")])
def test_labs_of_workers_have_the_driver_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, driver: str
) -> None:
    monkeypatch.delenv("NEUTRON_CNI_LAB_NAME", raising=False)
    monkeypatch.delenv("NEUTRON_CNI_TEST_DRIVER", raising=False)
    if asked:
        monkeypatch.setenv("NEUTRON_CNI_TEST_DRIVER", asked)
    assert labs.driver() == driver
