"""What the lab decides about VMs: their kernel, the filter of their NIC, their kind."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from neutron_cni_lab import LabError, Node
from neutron_cni_lab.paths import Places
from neutron_cni_lab.progress import Progress
from neutron_cni_lab.uml import kernel
from neutron_cni_lab.uml.kernel import NO_ECHO, Kernel

QUIET = Progress(quiet=True)


def accepted(packet_type: int) -> int:
    """How many bytes of a packet the filter lets through, by the rules of classic BPF."""
    program = list(struct.iter_unpack("=HBBI", NO_ECHO))
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == 0x20:
            assert value == 0xFFFFF004  # the packet's type
            accumulator = packet_type
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        else:
            assert code == 0x06
            return int(value)


@pytest.mark.parametrize("incoming", [0, 1, 2, 3])
def test_the_filter_of_a_nic_drops_what_the_nic_has_sent(incoming: int) -> None:
    assert accepted(4) == 0
    assert accepted(incoming) == 0xFFFFFFFF


def made(folder: Path) -> None:
    folder.mkdir()
    (folder / ".complete").touch()


def test_a_kernel_that_is_there_is_found_whatever_its_version(tmp_path: Path) -> None:
    here = Kernel(tmp_path)
    with pytest.raises(LabError, match="scripts/setup"):
        here.check()
    recipe = here._recipe
    made(tmp_path / f"user-mode-linux-6.1-{recipe}")
    here.check()
    here.install(QUIET)  # fetches nothing
    newer = tmp_path / f"user-mode-linux-6.2-{recipe}"
    made(newer)
    os.utime(newer, (4e9, 4e9))
    assert here.program == newer / "usr" / "bin" / "linux.uml"


def test_a_kernel_that_was_not_unpacked_whole_does_not_count(tmp_path: Path) -> None:
    here = Kernel(tmp_path)
    (tmp_path / f"user-mode-linux-6.1-{here._recipe}").mkdir()
    assert not here.is_made


def test_a_processor_with_amx_has_a_kernel_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_has_amx", lambda: False)
    without = Kernel(tmp_path)
    made(tmp_path / f"user-mode-linux-6.1-{without._recipe}")
    assert without.environment == {}
    monkeypatch.setattr(kernel, "_has_amx", lambda: True)
    here = Kernel(tmp_path)
    assert not here.is_made
    folder = tmp_path / f"user-mode-linux-6.1-{here._recipe}"
    made(folder)
    assert here.environment == {"LD_PRELOAD": str(folder / "xstate.so")}


def test_other_machines_than_x86_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_fits", lambda: False)
    here = Kernel(tmp_path)
    here.install(QUIET)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LabError, match="there is no user-mode-linux for"):
        here.check()


def test_a_node_written_down_before_there_were_vms_shares_the_hosts_kernel(tmp_path: Path) -> None:
    facts = {"kind": "vm", "network": "tenant", "addresses": ["10.10.0.5/20"], "port_id": "p"}
    old = Node(Places(tmp_path, "lab"), "node1", facts)
    assert (old.kernel, old.description) == ("shared", "a vm on network tenant")
    own = Node(Places(tmp_path, "lab"), "node1", {**facts, "kernel": "own"})
    assert own.description == "a vm on network tenant with a kernel of its own"
