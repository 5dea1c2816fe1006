"""What the lab decides about Nova and the NICs that it attaches, without root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import neutron_cni_lab
from neutron_cni_lab import LabError, Node
from neutron_cni_lab.nics import Nic, Nics
from neutron_cni_lab.nova.faults import Faults, ordered, read
from neutron_cni_lab.paths import Places
from neutron_cni_lab.switch import Switch
from neutron_cni_lab.uml import vm

PACKAGE = Path(neutron_cni_lab.__file__).parent


class Unplugged(Nics):
    """Of a node that is off: nothing is to be plugged in or taken out."""

    def _make_cable(self, nic: Nic) -> None:
        raise AssertionError("a node that is off has no cables")

    def _insert(self, nic: Nic) -> None:
        raise AssertionError("a node that is off is not told")

    def _withdraw(self, nic: Nic) -> None:
        raise AssertionError("a node that is off is not told")


@pytest.fixture
def nics(tmp_path: Path) -> Nics:
    places = Places(tmp_path, "lab")
    places.node("node1").mkdir(parents=True)
    return Unplugged(places, Switch(places), Node(places, "node1", {"kind": "vm"}))


def test_a_node_that_is_off_notes_its_nics_once_and_takes_30(nics: Nics) -> None:
    for number in [*range(30), 0]:
        nics.attach(f"port{number:02}", f"02:00:00:00:00:{number:02x}", 1442)
    listed = nics.listed
    assert [nic.port_id for nic in listed] == [f"port{number:02}" for number in range(30)]
    slots = [nic.slot for nic in listed]
    assert len(set(slots)) == 30
    assert not {0, 7} & set(slots)  # the first NIC's, and that of a VM's way in
    with pytest.raises(LabError, match="node1 has no free slot for a NIC: it has 30"):
        nics.attach("more", "02:00:00:00:01:00", 1442)
    assert nics.listed == listed


@pytest.mark.parametrize("before", [[], ["vec3:transport=raw,bpffile=no-echo,ifname=nic3,mac=x"]])
def test_a_vm_boots_with_the_nics_that_are_listed_and_no_others(
    tmp_path: Path, before: list[str]
) -> None:
    fixed = ["umid=vm", "vec0:transport=raw,bpffile=no-echo,ifname=eth0,mac=y", "ro"]
    new = "vec9:transport=raw,bpffile=no-echo,ifname=nic9,mac=z"
    (tmp_path / "nics.arguments").write_text(f"{new}\n")
    # Such a program says by what name it was started, too, as user-mode Linux needs.
    program = tmp_path / "kernel"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    program.chmod(0o700)
    done = subprocess.run(
        [vm.HERE / "boot.py", *fixed, *before],
        env={"LAB_VM_PROGRAM": str(program), "LAB_VM_FOLDER": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(tmp_path), *fixed, new]


def test_novas_environment_needs_nothing_of_the_labs() -> None:
    names = ("nics", "uml.nics", "node", "switch", "facts", "nova.faults", "nova.inside")
    script = f"""
import sys
sys.path.append({str(PACKAGE.parent)!r})
for name in {names!r}:
    __import__("neutron_cni_lab." + name)
"""
    subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", script], check=True)


def test_a_fault_is_in_force_during_its_block_and_no_longer(tmp_path: Path) -> None:
    assert read(tmp_path) == Faults()
    with ordered(tmp_path, Faults(attach_seconds=3.5)):
        assert read(tmp_path) == Faults(attach_seconds=3.5)
        with ordered(tmp_path, Faults(detach_fails=True)):
            assert read(tmp_path) == Faults(detach_fails=True)
    assert read(tmp_path) == Faults()


def test_a_node_without_a_server_says_so(tmp_path: Path) -> None:
    facts = {"kind": "vm", "network": "tenant", "addresses": ["10.10.0.5/20"], "port_id": "p"}
    node = Node(Places(tmp_path, "lab"), "node1", facts)
    with pytest.raises(LabError, match="node1 is no server") as caught:
        _ = node.server_id
    assert "lab up --nova" in caught.value.hint
